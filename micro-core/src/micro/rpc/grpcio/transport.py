"""The driver itself: which parts make up the transport over grpc.aio."""

from __future__ import annotations

import ssl
from typing import ClassVar

from micro.errors import Unimplemented
from micro.rpc.driver import Channel, Dispatcher, Forwarder, Http1, Limits, Listener, Transport


class GrpcioTransport(Transport, interface=1):
    """Calls carried by grpc.aio.

    It always writes `content-type: application/grpc`: JSON is told by `x-content-type` alone. `Limits.connections`
    and the two reset limits have no counterpart there; `streams` is what bounds rapid resets.
    """

    name: ClassVar[str] = "grpcio"
    capabilities = frozenset()

    def listener(self, dispatcher: Dispatcher, *, limits: Limits | None = None, http1: Http1 | None = None) -> Listener:
        from micro.rpc.grpcio.listener import GrpcioListener

        if http1 is not None:
            raise Unimplemented("transport grpcio: no HTTP/1.1 beside gRPC on one port")
        return GrpcioListener(dispatcher, limits or Limits())

    def channel(self, address: str, *, limits: Limits | None = None, tls: ssl.SSLContext | None = None) -> Channel:
        from micro.rpc.grpcio.channel import GrpcioChannel

        return GrpcioChannel(address, limits or Limits(), tls)

    def forwarder(self, *, limits: Limits | None = None) -> Forwarder:
        from micro.rpc.grpcio.forwarder import GrpcioForwarder

        return GrpcioForwarder(limits or Limits())
