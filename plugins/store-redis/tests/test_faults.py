"""What RedisStore says and keeps when Redis is away, hangs, restarts, is full, or somebody else's."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from micro.errors import (
    AlreadyExists,
    DeadlineExceeded,
    Internal,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)
from micro.plugin.driver import Change, Reset, Synced
from micro.store.api import Store
from micro.store.driver import Event, Put, Table
from micro.testing.servers import Server, free_port, redis
from micro.testing.store import shown, synced, unique
from micro_store_redis import RedisSettings, RedisStore, layout


def url(server: Server) -> str:
    return f"redis://127.0.0.1:{server.port}/0"


def store(server: Server, **settings: Any) -> Store:
    return Store(RedisStore(RedisSettings(url=url(server), **settings)), plugin="redis", table=unique())


@pytest.fixture
async def shared(redis_server: Server) -> AsyncIterator[Store]:
    async with store(redis_server) as opened:
        yield opened


@pytest.fixture
async def admin(redis_server: Server) -> AsyncIterator[Redis]:
    async with Redis.from_url(url(redis_server), protocol=2) as client:
        yield client


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Server]:
    """Give a Redis of the test's own, to stop and to fill."""
    server = redis(tmp_path)
    server.start()
    yield server
    server.stop()


async def test_nobody_there_is_unavailable_at_once() -> None:
    nowhere = Store(RedisStore(RedisSettings(url=f"redis://127.0.0.1:{free_port()}/0")), plugin="redis")
    begun = time.monotonic()
    with pytest.raises(Unavailable, match=r"^store\.open \[redis\]: unavailable: "):
        await nowhere.open()
    assert time.monotonic() - begun < 1


async def test_one_that_hangs_is_a_deadline_and_not_asked_twice(own: Server) -> None:
    async with store(own, timeout=0.3) as opened:
        first = await opened.write("n", b"")
        own.pause()
        begun = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            await opened.write("n", b"")
        assert 0.25 < time.monotonic() - begun < 1
        own.resume()
        await asyncio.sleep(0.05)
        assert await opened.write("n", b"") <= first + 2  # it ran late once at most, and no retry ran it again


async def test_records_and_connections_survive_a_restart(own: Server) -> None:
    async with store(own) as opened:
        await asyncio.gather(*(opened.write(f"k{n}", str(n)) for n in range(32)))
        own.kill()
        with pytest.raises(Unavailable):
            await opened.read("k0")
        own.start()
        for n in range(32):
            assert (await opened.read(f"k{n}")).value == str(n).encode()
        assert await opened.write("k0", b"") == 33


async def test_closed_connections_cost_no_call(shared: Store, admin: Redis) -> None:
    await asyncio.gather(*(shared.write(f"k{n}", b"") for n in range(16)))
    await admin.client_kill_filter(_type="normal", skipme=True)
    await asyncio.sleep(0.05)
    await asyncio.gather(*(shared.write(f"k{n}", b"") for n in range(16)))


async def test_scripts_come_back_after_they_were_flushed(shared: Store, admin: Redis) -> None:
    await shared.write("a", b"1")
    await admin.script_flush()
    await shared.write("a", b"2")
    assert await shared.list() == ["a"]


async def changed(events: AsyncIterator[Event]) -> Event:
    """Take the next change; a watch that has resumed may say first that it is up to date."""
    return await anext(event async for event in events if isinstance(event, Change))


async def test_a_watch_goes_on_over_a_restart(own: Server) -> None:
    async with store(own, timeout=1) as opened:
        await opened.write("a", b"1")
        async with aclosing(opened.watch()) as events:
            assert [shown(change) for change in await synced(events)] == [("put", "a", b"1")]
            await opened.write("b", b"2")
            assert shown(await anext(events)) == ("put", "b", b"2")
            following = asyncio.ensure_future(changed(events))
            own.kill()
            await asyncio.sleep(0.1)
            own.start()
            await opened.write("c", b"3")
            assert shown(await asyncio.wait_for(following, 8)) == ("put", "c", b"3")


