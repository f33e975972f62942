"""A streaming call as an author has it: iterated, or entered and spoken with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from typing import Any, Generic, Self, TypeVar

from micro.errors import Internal, ServiceError
from micro.rpc.caller import Stream

R = TypeVar("R")

UNSAID: Any = object()


class Streaming(Generic[R]):
    """A streaming call, opened when it is first used."""

    def __init__(self, open_: Callable[[Any], Awaitable[Stream[Any, Any]]], request: Any) -> None:
        self._open = open_
        self._request = request
        self._stream: Stream[Any, Any] | None = None
        self._entered = False
        self._sending: asyncio.Task[None] | None = None

    async def send(self, message: Any) -> None:
        """Send one request; returns when there is room for more."""
        await (await self._opened(type(message))).send(message)

    def end(self) -> None:
        """Say that no more requests follow."""
        if self._stream is not None:
            self._stream.end()

    async def receive(self) -> R | None:
        """Give the next answer, None at the end."""
        stream = await self._begun()
        try:
            return await stream.receive()
        except ServiceError:
            self._raise_own()
            raise

    async def __aiter__(self) -> AsyncIterator[R]:
        try:
            async for item in await self._begun():
                yield item
        except ServiceError:
            self._raise_own()
            raise
        finally:
            self.cancel()

    def _raise_own(self) -> None:
        """Raise what the iterable of requests raised, where that is why the call was given up."""
        if self._sending is not None and self._sending.done() and not self._sending.cancelled():
            self._sending.result()

    def cancel(self) -> None:
        """Give the call up; void once it has ended."""
        if self._sending is not None:
            self._sending.cancel()
        if self._stream is not None:
            self._stream.cancel()

    async def __aenter__(self) -> Self:
        self._entered = True
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.cancel()

    async def _opened(self, kind: Any) -> Stream[Any, Any]:
        if self._stream is None:
            self._stream = await self._open(kind)
        return self._stream

    async def _begun(self) -> Stream[Any, Any]:
        """Open the call and send what was given with it."""
        request, self._request = self._request, UNSAID
        if isinstance(request, AsyncIterable):
            return await self._feeding(request)
        if request is UNSAID:
            if self._stream is not None or self._entered:
                return await self._opened(dict)
            request = None
        stream = await self._opened(type(request))
        await stream.send(request)
        stream.end()
        return stream

    async def _feeding(self, requests: AsyncIterable[Any]) -> Stream[Any, Any]:
        items = aiter(requests)
        first = await anext(items, UNSAID)
        stream = await self._opened(dict if first is UNSAID else type(first))

        async def feed() -> None:
            if first is not UNSAID:
                await stream.send(first)
                async for item in items:
                    await stream.send(item)
            stream.end()

        self._sending = asyncio.get_running_loop().create_task(feed())
        self._sending.add_done_callback(lambda task: task.cancelled() or (task.exception() and stream.cancel()))
        return stream


async def one_answer(streaming: Streaming[Any]) -> Any:
    """Give the answer of a call that streams its requests only."""
    async with streaming:
        answer = await streaming.receive()
        if answer is None:
            raise Internal("the call ended without an answer")
        await streaming.receive()
        return answer
