"""MemoryRegistry is a registry, on a clock of the test's, with a journal and without."""

import asyncio
import json
import stat
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from micro.errors import ConfigError
from micro.plugin.driver import Reset
from micro.registry.api import Registry
from micro.registry.driver import Endpoint, Node, RegistryDriver, ServiceRecord, Value
from micro.registry.memory import MemoryRegistry, MemorySettings
from micro.testing.registry import RegistrySuite, node_ids, record


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1_000_000_000.0

    def __call__(self) -> float:
        return self.now


class TestMemoryRegistry(RegistrySuite):
    @pytest.fixture
    async def driver(self) -> AsyncIterator[MemoryRegistry]:
        async with MemoryRegistry(clock=Clock()) as driver:
            yield driver

    async def pass_time(self, driver: RegistryDriver, seconds: float) -> None:
        assert isinstance(driver, MemoryRegistry)
        driver.clock.now += seconds


class TestJournalledRegistry(TestMemoryRegistry):
    @pytest.fixture
    async def driver(self, tmp_path: Path) -> AsyncIterator[MemoryRegistry]:
        async with MemoryRegistry(data=tmp_path, clock=Clock()) as driver:
            yield driver


class TestReopening:
    """What a registry knows after it was away."""

    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    async def test_registrations_come_back_whole(self, tmp_path: Path, clock: Clock) -> None:
        service = ServiceRecord(
            "greeter",
            "v1",
            {"schema": "x"},
            (Endpoint("A.B", Value("R", "R", [Value("n", "int64")]), None, {"stream": "true"}),),
            [Node("n1", "127.0.0.1:1", {"protocol": "grpc"}), Node("n2", "127.0.0.1:2")],
        )
        async with MemoryRegistry(data=tmp_path, clock=clock) as driver:
            await Registry(driver, domain="shop", owner="a").register(service)
            await Registry(driver, owner="a").register(record(node="gone"))
            await Registry(driver, owner="a").deregister(record(node="gone"))
            before = await driver.list("*")
        async with MemoryRegistry(data=tmp_path, clock=clock) as driver:
            assert await driver.list("*") == before
            assert node_ids(before) == ["n1", "n2"]

    async def test_they_come_back_with_a_full_lease_however_long_it_was_away(
        self, tmp_path: Path, clock: Clock
    ) -> None:
        async with MemoryRegistry(data=tmp_path, clock=clock) as driver:
            await Registry(driver, owner="a").register(record(), ttl=15)
        clock.now += 3600
        async with MemoryRegistry(data=tmp_path, clock=clock) as driver:
            registry = Registry(driver, owner="a")
            clock.now += 14
            assert node_ids(await registry.services()) == ["n1"]
            assert await registry.renew(["n1"], ttl=15) == []
            clock.now += 16
            assert await registry.services() == []

    async def test_they_come_back_as_their_owners(self, tmp_path: Path, clock: Clock) -> None:
        async with MemoryRegistry(data=tmp_path, clock=clock) as driver:
            await Registry(driver, owner="a").register(record())
        async with MemoryRegistry(data=tmp_path, clock=clock) as driver:
            assert await Registry(driver, owner="b").renew(["n1"]) == ["n1"]
            assert await Registry(driver, owner="a").renew(["n1"]) == []

    @pytest.mark.parametrize("journal", [True, False])
    async def test_a_watch_does_not_resume_over_a_restart(self, tmp_path: Path, clock: Clock, journal: bool) -> None:
        settings = MemorySettings(journal=journal)
        async with MemoryRegistry(settings, data=tmp_path, clock=clock) as driver:
            last = await Registry(driver, owner="a").register(record())
        clock.now += 0.001 if not journal else -3600  # a clock set back does not make revisions fall
        async with MemoryRegistry(settings, data=tmp_path, clock=clock) as driver:
            registry = Registry(driver, owner="a")
            assert await registry.register(record(node="n2")) > last
            async with aclosing(registry.watch(after=last)) as events:
                assert isinstance(await anext(events), Reset)

    async def test_without_a_journal_nothing_is_written(self, tmp_path: Path, clock: Clock) -> None:
        async with MemoryRegistry(MemorySettings(journal=False), data=tmp_path, clock=clock) as driver:
            await Registry(driver, owner="a").register(record())
            assert "durable" not in driver.capabilities
        assert list(tmp_path.iterdir()) == []