async def test_a_watch_goes_on_over_killed_connections(shared: Store, admin: Redis) -> None:
    async with aclosing(shared.watch()) as events:
        assert isinstance(await anext(events), Synced)
        seen: list[str] = []
        for n in range(30):
            while True:
                with suppress(Unavailable):  # a write on a connection that was cut just then
                    await shared.write(f"k{n:02}", b"")
                    break
            if n % 10 == 5:
                await admin.client_kill_filter(_type="normal", skipme=True)
        while len(set(seen)) < 30:
            event = await asyncio.wait_for(anext(events), 8)
            if isinstance(event, Change):
                seen.append(event.key)


async def test_who_resumes_from_before_the_stream_begins_anew(shared: Store, admin: Redis) -> None:
    first = await shared.write("a", b"1")
    for n in range(5):
        await shared.write("a", str(n))
    await admin.xtrim(f"{layout.base(shared.where)}:w", maxlen=2, approximate=False)
    async with aclosing(shared.watch(after=first)) as events:
        assert isinstance(await anext(events), Reset)
        assert [shown(change) for change in await synced(events)] == [("put", "a", b"4")]
    async with aclosing(shared.watch(after=first + 3)) as events:
        assert [shown(change) for change in await synced(events)] == [("put", "a", b"4")]


async def test_wrong_credentials_are_unauthenticated(tmp_path: Path) -> None:
    server = redis(tmp_path, "--requirepass", "right")
    server.start()
    try:
        async with store(server, password="right") as opened:
            await opened.write("a", b"")
        for wrong in ({}, {"password": "wrong"}):
            refused = store(server, **wrong)
            with pytest.raises(Unauthenticated) as caught:
                await refused.open()
            assert "wrong" not in str(caught.value).replace("WRONGPASS", "")
    finally:
        server.stop()


async def test_a_user_without_the_right_is_denied(redis_server: Server, admin: Redis) -> None:
    user = unique("reader")
    await admin.acl_setuser(user, enabled=True, passwords=["+pw"], keys=["*"], commands=["+ping", "+hmget", "+client"])
    where = f"redis://{user}:pw@127.0.0.1:{redis_server.port}/0"
    reader = Store(RedisStore(RedisSettings(url=where)), plugin="redis", table=unique())
    try:
        assert await reader.get("a", bytes, None) is None
        with pytest.raises(PermissionDenied):
            await reader.write("a", b"")
    finally:
        await reader.close()
        await admin.acl_deluser(user)


async def test_a_full_server_is_exhausted_and_keeps_what_it_has(tmp_path: Path) -> None:
    server = redis(tmp_path, "--maxmemory", "6mb", "--maxmemory-policy", "noeviction")
    server.start()
    try:
        async with store(server) as opened:
            written = 0
            with pytest.raises(ResourceExhausted):
                for n in range(100):
                    await opened.write(f"k{n:03}", bytes(200_000))
                    written += 1
            assert await opened.list() == [f"k{n:03}" for n in range(written)]
            await opened.delete("k000")
    finally:
        server.stop()


async def test_too_many_calls_at_once_are_exhausted_not_unavailable(own: Server) -> None:
    async with store(own, connections=2, timeout=0.5) as opened:
        await opened.write("a", b"")
        await asyncio.gather(*(opened.list() for _ in range(50)))  # they wait for one another
        own.pause()
        results = await asyncio.gather(*(opened.list() for _ in range(6)), return_exceptions=True)
        own.resume()
        kinds = {type(result) for result in results}
        assert kinds <= {DeadlineExceeded, ResourceExhausted}
        assert ResourceExhausted in kinds


