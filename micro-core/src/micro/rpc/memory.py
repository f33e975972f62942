"""Calls within one process and one loop: no ports, any text is an address. For tests and for what runs in one place.

Nothing is encoded but the messages: a call is two pipes of bytes with a bound each, and the headers as they were given.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ssl
from typing import ClassVar

from micro.errors import Code, Unimplemented
from micro.rpc.driver import (
    PROTO,
    START,
    TAKEN,
    Channel,
    Dispatcher,
    Forwarder,
    Headers,
    Http1,
    Limits,
    Listener,
    Reply,
    Status,
    Transport,
)
from micro.rpc.memory_calls import MemoryClientCall, MemoryServerCall

_listeners: dict[str, MemoryListener] = {}


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
        call.dispatcher = self._dispatcher
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
            call.stop(call.words(Code.UNAVAILABLE, "the server is gone"))
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
            raise Status(Code.UNAVAILABLE, f"{why}: {self.address}", processed=False, reached=False)
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
