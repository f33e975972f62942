"""grpc's credentials out of an `ssl.SSLContext`, as far as one lets them be read."""

from __future__ import annotations

import ssl

import grpc

from micro.errors import ConfigError
from micro.rpc.tls import TlsContext


def server_credentials(context: ssl.SSLContext) -> grpc.ServerCredentials:
    """Give a listener's credentials."""
    if not isinstance(context, TlsContext) or not context.key:
        raise ConfigError("transport grpcio: a listener's tls context must come from micro.rpc.tls.server_context")
    demand = context.verify_mode == ssl.CERT_REQUIRED
    return grpc.ssl_server_credentials(
        [(context.key, context.chain)],
        root_certificates=_roots(context) if demand else None,
        require_client_auth=demand,
    )


def channel_credentials(context: ssl.SSLContext) -> grpc.ChannelCredentials:
    """Give a channel's credentials; grpc always verifies its peer, so a context that does not is refused."""
    if context.verify_mode != ssl.CERT_REQUIRED or not context.check_hostname:
        raise ConfigError("transport grpcio: it always verifies certificate and host name, this tls context does not")
    own = context if isinstance(context, TlsContext) else None
    return grpc.ssl_channel_credentials(
        root_certificates=_roots(context) or None,  # None: grpc's own roots
        private_key=own.key or None if own else None,
        certificate_chain=own.chain or None if own else None,
    )


def _roots(context: ssl.SSLContext) -> bytes:
    return "".join(ssl.DER_cert_to_PEM_cert(der) for der in context.get_ca_certs(binary_form=True)).encode()
