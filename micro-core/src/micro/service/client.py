"""Calling a service: by endpoint and types, or by its handler's class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast, overload

from micro import names
from micro.durations import seconds
from micro.rpc.caller import Stream
from micro.rpc.endpoint import Endpoint, collect
from micro.rpc.outgoing import Plan
from micro.service.process import Process, current
from micro.service.streaming import UNSAID, Streaming, one_answer

if TYPE_CHECKING:
    from micro.durations import Duration

R = TypeVar("R")
H = TypeVar("H")


class Client:
    """Calls one service, as the process's own account; a way is found when the first call is made.

    `address` is where, instead of wherever the service is; `timeout` the seconds, or a timedelta, of a call that does not say its own,
    5 by default; `process` the platform, instead of the current one. A call's `timeout` never reaches beyond the
    deadline of the call that is being answered. Calls raise the `ServiceError` that the service raised.
    """

    def __init__(
        self,
        service: str,
        *,
        namespace: str | None = None,
        address: str | None = None,
        timeout: Duration | None = None,
        process: Process | None = None,
    ) -> None:
        self.service = names.service(service)
        self._options = {"namespace": namespace, "address": address, "timeout": timeout}
        self._plain = self._given()
        self._process = process

    @property
    def _caller(self) -> Any:
        return (self._process or current()).caller

    @overload
    async def call(
        self,
        endpoint: str,
        request: Any = None,
        *,
        timeout: Duration | None = None,
        metadata: Mapping[str, str] | None = None,
        retries: int | None = None,
        address: str | None = None,
    ) -> dict[str, Any]: ...
    @overload
    async def call(
        self,
        endpoint: str,
        request: Any,
        response: type[R],
        *,
        timeout: Duration | None = None,
        metadata: Mapping[str, str] | None = None,
        retries: int | None = None,
        address: str | None = None,
    ) -> R: ...
    @overload
    async def call(
        self,
        endpoint: str,
        request: Any,
        response: Any,
        *,
        timeout: Duration | None = None,
        metadata: Mapping[str, str] | None = None,
        retries: int | None = None,
        address: str | None = None,
    ) -> Any: ...
    async def call(
        self,
        endpoint: str,
        request: Any = None,
        response: Any = dict,
        *,
        timeout: Duration | None = None,
        metadata: Mapping[str, str] | None = None,
        retries: int | None = None,
        address: str | None = None,
    ) -> Any:
        """Call `Orders.Place`: one message each way, or a stream of requests from an async iterable.

        Without types dicts go and come. `retries` are made only where the service says that it may be repeated.
        """
        options = self._plain
        if timeout is not None or metadata is not None or address is not None or retries is not None:
            options = self._given(timeout=timeout, metadata=metadata, address=address)
        if hasattr(request, "__aiter__"):
            return await one_answer(self.stream(endpoint, request, response, **options))
        if retries is not None:
            options["retries"] = retries
        return await self._caller.call(self.service, endpoint, request, response, **options)

    @overload
    def stream(
        self,
        endpoint: str,
        request: Any = ...,
        *,
        timeout: Duration | None = None,
        metadata: Mapping[str, str] | None = None,
        address: str | None = None,
        namespace: str | None = None,
    ) -> Streaming[dict[str, Any]]: ...
    @overload
    def stream(
        self,
        endpoint: str,
        request: Any = ...,
        response: type[R] = ...,
        *,
        timeout: Duration | None = None,
        metadata: Mapping[str, str] | None = None,
        address: str | None = None,
        namespace: str | None = None,
    ) -> Streaming[R]: ...
    @overload
    def stream(
        self,
        endpoint: str,
        request: Any = ...,
        response: Any = ...,
        *,
        timeout: Duration | None = None,
        metadata: Mapping[str, str] | None = None,
        address: str | None = None,
        namespace: str | None = None,
    ) -> Streaming[Any]: ...
    def stream(
        self,
        endpoint: str,
        request: Any = UNSAID,
        response: Any = dict,
        *,
        timeout: Duration | None = None,
        metadata: Mapping[str, str] | None = None,
        address: str | None = None,
        namespace: str | None = None,
    ) -> Streaming[Any]:
        """Call an endpoint that streams: iterate the answers to one request, or to an async iterable of requests.

        For a conversation enter it: `async with orders.stream("Orders.Chat", response=Line) as chat`, then
        `await chat.send(…)`, `chat.end()`, `async for line in chat`.
        """
        options = self._given(timeout=timeout, metadata=metadata, address=address, namespace=namespace)
        if timeout is None:
            options.pop("timeout", None)  # a client's own is for calls; a stream may last

        async def open_(kind: Any) -> Stream[Any, Any]:
            return cast(
                "Stream[Any, Any]", await self._caller.stream(self.service, endpoint, kind, response, **options)
            )

        return Streaming(open_, request)

    def of(self, handler: type[H]) -> H:
        """Give an object with the handler's methods, each of which calls its endpoint."""
        return cast("H", Typed(self, handler))

    def _given(self, **options: Any) -> dict[str, Any]:
        chosen = {**self._options, **{name: value for name, value in options.items() if value is not None}}
        timeout = chosen.get("timeout")
        if timeout is not None and type(timeout) is not float:
            chosen["timeout"] = seconds(timeout, "timeout")
        return {name: value for name, value in chosen.items() if value is not None}

    async def close(self) -> None:
        """End the calls of a client that has a platform of its own; otherwise they end with the process."""
        if self._process is not None:
            await self._process.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()


class Typed:
    """A handler's endpoints as methods."""

    def __init__(self, client: Client, handler: type[Any]) -> None:
        for one in collect(object.__new__(handler)):
            setattr(self, one.function.__name__, _method(client, one))


def _method(client: Client, one: Endpoint) -> Callable[..., Any]:
    plan = Plan(client.service, one.name, one.request, one.response)

    def streaming(request: Any = UNSAID, /, **options: Any) -> Streaming[Any]:
        given = client._given(**options)
        if "timeout" not in options:
            given.pop("timeout", None)
        return Streaming(lambda _kind: client._caller.open(plan, **given), request)

    async def unary(request: Any = None, /, **options: Any) -> Any:
        if one.client_streaming:
            return await one_answer(streaming(request, **options))
        return await client._caller.invoke(plan, request, idempotent=one.idempotent, **client._given(**options))

    return streaming if one.server_streaming else unary
