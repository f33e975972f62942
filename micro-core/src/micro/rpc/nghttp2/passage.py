"""One call on its way through a forwarder.

Bytes are acknowledged to whoever sent them once the other side has room, so that a slow reader at one end holds its
writer at the other: at most a window and `HIGH` bytes a direction lie here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from micro.errors import Code
from micro.rpc.driver import Headers
from micro.rpc.nghttp2 import http2, ledger
from micro.rpc.nghttp2 import message as wire
from micro.rpc.nghttp2.client_link import ClientLink
from micro.rpc.nghttp2.direction import Direction
from micro.rpc.nghttp2.http2 import Http2Error
from micro.rpc.nghttp2.pool import Pool
from micro.rpc.nghttp2.server_call import Nghttp2ServerCall, head_of
from micro.rpc.status import Status

_ADDED = 4096  # bytes that a dispatcher may add to a call's headers unchecked


class Passage:
    """One call on its way. It is the stream upstream; `_Requests` is the one downstream."""

    __slots__ = (
        "_answers",
        "_back",
        "_begun",
        "_call",
        "_done",
        "_early",
        "_early_end",
        "_half_closed",
        "_over",
        "_pool",
        "_request",
        "_requests",
        "_timer",
        "_up_closed",
        "_up_id",
    )  # fmt: skip

    def __init__(
        self,
        call: Nghttp2ServerCall,
        pool: Pool,
        request: list[tuple[bytes, bytes]],
        done: Callable[[int], None] | None,
    ) -> None:
        self._call = call
        self._pool = pool
        self._request = request
        self._done = done
        self._requests = Direction(call.link, call.id)
        self._requests.held = call.held
        self._answers: Direction | None = None
        self._early, self._early_end = call.hand_over(_Requests(self)), call.eof
        self._half_closed = call.eof
        self._back: ClientLink | None = None
        self._up_id = 0
        self._up_closed = False
        self._begun = False  # headers have gone back
        self._over = False
        self._timer: asyncio.TimerHandle | None = None
        pool.outstanding += 1
        if call.deadline is not None:
            self._timer = call.link.loop.call_later(max(0.0, call.deadline - time.monotonic()), self._expire)

    # Upstream

    @property
    def over(self) -> bool:
        """Whether the call has ended."""
        return self._over

    async def dial(self, patience: float | None) -> Status | None:
        """Wait for a connection and begin; gives why that cannot be. Deadline and cancellation end the call, not the dial."""
        for _ in range(2):
            try:
                link = await self._pool.get(patience)
            except Status as status:
                text = status.message
                return Status(status.code, text if "connection refused" in text else f"connection refused: {text}")
            except asyncio.CancelledError:
                self.fail(Status(Code.UNAVAILABLE, "the forwarder was closed"))
                raise
            if self.begin(link):
                return None
        return Status(Code.UNAVAILABLE, "no stream could be opened")

    def turn(self, pool: Pool, request: list[tuple[bytes, bytes]], done: Callable[[int], None]) -> None:
        """Go to another address, before anything was sent to the last."""
        if self._done is not None:
            self._done(Code.UNAVAILABLE)
        self._pool.outstanding -= 1
        pool.outstanding += 1
        self._pool, self._request, self._done = pool, request, done

    def begin(self, link: ClientLink) -> bool:
        """Open the stream upstream and send what came so far; False if the link takes no more, and nothing was sent."""
        if self._over:
            return True
        request, call = self._request, self._call
        if call.deadline is not None:
            request.append((b"grpc-timeout", wire.timeout_header(call.deadline - time.monotonic())))
        if call.link.limits.header_bytes + _ADDED > link.header_bytes < wire.weight(request):
            self.fail(Status(Code.RESOURCE_EXHAUSTED, "the headers are larger than the service takes"))
            return True
        early = self._early
        try:
            self._up_id = link.begin(request, end=self._early_end and not early)
        except Http2Error:
            self._pool.retire(link)
            if call.deadline is not None:
                request.pop()
            return False
        self._back = link
        link.streams[self._up_id] = self
        self._answers = Direction(link, self._up_id)
        self._answers.target, self._answers.to_id = call.link, call.id
        self._requests.target, self._requests.to_id = link, self._up_id
        self._up_closed = self._early_end
        if early:
            self._early = b""
            self._requests.held -= len(early)
            self._requests.pass_on(early, self._early_end)
        return True

    def on_headers(self, headers: Headers, end: bool) -> None:
        self._begun = True
        self._send_back(headers, end)

    def _send_back(self, headers: Headers, end: bool) -> None:
        call = self._call
        try:
            call.link.http2.send_response(call.id, headers, end_stream=end)
        except Http2Error:
            return  # reset in what was read last; its event is under way
        call.link.mark()
        if end:
            self._finish(wire.code_of(headers), answered=True)

    def on_data(self, data: bytes, end: bool) -> None:
        assert self._answers is not None
        self._answers.pass_on(data, end)
        if end:
            self._finish(Code.UNKNOWN, answered=True)

    def on_trailers(self, headers: Headers) -> None:
        call = self._call
        try:
            call.link.http2.send_trailers(call.id, headers)
        except Http2Error:
            return
        call.link.mark()
        self._finish(wire.code_of(headers), answered=True)

    def on_reset(self, code: int) -> None:
        self.lose(wire.reset_status(code))

    def lose(self, status: Status) -> None:
        """The stream upstream is gone."""
        self._up_closed = True
        if not status.processed and not self._begun and not self._over:
            self._call.link.reset(self._call.id, http2.REFUSED_STREAM)  # as unseen as it was upstream
            self._finish(status.code)
        else:
            self.fail(status)

    def weigh(self) -> tuple[int, bool]:
        """Give what lies here of the answers."""
        return (0, True) if self._answers is None else self._answers.weigh()

    def shed(self) -> None:
        """End the call because too much lies unread, and much of it here.

        By a reset where answers wait for a caller who does not read them: trailers would wait behind them.
        """
        down = self._call.link
        if not self._over and down.http2.queued_body_size(self._call.id):
            self._half_closed = True
            down.reset(self._call.id, http2.ENHANCE_YOUR_CALM)
            self._finish(Code.RESOURCE_EXHAUSTED)
        else:
            self.stop(Code.RESOURCE_EXHAUSTED, ledger.TEXT)

    # Downstream

    def request_data(self, data: bytes, end: bool) -> None:
        """Take a frame of the caller's."""
        self._half_closed |= end
        if self._back is None:
            self._early += data
            self._early_end |= end
            self._requests.held += len(data)
            return
        self._up_closed |= end
        self._requests.pass_on(data, end)

    def weigh_requests(self) -> tuple[int, bool]:
        """Give what lies here of the requests."""
        held, moved = self._requests.weigh()
        return held + len(self._early), moved

    def caller_gone(self) -> None:
        """The caller has reset the call, or is gone."""
        self._call.cancelled = True
        self._half_closed = True
        self._finish(Code.CANCELLED)

    def _expire(self) -> None:
        self._timer = None
        self.stop(Code.DEADLINE_EXCEEDED, "deadline exceeded")

    def stop(self, code: int, text: str) -> None:
        """End the call from here, in its dispatcher's words."""
        if not self._over:
            code, message, details = self._call.link.dispatcher.words(self._call, code, text)
            self.fail(Status(code, message, details=details))

    def fail(self, status: Status) -> None:
        """Tell the caller of an end that did not come from upstream."""
        if self._over:
            return
        call = self._call
        last = wire.end_headers(status.code, status.message, status.details, ())
        try:
            if self._begun:
                call.link.http2.send_trailers(call.id, last)
            else:
                call.link.http2.send_response(call.id, (*head_of(call.content_type), *last), end_stream=True)
        except Http2Error:
            pass  # reset in what was read last
        call.link.mark()
        self._finish(status.code)

    def _finish(self, code: int, *, answered: bool = False) -> None:
        if self._over:
            return
        self._over = True
        self._early = b""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        down, back = self._call.link, self._back
        if not self._half_closed:
            down.lingering.append(self._call.id)
        if back is not None:
            if not answered:
                back.reset(self._up_id)  # never as if the caller had said all
            elif not self._up_closed:
                back.close_half(self._up_id)
            back.leave(self._up_id)
        down.leave(self._call.id)
        self._requests.release()
        if self._answers is not None:
            self._answers.release()
        self._pool.outstanding -= 1
        if self._done is not None:
            self._done(code)


class _Requests:
    """The caller's stream."""

    __slots__ = ("_passage",)

    def __init__(self, passage: Passage) -> None:
        self._passage = passage

    def on_data(self, data: bytes, end: bool) -> None:
        self._passage.request_data(data, end)

    def on_reset(self, _code: int) -> None:
        self._passage.caller_gone()

    def weigh(self) -> tuple[int, bool]:
        """Give what lies here, and whether it has moved."""
        return self._passage.weigh_requests()

    def shed(self) -> None:
        """End the call."""
        self._passage.shed()

    def cut(self) -> None:
        """End it because the server stops."""
        self._passage.stop(Code.UNAVAILABLE, "the server is shutting down")
