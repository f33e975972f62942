"""What PostgresStore says and keeps when PostgreSQL is away, hangs, restarts, is guarded, or somebody else's."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from typing import Any

import asyncpg
import pytest

from micro.errors import (
    AlreadyExists,
    ConfigError,
    DeadlineExceeded,
    FailedPrecondition,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)
from micro.plugin.driver import Change, Reset, Synced
from micro.store.api import Store
from micro.store.driver import Put
from micro.testing.outages import back
from micro.testing.servers import free_port
from micro.testing.servers.postgres import USER, Postgres
from micro.testing.store import shown, synced, unique
from micro_store_postgres import PostgresSettings, PostgresStore, schema


def store(server: Postgres, **settings: Any) -> Store:
    driver = PostgresStore(PostgresSettings(**{"url": server.url, "timeout": 1.0} | settings))
    return Store(driver, plugin="postgres", table=unique())


@pytest.fixture
async def shared(postgres_server: Postgres) -> AsyncIterator[Store]:
    async with store(postgres_server, timeout=5.0) as opened:
        yield opened


@pytest.fixture
async def admin(postgres_server: Postgres) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(postgres_server.url)
    yield connection
    await connection.close()


# away


async def test_nobody_there_is_unavailable_at_once_and_named() -> None:
    port = free_port()
    nowhere = Store(PostgresStore(PostgresSettings(url=f"postgresql://a@127.0.0.1:{port}/a")), plugin="postgres")
    refused = rf"^store\.open \[postgres\]: unavailable: connection to 127\.0\.0\.1:{port} refused$"
    with pytest.raises(Unavailable, match=refused):
        await nowhere.open()


async def test_connections_that_it_closed_cost_no_call(shared: Store, admin: asyncpg.Connection) -> None:
    await asyncio.gather(*(shared.list() for n in range(8)))
    await _end_sessions(admin)
    await asyncio.sleep(0.2)
    await asyncio.gather(*(shared.list() for n in range(8)))


async def test_a_watch_sees_each_key_over_ended_sessions(shared: Store, admin: asyncpg.Connection) -> None:
    async with aclosing(shared.watch()) as events:
        assert isinstance(await anext(events), Synced)
        for n in range(30):
            while True:
                with suppress(Unavailable):  # a write on a connection that was cut just then
                    await shared.write(f"k{n:02}", b"")
                    break
            if n % 10 == 5:
                await _end_sessions(admin)
        seen: set[str] = set()
        async with asyncio.timeout(30):
            while len(seen) < 30:
                event = await anext(events)
                if isinstance(event, Change):
                    seen.add(event.key)


async def _end_sessions(admin: asyncpg.Connection) -> None:
    await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'micro'")


# many


async def test_a_watch_misses_nothing_that_several_servers_write(postgres_server: Postgres) -> None:
    table = unique()
    drivers = [PostgresStore(PostgresSettings(url=postgres_server.url)) for _ in range(3)]
    for driver in drivers:
        await driver.open()
    stores = [Store(driver, plugin="postgres", table=table) for driver in drivers]
    try:
        async with aclosing(stores[0].watch()) as events:
            assert isinstance(await anext(events), Synced)
            writing = [
                asyncio.create_task(each.write(f"{number}-{n}", b""))
                for number, each in enumerate(stores)
                for n in range(100)
            ]
            found: list[int] = []
            async with asyncio.timeout(30):
                while len(found) < 300:
                    event = await anext(events)
                    if isinstance(event, Change):
                        found.append(event.version)
            assert found == sorted(await asyncio.gather(*writing)) == list(range(1, 301))
    finally:
        for driver in drivers:
            await driver.close()


async def test_a_change_that_is_committed_late_is_not_passed_over(
    shared: Store, admin: asyncpg.Connection, postgres_server: Postgres
) -> None:
    driver = shared.driver
    assert isinstance(driver, PostgresStore)
    await shared.write("first", b"")
    async with aclosing(shared.watch()) as events, store(postgres_server, timeout=10.0) as opened:
        await synced(events)
        other = opened.table(shared.where.name)
        late = admin.transaction()
        await late.start()
        columns = [[0], ["late"], [b"1"], [None], [None], [""]]
        assert await admin.fetchval(driver.sql(schema.APPLY), *shared.where, *columns) == [2]
        after = asyncio.ensure_future(other.write("after", b"2"))
        await asyncio.sleep(0.1)
        assert not after.done()  # it takes its version when the other's is committed
        await late.commit()
        assert await after == 3
        assert [shown(await anext(events)), shown(await anext(events))] == [
            ("put", "late", b"1"),
            ("put", "after", b"2"),
        ]


async def test_of_fifty_creates_by_two_servers_one_wins(postgres_server: Postgres, shared: Store) -> None:
    async with store(postgres_server, timeout=5.0) as opened:
        other = opened.table(shared.where.name)
        creating = [each.write("a", b"", if_version=0) for each in (shared, other) for _ in range(25)]
        results = await asyncio.gather(*creating, return_exceptions=True)
    assert sum(isinstance(result, int) for result in results) == 1
    assert sum(isinstance(result, AlreadyExists) for result in results) == 49


async def test_calls_that_go_together_fail_each_for_itself(shared: Store) -> None:
    await shared.write("taken", b"")
    batch = [Put("in", b""), Put("taken", b"", if_version=0)]
    results = await asyncio.gather(
        shared.write("b", b""), shared.apply(batch), shared.write("c", b""), shared.write("b", b"again"),
        return_exceptions=True,
    )  # fmt: skip
    assert [type(result) for result in results] == [int, AlreadyExists, int, int]
    assert await shared.list() == ["b", "c", "taken"]
    assert (await shared.read("b")).value == b"again"


async def test_too_many_statements_at_once_are_exhausted_not_unavailable(postgres_server: Postgres) -> None:
    async with store(postgres_server, connections=2, timeout=0.5) as opened:
        await asyncio.gather(*(opened.list() for _ in range(50)))  # they wait for one another
        sleeping = [
            asyncio.ensure_future(opened.driver.fetch("SELECT pg_sleep(3)"))  # type: ignore[attr-defined]
            for _ in range(2)
        ]
        await asyncio.sleep(0)
        with pytest.raises((ResourceExhausted, DeadlineExceeded)):
            await opened.list()
        await asyncio.gather(*sleeping, return_exceptions=True)
        await back(opened)


# who resumes


async def test_who_resumes_from_before_the_changes_begins_anew(shared: Store, admin: asyncpg.Connection) -> None:
    first = await shared.write("a", b"1")
    for n in range(5):
        await shared.write("a", str(n))
    of = "(SELECT id FROM micro.tables WHERE base = $1 AND name = $2)"
    await admin.execute(f"DELETE FROM micro.changes WHERE version <= 4 AND table_id = {of}", *shared.where)
    async with aclosing(shared.watch(after=first)) as events:
        assert isinstance(await anext(events), Reset)
        assert [shown(change) for change in await synced(events)] == [("put", "a", b"4")]
    async with aclosing(shared.watch(after=first + 3)) as events:
        assert [shown(change) for change in await synced(events)] == [("put", "a", b"4")]


async def test_changes_are_kept_up_to_a_number(shared: Store, admin: asyncpg.Connection) -> None:
    async def write(at: int) -> None:
        await shared.apply([Put(str(n), b"") for n in range(at, at + 100)])

    of = "(SELECT id FROM micro.tables WHERE base = $1 AND name = $2)"
    await asyncio.gather(*(write(at) for at in range(0, schema.KEPT + 2 * schema.SLACK, 100)))
    kept = await admin.fetchval(f"SELECT count(*) FROM micro.changes WHERE table_id = {of}", *shared.where)
    assert schema.KEPT <= kept <= schema.KEPT + schema.SLACK


async def test_expired_records_leave_nothing_behind(shared: Store, admin: asyncpg.Connection) -> None:
    await asyncio.gather(*(shared.write(f"k{n}", b"", ttl=0.05) for n in range(150)))
    await asyncio.sleep(0.1)
    assert await shared.list() == []
    await shared.write("last", b"")
    of = "(SELECT id FROM micro.tables WHERE base = $1 AND name = $2)"
    assert await admin.fetchval(f"SELECT count(*) FROM micro.records WHERE table_id = {of}", *shared.where) == 1


# guarded, and somebody else's


async def test_wrong_credentials_are_unauthenticated(postgres_server: Postgres, admin: asyncpg.Connection) -> None:
    user = unique("u").replace("-", "")
    await admin.execute(f"CREATE ROLE {user} LOGIN SUPERUSER PASSWORD 'right'")
    url = postgres_server.url.replace(f"{USER}@", "")
    async with store(postgres_server, url=url, user=user, password="right", timeout=5.0) as opened:
        await opened.write("a", b"")
    for wrong in ({}, {"password": "wrong"}):
        with pytest.raises(Unauthenticated) as caught:
            await store(postgres_server, url=url, user=user, **wrong).open()
        assert "wrong" not in str(caught.value)


async def test_a_user_without_the_right_is_denied(postgres_server: Postgres, admin: asyncpg.Connection) -> None:
    async with store(postgres_server):
        pass  # the schema is there
    user = unique("u").replace("-", "")
    await admin.execute(f"CREATE ROLE {user} LOGIN PASSWORD 'pw'; GRANT USAGE ON SCHEMA micro TO {user}")
    await admin.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA micro TO {user}")
    url = postgres_server.url.replace(f"{USER}@", f"{user}:pw@")
    async with store(postgres_server, url=url, timeout=5.0) as reader:
        assert await reader.get("a", bytes, None) is None
        with pytest.raises(PermissionDenied):
            await reader.write("a", b"")
    with pytest.raises(PermissionDenied):
        await store(postgres_server, url=url, schema=unique("s")).open()


async def test_a_schema_that_is_newer_is_refused(postgres_server: Postgres, admin: asyncpg.Connection) -> None:
    name = unique("s")
    async with store(postgres_server, schema=name) as opened:
        await opened.write("a", b"")
    await admin.execute(f'UPDATE "{name}".meta SET version = version + 1')
    with pytest.raises(FailedPrecondition, match="version 2"):
        await store(postgres_server, schema=name).open()


async def test_an_odd_schema_is_made_once_by_many(postgres_server: Postgres) -> None:
    name = f"an 'odd' \"one\" $1 {unique()}"[:60]
    stores = [store(postgres_server, schema=name, timeout=10.0) for _ in range(5)]
    await asyncio.gather(*(each.open() for each in stores))
    try:
        async with aclosing(stores[0].watch()) as events:
            assert isinstance(await anext(events), Synced)
            await stores[1].table(stores[0].where.name).write("a", b"1")
            assert shown(await anext(events)) == ("put", "a", b"1")
    finally:
        for each in stores:
            await each.close()


async def test_what_cannot_be_a_schema_or_a_database_is_refused(postgres_server: Postgres) -> None:
    for name in ("", "x" * 64):
        with pytest.raises(ConfigError):
            store(postgres_server, schema=name)
    with pytest.raises(FailedPrecondition):
        await store(postgres_server, url=postgres_server.url + "-that-is-not-there").open()
    with pytest.raises(FailedPrecondition):
        await store(postgres_server, url="mysql://127.0.0.1/a").open()


async def test_what_is_durable_is_claimed_by_what_the_server_says(
    postgres_server: Postgres, admin: asyncpg.Connection
) -> None:
    user = unique("u").replace("-", "")
    await admin.execute(f"CREATE ROLE {user} LOGIN SUPERUSER PASSWORD 'pw'")
    url = postgres_server.url.replace(f"{USER}@", f"{user}:pw@")
    async with store(postgres_server, url=url, timeout=5.0) as opened:
        assert "durable" in opened.capabilities
    await admin.execute(f"ALTER ROLE {user} SET synchronous_commit = off")
    async with store(postgres_server, url=url, timeout=5.0) as opened:
        assert "durable" not in opened.capabilities
