"""The client's end of a connection: requests out, the peer's limits and its going away."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar

from micro.errors import Code
from micro.rpc.driver import Headers, Limits
from micro.rpc.nghttp2 import http2
from micro.rpc.nghttp2.connection import Link
from micro.rpc.nghttp2.http2 import Http2Error
from micro.rpc.status import Status

if TYPE_CHECKING:
    from micro.rpc.nghttp2.pool import Pool

_UNLIMITED = 2**31


class ClientLink(Link):
    """A connection that we dialled. `settled` is done once the peer's settings are here, or will never be."""

    __slots__ = ("_last", "_open", "_pool", "capacity", "going", "header_bytes", "settled")

    def __init__(self, pool: Pool, limits: Limits) -> None:
        super().__init__(asyncio.get_running_loop(), limits, pool.ledgers.here(), http2.client(limits))
        self._pool = pool
        self._open = 0  # streams, as the peer counts them
        self._last = _UNLIMITED  # the last stream that a peer which goes away will process
        self.capacity = 0  # streams that the peer allows
        self.header_bytes = _UNLIMITED  # of one header list
        self.going = False  # the peer goes away: nothing new
        self.settled: asyncio.Future[None] = self.loop.create_future()

    @property
    def free(self) -> bool:
        """Whether one more stream can be opened now."""
        return self._open < self.capacity and not self.going and not self.gone

    @property
    def idle(self) -> bool:
        """Whether no call is on it."""
        return not self.streams

    def begin(self, headers: Headers, *, end: bool = False) -> int:
        """Open a stream; raises Http2Error. Its user puts itself among `streams`."""
        stream_id = self.http2.send_request(headers, end_stream=end)
        self._open += 1
        self.mark()
        return stream_id

    def close_half(self, stream_id: int) -> None:
        """End our half of a stream whose peer has ended: quietly where nothing is under way, for resets are counted."""
        try:
            if not self.http2.queued_body_size(stream_id):
                self.http2.end_stream(stream_id)
                self.mark()
                return
        except Http2Error:
            return  # closed already
        self.reset(stream_id)

    def leave(self, stream_id: int) -> None:
        """Forget a stream that has ended."""
        self.streams.pop(stream_id, None)
        if self.blocked:
            self.unblock(stream_id)
        if self.going and not self.streams:
            self.mark()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._pool.dialled(self)
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._pool.closed(self)

    def lost(self) -> None:
        self.capacity = 0
        if not self.settled.done():
            self.settled.set_result(None)
        self._pool.forget(self)
        for stream_id, stream in list(self.streams.items()):
            stream.lose(self._lost_status(stream_id))
        self.streams.clear()

    def _lost_status(self, stream_id: int) -> Status:
        return Status(Code.UNAVAILABLE, "the connection was lost", processed=stream_id <= self._last)

    def done(self) -> bool:
        return self.going and not self.streams and not self.http2.want_write

    def close(self) -> None:
        """End it and all its calls."""
        self.going = True
        for stream in list(self.streams.values()):
            stream.lose(Status(Code.CANCELLED, "the channel was closed"))
        if not self.gone:
            try:
                self.http2.send_goaway()
            except Http2Error:
                self.abort()
                return
            self.flush()
            self.hang_up()
            self._lose()

    # Events

    def _on_response(self, event: http2.ResponseReceived) -> None:
        stream = self.streams.get(event.stream_id)
        if stream is not None:
            stream.on_headers(event.headers, event.end_stream)

    def _on_trailers(self, event: http2.TrailersReceived) -> None:
        stream = self.streams.get(event.stream_id)
        if stream is not None:
            stream.on_trailers(event.headers)

    def _on_reset(self, event: http2.StreamReset) -> None:
        stream = self.streams.get(event.stream_id)
        if stream is not None:
            stream.on_reset(event.error_code)

    def _on_closed(self, event: http2.StreamClosed) -> None:
        self._open -= 1
        stream: Any = self.streams.get(event.stream_id)
        if stream is not None:
            stream.on_reset(event.error_code)
        if self.capacity:
            self._pool.freed()

    def _on_settings(self, event: http2.SettingsReceived) -> None:
        settings = event.settings
        first = not self.settled.done()
        self.capacity = settings.get(http2.MAX_CONCURRENT_STREAMS, _UNLIMITED if first else self.capacity)
        self.header_bytes = settings.get(http2.MAX_HEADER_LIST_SIZE, self.header_bytes)
        if first:
            self.settled.set_result(None)

    def _on_goaway(self, event: http2.GoAwayReceived) -> None:
        self._last = event.last_stream_id
        self._pool.retire(self)
        for stream_id, stream in list(self.streams.items()):
            if stream_id > self._last:
                stream.lose(Status(Code.UNAVAILABLE, "the peer is going away", processed=False))

    _handlers: ClassVar = {
        http2.ResponseReceived: _on_response,
        http2.TrailersReceived: _on_trailers,
        http2.StreamReset: _on_reset,
        http2.StreamClosed: _on_closed,
        http2.SettingsReceived: _on_settings,
        http2.GoAwayReceived: _on_goaway,
        http2.ConnectionClosed: Link._on_connection_closed,
    }
