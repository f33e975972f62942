"""One call as its client sees it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from micro.errors import Code
from micro.rpc.driver import ClientCall, Headers, Reply
from micro.rpc.nghttp2 import ledger
from micro.rpc.nghttp2 import message as wire
from micro.rpc.nghttp2.connection import BURST, MESSAGE_COST
from micro.rpc.nghttp2.http2 import Http2Error
from micro.rpc.nghttp2.stream import Stream
from micro.rpc.status import Status

if TYPE_CHECKING:
    from micro.rpc.nghttp2.client_link import ClientLink
    from micro.rpc.nghttp2.pool import Pool


class Nghttp2ClientCall(Stream, ClientCall):
    """A call on a `ClientLink`. With `whole` it is unary: that future gets the whole answer, or the Status."""

    __slots__ = ("_closed", "_end", "_head", "_headed", "_over", "_pool", "_timer", "_trailers", "_whole")

    link: ClientLink

    def __init__(
        self, link: ClientLink, pool: Pool, stream_id: int, timeout: float | None, whole: asyncio.Future[Reply] | None
    ) -> None:
        super().__init__(link, stream_id)
        self._pool = pool
        self._whole = whole
        self._head: Headers | None = None
        self._headed: asyncio.Future[None] | None = None  # for who waits for the headers, beside who reads
        self._end: Status | None = None  # how it ended, unless OK
        self._over = False  # the end is known
        self._closed = False  # our half is
        self._trailers: Headers = ()
        self._timer = None if timeout is None else link.loop.call_later(timeout, self._expire)

    # What arrives

    def on_headers(self, headers: Headers, end: bool) -> None:
        """Take the response's headers, which may be all of the answer."""
        if end:
            self.on_trailers(headers)
            return
        fields = dict(headers)
        if fields[b":status"] != b"200":
            self._fail(wire.http_status(fields[b":status"]))
        elif not fields.get(b"content-type", b"").startswith(b"application/grpc"):
            self._fail(Status(Code.UNKNOWN, "the answer's content type is not gRPC's"))
        else:
            self.gzip = fields.get(b"grpc-encoding") == b"gzip"
            self._head = headers[1:]
            self.wake()

    def on_trailers(self, trailers: Headers) -> None:
        """Take the end of the answer."""
        if self._over:
            return
        if trailers is not wire.OK_TRAILERS and trailers != wire.OK_TRAILERS:
            if trailers[0][0] == b":status" and trailers[0][1] != b"200":
                self._over_with(wire.http_status(trailers[0][1]))
                return
            end = wire.status_of(trailers)
            if end is not None:
                self._trailers = end.trailers
                self._over_with(end)
                return
            self._trailers = wire.without_status(trailers)
        if self.parts is not None:
            self._over_with(Status(Code.INTERNAL, "the answer ended inside a message", trailers=self._trailers))
        else:
            self._over_with(self.error)

    def on_end(self) -> None:
        self._fail(Status(Code.INTERNAL, "the answer ended without trailers"))

    def on_data(self, data: bytes, end: bool) -> None:
        super().on_data(data, end)
        if self.error is not None and not self._over:
            self._fail(self.error, keep=True)

    def on_reset(self, code: int) -> None:
        """The stream was reset by the peer, or lost with its connection."""
        if not self._over:
            self._closed = True
            self._over_with(wire.reset_status(code))

    def lose(self, status: Status) -> None:
        """End because the connection is gone, or will be: never as if all had been said."""
        self._fail(status, keep=True)

    def shed(self) -> None:
        """End it because too much lies unread, and much of it here."""
        self._fail(Status(Code.RESOURCE_EXHAUSTED, ledger.TEXT))
        self.discard()

    def wake(self) -> None:
        super().wake()
        if self._headed is not None and not self._headed.done():
            self._headed.set_result(None)

    # How it ends

    def _expire(self) -> None:
        self._timer = None
        self._fail(Status(Code.DEADLINE_EXCEEDED, "deadline exceeded"))

    def _fail(self, status: Status, *, keep: bool = False) -> None:
        """End it from here; what was not read is dropped unless it was complete."""
        if self._over:
            return
        self.link.reset(self.id)
        self._closed = True
        if not keep:
            self.queue.clear()
        self._over_with(status)

    def _over_with(self, status: Status | None) -> None:
        self._over = self.ended = self.eof = True
        self._end = status
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._closed and not self.link.gone:  # the peer has answered before all was sent
            self._closed = True
            self.link.close_half(self.id)
        self.link.leave(self.id)
        self._pool.outstanding -= 1
        whole = self._whole
        if whole is not None:
            self.release()
            if not whole.done():
                self._answer(whole, status)
        else:
            if not self.queue:
                self.release()
            self.wake()

    def _answer(self, whole: asyncio.Future[Reply], status: Status | None) -> None:
        if status is None:
            try:
                if len(self.queue) == 1:
                    whole.set_result(Reply(self.take(), self._head or (), self._trailers))
                    return
                problem = f"{len(self.queue)} messages in the answer to a unary call"
                status = Status(Code.UNIMPLEMENTED if self.queue else Code.INTERNAL, problem, trailers=self._trailers)
            except Status as broken:
                status = broken
        whole.set_exception(status)

    # What its caller does

    async def write(self, message: bytes) -> None:
        if self._over or self._closed:
            raise self._end or Status(Code.OK, "the call has ended")
        limit = self.link.limits.message
        if len(message) > limit:
            self._fail(wire.too_large(len(message), limit))
            raise wire.too_large(len(message), limit)
        try:
            self.link.send_message(self.id, message)
        except Http2Error:
            return  # the stream has gone in what was read last; its end is under way
        self.burst += len(message) + MESSAGE_COST
        if self.burst >= BURST:
            self.burst = 0
            await self.link.room(self.id)
            if self._end is not None:
                raise self._end

    def send_whole(self, message: bytes) -> None:
        """Send the one message of a unary call."""
        self._closed = True
        self.link.send_message(self.id, message, end=True)

    def half_close(self) -> None:
        if self._closed or self._over:
            return
        self._closed = True
        try:
            self.link.http2.end_stream(self.id)
        except Http2Error:
            return
        self.link.mark()

    async def read(self) -> bytes | None:
        while not self.queue:
            if self._over:
                self.release()
                if self._end is not None:
                    raise self._end
                return None
            await self.wait()
        try:
            return self.take()
        except Status as broken:
            self._fail(broken)
            raise

    async def headers(self) -> Headers:
        while self._head is None:
            if self._over:
                if self._end is not None:
                    raise self._end
                return ()
            if self._headed is None:
                self._headed = self.link.loop.create_future()
            await asyncio.shield(self._headed)
        return self._head

    @property
    def trailers(self) -> Headers:
        return self._trailers if self._over and not self.queue else ()

    def cancel(self) -> None:
        self._fail(Status(Code.CANCELLED, "the call was cancelled"))
        if self.queue:
            self.discard()
