"""Stores on servers against their bare clients: the same reads and writes on the same server, 64 in flight.

    python -m benchmarks.stores [--seconds 1.0] [--rounds 7] [redis] [postgres]

The bare client runs the driver's own statement, for one call each, on 64 connections (PostgreSQL: on 16, with which it is quickest),
and makes nothing of the answer. Beside the driver, the portable class over it. Keys of one table; interleaved; medians.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import tempfile
import time
from pathlib import Path

VALUE = b"x" * 100
FLIGHT = 64
KEYS = 10_000
GOAL = 0.85


async def rate(once, seconds):
    end, done = time.perf_counter() + seconds, 0

    async def worker(at):
        nonlocal done
        while time.perf_counter() < end:
            await once(f"key/{at % KEYS:05}")
            done += 1
            at += FLIGHT

    begun = time.perf_counter()
    await asyncio.gather(*(worker(at) for at in range(FLIGHT)))
    return done / (time.perf_counter() - begun)


async def compare(name, driver, bare_read, bare_write, options):
    from micro.store.api import Store
    from micro.store.driver import Put, Table

    table = Table("micro", "bench")
    store = Store(driver, plugin=name, database=table.database, table=table.name)
    for at in range(0, KEYS, 100):
        await driver.apply(table, [Put(f"key/{n:05}", VALUE) for n in range(at, at + 100)])
    kinds = {
        "reads": (lambda key: driver.read(table, [key]), store.read, bare_read),
        "writes": (lambda key: driver.apply(table, [Put(key, VALUE)]), lambda key: store.write(key, VALUE), bare_write),
    }
    gc.freeze()
    for kind, ways in kinds.items():
        for way in ways:
            await rate(way, 0.3)
        rounds = [[await rate(way, options.seconds) for way in ways] for _ in range(options.rounds)]
        mine, portable, bare = (statistics.median(column) for column in zip(*rounds, strict=True))
        figures = f"driver {mine:7.0f}/s {mine / bare:5.2f}   portable {portable:7.0f}/s {portable / bare:5.2f}"
        print(f"{name + ', ' + kind:20} bare {bare:7.0f}/s   {figures}   (driver at least {GOAL})", flush=True)


async def on_redis(options):
    from redis.asyncio import BlockingConnectionPool, Redis

    from micro.store.driver import Table
    from micro.testing.servers.redis import redis
    from micro_store_redis import RedisSettings, RedisStore, layout, scripts

    base = layout.base(Table("micro", "bench"))
    with tempfile.TemporaryDirectory() as folder:
        server = redis(Path(folder))
        server.start()
        try:
            url = f"redis://127.0.0.1:{server.port}/0"
            pool = BlockingConnectionPool.from_url(url, max_connections=FLIGHT, protocol=2)
            async with RedisStore(RedisSettings(url=url)) as driver, Redis(connection_pool=pool) as bare:
                script = bare.register_script(scripts.APPLY)
                await compare(
                    "redis",
                    driver,
                    lambda key: bare.hmget(f"{base}:r:{key}", ["v", "m", "n", "e"]),
                    lambda key: script([base], [1, "put", key, "", VALUE, "", ""]),
                    options,
                )
            await pool.aclose()
        finally:
            server.stop()


async def on_postgres(options):
    import asyncpg

    from micro.testing.servers.postgres import postgres
    from micro_store_postgres import PostgresSettings, PostgresStore, schema

    with postgres() as server:
        server.start()
        pool = asyncpg.create_pool(server.url, min_size=16, max_size=16)
        async with PostgresStore(PostgresSettings(url=server.url)) as driver, pool as bare:
            read, write = driver.sql(schema.READ), driver.sql(schema.APPLY)
            await compare(
                "postgres",
                driver,
                lambda key: bare.fetch(read, "micro", "bench", [key]),
                lambda key: bare.fetchval(write, "micro", "bench", [0], [key], [VALUE], [None], [None], [""]),
                options,
            )


BACKENDS = {"redis": on_redis, "postgres": on_postgres}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("backends", nargs="*", default=[])
    options = parser.parse_args()

    async def work():
        for name in options.backends or BACKENDS:
            await BACKENDS[name](options)

    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work())


if __name__ == "__main__":
    main()
