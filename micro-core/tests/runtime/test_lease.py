"""The right to run what is wanted: one holder at a time, who withdraws before another may take over."""

import asyncio

import pytest

from micro.errors import Unavailable
from micro.runtime import lease as leases
from micro.runtime.lease import Lease
from micro.store.api import Store
from micro.store.memory import MemoryStore


class Server:
    """What would run services."""

    def __init__(self, store, folder, name, journal):
        folder.mkdir(exist_ok=True)
        self.name = name
        self.journal = journal
        self.lease = Lease(store, folder, lambda: f"{name}:8081")

    async def lead(self):
        self.journal.append(f"{self.name} leads")

    async def withdraw(self):
        self.journal.append(f"{self.name} withdraws")


class Flaky(MemoryStore):
    """A store that can be away."""

    away = False

    async def read(self, table, keys):
        if self.away:
            raise Unavailable("away")
        return await super().read(table, keys)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """The same in a tenth of the time."""
    for name, seconds in (("HELD", 0.6), ("RENEW", 0.1), ("LOOK", 0.05), ("MARGIN", 0.2)):
        monkeypatch.setattr(leases, name, seconds)


@pytest.fixture
async def driver():
    async with Flaky() as driver:
        yield driver


@pytest.fixture
def store(driver):
    return Store(driver, database="micro", table="runtime")


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def test_one_leads_and_the_next_takes_over_when_it_lets_go(store, tmp_path):
    journal = []
    one, two = (Server(store, tmp_path / name, name, journal) for name in "ab")
    await one.lease.start(one)
    await two.lease.start(two)
    assert journal == ["a leads"]
    assert (two.lease.leads, two.lease.other) == (False, "a:8081")
    await asyncio.sleep(0.9)  # longer than the lease: it is renewed
    assert journal == ["a leads"]
    await one.lease.stop(release=True)
    await until(lambda: journal == ["a leads", "b leads"])
    await two.lease.stop()


async def test_who_dies_is_followed_when_its_lease_is_over(store, tmp_path):
    journal = []
    one, two = (Server(store, tmp_path / name, name, journal) for name in "ab")
    await one.lease.start(one)
    await two.lease.start(two)
    await one.lease.stop()  # it renews no more, and says nothing
    await until(lambda: journal == ["a leads", "b leads"])
    await two.lease.stop()


async def test_a_server_that_comes_back_at_once_has_its_right_still(store, tmp_path):
    journal = []
    first = Server(store, tmp_path / "a", "a", journal)
    await first.lease.start(first)
    await first.lease.stop()
    again = Server(store, tmp_path / "a", "a again", journal)
    await again.lease.start(again)
    assert journal == ["a leads", "a again leads"]
    await again.lease.stop()


async def test_who_cannot_renew_withdraws_before_another_may_lead(driver, store, tmp_path):
    journal = []
    one = Server(store, tmp_path / "a", "a", journal)
    await one.lease.start(one)
    driver.away = True
    lost = asyncio.get_running_loop().time()
    await until(lambda: "a withdraws" in journal)
    assert asyncio.get_running_loop().time() - lost < leases.HELD + 0.2
    driver.away = False
    await until(lambda: journal == ["a leads", "a withdraws", "a leads"])
    await one.lease.stop()


async def test_whoever_asks_hears_of_each_change(driver, store, tmp_path):
    heard = []
    one = Server(store, tmp_path / "a", "a", [])
    one.lease.hear(heard.append)
    await one.lease.start(one)
    driver.away = True
    await until(lambda: heard == [False, True, False])
    await one.lease.stop()


async def test_a_start_that_fails_is_taken_back_and_tried_again(store, tmp_path):
    journal = []

    class Failing(Server):
        async def lead(self):
            await super().lead()
            if len(journal) == 1:
                raise Unavailable("the registry is away")

    one = Failing(store, tmp_path / "a", "a", journal)
    with pytest.raises(Unavailable):
        await one.lease.start(one)
    assert journal == ["a leads", "a withdraws"]
    await one.lease.start(one)
    assert journal[2:] == ["a leads"]
    await one.lease.stop()


async def test_of_many_that_start_at_once_one_leads(store, tmp_path):
    journal = []
    servers = [Server(store, tmp_path / str(n), str(n), journal) for n in range(10)]
    await asyncio.gather(*(server.lease.start(server) for server in servers))
    assert len(journal) == 1
    for server in servers:
        await server.lease.stop()
