"""How code of ours calls a service: by service, endpoint and message types. `client.py` implements it.

Remote drivers are written against this and know no channels; tests hand them one of their own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from typing import Any, Generic, TypeVar

Q = TypeVar("Q")
R = TypeVar("R")


class Stream(ABC, Generic[Q, R]):
    """A call of any kind, as its client sees it. Iterating ends with the call; other ends raise a ServiceError."""

    @abstractmethod
    async def send(self, message: Q) -> None:
        """Send one request; returns when there is room for more."""

    @abstractmethod
    def end(self) -> None:
        """Say that no more requests follow."""

    @abstractmethod
    async def started(self) -> None:
        """Wait for the response's headers: the service has accepted the call."""

    @abstractmethod
    def __aiter__(self) -> AsyncIterator[R]: ...

    @abstractmethod
    async def receive(self) -> R | None:
        """Give the next answer, None at the end."""

    @abstractmethod
    def cancel(self) -> None:
        """Give the call up; void once it has ended."""

    async def __aenter__(self) -> Stream[Q, R]:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.cancel()


class Caller(ABC):
    """Calls services as one account, in one namespace.

    A message is anything `micro.schema.message_of` knows: generated protobuf classes for the core's wire, dataclasses,
    dicts. Raises a `ServiceError` of the class the service raised.
    """

    @abstractmethod
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
        """Call `endpoint` ("Store.Read") of a registered service, one message each way.

        `timeout` in seconds, never beyond the current context's deadline, default 5; `idempotent` allows retries.
        """

    @abstractmethod
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
        """Open a call of any streaming kind; nothing is sent but its headers."""

    async def serve_stream(
        self, service: str, endpoint: str, request: Q, response: type[R], **options: Any
    ) -> AsyncIterator[R]:
        """Call a server-streaming endpoint: send one request, half-close, iterate the answers."""
        async with await self.stream(service, endpoint, type(request), response, **options) as stream:
            await stream.send(request)
            stream.end()
            async for item in stream:
                yield item

    @abstractmethod
    async def close(self) -> None:
        """End all calls and connections."""
