"""The server's end of a connection: requests in, and its own going away."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, ClassVar

from micro.errors import Code
from micro.rpc.driver import START, WAIT, Dispatcher, Limits
from micro.rpc.nghttp2 import address, http2
from micro.rpc.nghttp2 import message as wire
from micro.rpc.nghttp2.budget import Budget
from micro.rpc.nghttp2.connection import Link
from micro.rpc.nghttp2.http2 import Http2Error
from micro.rpc.nghttp2.scrub import Scrubber
from micro.rpc.nghttp2.server_call import Nghttp2ServerCall, head_of

if TYPE_CHECKING:
    from micro.rpc.nghttp2.listener import Nghttp2Listener

_LEAVE = b"micro-go"  # the ping behind the first GOAWAY: its answer means that the peer has read both
_LEAVE_PATIENCE = 1.0  # seconds for that answer
_CLOSE_PATIENCE = 0.5  # seconds for the peer to hang up first, so that nothing it has not read yet is lost
_KNOWN_TYPES = frozenset({b"application/grpc", b"application/grpc+proto", b"application/grpc+json"})


class ServerLink(Link):
    """A client's connection."""

    __slots__ = (
        "_clean", "_cut", "_final", "_greet_by", "_idle_since", "_last", "_leaving", "_old_at", "_parting", "_scrubber",
        "budget", "dispatcher", "listener", "peer", "running",
    )  # fmt: skip

    def __init__(self, listener: Nghttp2Listener, limits: Limits, dispatcher: Dispatcher) -> None:
        super().__init__(asyncio.get_running_loop(), limits, listener.ledgers.here(), http2.server(limits))
        self.listener = listener
        self.dispatcher = dispatcher
        self.running = listener.running
        self.budget = Budget()
        self.peer = ""
        self._scrubber: Scrubber | None = Scrubber(len(http2.PREFACE))
        self._clean = False  # the peer says that nothing need be scrubbed
        self._last = 0  # the highest stream taken up
        self._leaving = False  # the first GOAWAY is out
        self._final = False  # and the one that names the last stream
        self._parting = False  # and all calls are answered
        self._cut: asyncio.TimerHandle | None = None
        self._idle_since = self.loop.time()
        self._greet_by = self._idle_since + limits.preface_timeout  # for the settings that belong to the preface
        age = limits.max_age * random.uniform(0.9, 1.1)  # so that a fleet does not come back all at once
        self._old_at = self._idle_since + age if age else float("inf")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.peer = address.text(transport.get_extra_info("peername"))
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        scrubber = self._scrubber
        if scrubber is not None:
            data = scrubber.feed(data)
            if self._clean:
                data += scrubber.rest
                self._scrubber = None
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.listener.links.discard(self)

    def lost(self) -> None:
        if self._cut is not None:
            self._cut.cancel()
        for stream in list(self.streams.values()):
            stream.on_reset(http2.CANCEL)
        self.streams.clear()

    def last_seen(self) -> int:
        return self._last

    def leave(self, stream_id: int) -> None:
        """Forget a stream that has ended."""
        self.streams.pop(stream_id, None)
        self.budget.repay(stream_id)
        if self.blocked:
            self.unblock(stream_id)
        if not self.streams:
            self._idle_since = self.heard

    # Requests

    def _on_request(self, event: http2.RequestReceived) -> None:
        stream_id, headers = event.stream_id, event.headers
        self._last = stream_id
        scrubber = self._scrubber
        if scrubber is not None and (scrubber.renamed or scrubber.odd):
            headers = scrubber.restore(headers)
        fields = dict(headers[::-1])
        content_type = fields.get(b"content-type", b"")
        if fields[b":method"] != b"POST":
            self._refuse(stream_id, ((b":status", b"405"), (b"allow", b"POST")), event.end_stream)
            return
        if content_type not in _KNOWN_TYPES and not _is_grpc(content_type):
            self._refuse(stream_id, ((b":status", b"415"),), event.end_stream)
            return
        call = Nghttp2ServerCall(self, stream_id, headers, fields)
        self.streams[stream_id] = call
        call.eof = event.end_stream
        encoding = fields.get(b"grpc-encoding", b"identity")
        if encoding == b"gzip":
            call.gzip = True
        elif encoding != b"identity":
            self._refuse_encoding(call)
            return
        timeout, seconds = fields.get(b"grpc-timeout"), None
        if timeout is not None:
            seconds = wire.parse_timeout(timeout)
            if seconds is None:
                call.finish(Code.INTERNAL, "malformed grpc-timeout")
                return
            call.deadline = time.monotonic() + seconds
        what = self.dispatcher.open(call)
        if call.ended:  # answered, or a forwarder's, which has a timer of its own
            return
        if seconds is not None:
            call.watch_deadline(seconds)
        if what == START:
            call.start()
        elif what == WAIT:
            call.await_message()

    def _refuse_encoding(self, call: Nghttp2ServerCall) -> None:
        end = wire.end_headers(Code.UNIMPLEMENTED, "messages may be compressed with gzip alone", b"", ())
        head = (*head_of(call.content_type), (b"grpc-accept-encoding", b"identity,gzip"), *end)
        call.on_reset(http2.CANCEL)
        self._refuse(call.id, head, call.eof)

    def _refuse(self, stream_id: int, headers: tuple[tuple[bytes, bytes], ...], ended: bool) -> None:
        try:
            self.http2.send_response(stream_id, headers, end_stream=True)
        except Http2Error:
            return
        if not ended:
            self.lingering.append(stream_id)
        self.mark()

    def _on_trailers(self, event: http2.TrailersReceived) -> None:
        stream = self.streams.get(event.stream_id)
        if stream is not None:
            stream.on_data(b"", True)

    def _on_reset(self, event: http2.StreamReset | http2.StreamClosed) -> None:
        stream = self.streams.get(event.stream_id)
        if stream is not None:
            stream.on_reset(event.error_code)

    def _on_settings(self, event: http2.SettingsReceived) -> None:
        self._greet_by = float("inf")
        if event.settings.get(http2.CLEAN):
            self._clean = True

    # Going away

    def drain(self, grace: float) -> None:
        """Tell the peer to go elsewhere; calls that are under way, and those it sends before it hears, are served."""
        if self.gone or self.transport is None:
            return
        if not self._leaving:
            self._leaving = True
            try:
                self.http2.send_shutdown_notice()
            except Http2Error:
                self.hang_up()
                return
            self.ping(_LEAVE)
            self.loop.call_later(_LEAVE_PATIENCE, self._say_last)
        if self._cut is not None:
            self._cut.cancel()
        self._cut = self.loop.call_later(grace, self.cut)

    def _say_last(self) -> None:
        if self._final or self.gone:
            return
        self._final = True
        try:
            self.http2.send_goaway(last_stream_id=self._last)
        except Http2Error:
            self.hang_up()
            return
        self.mark()

    def _on_ping_answer(self, event: http2.PingAcknowledged) -> None:
        if event.opaque_data == _LEAVE:
            self._say_last()

    def done(self) -> bool:
        if self._final and not self._parting and not self.streams and not self.http2.want_write:
            self._parting = True
            self.loop.call_later(_CLOSE_PATIENCE, self.hang_up)
        return False

    def cut(self) -> None:
        """End what is still under way, say so, and close."""
        for stream in list(self.streams.values()):
            stream.cut()
        if not self.gone:
            self.flush()
            self.hang_up()

    def check(self, now: float) -> None:
        """Look at the timers; the listener does so now and then."""
        self.check_alive(now)
        since = 0.0 if self._scrubber is None else self._scrubber.since  # of a header list that is not whole
        if now >= self._greet_by or (since and time.monotonic() - since >= self.limits.preface_timeout):
            self.abort()
            return
        stalled = self.streams.get(self.budget.stalled())
        if stalled is not None:
            stalled.stall()
        limits = self.limits
        if self._leaving:
            return
        idle = limits.idle and not self.streams and now - self._idle_since >= limits.idle
        if idle or now >= self._old_at:
            self.drain(limits.max_age_grace)

    _handlers: ClassVar = {
        http2.RequestReceived: _on_request,
        http2.TrailersReceived: _on_trailers,
        http2.SettingsReceived: _on_settings,
        http2.StreamReset: _on_reset,
        http2.StreamClosed: _on_reset,
        http2.PingAcknowledged: _on_ping_answer,
        http2.ConnectionClosed: Link._on_connection_closed,
    }


def _is_grpc(content_type: bytes) -> bool:
    return content_type.startswith(b"application/grpc") and content_type[16:17] in {b"", b"+", b";"}
