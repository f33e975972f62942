"""Both ends of a call in memory: two pipes of messages, and how it ended."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from micro.errors import Code
from micro.rpc.driver import ClientCall, Dispatcher, Headers, Limits, ServerCall, Status


class _Pipe:
    """Messages one way; a writer waits while more than `limit` bytes are not read."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._items: deque[bytes] = deque()
        self._size = 0
        self._waiters: list[asyncio.Future[None]] = []
        self.ended = False
        self.failure: Status | None = None

    async def put(self, message: bytes) -> bool:
        """Add a message; False when the pipe has ended."""
        if self.ended:
            return False
        self._items.append(message)
        self._size += len(message)
        self._wake()
        while self._size > self._limit and not self.ended:
            await self._wait()
        return True

    async def get(self) -> bytes | None:
        """Take a message, None at the end; raises the failure it ended with once all was taken."""
        while not self._items:
            if self.failure is not None:
                raise self.failure
            if self.ended:
                return None
            await self._wait()
        message = self._items.popleft()
        self._size -= len(message)
        self._wake()
        return message

    async def begun(self) -> None:
        """Wait for the first message or the end."""
        while not self._items and not self.ended:
            await self._wait()

    def end(self, failure: Status | None = None) -> None:
        """Let nothing more in; what is there can still be taken."""
        if not self.ended:
            self.ended = True
            self.failure = failure
            self._wake()

    async def _wait(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


class MemoryServerCall(ServerCall):
    """Both ends' state of a call."""

    def __init__(
        self, path: bytes, headers: Headers, content_type: bytes, timeout: float | None, limits: Limits
    ) -> None:
        self.path = path
        self.content_type = content_type
        self.peer = "memory"
        self.deadline: float | None = None
        self.headers = list(headers)
        self.cancelled = False
        self.slot: Any = None
        self.limits = limits
        self.requests = _Pipe(limits.window)
        self.answers = _Pipe(limits.window)
        self.answered: asyncio.Future[Headers] = asyncio.get_running_loop().create_future()
        self.trailers: Headers = ()
        self.task: asyncio.Task[None] | None = None
        self.dispatcher: Dispatcher | None = None  # once it has been accepted
        self.refused: Status | None = None  # it ended so before there were headers
        self._timer: asyncio.TimerHandle | None = None
        if timeout is not None:
            self.shorten(time.monotonic() + timeout)

    @property
    def ended(self) -> bool:
        """Whether the answer is complete."""
        return self.answers.ended

    def header(self, name: bytes) -> bytes | None:
        for key, value in self.headers:
            if key == name:
                return value
        return None

    def shorten(self, deadline: float) -> None:
        if self.deadline is not None and deadline >= self.deadline:
            return
        self.deadline = deadline
        if self._timer is not None:
            self._timer.cancel()
        delay = max(0.0, deadline - time.monotonic())
        self._timer = asyncio.get_running_loop().call_later(delay, self._expire)

    def _expire(self) -> None:
        self.stop(self.words(Code.DEADLINE_EXCEEDED, "deadline exceeded"))

    def words(self, code: int, text: str) -> Status:
        """Give an end that nobody but the transport decided, as the dispatcher words it."""
        if self.dispatcher is None:
            return Status(code, text)
        code, message, details = self.dispatcher.words(self, code, text)
        return Status(code, message, details=details)

    def stop(self, status: Status) -> None:
        """End the call from outside of its handler."""
        if not self.ended:
            self.cancelled = True
            self._end(status)
            if self.task is not None:
                self.task.cancel()

    def _end(self, status: Status | None) -> None:
        self.answers.end(status)
        self.requests.end(Status(Code.CANCELLED, "the call has ended"))
        if self._timer is not None:
            self._timer.cancel()
        if not self.answered.done():
            self.refused = status
            self.answered.set_result(())

    async def read(self) -> bytes | None:
        message = await self.requests.get()
        if message is not None and len(message) > self.limits.message:
            raise Status(Code.RESOURCE_EXHAUSTED, f"the message is over {self.limits.message} bytes")
        return message

    def send_headers(self, headers: Headers = ()) -> None:
        if not self.answered.done():
            self.answered.set_result(list(headers))

    async def write(self, message: bytes) -> None:
        self.send_headers()
        if not await self.answers.put(message) or self.cancelled:
            raise asyncio.CancelledError

    def reply(self, message: bytes, headers: Headers = ()) -> None:
        if not self.ended:
            self.send_headers(headers)
            self.answers._items.append(message)
            self.finish()

    def finish(self, code: int = 0, message: str = "", details: bytes = b"", trailers: Headers = ()) -> None:
        if not self.ended:
            self.trailers = list(trailers)
            self._end(Status(code, message, details=details, trailers=self.trailers) if code else None)


class MemoryClientCall(ClientCall):
    """The client's end."""

    def __init__(self, far: MemoryServerCall, limits: Limits, ended: Callable[[MemoryClientCall], None]) -> None:
        self._far = far
        self._limits = limits
        self._ended = ended

    async def write(self, message: bytes) -> None:
        if len(message) > self._limits.message:
            self.cancel()
            raise Status(Code.RESOURCE_EXHAUSTED, f"the message is over {self._limits.message} bytes", processed=False)
        if not await self._far.requests.put(message):
            raise self._far.answers.failure or Status(Code.CANCELLED, "the call has ended")

    async def begin(self, message: bytes) -> None:
        """Send all there is to send; that the call has ended already is told by `read`."""
        if len(message) > self._limits.message:
            await self.write(message)
        await self._far.requests.put(message)
        self.half_close()

    def half_close(self) -> None:
        self._far.requests.end()

    async def read(self) -> bytes | None:
        try:
            message = await self._far.answers.get()
        except Status:
            self._ended(self)
            raise
        if message is None:
            self._ended(self)
        elif len(message) > self._limits.message:
            self.cancel()
            raise Status(Code.RESOURCE_EXHAUSTED, f"the message is over {self._limits.message} bytes")
        return message

    async def headers(self) -> Headers:
        headers = await asyncio.shield(self._far.answered)
        if self._far.refused is not None:
            raise self._far.refused
        return headers

    @property
    def trailers(self) -> Headers:
        return self._far.trailers if self._far.ended and not self._far.answers._items else ()

    def cancel(self) -> None:
        self._far.stop(Status(Code.CANCELLED, "the call was cancelled"))
        self._ended(self)
