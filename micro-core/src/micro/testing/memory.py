"""A platform within a test: services and building blocks in memory, no server, no ports, a clock that the test moves.

    async def test_place(micro):
        async with micro.service(Orders()) as orders:
            await orders.place(Order("1", "ann"))
            assert (await micro.store.get("order/1", Order)).customer == "ann"
            await micro.clock.advance(60)

The schema, the codecs, the errors, identity and the services' own rights are the real ones; below them are the memory
drivers, which pass the conformance suites.
"""

from __future__ import annotations

import asyncio
import base64
import importlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from micro.context import CORE_NAMESPACE, Account
from micro.errors import ServiceError
from micro.plugin.driver import Driver
from micro.plugin.watch import finish
from micro.service.client import Client
from micro.service.core import Core, Host
from micro.service.process import CURRENT, Process
from micro.service.service import Service
from micro.service.surroundings import Surroundings
from micro.testing.served import Served

if TYPE_CHECKING:
    from micro.blobs.api import Blobs
    from micro.broker.api import Broker
    from micro.config.api import Config
    from micro.events.api import Events
    from micro.registry.api import Registry
    from micro.store.api import Store

CORE = ("registry", "store", "config", "broker", "events")  # what runs here of the platform's own services


class Clock:
    """The time of the building blocks: it goes on by itself, and jumps when it is told to."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self._ahead

    async def advance(self, seconds: float) -> None:
        """Jump ahead; what is due by then has happened when this returns, as far as it is asked for."""
        self._ahead += seconds
        for _ in range(5):
            await asyncio.sleep(0)


class MemoryPlatform:
    """What the fixture `micro` is. The test itself calls as the administrator, as a developer's machine does."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.namespace = CORE_NAMESPACE
        self._served = Served()
        self._cores: list[Core] = []
        self._open = False
        self._faults = _Faults()
        self._process = self._made(Account("admin", issuer=CORE_NAMESPACE, scopes=("admin",)), "")
        self._blocks = self._made(_service_account(""), "")

    # what a test does

    @asynccontextmanager
    async def service(self, handler: object, name: str | None = None) -> AsyncIterator[Any]:
        """Serve a handler, or a Service; gives what calls it: the handler's own methods, or the service's Client."""
        served = handler if isinstance(handler, Service) else Service(name or _dashed(type(handler).__name__))
        if served is not handler:
            served.handle(handler)
        await self.open()
        process = self._made(_service_account(served.name), served.name)
        self._blocks = process
        token = CURRENT.set(CURRENT.get() or self._process)
        try:
            self._served.addresses[served.name] = await served.start(process, guard=self._served.guard)
            client = Client(served.name)
            yield client if served is handler else client.of(type(handler))
        finally:
            self._served.addresses.pop(served.name, None)
            await served.stop(grace=0)
            CURRENT.reset(token)
            if not any(name not in CORE for name in self._served.addresses):
                await self.close()

    @contextmanager
    def account(
        self, id: str, *, scopes: Sequence[str] = (), type: str = "user", namespace: str = CORE_NAMESPACE
    ) -> Iterator[Account]:
        """Call as somebody."""
        who = Account(id, issuer=namespace, type=type, scopes=tuple(scopes))
        with self._made(who, ""):
            yield who

    def fail(self, operation: str, error: type[ServiceError] | ServiceError, *, times: int = 1) -> None:
        """Let the next calls of a building block fail: `micro.fail("store.write", Unavailable, times=2)`.

        The operation is the one that errors name: `store.get` is a `store.read`, and so is told. A test whose fault nobody
        met fails when it ends.
        """
        made = error if isinstance(error, ServiceError) else error(f"{operation}: made to fail")
        self._faults.due.setdefault(operation, []).extend([made] * times)
        self._faults.unmet.add(operation)

    def met(self) -> None:
        """Raise AssertionError when an operation that was made to fail was never called."""
        called = ", ".join(sorted(self._faults.called)) or "nothing"
        assert not self._faults.unmet, (
            f"made to fail and never called: {', '.join(sorted(self._faults.unmet))}; was: {called}"
        )

    async def published(self, topic: str, type_: Any = dict) -> list[Any]:
        """Give the payloads of a topic's events so far."""
        await self.open()
        return [event.payload for event in await self.events.read(topic, type_, limit=1000)]

    @property
    def store(self) -> Store:
        """The store as the service has it that was begun last."""
        return self._blocks.store

    @property
    def config(self) -> Config:
        """The configuration as that service has it."""
        return self._blocks.config

    @property
    def events(self) -> Events:
        """The events as that service has them."""
        return self._blocks.events

    @property
    def broker(self) -> Broker:
        """The broker as that service has it."""
        return self._blocks.broker

    @property
    def blobs(self) -> Blobs:
        """The blobs as that service has them."""
        return self._blocks.blobs

    @property
    def registry(self) -> Registry:
        """The registry as that service has it."""
        return self._blocks.registry

    # how it is made

    async def open(self) -> None:
        """Start the platform's own services; does nothing when they run."""
        if self._open:
            return
        self._open = True
        host = _Host(self._served, self.clock)
        for name in CORE:
            host.name = name
            core = await importlib.import_module(f"micro.{name}.service").build(host)
            await self._served.serve(name, core.handlers)
            self._cores.append(core)

    async def close(self) -> None:
        """End them; what they held is gone."""
        self._open = False
        await self._served.__aexit__()
        for core in self._cores:
            if core.close is not None:
                await core.close()
        self._cores.clear()

    def _made(self, account: Account, name: str) -> Process:
        around = Surroundings(name=name, version="latest", namespace=account.issuer, proxy="")
        caller = self._served.caller(account)
        return _Process(self._faults, around, caller=caller, transport=self._served.transport)


