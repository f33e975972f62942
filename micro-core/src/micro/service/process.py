"""The one object behind the module-level functions: how this process reaches its platform, and its building blocks.

It is made when first needed, one for each loop of a process, for a client of one loop is never used in another. A test
puts another in its place by `use`; a script that talks to another platform does so by `micro.connect`.
"""

from __future__ import annotations

import asyncio
import importlib
import os
from collections.abc import AsyncIterator
from contextvars import ContextVar, Token
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self, cast

from micro.rpc.caller import Caller, Stream
from micro.service import wiring
from micro.service.surroundings import Surroundings, surroundings

if TYPE_CHECKING:
    from micro.auth.api import Auth
    from micro.blobs.api import Blobs
    from micro.broker.api import Broker
    from micro.config.api import Config
    from micro.events.api import Events
    from micro.network.api import Network
    from micro.registry.api import Registry
    from micro.rpc.driver import Transport
    from micro.runtime.api import Runtime
    from micro.store.api import Store


class Process:
    """A process's way to its platform. Belongs to one loop, unless it is the unbound one, which delegates.

    `name` is the service's, empty for a script; `namespace` whose data the building blocks show; `loop` where its
    calls are made, None until the first one.
    """

    def __init__(
        self,
        around: Surroundings | None = None,
        *,
        token: str = "",
        caller: Caller | None = None,
        transport: Transport | None = None,
    ) -> None:
        self.around = around or surroundings()
        self.name = self.around.name
        self.namespace = self.around.namespace
        self.loop = wiring.running_loop()
        self._token = token
        self._entered: list[Token[Process | None]] = []
        self._given: dict[str, Any] = {"caller": caller, "transport": transport}

    @cached_property
    def transport(self) -> Transport:
        """What carries its calls, in and out."""
        given: Transport | None = self._given["transport"]
        return given or wiring.transport()

    @cached_property
    def caller(self) -> Caller:
        """Calls services as the process's own account."""
        self.loop = self.loop or wiring.running_loop()
        given: Caller | None = self._given["caller"]
        return given or wiring.caller(self.around, self.transport, token=self._token)

    @cached_property
    def store(self) -> Store:
        """Records, at the table named like the service."""
        return cast(
            "Store", self._part("store", database=self.namespace, **({"table": self.name} if self.name else {}))
        )

    @cached_property
    def blobs(self) -> Blobs:
        """Files under keys."""
        return cast("Blobs", self._part("blobs", namespace=self.namespace))

    @cached_property
    def config(self) -> Config:
        """The namespace's configuration."""
        return cast("Config", self._part("config", namespace=self.namespace))

    @cached_property
    def events(self) -> Events:
        """The namespace's topics of events."""
        return cast("Events", self._part("events", namespace=self.namespace))

    @cached_property
    def broker(self) -> Broker:
        """Messages to whoever listens."""
        return cast("Broker", self._part("broker", namespace=self.namespace))

    @cached_property
    def auth(self) -> Auth:
        """The namespace's accounts and rules."""
        return cast("Auth", self._part("auth", namespace=self.namespace))

    @cached_property
    def registry(self) -> Registry:
        """Who serves what in the namespace."""
        return cast("Registry", self._part("registry", domain=self.namespace))

    @cached_property
    def runtime(self) -> Runtime:
        """The namespace's running services."""
        return cast("Runtime", self._part("runtime", namespace=self.namespace))

    @cached_property
    def network(self) -> Network:
        """Routes and peers."""
        return cast("Network", self._part("network", network=self.namespace))

    def _part(self, primitive: str, **options: str) -> Any:
        title = primitive.capitalize()
        portable = getattr(importlib.import_module(f"micro.{primitive}.api"), title)
        remote = getattr(importlib.import_module(f"micro.{primitive}.remote"), f"Remote{title}")
        return portable(remote(caller=self.caller), plugin="remote", **options)

    def use(self) -> Token[Process | None]:
        """Make it the current one of this task and those it starts, until `unuse`."""
        return CURRENT.set(self)

    @staticmethod
    def unuse(token: Token[Process | None]) -> None:
        """Undo `use`."""
        CURRENT.reset(token)

    def __enter__(self) -> Self:
        self._entered.append(self.use())
        return self

    def __exit__(self, *exc: object) -> None:
        self.unuse(self._entered.pop())

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, *exc: object) -> None:
        self.__exit__()
        await self.close()

    async def close(self) -> None:
        """End its calls and connections; idempotent."""
        auth = self.__dict__.pop("auth", None)
        if auth is not None:
            await auth.close()  # it may be following its rules
        caller, carrier = self.__dict__.pop("caller", None), self.__dict__.pop("transport", None)
        if caller is not None and self._given["caller"] is None:
            await caller.close()
        if carrier is not None and self._given["transport"] is None:
            await carrier.close()


CURRENT: ContextVar[Process | None] = ContextVar("micro_process", default=None)
_by_loop: dict[tuple[int, asyncio.AbstractEventLoop], Process] = {}
_unbound: list[Process] = []


def current() -> Process:
    """Give the process of this task, of this loop, or where no loop runs one that asks again at each call."""
    found = CURRENT.get()
    if found is not None:
        return found
    loop = wiring.running_loop()
    if loop is None:
        if not _unbound:
            _unbound.append(Process(caller=_CurrentCaller()))
        return _unbound[0]
    key = (os.getpid(), loop)
    found = _by_loop.get(key)
    if found is None:
        for other in [each for each in _by_loop if each[1].is_closed()]:
            del _by_loop[other]
        found = _by_loop[key] = Process()
    return found


def connect(address: str, *, token: str = "", id: str = "", secret: str = "", namespace: str = "") -> Process:
    """Give the way to another platform, through its proxy at `address`; `with` makes it the current one."""
    named = namespace or surroundings().namespace
    return Process(Surroundings(proxy=address, namespace=named, id=id, secret=secret), token=token)


class _CurrentCaller(Caller):
    """Calls through whichever process is current then: for what was made while no loop ran."""

    async def call(self, service: str, endpoint: str, request: Any, response: type[Any], **options: Any) -> Any:
        return await current().caller.call(service, endpoint, request, response, **options)

    async def stream(
        self, service: str, endpoint: str, request: type[Any], response: type[Any], **options: Any
    ) -> Stream[Any, Any]:
        return await current().caller.stream(service, endpoint, request, response, **options)

    async def serve_stream(
        self, service: str, endpoint: str, request: Any, response: type[Any], **options: Any
    ) -> AsyncIterator[Any]:
        async for item in current().caller.serve_stream(service, endpoint, request, response, **options):
            yield item

    async def close(self) -> None:
        pass
