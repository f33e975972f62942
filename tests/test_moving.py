"""A table goes from SQLite to Redis to PostgreSQL and back, by snapshots, over breaks, and is what it was."""

import hashlib
import json
import re
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import pytest

from micro.errors import DeadlineExceeded, FailedPrecondition, Unavailable
from micro.store.api import Store
from micro.store.driver import Put
from micro.store.sqlite import SqliteStore
from micro.testing.door import Door
from micro.testing.servers.postgres import USER, Postgres, postgres_server
from micro.testing.servers.redis import redis_server
from micro.testing.servers.server import Server
from micro.testing.store import AWKWARD, unique
from micro_store_postgres import PostgresSettings, PostgresStore
from micro_store_redis import RedisSettings, RedisStore

__all__ = ["postgres_server", "redis_server"]
COUNT = 3_000
TTL = 3_600.0  # seconds
BROKEN = (Unavailable, DeadlineExceeded)


@pytest.fixture
async def door_of_redis(redis_server: Server) -> AsyncIterator[Door]:
    async with Door(f"127.0.0.1:{redis_server.port}") as door:
        yield door


@pytest.fixture
async def door_of_postgres(postgres_server: Postgres) -> AsyncIterator[Door]:
    async with Door(f"127.0.0.1:{postgres_server.port}") as door:
        yield door


async def fill(store: Store) -> None:
    puts = [
        Put(f"{key}~", key.encode(), metadata={"n": len(key), "key": key[:9]}) for key in AWKWARD if len(key) < 1024
    ]
    puts += [Put(f"many/{n:05}", bytes([n % 256]) * 200, TTL if n % 3 else None) for n in range(COUNT)]
    for at in range(0, len(puts), 100):
        await store.apply(puts[at : at + 100])


async def summed(store: Store) -> tuple[int, str]:
    """Count a table's records and give the sum of what does not depend on where it is: all but versions."""
    digest = hashlib.sha256()
    count = 0
    async for record in store.scan():
        # A record comes back for the rest of its time, to what the way takes.
        expires = record.expires is not None and abs(record.expires.timestamp() - time.time() - TTL) < 300
        told = [record.key, record.value.hex(), expires, sorted(record.metadata.items())]
        digest.update(json.dumps(told).encode())
        count += 1
    return count, digest.hexdigest()


async def taken(store: Store, file: Path, door: Door | None = None) -> int:
    """Take a snapshot; through a door that cuts it off in the middle, and then what is left. Gives the number of records."""
    if door is not None:
        await door.cut(after=300_000)
        with pytest.raises(BROKEN):
            await store.snapshot(file)
        kept = file.with_name(f"{file.name}.part").stat().st_size
        assert kept > 50_000
        assert not file.exists()
    return (await store.snapshot(file)).records


async def put_back(store: Store, file: Path, door: Door | None = None) -> int:
    """Restore a snapshot; through a door that cuts it off in the middle, and then what is left."""
    skip = 0
    if door is not None:
        await store.list(limit=1)
        await door.cut(after=8_000)
        with pytest.raises(BROKEN) as caught:
            await store.restore(file)
        there = re.search(r"(\d+) of (\d+) records are there", str(caught.value))
        assert there is not None, str(caught.value)
        skip = int(there[1])
        assert 0 < skip < int(there[2])
        with pytest.raises(FailedPrecondition):  # what is there is not overwritten by mistake
            await store.restore(file)
    return (await store.restore(file, skip=skip)).records


async def test_a_table_moves_through_all_stores_over_breaks_and_comes_back_the_same(
    door_of_redis: Door, door_of_postgres: Door, tmp_path: Path
) -> None:
    table = unique()
    in_redis = RedisStore(RedisSettings(url=f"redis://{door_of_redis.address}/0"))
    in_postgres = PostgresStore(PostgresSettings(url=f"postgresql://{USER}@{door_of_postgres.address}/postgres"))
    async with (
        Store(SqliteStore(data=tmp_path / "from"), table=table) as first,
        Store(in_redis, table=table) as second,
        Store(in_postgres, table=table) as third,
        Store(SqliteStore(data=tmp_path / "to"), table=table) as last,
    ):
        await fill(first)
        wanted = await summed(first)
        assert wanted[0] == COUNT + len(AWKWARD) - 1
        ways = [(first, None), (second, door_of_redis), (third, door_of_postgres), (last, None)]
        for number, ((source, out), (target, into)) in enumerate(pairwise(ways)):
            file = tmp_path / f"{number}.snapshot"
            assert await taken(source, file, out) == wanted[0]
            assert await put_back(target, file, into) == wanted[0]
            assert await summed(target) == wanted
