"""A caller whose calls are answered by handlers in this process: the wire's messages and rights without a wire."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, TypeVar

from micro.context import Account, Context, current, enter, leave
from micro.errors import Internal, ServiceError, Unavailable, Unimplemented
from micro.rpc.caller import Caller, Stream

Q = TypeVar("Q")
R = TypeVar("R")

ADMIN = Account("suite", issuer="micro", type="service", scopes=("service",))


class Loopback(Caller):
    """Calls protobuf endpoints of handlers, unary and server-streaming, as an account.

    Messages are serialised and parsed, errors made anew as a peer would. `broken` makes every call Unavailable, and
    `cut` ends the open streams so.
    """

    def __init__(self, handlers: Sequence[tuple[str, object]], *, account: Account | None = ADMIN) -> None:
        self._handlers = dict(handlers)
        self._account = account
        self._streams: set[_Answers[Any, Any]] = set()
        self.broken = False

    def cut(self) -> None:
        """End all streams as a lost connection would."""
        for stream in list(self._streams):
            stream.cut()

    async def call(
        self,
        service: str,
        endpoint: str,
        request: Any,
        response: type[R],
        *,
        timeout: float | None = None,
        metadata: Mapping[str, str] | None = None,
        namespace: str | None = None,
        address: str | None = None,
        idempotent: bool = False,
    ) -> R:
        method = self._method(service, endpoint)
        context = self._context(service, endpoint, metadata, namespace)
        token = enter(context)
        try:
            answer = await method(_copy(request))
        except ServiceError as err:
            raise _again(err) from None
        except Exception as err:
            raise Internal(f"{endpoint} raised {err!r}") from err
        finally:
            leave(token)
        copied: R = _copy(answer)
        return copied

    async def stream(
        self,
        service: str,
        endpoint: str,
        request: type[Q],
        response: type[R],
        *,
        timeout: float | None = None,
        metadata: Mapping[str, str] | None = None,
        namespace: str | None = None,
        address: str | None = None,
    ) -> Stream[Q, R]:
        method = self._method(service, endpoint)
        stream: _Answers[Q, R] = _Answers(method, self._context(service, endpoint, metadata, namespace), self._streams)
        self._streams.add(stream)
        return stream

    async def close(self) -> None:
        for stream in list(self._streams):
            stream.cancel()

    def _method(self, service: str, endpoint: str) -> Any:
        if self.broken:
            raise Unavailable(f"connection to {service} refused")
        handler, _, name = endpoint.partition(".")
        method = getattr(self._handlers.get(handler), re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower(), None)
        if method is None:
            raise Unimplemented(f"unknown method {endpoint}")
        return method

    def _context(
        self, service: str, endpoint: str, metadata: Mapping[str, str] | None, namespace: str | None
    ) -> Context:
        return Context(
            account=self._account,
            namespace=namespace or current().namespace,
            metadata=metadata,
            service=service,
            endpoint=endpoint,
        )


class _Answers(Stream[Q, R]):
    """A server-streaming call; the handler runs on a task of its own, a few answers ahead at most."""

    def __init__(self, method: Any, context: Context, streams: set[_Answers[Any, Any]]) -> None:
        self._method = method
        self._context = context
        self._streams = streams
        self._request: Q | None = None
        self._queue: asyncio.Queue[R | ServiceError | None] = asyncio.Queue(4)
        self._task: asyncio.Task[None] | None = None

    async def send(self, message: Q) -> None:
        self._request = _copy(message)

    def end(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def started(self) -> None:
        await asyncio.sleep(0)

    async def receive(self) -> R | None:
        item = await self._queue.get()
        if isinstance(item, ServiceError):
            raise item
        return item

    async def __aiter__(self) -> AsyncIterator[R]:
        while (item := await self.receive()) is not None:
            yield item

    def cancel(self) -> None:
        self._streams.discard(self)
        if self._task is not None:
            self._task.cancel()

    def cut(self) -> None:
        """End it as a lost connection would: what was under way is gone."""
        self.cancel()
        while not self._queue.empty():
            self._queue.get_nowait()
        self._queue.put_nowait(Unavailable("connection lost"))

    async def _run(self) -> None:
        token = enter(self._context)
        answers = self._method(self._request)
        try:
            async for answer in answers:
                await self._queue.put(_copy(answer))
        except ServiceError as err:
            await self._queue.put(_again(err))
        else:
            await self._queue.put(None)
        finally:
            leave(token)
            await answers.aclose()


def _copy(message: Any) -> Any:
    return type(message).FromString(message.SerializeToString())


def _again(err: ServiceError) -> ServiceError:
    return type(err)(err.detail, id=err.id, http=err.http)
