"""One call as its server sees it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from micro.errors import Code
from micro.rpc.driver import JSON, PROTO, Dispatcher, Headers, ServerCall
from micro.rpc.nghttp2 import ledger
from micro.rpc.nghttp2 import message as wire
from micro.rpc.nghttp2.connection import BURST, MESSAGE_COST, Sink
from micro.rpc.nghttp2.http2 import Http2Error
from micro.rpc.nghttp2.stream import Stream
from micro.rpc.status import Status

if TYPE_CHECKING:
    from micro.rpc.nghttp2.server_link import ServerLink

_OK = (b":status", b"200")
_HEADS = {
    kind: (_OK, (b"content-type", kind)) for kind in (PROTO, JSON, b"application/grpc", b"application/grpc+bytes")
}


def head_of(content_type: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """Give the headers that every answer begins with."""
    return _HEADS.get(content_type) or (_OK, (b"content-type", content_type))


class Nghttp2ServerCall(Stream, ServerCall):
    """A call on a `ServerLink`. `fields` are the headers by name, the first of each, pseudo-headers too."""

    __slots__ = (
        "_begun", "_task", "_timer", "_told", "_waits", "cancelled", "content_type", "deadline", "fields", "headers", "path",
        "peer", "slot",
    )  # fmt: skip

    link: ServerLink

    def __init__(
        self, link: ServerLink, stream_id: int, headers: tuple[tuple[bytes, bytes], ...], fields: dict[bytes, bytes]
    ) -> None:
        super().__init__(link, stream_id)
        self.path = fields[b":path"]
        self.content_type = fields[b"content-type"]
        self.peer = link.peer
        self.fields = fields
        self.headers = _plain(headers)
        self.deadline = None
        self.cancelled = False
        self.slot = None
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._begun = False  # the task has had its first turn
        self._told = False  # headers are sent
        self._waits = False  # for the first message

    def header(self, name: bytes) -> bytes | None:
        return self.fields.get(name)

    # The life of a call

    def watch_deadline(self, seconds: float) -> None:
        """Expire in so many seconds, unless the dispatcher has shortened that already."""
        if self._timer is None:
            self._timer = self.link.loop.call_later(seconds, self.expire)

    def shorten(self, deadline: float) -> None:
        if self.ended or (self.deadline is not None and self.deadline <= deadline):
            return
        self.deadline = deadline
        self.stop_timer()
        self._timer = self.link.loop.call_later(max(0.0, deadline - time.monotonic()), self.expire)

    def stop_timer(self) -> None:
        """Forget the deadline's timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def start(self) -> None:
        """Run the handler now."""
        self._waits = False
        self._task = self.link.loop.create_task(self._run(self.link.dispatcher))
        self.link.running.add(self._task)

    def await_message(self) -> None:
        """Run the handler once there is something to read."""
        self._waits = True
        if self.queue or self.eof or self.error is not None:
            self.start()

    async def _run(self, dispatcher: Dispatcher) -> None:
        self._begun = True
        try:
            await dispatcher.run(self)
        except asyncio.CancelledError:
            if not self.ended:
                self.finish(Code.CANCELLED, "the server stopped the call")
        except Exception as error:  # the dispatcher's bug; its peer must not wait for it
            self.link.loop.call_exception_handler({"message": "a dispatcher raised", "exception": error})
        finally:
            if not self.ended:
                self.finish(Code.UNKNOWN, "the handler ended without an answer")
            if self._task is not None:
                self.link.running.discard(self._task)
                self._task = None  # which has us

    def wake(self) -> None:
        if self._waits and (self.queue or self.eof or self.error is not None):
            self.start()
        waiter = self.waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def on_data(self, data: bytes, end: bool) -> None:
        super().on_data(data, end)
        if self._waits and (self.queue or self.error is not None):
            self.start()

    def on_reset(self, _code: int) -> None:
        """The peer has reset the call, or is gone."""
        if not self.ended:
            self._leave()
            self._cancel()

    def expire(self) -> None:
        """Answer at the deadline, whatever the handler makes of its cancellation."""
        self._timer = None
        self._stop(Code.DEADLINE_EXCEEDED, "deadline exceeded")

    def _stop(self, code: int, text: str) -> None:
        """End the call in its dispatcher's words, and the task that answers it."""
        if not self.ended:
            self.finish(*self.link.dispatcher.words(self, code, text))
        self._cancel()

    def _cancel(self) -> None:
        self.cancelled = True
        task = self._task
        if task is not None:
            task.cancel()
            if not self._begun:  # and never will, so that it cannot clean up after itself
                self.link.running.discard(task)
                self._task = None

    def cut(self) -> None:
        """End the call because its server stops."""
        self._stop(Code.UNAVAILABLE, "the server is shutting down")

    def hand_over(self, sink: Sink) -> bytes:
        """Give the stream to somebody else; gives what came and nobody read, all of it unacknowledged but `held`."""
        self.ended = True
        self._waits = False
        self.stop_timer()
        self.link.streams[self.id] = sink
        return self.unread()

    def stall(self) -> None:
        """End the call because its message has stopped half way, and others wait for what it holds."""
        self._stop(Code.RESOURCE_EXHAUSTED, "a large message stopped half way")

    def shed(self) -> None:
        """End the call because too much lies unread, and much of it here."""
        self._stop(Code.RESOURCE_EXHAUSTED, ledger.TEXT)

    def _leave(self) -> None:
        """Nothing more is sent or read."""
        self.ended = True
        self._waits = False
        self.stop_timer()
        self.discard()
        self.link.leave(self.id)

    def lend(self, amount: int) -> bool:
        return self.link.budget.lend(self, amount)

    def repay(self) -> None:
        self.link.budget.repay(self.id)

    # What the dispatcher calls

    async def read(self) -> bytes | None:
        while not self.queue:
            if self.ended:
                raise asyncio.CancelledError
            if self.error is not None:
                raise self.error
            if self.eof:
                return None
            await self.wait()
        return self.take()

    def send_headers(self, headers: Headers = ()) -> None:
        if self._told or self.ended:
            return
        head = head_of(self.content_type)
        if headers:
            head = (*head, *wire.checked(headers))
        self._told = True
        self._guarded(self.link.http2.send_response, self.id, head)

    def _guarded(self, send: Any, *arguments: Any) -> None:
        """Send something, unless the peer has reset the stream in what was read last; its event is under way."""
        try:
            send(*arguments)
        except Http2Error:
            return
        self.link.mark()

    async def write(self, message: bytes) -> None:
        if self.ended:
            raise asyncio.CancelledError
        limit = self.link.limits.message
        if len(message) > limit:
            raise wire.too_large(len(message), limit)
        if not self._told:
            self.send_headers()
        self._guarded(self.link.send_message, self.id, message)
        self.burst += len(message) + MESSAGE_COST
        if self.burst >= BURST:
            self.burst = 0
            await self.link.room(self.id)

    def reply(self, message: bytes, headers: Headers = ()) -> None:
        if self.ended:
            return
        link = self.link
        if len(message) > link.limits.message:
            self._finish(wire.too_large(len(message), link.limits.message))
            return
        if not self._told:
            try:
                self.send_headers(headers)
            except Status as error:  # a header that cannot be sent
                self._finish(error)
                return
        try:
            link.send_message(self.id, message)
            link.http2.send_trailers(self.id, wire.OK_TRAILERS)
        except Http2Error:  # reset in what was read last
            pass
        self._end()

    def finish(self, code: int = 0, message: str = "", details: bytes = b"", trailers: Headers = ()) -> None:
        if self.ended:
            return
        try:
            last = wire.end_headers(code, message, details, trailers)
        except Status as error:  # a trailer that cannot be sent
            last = wire.end_headers(error.code, error.message, b"", ())
        try:
            if self._told:
                self.link.http2.send_trailers(self.id, last)
            else:
                self._told = True
                self.link.http2.send_response(self.id, (*head_of(self.content_type), *last), end_stream=True)
        except Http2Error:  # reset in what was read last
            pass
        self._end()

    def _finish(self, status: Status) -> None:
        self.finish(status.code, status.message, status.details, status.trailers)

    def _end(self) -> None:
        if not self.eof:
            self.link.lingering.append(self.id)
        self._leave()
        self.link.mark()


def _plain(headers: tuple[tuple[bytes, bytes], ...]) -> Headers:
    """Give headers without the pseudo-headers, which come first."""
    count = 4 if len(headers) > 4 and headers[3][0][:1] == b":" else 0
    while count < len(headers) and headers[count][0][:1] == b":":
        count += 1
    return headers[count:]
