"""The life of every driver over the wire, and what each makes of a service that is away, silent, cut off and back."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from micro.auth.administration import AccountsHandler, RulesHandler
from micro.auth.api import Auth
from micro.auth.remote import RemoteAuth
from micro.auth.service import AuthHandler
from micro.auth.store import StoreAuth
from micro.auth.tokens import SigningKey, generate_key
from micro.blobs.api import Blobs
from micro.blobs.memory import MemoryBlobs
from micro.blobs.remote import RemoteBlobs
from micro.blobs.service import BlobHandler
from micro.broker.memory import MemoryBroker
from micro.broker.remote import RemoteBroker
from micro.broker.service import BrokerHandler
from micro.broker.service import _Served as ServedBroker
from micro.config.api import Config
from micro.config.memory import MemoryConfig
from micro.config.remote import RemoteConfig
from micro.config.service import ConfigHandler
from micro.events.memory import MemoryEvents
from micro.events.remote import RemoteEvents
from micro.events.service import HistoryHandler, StreamHandler
from micro.events.service import _Served as ServedEvents
from micro.network.api import Network
from micro.network.local import LocalNetwork
from micro.network.remote import RemoteNetwork
from micro.network.service import NetworkHandler
from micro.plugin.driver import Driver
from micro.plugin.portable import Portable
from micro.registry.announce import Announcer
from micro.registry.api import Registry
from micro.registry.driver import ALL
from micro.registry.memory import MemoryRegistry
from micro.registry.remote import RemoteRegistry
from micro.registry.service import RegistryHandler
from micro.rpc import client
from micro.rpc.nghttp2 import Nghttp2Transport
from micro.runtime.api import Runtime
from micro.runtime.process import ProcessRuntime
from micro.runtime.remote import RemoteRuntime
from micro.runtime.service import RuntimeHandler, SourceHandler
from micro.service.core import Core
from micro.store.api import Store
from micro.store.memory import MemoryStore
from micro.store.remote import RemoteStore
from micro.store.service import StoreHandler
from micro.testing.backend import BackendSuite, WatchedBackendSuite
from micro.testing.door import Door
from micro.testing.lifecycle import Make
from micro.testing.served import PLATFORM, Served, core

Handlers = list[tuple[str, object]]
TIMEOUT = 0.7  # seconds of a call here


class World(Served):
    """One service behind a door, and callers that go through it."""

    def __init__(self) -> None:
        super().__init__(Nghttp2Transport())
        self.open = AsyncExitStack()

    async def begin(self, name: str, behind: Portable[Any], *handlers: tuple[str, object]) -> str:
        await self.open.enter_async_context(behind)
        own = name == behind.primitive
        about = Core(
            capabilities=lambda: behind.driver.capabilities if own else frozenset(),
            others={} if own else {"BlobStore": behind},
        )
        await self.serve(name, handlers, core=about)
        return self.addresses[name]

    async def __aexit__(self, *exc: object) -> None:
        await super().__aexit__(*exc)
        await self.open.aclose()


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return generate_key()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as world:
        yield world


class Remote:
    """A driver over the wire. A subclass serves what is behind it."""

    patience = TIMEOUT + 1.5  # a caller of an idempotent endpoint asks again
    waits_by_another = True  # its caller
    service = ""
    remote: Callable[..., Driver]

    @pytest.fixture
    def make(self, world: World, door: Door, monkeypatch: pytest.MonkeyPatch) -> Make:
        monkeypatch.setattr(client, "TIMEOUT", TIMEOUT)
        world.addresses[self.service] = door.address
        caller = world.caller(core("runtime") if self.service == "auth" else PLATFORM)
        return lambda: type(self).remote(caller=caller)


class TestRemoteStore(Remote, WatchedBackendSuite):
    service = "store"
    remote = RemoteStore

    @pytest.fixture
    async def target(self, world: World) -> str:
        store = Store(MemoryStore(), plugin="memory")
        return await world.begin("store", store, ("Store", StoreHandler(store)))


class TestRemoteBlobs(Remote, BackendSuite):
    service = "store"
    remote = RemoteBlobs

    @pytest.fixture
    async def target(self, world: World) -> str:
        blobs = Blobs(MemoryBlobs(), plugin="memory")
        return await world.begin("store", blobs, ("BlobStore", BlobHandler(blobs)))


class TestRemoteBroker(Remote, BackendSuite):
    service = "broker"
    remote = RemoteBroker

    @pytest.fixture
    async def target(self, world: World) -> str:
        broker = ServedBroker(MemoryBroker(), plugin="memory")
        return await world.begin("broker", broker, ("Broker", BrokerHandler(broker)))


class TestRemoteEvents(Remote, BackendSuite):
    service = "events"
    remote = RemoteEvents

    @pytest.fixture
    async def target(self, world: World) -> str:
        events = ServedEvents(MemoryEvents(), plugin="memory")
        handlers: Handlers = [("Stream", StreamHandler(events)), ("Store", HistoryHandler(events))]
        return await world.begin("events", events, *handlers)


class TestRemoteConfig(Remote, WatchedBackendSuite):
    service = "config"
    remote = RemoteConfig

    @pytest.fixture
    async def target(self, world: World) -> str:
        config = Config(MemoryConfig(), plugin="memory")
        await config.set("known", 1)
        return await world.begin("config", config, ("Config", ConfigHandler(config)))


class TestRemoteAuth(Remote, WatchedBackendSuite):
    service = "auth"
    remote = RemoteAuth

    @pytest.fixture
    async def target(self, world: World, key: SigningKey) -> str:
        driver = StoreAuth(store=Store(MemoryStore(), table="auth"))
        driver._keyring._keys = [key]  # making one takes tenths of a second
        auth = Auth(driver, plugin="store")
        handlers: Handlers = [
            ("Auth", AuthHandler(auth)),
            ("Accounts", AccountsHandler(auth)),
            ("Rules", RulesHandler(auth)),
        ]
        return await world.begin("auth", auth, *handlers)


class TestRemoteRegistry(Remote, WatchedBackendSuite):
    service = "registry"
    remote = RemoteRegistry

    @pytest.fixture
    async def target(self, world: World) -> str:
        registry = Registry(MemoryRegistry(), plugin="memory", domain=ALL)
        announcer = Announcer(world.caller(core("registry")), world.addresses)
        world.open.push_async_callback(announcer.close)
        return await world.begin("registry", registry, ("Registry", RegistryHandler(registry, announcer)))


class TestRemoteNetwork(Remote, WatchedBackendSuite):
    service = "network"
    remote = RemoteNetwork

    @pytest.fixture
    async def target(self, world: World) -> str:
        registry = await world.open.enter_async_context(Registry(MemoryRegistry(), domain=ALL))
        network = Network(LocalNetwork(registry=registry), plugin="local", network="")
        return await world.begin("network", network, ("Network", NetworkHandler(network, world.addresses, "")))


class TestRemoteRuntime(Remote, BackendSuite):
    service = "runtime"
    remote = RemoteRuntime

    @pytest.fixture
    async def target(self, world: World, tmp_path: Path) -> str:
        caller = world.caller(core("runtime"))
        runtime = Runtime(ProcessRuntime(store=Store(MemoryStore(), table="runtime"), data=tmp_path, caller=caller))
        handlers: Handlers = [("Runtime", RuntimeHandler(runtime)), ("Source", SourceHandler(runtime))]
        return await world.begin("runtime", runtime, *handlers)
