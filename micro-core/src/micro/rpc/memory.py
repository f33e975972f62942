"""Calls within one process and one loop: no ports, any text is an address. For tests and for what runs in one place.

Nothing is encoded but the messages: a call is two pipes of bytes with a bound each, and the headers as they were given.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ssl
import time
from collections import deque
from typing import Any, ClassVar

from micro.errors import Code, Unimplemented
from micro.rpc.driver import (
    PROTO,
    START,
    TAKEN,
    Channel,
    ClientCall,
    Dispatcher,
    Forwarder,
    Headers,
    Http1,
    Limits,
    Listener,
    Reply,
    ServerCall,
    Status,
    Transport,
)

_listeners: dict[str, MemoryListener] = {}


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
        self.stop(Status(Code.DEADLINE_EXCEEDED, "deadline exceeded"))

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


class MemoryListener(Listener):
    """An entry in the process's table of addresses."""

    def __init__(self, dispatcher: Dispatcher, limits: Limits) -> None:
        self._dispatcher = dispatcher
        self.limits = limits
        self.loop: asyncio.AbstractEventLoop | None = None
        self.address = ""
        self._calls: set[MemoryServerCall] = set()
        self._idle = asyncio.Event()

    async def start(self, address: str, *, tls: ssl.SSLContext | None = None) -> str:
        name, _, port = address.rpartition(":")
        if port == "0":
            address = next(free for n in range(1, 1_000_000) if (free := f"{name}:{n}") not in _listeners)
        if address in _listeners:
            raise OSError(errno.EADDRINUSE, f"cannot bind {address}: it is taken")
        self.loop = asyncio.get_running_loop()
        self.address = address
        _listeners[address] = self
        return address

    def accept(self, call: MemoryServerCall) -> None:
        """Take a call in."""
        if sum(len(key) + len(value) + 32 for key, value in call.headers) > self.limits.header_bytes:
            call.finish(Code.RESOURCE_EXHAUSTED, f"headers are over {self.limits.header_bytes} bytes")
            return
        call.limits = self.limits
        verdict = self._dispatcher.open(call)
        if verdict == TAKEN or call.ended:
            return
        self._calls.add(call)
        call.task = asyncio.get_running_loop().create_task(self._serve(call, at_once=verdict == START))
        call.task.add_done_callback(lambda task: self._over(call, task))

    async def _serve(self, call: MemoryServerCall, *, at_once: bool) -> None:
        if not at_once:
            await call.requests.begun()
        await self._dispatcher.run(call)

    def _over(self, call: MemoryServerCall, task: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        if not self._calls:
            self._idle.set()
        if task.cancelled():
            call.finish(Code.CANCELLED, "the call was cancelled by its server")
        elif (error := task.exception()) is not None:
            call.finish(Code.INTERNAL, "the call failed")
            raise error
        call.finish(Code.INTERNAL, "the call was left without an answer")

    async def drain(self, *, grace: float) -> None:
        _listeners.pop(self.address, None)
        self._idle.clear()
        if self._calls:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), grace)
        await self.close()

    async def close(self) -> None:
        if _listeners.get(self.address) is self:
            del _listeners[self.address]
        tasks = [call.task for call in self._calls if call.task is not None]
        for call in list(self._calls):
            call.stop(Status(Code.UNAVAILABLE, "the server is gone"))
        await asyncio.gather(*tasks, return_exceptions=True)


class MemoryChannel(Channel):
    """Calls to whoever listens under an address at that moment."""

    def __init__(self, address: str, limits: Limits) -> None:
        self.address = address
        self.outstanding = 0
        self._limits = limits
        self._open: set[MemoryClientCall] = set()

    async def unary(
        self, path: bytes, message: bytes, headers: Headers = (), *, content_type: bytes = PROTO, timeout: float | None
    ) -> Reply:
        call = await self.open(path, headers, content_type=content_type, timeout=timeout)
        try:
            await call.begin(message)
            answer = await call.read()
            if answer is None:
                raise Status(Code.INTERNAL, "the call ended without an answer")
            await call.read()
            return Reply(answer, await call.headers(), call.trailers)
        finally:
            call.cancel()

    async def open(
        self, path: bytes, headers: Headers = (), *, content_type: bytes = PROTO, timeout: float | None = None
    ) -> MemoryClientCall:
        for name, value in headers:
            if b"\r" in value or b"\n" in value or b"\0" in value:
                raise Status(Code.INTERNAL, f"value of header {name!r} cannot be sent", processed=False)
        listener = _listeners.get(self.address)
        if listener is None or listener.loop is not asyncio.get_running_loop():
            why = "connection refused" if listener is None else "it belongs to another loop"
            raise Status(Code.UNAVAILABLE, f"{why}: {self.address}", processed=False)
        if timeout is not None and timeout <= 0:
            raise Status(Code.DEADLINE_EXCEEDED, "deadline exceeded", processed=False)
        far = MemoryServerCall(path, headers, content_type, timeout, self._limits)
        call = MemoryClientCall(far, self._limits, self._ended)
        self.outstanding += 1
        self._open.add(call)
        listener.accept(far)
        return call

    def _ended(self, call: MemoryClientCall) -> None:
        if call in self._open:
            self._open.remove(call)
            self.outstanding -= 1

    async def close(self) -> None:
        for call in list(self._open):
            call.cancel()


class MemoryClientCall(ClientCall):
    """The client's end."""

    def __init__(self, far: MemoryServerCall, limits: Limits, ended: Any) -> None:
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
        return await asyncio.shield(self._far.answered)

    @property
    def trailers(self) -> Headers:
        return self._far.trailers if self._far.ended and not self._far.answers._items else ()

    def cancel(self) -> None:
        self._far.stop(Status(Code.CANCELLED, "the call was cancelled"))
        self._ended(self)


class MemoryTransport(Transport, interface=1):
    """Calls within this process and loop; what it carries is never on a wire, so `tls` and most limits mean nothing."""

    name: ClassVar[str] = "memory"
    capabilities = frozenset({"content-types", "raw-paths"})

    def listener(self, dispatcher: Dispatcher, *, limits: Limits | None = None, http1: Http1 | None = None) -> Listener:
        if http1 is not None:
            raise Unimplemented("transport memory: no HTTP/1.1 beside gRPC on one port")
        return MemoryListener(dispatcher, limits or Limits())

    def channel(self, address: str, *, limits: Limits | None = None, tls: ssl.SSLContext | None = None) -> Channel:
        return MemoryChannel(address, limits or Limits())

    def forwarder(self, *, limits: Limits | None = None) -> Forwarder:
        raise Unimplemented("transport memory: passes no calls on")