@asynccontextmanager
async def service(handler: object, name: str | None = None) -> AsyncIterator[Any]:
    """Serve a handler, or a Service, on a platform of its own: for tests that need nothing else of it."""
    async with MemoryPlatform().service(handler, name) as client:
        yield client


class _Faults:
    """What is to fail, and what of it has been met."""

    def __init__(self) -> None:
        self.due: dict[str, list[ServiceError]] = {}
        self.unmet: set[str] = set()
        self.called: set[str] = set()

    def next(self, operation: str) -> ServiceError | None:
        """Give what this call is to fail with, if it is to."""
        self.called.add(operation)
        self.unmet.discard(operation)
        due = self.due.get(operation)
        return due.pop(0) if due else None


class _Process(Process):
    """A process whose building blocks fail when a test says so."""

    def __init__(self, faults: _Faults, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._faults = faults

    def _part(self, primitive: str, **options: str) -> Any:
        part = super()._part(primitive, **options)
        part.__class__ = _failing(type(part), self._faults)
        return part


def _failing(portable: type[Any], faults: _Faults) -> type[Any]:
    class Failing(portable):  # type: ignore[misc]
        async def _call(self, operation: str, work: Awaitable[Any]) -> Any:
            fault = faults.next(f"{self.primitive}.{operation}")
            if fault is not None:
                getattr(work, "close", lambda: None)()  # a coroutine that nobody will await
                raise fault
            return await super()._call(operation, work)

        async def _iterate(self, operation: str, items: AsyncIterator[Any]) -> AsyncGenerator[Any, None]:
            fault = faults.next(f"{self.primitive}.{operation}")
            if fault is not None:
                await finish(items)
                raise fault
            async with aclosing(super()._iterate(operation, items)) as whole:
                async for item in whole:
                    yield item

    Failing.__name__ = portable.__name__
    return Failing


class _Host(Host):
    """What the platform's own services are given here: memory drivers."""

    def __init__(self, served: Served, clock: Clock) -> None:
        self.profile = "test"
        self.table: Mapping[str, Any] = {}
        self.data = Path()
        self.addresses = served.addresses
        self.transport = served.transport
        self.caller = served.caller(Account("store", issuer=CORE_NAMESPACE, type="service", scopes=("service",)))
        self.guard = served.guard
        self._clock = clock

    def driver(self, primitive: str, **parts: Any) -> tuple[Driver, str]:
        cls = getattr(importlib.import_module(f"micro.{primitive}.memory"), f"Memory{primitive.capitalize()}")
        clocked = primitive in {"events", "registry", "store"}
        return cls(**({"clock": self._clock} if clocked else {})), "memory"

    def store(self, table: str) -> Store:
        raise NotImplementedError  # no memory driver has its state in another's store

    def setting(self, primitive: str, key: str, default: Any) -> Any:
        said = {("config", "secret_key"): base64.b64encode(bytes(32)).decode(), ("blobs", "plugin"): "memory"}
        return said.get((primitive, key), default)


def _service_account(name: str) -> Account:
    return Account(name or "test", issuer=CORE_NAMESPACE, type="service", scopes=("service",))


def _dashed(name: str) -> str:
    return "".join(f"-{char.lower()}" if char.isupper() and index else char.lower() for index, char in enumerate(name))
