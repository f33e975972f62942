"""The driver itself: which parts make up the transport over nghttp2."""

from __future__ import annotations

import ssl
from typing import ClassVar

from micro import limits as sizes
from micro.rpc.driver import Channel, Dispatcher, Forwarder, Http1, Limits, Listener, Transport
from micro.rpc.nghttp2.ledger import Ledgers


class Nghttp2Transport(Transport, interface=1):
    """Calls carried by our own gRPC on asyncio, over the C library nghttp2."""

    name: ClassVar[str] = "nghttp2"
    capabilities = frozenset({"content-types", "raw-paths", "http1"})

    def __init__(self, *, unread: int = sizes.PROCESS_BUFFER) -> None:
        """`unread`: bytes that all connections together may hold of messages which nobody has read."""
        self._ledgers = Ledgers(unread)

    def listener(self, dispatcher: Dispatcher, *, limits: Limits | None = None, http1: Http1 | None = None) -> Listener:
        from micro.rpc.nghttp2.listener import Nghttp2Listener

        return Nghttp2Listener(dispatcher, limits or Limits(), self._ledgers, http1)

    def channel(self, address: str, *, limits: Limits | None = None, tls: ssl.SSLContext | None = None) -> Channel:
        from micro.rpc.nghttp2.channel import Nghttp2Channel

        return Nghttp2Channel(address, limits or Limits(), self._ledgers, tls)

    def forwarder(self, *, limits: Limits | None = None) -> Forwarder:
        from micro.rpc.nghttp2.forwarder import Nghttp2Forwarder

        return Nghttp2Forwarder(limits or Limits(), self._ledgers)
