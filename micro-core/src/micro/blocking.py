"""The building blocks for scripts and notebooks: `from micro.blocking import store`, and nothing to await.

Each module here has the functions of its async twin under the same names; they are made from those, not written again.
An async iterator becomes an iterator, an async context manager a context manager, and what such functions give (a
record, a table, a batch) is wrapped alike. The work runs on one loop in a thread of its own, in a service's plain
functions on the service's loop, so calls of several threads run side by side. Called inside a running loop they refuse:
there the async ones are meant.
"""

from __future__ import annotations

import asyncio
import atexit
import importlib
import inspect
import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Self

from micro.service.process import CURRENT, current

MODULES = ("auth", "blobs", "broker", "config", "events", "network", "registry", "runtime", "store")

_END: Any = object()


class _Loop:
    """The loop of a process's blocking calls, begun with the first of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = 0

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine there, in the caller's context, and give its result."""
        if _in_loop():
            work.close()
            raise RuntimeError("micro.blocking is called inside a running event loop: use the async functions there")
        loop, context = self._running(), copy_context()

        async def start() -> Any:
            return await context.run(loop.create_task, work)

        done = asyncio.run_coroutine_threadsafe(start(), loop)
        try:
            return done.result()
        except KeyboardInterrupt:
            done.cancel()
            raise

    def _running(self) -> asyncio.AbstractEventLoop:
        around = CURRENT.get()
        if around is not None and around.loop is not None and around.loop.is_running():
            return around.loop
        with self._lock:
            if self._loop is None or self._pid != os.getpid():  # a fork has no thread of its parent's
                self._pid = os.getpid()
                self._loop = loop = asyncio.new_event_loop()
                threading.Thread(target=loop.run_forever, name="micro-blocking", daemon=True).start()
                atexit.register(self._close, self._pid)
            return self._loop

    def _close(self, pid: int) -> None:
        loop = self._loop
        if loop is None or pid != os.getpid():
            return

        async def end() -> None:
            await current().close()

        asyncio.run_coroutine_threadsafe(end(), loop).result(2)
        loop.call_soon_threadsafe(loop.stop)


_loop = _Loop()


def _in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class Blocking:
    """An async object whose methods wait: what they give is wrapped where it is async itself."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return wrapped(getattr(self._inner, name))

    def __repr__(self) -> str:
        return f"Blocking({self._inner!r})"

    def __dir__(self) -> list[str]:
        return dir(self._inner)

    def __iter__(self) -> Iterator[Any]:
        items = aiter(self._inner)
        try:
            while True:
                item = _loop.run(_next(items))
                if item is _END:
                    return
                yield wrapped(item)
        finally:
            closing = getattr(items, "aclose", None)
            if closing is not None:
                _loop.run(closing())

    def __enter__(self) -> Any:
        entered = _loop.run(_awaited(self._inner.__aenter__()))
        return self if entered is self._inner else wrapped(entered)

    def __exit__(self, *exc: object) -> bool | None:
        result: bool | None = _loop.run(_awaited(self._inner.__aexit__(*exc)))
        return result


class BlockingModule(Blocking):
    """A module of functions that wait."""

    def __dir__(self) -> list[str]:
        return list(self._inner.__all__)


def wrapped(value: Any) -> Any:
    """Give a value as blocking code uses it."""
    if inspect.isclass(value) or isinstance(value, str | bytes | int | float | list | dict | tuple | None):
        return value
    if inspect.isroutine(value):
        return _waiting(value)
    return Blocking(value) if _is_async(value) else value


def _waiting(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        # called within the loop, for there the process of that loop is current, and what is made belongs to it
        result = _loop.run(_called(function, *args, **kwargs))
        return result if inspect.isroutine(result) else wrapped(result)  # a decorator's is for whoever calls it

    call.__name__ = call.__qualname__ = getattr(function, "__name__", "call")
    call.__doc__ = function.__doc__
    return call


async def _called(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    result = function(*args, **kwargs)
    return await result if inspect.isawaitable(result) else result


async def _awaited(work: Any) -> Any:
    return await work


async def _next(items: AsyncIterator[Any]) -> Any:
    return await anext(items, _END)


def _is_async(value: Any) -> bool:
    """Tell whether a value does anything that must be awaited, as far as its class says: a stand-in's says nothing."""
    cls = type(value)
    if any(hasattr(cls, name) for name in ("__aiter__", "__aenter__", "__getattr__")):
        return True
    return any(
        inspect.iscoroutinefunction(member) or inspect.isasyncgenfunction(member)
        for base in cls.__mro__
        for name, member in vars(base).items()
        if not name.startswith("_")
    )


class Client(Blocking):
    """The blocking twin of micro.Client: `Client("orders").call("Orders.Place", {"id": "1"})`."""

    def __init__(self, service: str, **options: Any) -> None:
        from micro.service.client import Client as Async

        super().__init__(Async(service, **options))

    def __enter__(self) -> Self:
        return self

    def of(self, handler: type[Any]) -> Any:
        """Give an object with the handler's methods, each of which calls its endpoint and waits."""
        return _Typed(self._inner.of(handler))


class _Typed(Blocking):
    def __getattr__(self, name: str) -> Any:
        return _waiting(getattr(self._inner, name))


def __getattr__(name: str) -> Any:
    if name in MODULES:
        return BlockingModule(importlib.import_module(f"micro.{name}"))
    raise AttributeError(f"module 'micro.blocking' has no attribute {name!r}")


def __dir__() -> list[str]:
    return ["Client", *MODULES]


if TYPE_CHECKING:  # types alone, made from the async ones by scripts/blocking.py
    from micro._blocking import auth as auth
    from micro._blocking import blobs as blobs
    from micro._blocking import broker as broker
    from micro._blocking import config as config
    from micro._blocking import events as events
    from micro._blocking import network as network
    from micro._blocking import registry as registry
    from micro._blocking import runtime as runtime
    from micro._blocking import store as store
