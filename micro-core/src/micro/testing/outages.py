"""What a store on a server keeps, and what its callers see, while that server is down, hangs or restarts; on the real server.

class TestRedisOutages(StoreOutageSuite):
    @pytest.fixture
    def server(self, own):  # a server of these tests' own, running
    @pytest.fixture
    def make(self, server):  # with a timeout of TIMEOUT, to connect as well
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, suppress
from typing import Any

import pytest

from micro.errors import DeadlineExceeded, Unavailable
from micro.plugin.driver import Change
from micro.store.api import Store
from micro.store.driver import Event
from micro.testing.lifecycle import Make
from micro.testing.servers.server import Server
from micro.testing.store import shown, synced, unique
from micro.testing.suite import Suite

OUTAGE = float(os.environ.get("MICRO_OUTAGE", "0.5"))  # seconds that a server is away
TIMEOUT = 0.5  # seconds that a driver under test waits for an answer
BACK = 5.0  # seconds after its return in which all must work again
MARGIN = 5.0  # seconds that a busy machine may add to a call's time
AWAY = (Unavailable, DeadlineExceeded)
Note = Callable[[str, object], None]


class StoreOutageSuite(Suite):
    """A store whose server goes and comes back. A subclass gives the fixtures `server` and `make`."""

    @pytest.fixture
    def server(self) -> Iterator[Server]:
        """Give a server of these tests' own, running; each test leaves it so."""
        raise NotImplementedError  # a subclass gives it, as its docstring says
        yield

    @pytest.fixture
    def make(self, server: Server) -> Make:
        """Give what makes a driver on it."""
        raise NotImplementedError  # a subclass gives it, too

    @pytest.fixture
    async def opened(self, make: Make) -> AsyncIterator[Store]:
        """Give the portable class over an open driver, at a table of the test's own."""
        driver: Any = make()
        async with Store(driver, plugin="suite", table=unique()) as store:
            yield store

    async def test_while_it_is_down_calls_are_unavailable_and_then_all_is_there(
        self, server: Server, opened: Store, record_property: Note
    ) -> None:
        await asyncio.gather(*(opened.write(f"k{n}", str(n)) for n in range(32)))
        server.kill()
        end = time.monotonic() + OUTAGE
        while time.monotonic() < end:
            for call in (opened.read("k0"), opened.write("k0", b"lost"), opened.list()):
                with pytest.raises(Unavailable):
                    await asyncio.wait_for(call, 2 * TIMEOUT + MARGIN)
            await asyncio.sleep(0.05)
        server.start()
        record_property("back", await back(opened))
        assert [(await opened.read(f"k{n}")).value for n in range(32)] == [str(n).encode() for n in range(32)]
        assert await opened.write("k0", b"") == 33

    async def test_while_it_hangs_calls_end_in_time_and_then_all_is_there(
        self, server: Server, opened: Store, record_property: Note
    ) -> None:
        first = await opened.write("n", b"1")
        server.pause()
        writes = 0
        try:
            end = time.monotonic() + OUTAGE
            while time.monotonic() < end:
                writes += 1
                for call in (opened.write("n", b"2"), opened.get("n", bytes, None), opened.list()):
                    with pytest.raises(AWAY):
                        await asyncio.wait_for(call, 2 * TIMEOUT + MARGIN)
        finally:
            server.resume()
        record_property("back", await back(opened, "n"))
        record = await opened.read("n")
        assert first <= record.version <= first + writes  # what was not answered may have happened, and once
        assert await opened.write("n", b"3") > record.version

    async def test_no_write_that_was_acknowledged_is_lost_when_it_restarts_under_load(
        self, server: Server, opened: Store, record_property: Note
    ) -> None:
        load = Load(opened)
        waits: list[float] = []
        async with asyncio.timeout(2 * OUTAGE + 4 * BACK + 60):
            for _ in range(2):
                await load.more(200)
                server.kill()
                await asyncio.sleep(OUTAGE)
                server.start()
                waits.append(await back(opened))
            await load.more(200)
            await load.stop()
        record_property("back", max(waits))
        record_property("failed", load.failed)
        found = {record.key: int(record.value) async for record in opened.scan()}
        assert {key: n for key, n in load.acknowledged.items() if found.get(key, -1) < n} == {}

    async def test_a_watch_goes_on_over_a_restart(self, server: Server, opened: Store) -> None:
        await opened.write("a", b"1")
        async with aclosing(opened.watch()) as events:
            assert [shown(change) for change in await synced(events)] == [("put", "a", b"1")]
            following = asyncio.ensure_future(_changed(events))
            server.kill()
            await asyncio.sleep(OUTAGE)
            server.start()
            await back(opened)
            await opened.write("c", b"3")
            assert shown(await asyncio.wait_for(following, 20)) == ("put", "c", b"3")


class Load:
    """Sixteen who write numbers that rise, each to keys of its own, and note what was acknowledged."""

    def __init__(self, store: Store) -> None:
        self.acknowledged: dict[str, int] = {}
        self.failed = 0
        self._count = self._goal = 0
        self._reached = asyncio.Event()
        self._store = store
        self._stopping = False
        self._tasks = [asyncio.create_task(self._write(worker)) for worker in range(16)]

    async def more(self, writes: int) -> None:
        """Wait until so many more were acknowledged."""
        self._goal = self._count + writes
        self._reached.clear()
        await self._reached.wait()

    async def stop(self) -> None:
        """End it; raises what nobody expected."""
        self._stopping = True
        await asyncio.gather(*self._tasks)

    async def _write(self, worker: int) -> None:
        n = 0
        while not self._stopping:
            n += 1  # one that failed may have happened: a later one settles it
            key = f"{worker}-{n % 50}"
            try:
                await self._store.write(key, str(n))
            except AWAY:
                self.failed += 1
                await asyncio.sleep(0.01)
                continue
            self.acknowledged[key] = n
            self._count += 1
            if self._count == self._goal:
                self._reached.set()


async def back(store: Store, key: str = "a") -> float:
    """Read until it answers, which must be in BACK; gives the seconds that this took."""
    begun = time.monotonic()
    while True:
        with suppress(*AWAY):
            await store.get(key, bytes, None)
            return time.monotonic() - begun
        assert time.monotonic() - begun < BACK, "it did not come back"
        await asyncio.sleep(0.02)


async def _changed(events: AsyncIterator[Event]) -> Event:
    """Take the next change; a watch that has resumed may say first that it is up to date."""
    return await anext(event async for event in events if isinstance(event, Change))
