"""What both ends of a connection share: the socket's side of an `Http2`.

Writes of one turn of the loop leave together; a socket that is full stops the flush, streams whose peer takes nothing
stop their writers; silence is answered with a ping.
"""

from __future__ import annotations

import asyncio
import types
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from typing import Any, ClassVar, Protocol, cast

from micro import limits as sizes
from micro.rpc.driver import Limits
from micro.rpc.nghttp2 import http2
from micro.rpc.nghttp2.http2 import Http2, Http2Error
from micro.rpc.nghttp2.ledger import Holder, Ledger

CHUNK = 256 * 1024  # bytes taken from nghttp2 at a time
SOCKET = 512 * 1024  # bytes the socket's buffer may hold before the flush stops
HIGH = 128 * 1024  # bytes of a stream waiting for its peer before its writer waits too
LOW = 32 * 1024
BURST = 16 * 1024  # bytes a writer may write before others have a turn
MESSAGE_COST = 256  # bytes that a message counts for at least, so that 64 small ones are a burst
LARGE = 64 * 1024  # bytes from which on a message is not copied behind its prefix
_PING = b"micro-ka"


class Sink(Holder, Protocol):
    """Who has a server's stream: a call, or a forwarder."""

    def on_data(self, data: bytes, end: bool) -> None: ...
    def on_reset(self, code: int) -> None: ...
    def cut(self) -> None: ...


@types.coroutine
def turn() -> Generator[None, None, None]:
    """Let everybody else on the loop have a turn."""
    yield


