"""The module-level functions are the process's configuration, in its namespace."""

from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from micro import config
from micro.config.memory import MemoryConfig
from micro.config.sealed import Sealed
from micro.config.service import ConfigHandler
from micro.service.process import Process
from micro.service.surroundings import Surroundings
from micro.testing.served import PLATFORM, Served


@pytest.fixture
async def behind() -> AsyncIterator[config.Config]:
    async with config.Config(Sealed(MemoryConfig(), bytes(32)), plugin="memory") as served, Served() as world:
        await world.serve("config", [("Config", ConfigHandler(served))])
        with Process(Surroundings(name="greeter", namespace="mine"), caller=world.caller(PLATFORM)):
            yield served.at("mine")


async def test_a_service_reads_what_was_set(behind: config.Config) -> None:
    assert await config.get("greeter.words", list[str], ["hello"]) == ["hello"]
    first = await config.set("greeter.words", ["hi"])
    assert await config.get("greeter.words", list[str]) == ["hi"]
    assert await behind.get() == {"greeter": {"words": ["hi"]}}
    await config.set("greeter.key", "s3cret", secret=True)
    assert await config.get("greeter.key", str) == "[secret]"
    assert await config.get("greeter.key", str, secret=True) == "s3cret"
    await config.set("greeter.words", ["hey"], if_version=first)
    assert [entry.value for entry in await config.history("greeter.words")] == [["hey"], ["hi"]]
    await config.rollback("greeter.words", first)
    async with aclosing(config.watch("greeter.words", list[str])) as words:
        assert await anext(words) == ["hi"]
        await config.delete("greeter.words")
        assert await anext(words) is None


def test_the_names_offered_are_there() -> None:
    for name in config.__all__:
        assert getattr(config, name) is not None
