"""The same calls on a platform on Redis, S3, NATS and etcd and on an embedded one, side by side.

    python -m benchmarks.cloud [--seconds 1.0] [--rounds 5]

A service's endpoint, and a record read and written, each from outside through the proxy, 64 in flight. Interleaved; medians.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path

FLIGHT = 64
EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "helloworld"


async def rate(once, seconds):
    end, done = time.perf_counter() + seconds, 0

    async def worker():
        nonlocal done
        while time.perf_counter() < end:
            await once()
            done += 1

    begun = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(FLIGHT)))
    return done / (time.perf_counter() - begun)


async def measure(options, local, cloud):
    from contextlib import AsyncExitStack

    from micro import Client
    from micro.service.process import connect

    async with AsyncExitStack() as stack:
        ways = []
        for platform in (local, cloud):
            admin = json.loads((platform.data / "admin.json").read_text())
            process = connect(platform.address("proxy"), id=admin["id"], secret=admin["secret"])
            ways.append(calls(await stack.enter_async_context(process), Client))
        for name in ways[0]:
            for way in ways:
                await rate(way[name], 0.3)
            rounds = [[await rate(way[name], options.seconds) for way in ways] for _ in range(options.rounds)]
            here, there = (statistics.median(column) for column in zip(*rounds, strict=True))
            print(f"{name:16} cloud {there:7.0f}/s   local {here:7.0f}/s   ratio {there / here:5.2f}", flush=True)


def calls(process, client):
    hello = client("helloworld", process=process)
    return {
        "helloworld": lambda: hello.call("Helloworld.Call", {"name": "Alice"}),
        "store, read": lambda: process.store.read("bench"),
        "store, write": lambda: process.store.write("bench", b"x" * 100),
    }


def main():
    from micro.testing.platform import Platform
    from micro.testing.shared import Backends

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        backends = Backends(Path(folder))
        local = Platform(Path(folder, "local"))
        try:
            backends.start()
            platforms = [local.start(), backends.platform("cloud").start()]
            for platform in platforms:
                platform.run(EXAMPLE)
                platform.micro("store", "write", "bench", "x" * 100)
            asyncio.run(measure(options, *platforms))
        finally:
            local.end()
            backends.stop()


if __name__ == "__main__":
    main()
