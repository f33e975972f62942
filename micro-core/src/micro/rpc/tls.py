"""TLS for listeners and channels: contexts that speak HTTP/2 by ALPN, whichever transport uses them."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any


class TlsContext(ssl.SSLContext):
    """A context that remembers its own certificate, for stacks that bring their own TLS and cannot read it back."""

    chain: bytes = b""  # PEM
    key: bytes = b""  # PEM, without a password

    def load_cert_chain(self, certfile: Any, keyfile: Any = None, password: Any = None) -> None:
        super().load_cert_chain(certfile, keyfile, password)
        self.chain = Path(certfile).read_bytes()
        self.key = Path(keyfile or certfile).read_bytes()


def server_context(certfile: str | Path, keyfile: str | Path, *, client_ca: str | Path | None = None) -> TlsContext:
    """Make a listener's context from PEM files; with `client_ca` only clients it has signed get in."""
    context = TlsContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certfile, keyfile)
    context.set_alpn_protocols(["h2", "http/1.1"])
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(
    *, ca: str | Path | None = None, certfile: str | Path | None = None, keyfile: str | Path | None = None
) -> TlsContext:
    """Make a channel's context: the system's roots or `ca`, certificate and host name verified."""
    context = TlsContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    if ca is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(ca)
    if certfile is not None:
        context.load_cert_chain(certfile, keyfile)
    return context