class TestJournal:
    """The file itself."""

    async def _filled(self, data: Path, count: int = 3) -> Path:
        async with MemoryRegistry(data=data) as driver:
            for n in range(count):
                await Registry(driver, owner="a").register(record(node=f"n{n}"))
        return data / "registry.db"

    async def _nodes(self, data: Path) -> list[str]:
        async with MemoryRegistry(data=data) as driver:
            return node_ids(await driver.list("*"))

    async def test_it_is_nobody_elses_to_read(self, tmp_path: Path) -> None:
        path = await self._filled(tmp_path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    async def test_a_last_line_torn_anywhere_is_dropped(self, tmp_path: Path) -> None:
        path = await self._filled(tmp_path)
        whole = path.read_bytes()
        last = whole.rindex(b"\n", 0, -1) + 1
        for cut in range(last, len(whole), 7):
            path.write_bytes(whole[:cut])
            assert await self._nodes(tmp_path) == ["n0", "n1"]
        path.write_bytes(whole)
        assert await self._nodes(tmp_path) == ["n0", "n1", "n2"]

    async def test_what_follows_a_torn_line_is_not_lost(self, tmp_path: Path) -> None:
        path = await self._filled(tmp_path)
        path.write_bytes(path.read_bytes()[:-5])
        async with MemoryRegistry(data=tmp_path) as driver:
            await Registry(driver, owner="a").register(record(node="n9"))
        assert await self._nodes(tmp_path) == ["n0", "n1", "n9"]

    async def test_a_damaged_line_costs_itself_alone(self, tmp_path: Path) -> None:
        path = await self._filled(tmp_path)
        lines = path.read_bytes().split(b"\n")
        lines[2] = b"\0" * len(lines[2])
        path.write_bytes(b"\n".join(lines))
        assert await self._nodes(tmp_path) == ["n0", "n2"]

    @pytest.mark.parametrize("content", [b"", b"torn"])
    async def test_a_file_torn_in_its_first_line_is_an_empty_one(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "registry.db").write_bytes(content)
        assert await self._nodes(tmp_path) == []

    async def test_a_newer_file_is_refused_with_both_numbers(self, tmp_path: Path) -> None:
        path = await self._filled(tmp_path)
        header = json.loads(path.read_bytes().split(b"\n")[0])
        path.write_bytes(json.dumps(header | {"schema": 7}).encode() + b"\n")
        with pytest.raises(ConfigError, match=r"schema 7 .* reads 1"):
            await self._nodes(tmp_path)

    async def test_another_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "registry.db").write_bytes(b"SQLite format 3\0\nand so on\n")
        with pytest.raises(ConfigError, match="not a registry's journal"):
            await self._nodes(tmp_path)

    async def test_it_does_not_grow_with_what_is_gone(self, tmp_path: Path) -> None:
        async with MemoryRegistry(data=tmp_path) as driver:
            registry = Registry(driver, owner="a")
            await registry.register(record(node="stays"))
            big = ServiceRecord("big", metadata={"k": "v" * 50_000}, nodes=[Node("comes", "127.0.0.1:1")])
            for _ in range(50):
                await registry.register(big)
                await registry.deregister(big)
            assert (tmp_path / "registry.db").stat().st_size < 500_000
        assert await self._nodes(tmp_path) == ["stays"]

    async def test_a_file_that_cannot_be_written_costs_the_memory_alone(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "registry.new").mkdir()
        async with MemoryRegistry(data=tmp_path) as driver:
            await Registry(driver, owner="a").register(record())
            assert node_ids(await driver.list("*")) == ["n1"]
        assert "kept in memory only" in caplog.text


async def test_a_sweep_finds_what_nobody_asks_for() -> None:
    async with MemoryRegistry() as driver:
        registry = Registry(driver, owner="a")
        async with aclosing(registry.watch()) as events:
            await anext(events)
            await registry.register(record(), ttl=0.2)
            await anext(events)
            change = await asyncio.wait_for(anext(events), 2)
            assert change.kind == "expire"


async def test_what_changes_much_and_large_does_not_fill_the_memory() -> None:
    async with MemoryRegistry(clock=Clock()) as driver:
        registry = Registry(driver, owner="a")
        first = await registry.register(record(node="n"))
        for n in range(200):
            metadata = {"k": f"{n}".ljust(200_000)}
            await registry.register(ServiceRecord("big", metadata=metadata, nodes=[Node("b", "127.0.0.1:1")]))
        assert len(driver._feed._past) < 100
        async with aclosing(registry.watch(after=first)) as events:
            assert isinstance(await anext(events), Reset)
