"""The door: a bound socket, what is said first on each of its connections, and its limits."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, cast

from micro.rpc.bound import bound
from micro.rpc.driver import Dispatcher, Http1, Limits, Listener
from micro.rpc.nghttp2 import address as address_of
from micro.rpc.nghttp2.farewell import farewell
from micro.rpc.nghttp2.http2 import PREFACE
from micro.rpc.nghttp2.ledger import Ledgers
from micro.rpc.nghttp2.server_link import ServerLink

_BACKLOG = 1024
_SWEEP = 1.0  # seconds between looks at the timers, at most
_NO_HTTP1 = (
    b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: text/plain\r\ncontent-length: 31\r\n\r\n"
    b"this port speaks gRPC (HTTP/2)\n"
)


class Nghttp2Listener(Listener):
    """HTTP/2 with prior knowledge or by ALPN; HTTP/1.1 for a factory that wants it."""

    def __init__(self, dispatcher: Dispatcher, limits: Limits, ledgers: Ledgers, http1: Http1 | None = None) -> None:
        self.limits = limits
        self.ledgers = ledgers
        self.http1 = http1
        self.links: set[ServerLink | _Threshold] = set()
        self.running: set[asyncio.Task[None]] = set()
        self.plain: list[tuple[asyncio.Transport, Any]] = []  # connections that speak HTTP/1.1, with their protocols
        self._dispatcher = dispatcher
        self._server: asyncio.Server | None = None
        self._sweep: asyncio.TimerHandle | None = None

    async def start(self, address: str, *, tls: ssl.SSLContext | None = None) -> str:
        host, port = address_of.split(address)
        loop = asyncio.get_running_loop()
        sock = bound(host, port)
        where: dict[str, Any] = {"sock": sock} if sock is not None else {"host": host, "port": port}
        self._server = await loop.create_server(
            lambda: _Threshold(self),
            **where,
            ssl=tls,
            backlog=_BACKLOG,
            ssl_handshake_timeout=self.limits.preface_timeout if tls is not None else None,
        )
        self._tick()
        return address_of.text(self._server.sockets[0].getsockname())

    def _tick(self) -> None:
        """Look at every connection's timers: one timer for all of them."""
        loop, limits = asyncio.get_running_loop(), self.limits
        now = loop.time()
        for link in list(self.links):
            link.check(now)
        ledger = self.ledgers.here()
        if ledger.scarce:  # perhaps no more, and nothing need come that would show it
            ledger.look()
        if self.plain:
            self.plain = [each for each in self.plain if not each[0].is_closing()]
        shortest = min(
            limits.preface_timeout, limits.keepalive or _SWEEP, limits.keepalive_timeout, limits.idle or _SWEEP,
            limits.max_age or _SWEEP,
        )  # fmt: skip
        self._sweep = loop.call_later(min(_SWEEP, max(0.02, shortest / 4)), self._tick)

    def welcome(self, first: _Threshold, transport: asyncio.Transport, data: bytes) -> None:
        """Take a connection whose preface came."""
        self.links.discard(first)
        link = ServerLink(self, self.limits, self._dispatcher)
        self.links.add(link)
        transport.set_protocol(link)
        link.connection_made(transport)
        link.data_received(data)

    def hand_over(self, first: _Threshold, transport: asyncio.Transport, data: bytes) -> None:
        """Give away a connection that does not begin as HTTP/2 does."""
        self.links.discard(first)
        if self.http1 is None:
            transport.write(_NO_HTTP1)
            transport.close()
            return
        protocol: Any = self.http1()
        self.plain.append((transport, protocol))
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        protocol.data_received(data)

    def _stop(self) -> None:
        if self._sweep is not None:
            self._sweep.cancel()
        if self._server is not None:
            self._server.close()

    async def drain(self, *, grace: float) -> None:
        self._stop()
        for link in list(self.links):
            link.drain(grace)
        asked = [(transport, protocol) for transport, protocol in self.plain if hasattr(protocol, "close")]
        for _, protocol in asked:
            protocol.close()
        loop = asyncio.get_running_loop()
        end = loop.time() + grace
        while loop.time() < end:
            if not self.links and all(transport.is_closing() for transport, _ in asked):
                break
            await asyncio.sleep(min(0.02, grace))
        await self.close()

    async def close(self) -> None:
        self._stop()
        for link in list(self.links):
            link.cut()
        for transport, _ in self.plain:
            transport.abort()
        self.plain.clear()
        running = list(self.running)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=1.0)
        await farewell(self.links)


class _Threshold(asyncio.Protocol):
    """A connection of which it is not known yet what it speaks: all it costs is this."""

    __slots__ = ("_data", "_deadline", "_listener", "_transport")

    def __init__(self, listener: Nghttp2Listener) -> None:
        self._listener = listener
        self._data = b""
        self._transport: asyncio.Transport | None = None
        self._deadline = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class
        self._transport = transport
        if len(self._listener.links) >= self._listener.limits.connections:
            transport.abort()
            return
        self._deadline = asyncio.get_running_loop().time() + self._listener.limits.preface_timeout
        self._listener.links.add(self)

    def data_received(self, data: bytes) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        self._data += data
        if self._data.startswith(PREFACE):
            self._listener.welcome(self, transport, self._data)
        elif not PREFACE.startswith(self._data):
            self._listener.hand_over(self, transport, self._data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._listener.links.discard(self)

    def check(self, now: float) -> None:
        """Hang up on who says nothing."""
        if now >= self._deadline:
            self.abort()

    def drain(self, _grace: float) -> None:
        """Hang up: nothing has begun."""
        self.abort()

    def cut(self) -> None:
        """Hang up."""
        self.abort()

    def abort(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.abort()
