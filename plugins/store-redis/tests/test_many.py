"""RedisStore on a primary that sentinels watch, and on a cluster: it is a store, and goes on when the primary dies."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import pytest

from micro.errors import ConfigError, DeadlineExceeded, Unavailable
from micro.plugin.driver import Change, Reset, Synced
from micro.store.api import Store
from micro.store.driver import Put
from micro.testing.servers import Server, free_port
from micro.testing.servers.redis_many import MASTER, ask, cluster, until, watched
from micro.testing.store import StoreSuite, unique
from micro_store_redis import RedisSettings, RedisStore

BACK = 15.0  # seconds until a replica is the primary, on a busy machine


def by_sentinels(sentinels: list[Server], **more: Any) -> RedisSettings:
    nodes = [f"127.0.0.1:{each.port}" for each in sentinels]
    return RedisSettings(mode="sentinel", nodes=nodes, master=MASTER, **more)


def of_cluster(nodes: list[Server], **more: Any) -> RedisSettings:
    first, *others = [f"127.0.0.1:{each.port}" for each in nodes]
    return RedisSettings(mode="cluster", url=f"redis://{first}", nodes=others, **more)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[list[Server], list[Server]]]:
    """Give a primary and its replica, and their sentinels."""
    with watched(tmp_path_factory.mktemp("watched")) as servers:
        yield servers


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    """Give the nodes of a cluster."""
    with cluster(tmp_path_factory.mktemp("cluster")) as servers:
        yield servers


class TestByCluster(StoreSuite):
    @pytest.fixture
    async def driver(self, nodes: list[Server]) -> AsyncIterator[RedisStore]:
        async with RedisStore(of_cluster(nodes)) as driver:
            yield driver


async def test_of_a_primary_that_sentinels_name_records_are_read_watched_and_listed(
    seen: tuple[list[Server], list[Server]],
) -> None:
    async with Store(RedisStore(by_sentinels(seen[1])), plugin="redis", table=unique()) as store:
        assert "durable" not in store.capabilities
        async with aclosing(store.watch()) as events:
            assert isinstance(await anext(events), Synced)
            assert await store.apply([Put("a", b"1"), Put("b", b"2")]) == [1, 2]
            assert [(await anext(events)).version, (await anext(events)).version] == [1, 2]
        assert await store.list() == ["a", "b"]
        assert [each and each.value for each in await store.read_many(["b", "c", "a"])] == [b"2", None, b"1"]


async def test_a_replica_goes_on_when_the_primary_of_sentinels_dies(seen: tuple[list[Server], list[Server]]) -> None:
    (primary, _), sentinels = seen
    await _failover(by_sentinels(sentinels, timeout=1.0, connect_timeout=1.0), primary)


async def test_a_replica_goes_on_when_a_primary_of_a_cluster_dies(nodes: list[Server]) -> None:
    await _failover(of_cluster(nodes, timeout=1.0, connect_timeout=1.0), nodes[0])


async def _failover(settings: RedisSettings, primary: Server) -> None:
    """Write to many tables, in all slots, and watch one, while a primary dies: all of them are written to again."""
    async with RedisStore(settings) as driver:
        stores = [Store(driver, plugin="redis", table=unique()) for _ in range(12)]
        for store in stores:
            await store.write("before", b"1")
        await asyncio.sleep(0.2)  # the replica has it
        async with aclosing(stores[0].watch()) as events:
            while not isinstance(await anext(events), Synced):
                pass
            following = asyncio.ensure_future(_put(events, "after"))
            primary.kill()
            end = time.monotonic() + BACK
            for store in stores:
                while not await _written(store):
                    assert time.monotonic() < end, "no replica took its place"
                    await asyncio.sleep(0.05)
            assert await asyncio.wait_for(following, BACK) == "after"
        for store in stores:
            assert [record.key async for record in store.scan()] == ["after", "before"]


async def test_who_watches_begins_anew_where_a_replica_took_over_that_lacked_writes(tmp_path: Path) -> None:
    with watched(tmp_path) as ((primary, replica), sentinels):
        settings = by_sentinels(sentinels, timeout=1.0, connect_timeout=1.0)
        async with Store(RedisStore(settings), plugin="redis", table=unique()) as store:
            await store.write("kept", b"")
            until(
                lambda: (
                    f"slave0:ip=127.0.0.1,port={replica.port},state=online" in ask(primary.port, "INFO", "replication")
                )
            )
            await asyncio.sleep(0.2)
            async with aclosing(store.watch()) as events:
                while not isinstance(await anext(events), Synced):
                    pass
                replica.pause()
                await store.write("lost", b"")  # acknowledged, and version 2
                assert await _put(events, "lost") == "lost"
                primary.kill()
                replica.resume()
                end = time.monotonic() + BACK
                while not await _written(store):  # version 2, once more
                    assert time.monotonic() < end, "the replica did not take its place"
                    await asyncio.sleep(0.05)
                known = {"kept", "lost"}
                async with asyncio.timeout(BACK):
                    while known != {"kept", "after"}:
                        event = await anext(events)
                        if isinstance(event, Reset):
                            known.clear()
                        elif isinstance(event, Change):
                            known.add(event.key)


async def _put(events: Any, key: str) -> str:
    return await anext(event.key async for event in events if isinstance(event, Change) and event.key == key)


async def _written(store: Store) -> bool:
    begun = time.monotonic()
    with suppress(Unavailable, DeadlineExceeded):
        await store.write("after", b"2")
        return True
    assert time.monotonic() - begun < 10  # it ends in its time
    return False


async def test_nobody_there_is_unavailable() -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    for settings in (
        RedisSettings(mode="sentinel", nodes=[nowhere]),
        RedisSettings(mode="cluster", url=f"redis://{nowhere}"),
    ):
        begun = time.monotonic()
        with pytest.raises(Unavailable):
            await Store(RedisStore(settings), plugin="redis").open()
        assert time.monotonic() - begun < 5


def test_what_cannot_be_meant_is_a_mistake_of_the_profile() -> None:
    for wrong in (
        {"mode": "sentinel"},
        {"mode": "sentinel", "nodes": ["a:b"]},
        {"mode": "cluster", "url": "redis://a:1/3"},
    ):
        with pytest.raises(ConfigError):
            RedisStore(RedisSettings(**wrong))
