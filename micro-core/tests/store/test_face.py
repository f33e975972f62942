"""The module-level functions are the process's store, at the table named like the service."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import pytest

from micro import store
from micro.blocking import store as blocking
from micro.errors import FailedPrecondition, NotFound
from micro.service.process import Process
from micro.service.surroundings import Surroundings
from micro.store.memory import MemoryStore
from micro.store.service import StoreHandler
from micro.testing.served import Served
from micro.testing.store import shown


@dataclass
class Greeting:
    id: str
    times: int = 0


@pytest.fixture
async def behind() -> AsyncIterator[store.Store]:
    from micro.testing.served import PLATFORM

    async with store.Store(MemoryStore(), plugin="memory") as memory, Served() as world:
        await world.serve("store", [("Store", StoreHandler(memory))])
        with Process(Surroundings(name="greeter", namespace="mine"), caller=world.caller(PLATFORM)):
            yield memory.table("greeter", database="mine")


async def test_a_service_writes_and_reads(behind: store.Store) -> None:
    version = await store.write("ann", Greeting("ann", 1), ttl=60, metadata={"n": 1}, if_version=0)
    record = await store.read("ann")
    assert (record.version, record.metadata, record.decode(Greeting)) == (version, {"n": 1}, Greeting("ann", 1))
    assert (await behind.read("ann")).value == record.value
    assert await store.get("ann", Greeting) == Greeting("ann", 1)
    assert await store.get("bob", Greeting, None) is None
    assert await store.update("n", lambda n: (n or 0) + 1, int) == 1
    assert await store.list() == ["ann", "n"]
    assert [record.key async for record in store.scan("a")] == ["ann"]
    await store.delete("ann")
    with pytest.raises(NotFound):
        await store.read("ann")


async def test_batches_tables_and_collections(behind: store.Store) -> None:
    async with store.batch() as batch:
        batch.write("a", "1")
        batch.write("b", "2")
    assert await behind.list() == ["a", "b"]
    await store.table("shared").write("c", "3")
    assert await behind.table("shared").list() == ["c"]
    greetings = store.collection(Greeting, indexes=["times"])
    await greetings.save(Greeting("ann", 2))
    assert await greetings.find(times=2) == [Greeting("ann", 2)]


async def test_watching(behind: store.Store) -> None:
    await store.write("a", "1")
    async with aclosing(store.watch("a")) as events:
        assert shown(await anext(events)) == ("put", "a", b"1")


async def test_a_table_goes_into_a_file_and_another_comes_out(behind: store.Store, tmp_path: Path) -> None:
    await behind.write("a", "1")
    taken = await store.snapshot(str(tmp_path / "file"))
    assert (taken.database, taken.table, taken.records, taken.version) == ("mine", "greeter", 1, 1)
    with pytest.raises(FailedPrecondition):
        await store.restore(tmp_path / "file")
    assert await store.restore(tmp_path / "file", replace=True) == taken
    assert await asyncio.to_thread(blocking.snapshot, tmp_path / "again", prefix="b") != taken


def test_the_names_offered_are_there() -> None:
    for name in store.__all__:
        assert getattr(store, name) is not None
    with pytest.raises(AttributeError):
        _ = store.nothing