async def test_cancelled_calls_leave_no_answers_to_others(redis_server: Server) -> None:
    async with store(redis_server, connections=1) as opened:
        for n in range(10):
            await opened.write(f"k{n}", str(n))
        for n in range(200):
            task = asyncio.create_task(opened.read(f"k{n % 10}"))
            await asyncio.sleep(0.0003 * (n % 4))
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            other = (n + 1) % 10
            assert (await opened.read(f"k{other}")).value == str(other).encode()


async def test_a_call_or_an_opening_that_is_cancelled_at_any_moment_ends_so(redis_server: Server) -> None:
    for turns in range(60):  # of the loop: the moments between connecting, sending and the answer
        driver = RedisStore(RedisSettings(url=url(redis_server)))
        for work in (driver.open, lambda driver=driver: driver.read(Table("micro", "t"), ["a"])):
            task = asyncio.ensure_future(work())
            for _ in range(turns):
                await asyncio.sleep(0)
            unfinished = task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            assert task.cancelled() == unfinished
        await driver.close()


async def test_foreign_data_under_our_keys_is_internal(shared: Store, admin: Redis) -> None:
    await admin.set(f"{layout.base(shared.where)}:r:a", "a string")
    with pytest.raises(Internal):
        await shared.write("a", b"")
    with pytest.raises(Internal):
        await shared.read("a")


async def test_calls_that_go_together_fail_each_for_itself(shared: Store, admin: Redis) -> None:
    await shared.write("taken", b"")
    await admin.set(f"{layout.base(shared.where)}:r:foreign", "a string")
    batch = [Put("in", b""), Put("taken", b"", if_version=0)]
    results = await asyncio.gather(
        shared.write("b", b""), shared.apply(batch), shared.write("foreign", b""), shared.write("b", b"again"),
        return_exceptions=True,
    )  # fmt: skip
    assert [type(result) for result in results] == [int, AlreadyExists, Internal, int]
    assert await shared.list() == ["b", "taken"]
    assert (await shared.read("b")).value == b"again"


async def test_of_fifty_creates_one_wins(shared: Store) -> None:
    results = await asyncio.gather(*(shared.write("a", b"", if_version=0) for _ in range(50)), return_exceptions=True)
    assert sum(isinstance(result, int) for result in results) == 1
    assert sum(isinstance(result, AlreadyExists) for result in results) == 49


async def test_what_is_durable_is_claimed_by_what_the_server_says(own: Server, tmp_path_factory: Any) -> None:
    async with store(own) as opened:
        assert "durable" in opened.capabilities
    careless = redis(tmp_path_factory.mktemp("careless"), "--appendfsync", "everysec")
    careless.start()
    try:
        async with store(careless) as opened:
            assert "durable" not in opened.capabilities
    finally:
        careless.stop()


async def test_expired_records_leave_nothing_behind(shared: Store, admin: Redis) -> None:
    await asyncio.gather(*(shared.write(f"k{n}", b"", ttl=0.05) for n in range(300)))
    await asyncio.sleep(0.1)
    assert await shared.list() == []
    await shared.write("last", b"")
    base = layout.base(shared.where)
    assert (await admin.zcard(f"{base}:i"), await admin.zcard(f"{base}:x")) == (1, 0)


async def test_a_suffix_that_few_have_is_found_among_many(shared: Store) -> None:
    for at in range(0, 6_000, 100):
        await shared.apply([Put(f"{n:05}", b"") for n in range(at, at + 100)])
    assert await shared.list(suffix="5999") == ["05999"]
    assert await shared.list(suffix="0000", order="desc") == ["00000"]


def test_no_two_tables_share_their_keys() -> None:
    names = ["a", "a/b", "a%2Fb", "a}", "{a", "a}b", "a%7Db", "a:r:b", "A", "é", ""]
    bases = {layout.base(Table(database, name)) for database in names for name in names}
    assert len(bases) == len(names) ** 2
    assert all(base.count("{") == base.count("}") == 1 for base in bases)
