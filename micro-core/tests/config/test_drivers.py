"""Each driver of the core is a configuration, bare, sealed and through the wire."""

from collections.abc import AsyncIterator

import pytest

from micro.config.api import Config
from micro.config.driver import ConfigDriver
from micro.config.memory import MemoryConfig
from micro.config.remote import RemoteConfig
from micro.config.sealed import Sealed
from micro.config.service import ConfigHandler
from micro.config.store import StoreConfig
from micro.store.api import Store
from micro.store.memory import MemoryStore
from micro.testing.config import ConfigSuite
from micro.testing.served import PLATFORM, Served


def stored() -> StoreConfig:
    return StoreConfig(store=Store(MemoryStore(), plugin="memory", table="config"))


class TestMemoryConfig(ConfigSuite):
    @pytest.fixture
    async def driver(self) -> AsyncIterator[ConfigDriver]:
        async with MemoryConfig() as driver:
            yield driver


class TestStoreConfig(ConfigSuite):
    @pytest.fixture
    async def driver(self) -> AsyncIterator[ConfigDriver]:
        async with stored() as driver:
            yield driver


class TestSealed(ConfigSuite):
    @pytest.fixture
    async def driver(self) -> AsyncIterator[ConfigDriver]:
        async with Sealed(stored(), bytes(32)) as driver:
            yield driver


class TestRemoteConfig(ConfigSuite):
    @pytest.fixture
    async def driver(self) -> AsyncIterator[ConfigDriver]:
        async with Config(Sealed(stored(), bytes(32)), plugin="store") as served, Served() as world:
            await world.serve("config", [("Config", ConfigHandler(served))])
            driver = RemoteConfig(caller=world.caller(PLATFORM))  # used without open, as the library does
            yield driver
            await driver.close()