class Link(asyncio.Protocol, ABC):
    """One end of one connection."""

    __slots__ = (
        "blocked", "gone", "heard", "http2", "ledger", "limits", "lingering", "loop", "marked", "paused", "pinged",
        "release_at", "streams", "transport",
    )  # fmt: skip

    _handlers: ClassVar[dict[type, Callable[[Any, Any], None]]]

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: Limits, ledger: Ledger, protocol: Http2) -> None:
        self.loop = loop
        self.limits = limits
        self.ledger = ledger
        self.http2 = protocol
        self.transport: asyncio.Transport | None = None
        self.streams: dict[int, Any] = {}
        self.blocked: dict[int, Callable[[], None]] = {}  # who waits until a stream's queue is short
        self.lingering: list[int] = []  # streams to reset once all they had to say is out
        self.release_at = max(1, limits.window // 4)
        self.marked = False
        self.paused = False
        self.gone = False
        self.heard = loop.time()
        self.pinged = 0.0

    # The socket's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class
        self.transport = transport
        transport.set_write_buffer_limits(SOCKET)
        self.heard = self.loop.time()
        if not self.gone:
            self.ledger.links.add(self)
        self.mark()

    def data_received(self, data: bytes) -> None:
        self.heard = self.loop.time()
        self.pinged = 0.0
        try:
            self.http2.receive_data(data)
        except Http2Error:
            self._fail()
            return
        self._dispatch(self.http2.events())
        self.mark()
        ledger = self.ledger
        ledger.left -= len(data)
        if ledger.left < 0:
            ledger.look()

    def _fail(self) -> None:
        """Say why, as far as it can be said, and hang up: the peer has broken the protocol or a limit."""
        self._dispatch(self.http2.events())
        transport = self.transport
        if transport is not None and not transport.is_closing():
            transport.write(http2.goaway(self.last_seen(), http2.ENHANCE_YOUR_CALM))
            transport.close()
        self._lose()

    def last_seen(self) -> int:
        """Give the highest stream of the peer that was taken up."""
        return 0

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose()

    def _lose(self) -> None:
        if self.gone:
            return
        self.gone = True
        self.ledger.links.discard(self)
        blocked, self.blocked = self.blocked, {}
        for wake in blocked.values():
            wake()
        self.lost()

    @abstractmethod
    def lost(self) -> None:
        """End all streams: the connection is gone."""

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self.mark()

    def eof_received(self) -> bool:
        return False

    def mark(self) -> None:
        """Flush once this turn's callers are done."""
        if not self.marked:
            self.marked = True
            self.loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write what is ready, and let writers go on whose streams have room."""
        self.marked = False
        transport = self.transport
        if self.paused or self.gone or transport is None or transport.is_closing():
            return
        protocol = self.http2
        try:
            while data := protocol.data_to_send(CHUNK):
                transport.write(data)
                if len(data) < CHUNK or self.paused:
                    break
        except Http2Error:
            transport.abort()
            return
        self._dispatch(protocol.events())
        if self.blocked:
            self._wake()
        if self.lingering and not self.paused:
            self._part()
        if self.done():
            self.hang_up()

    def done(self) -> bool:
        """Whether nothing is left to do on this connection."""
        return False

    def hang_up(self) -> None:
        """Close the connection; what is written already still leaves."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.close()

    def abort(self) -> None:
        """Cut the connection."""
        if self.transport is not None:
            self.transport.abort()
        self._lose()

    def _wake(self) -> None:
        queued = self.http2.queued_body_size
        for stream_id in [each for each in self.blocked if queued(each) < LOW]:
            self.blocked.pop(stream_id)()

    def _part(self) -> None:
        """Reset streams that ended before their peer did, now that the trailers are out."""
        left = []
        for stream_id in self.lingering:
            if self.http2.queued_body_size(stream_id):
                left.append(stream_id)
            else:
                self.reset(stream_id, http2.NO_ERROR)
        self.lingering = left

    def _dispatch(self, events: Sequence[object]) -> None:
        streams, handlers = self.streams, self._handlers
        for event in events:
            if type(event) is http2.DataReceived:
                stream = streams.get(event.stream_id)
                if stream is None:
                    self.acknowledge(len(event.data), event.stream_id)
                else:
                    stream.on_data(event.data, event.end_stream)
            else:
                handler = handlers.get(type(event))
                if handler is not None:
                    handler(self, event)

    def _on_connection_closed(self, _event: http2.ConnectionClosed) -> None:
        self.hang_up()

    # The streams' side

    @property
    def scarce(self) -> bool:
        """Whether the process holds much that nobody has read."""
        return self.ledger.scarce

    def acknowledge(self, amount: int, stream_id: int) -> None:
        """Say that so many bytes of a stream are done with, also when it has ended."""
        try:
            if amount:
                self.http2.acknowledge_received_data(amount, stream_id)
        except (Http2Error, ValueError):
            return  # the connection is gone, and its windows with it
        self.mark()

    def fit(self, stream_id: int, *, narrow: bool) -> int:
        """Give a stream's peer a quarter of its window from now on, or all of it again; gives what to release at."""
        window = self.limits.window // 4 if narrow else self.limits.window
        try:
            self.http2.set_local_window_size(window, stream_id=stream_id)
        except (Http2Error, ValueError):
            return self.release_at  # it has ended
        self.mark()
        return max(1, window // 4)

    def reset(self, stream_id: int, code: int = http2.CANCEL) -> None:
        """End a stream in both directions; void when it has ended."""
        try:
            self.http2.reset_stream(stream_id, code)
        except Http2Error:
            return
        self.mark()

    def send_message(self, stream_id: int, message: bytes, *, end: bool = False) -> None:
        """Queue one message; raises Http2Error when the stream is gone."""
        prefix = b"\0" + len(message).to_bytes(4, "big")
        if len(message) < LARGE:
            self.http2.send_data(stream_id, prefix + message, end_stream=end)
        else:
            self.http2.send_data(stream_id, prefix)
            self.http2.send_data(stream_id, message, end_stream=end)
        self.mark()

    def crowded(self, stream_id: int) -> bool:
        """Whether a stream's writer should wait: for its peer, or for the connection's share of memory."""
        queued = self.http2.queued_body_size(stream_id)
        return queued >= HIGH or (queued >= LOW and self.http2.queued_body_size() >= sizes.CONNECTION_BUFFER)

    async def room(self, stream_id: int) -> None:
        """Let others have a turn, then wait until the stream has room, or has ended."""
        await turn()
        while not self.gone and stream_id in self.streams and self.crowded(stream_id):
            waiter = self.loop.create_future()
            before = self.blocked.get(stream_id)
            wake = _waker(waiter, before)
            self.blocked[stream_id] = wake
            self.mark()
            try:
                await waiter
            finally:
                if self.blocked.get(stream_id) is wake:  # cancelled; another writer may be waiting still
                    del self.blocked[stream_id]
                    if before is not None:
                        self.blocked[stream_id] = before

    def unblock(self, stream_id: int) -> None:
        """Let a stream's writer go on, to find that the stream has ended."""
        wake = self.blocked.pop(stream_id, None)
        if wake is not None:
            wake()

    def check_alive(self, now: float, *, ping: bool = True) -> None:
        """Ping a peer that was silent for long, cut one that does not answer. Called now and then."""
        limits = self.limits
        if not limits.keepalive or self.gone or self.transport is None:
            return
        if self.pinged:
            if now - self.pinged >= limits.keepalive_timeout:
                self.abort()
        elif ping and now - self.heard >= limits.keepalive:
            self.pinged = now
            self.ping(_PING)

    def ping(self, data: bytes) -> None:
        """Send a ping; its answer is an event."""
        try:
            self.http2.ping(data)
        except Http2Error:
            return
        self.mark()


def _waker(waiter: asyncio.Future[None], before: Callable[[], None] | None) -> Callable[[], None]:
    def wake() -> None:
        if not waiter.done():
            waiter.set_result(None)
        if before is not None:
            before()

    return wake
