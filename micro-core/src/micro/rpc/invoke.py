"""An endpoint as one function of request and context, whatever the author wrote: coroutine, thread, generator."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Executor, Future
from contextvars import copy_context
from typing import Any

from micro.context import Context
from micro.rpc.endpoint import Endpoint

Unary = Callable[[Any, Context], Awaitable[Any]]  # gives the one answer
Answers = AsyncGenerator[Any, None]
Streaming = Callable[[Any, Context], Answers]
Invoke = Unary | Streaming

# Wraps what comes next, once when the server starts: gets the endpoint, and an Unary or a Streaming as the endpoint is.
Interceptor = Callable[[Endpoint, Any], Any]

_END: Any = object()


def invocation(endpoint: Endpoint, threads: Callable[[], Executor]) -> Invoke:
    """Give the function that answers an endpoint; a stream of requests is given to it as an AsyncIterator."""
    plain = _plain(endpoint)
    if endpoint.blocking:
        return (
            _blocking_stream(endpoint, plain, threads)
            if endpoint.server_streaming
            else _blocking(endpoint, plain, threads)
        )
    if endpoint.server_streaming and not inspect.isasyncgenfunction(endpoint.function):
        return _given_stream(plain)
    return plain  # type: ignore[no-any-return]  # a coroutine function or an async generator, as its author wrote it


def _plain(endpoint: Endpoint) -> Any:
    """Give `(request, context)` to a function that takes these, one of them or none, by position where it can."""
    function, request, context = endpoint.function, endpoint.request_name, endpoint.context_name
    if not request and not context:
        return lambda _request, _context: function()
    if request and not context and not endpoint.by_keyword:
        return lambda value, _context: function(value)
    if request and context:
        return lambda value, caller: function(**{request: value, context: caller})
    return lambda value, caller: function(**({request: value} if request else {context: caller}))


def _given_stream(plain: Any) -> Streaming:
    async def run(request: Any, context: Context) -> Answers:
        items = plain(request, context)
        async for item in await items if inspect.isawaitable(items) else items:
            yield item

    return run


def _blocking(endpoint: Endpoint, plain: Any, threads: Callable[[], Executor]) -> Unary:
    async def run(request: Any, context: Context) -> Any:
        loop = asyncio.get_running_loop()
        given = BlockingIterator(request, loop) if endpoint.client_streaming else request
        result = await loop.run_in_executor(threads(), copy_context().run, plain, given, context)
        return await result if inspect.isawaitable(result) else result

    return run


def _blocking_stream(endpoint: Endpoint, plain: Any, threads: Callable[[], Executor]) -> Streaming:
    async def run(request: Any, context: Context) -> Answers:
        loop, pool, variables = asyncio.get_running_loop(), threads(), copy_context()
        given = BlockingIterator(request, loop) if endpoint.client_streaming else request
        step: Future[Any] = pool.submit(variables.run, lambda: iter(plain(given, context)))
        items = await asyncio.wrap_future(step)
        try:
            while True:
                step = pool.submit(variables.run, lambda: next(items, _END))
                item = await asyncio.wrap_future(step)
                if item is _END:
                    return
                yield item
        finally:
            # the thread may still be in the generator, which cannot be closed before it has left it
            step.add_done_callback(lambda _: pool.submit(getattr(items, "close", lambda: None)))

    return run


class BlockingIterator(Iterator[Any]):
    """An AsyncIterator of a loop, for a thread outside it."""

    def __init__(self, items: AsyncIterator[Any], loop: asyncio.AbstractEventLoop) -> None:
        self._items = items
        self._loop = loop

    def __next__(self) -> Any:
        item = asyncio.run_coroutine_threadsafe(self._step(), self._loop).result()
        if item is _END:
            raise StopIteration
        return item

    async def _step(self) -> Any:
        return await anext(self._items, _END)
