"""The embedded registry: finding a service among many, and telling a thousand watchers of a change.

    python -m benchmarks.registry [--rounds 7] [--watchers 1000] [--changes 10]

`get`: a service of three nodes among 10 to 100,000, each with the time it takes among 10; and through gRPC. Watching: the
watchers follow one service each on a stream of its own; its record, of 16 KiB, changes, and the time goes until all have been
told, with that of a bare service whose streams each get bytes of the same size that are there already. Both are one
process; the watchers are another. Memory is what the process holds more than before the watchers came, and more once
they were told. Interleaved; medians.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import gc
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

from micro.proto import registry_pb2 as pb

SIZES = (10, 100, 1_000, 10_000, 100_000)
SERVICE = "watched"
RECORD = 16 * 1024  # bytes, about what a service of 20 endpoints has


def record(number, nodes=3):
    from micro.registry.driver import Node, ServiceRecord

    return ServiceRecord(
        f"service-{number:06}",
        metadata={"schema": "a" * 32},
        nodes=[Node(f"node-{number}-{one}", f"10.0.0.1:{1000 + one}", {"protocol": "grpc"}) for one in range(nodes)],
    )


async def filled(count):
    from micro.registry.api import Registry
    from micro.registry.memory import MemoryRegistry

    registry = Registry(MemoryRegistry(), plugin="memory", owner="bench")
    await registry.open()
    for number in range(max(1, count // 3)):
        await registry.register(record(number), ttl=3600)
    return registry


async def gets(options):
    registries = {count: await filled(count) for count in SIZES}
    gc.freeze()
    taken = {count: [] for count in SIZES}
    for _ in range(options.rounds):
        for count, registry in registries.items():
            name = f"service-{max(1, count // 3) // 2:06}"
            begun = time.perf_counter()
            for _ in range(2000):
                await registry.get(name)
            taken[count].append((time.perf_counter() - begun) / 2000)
    base = statistics.median(taken[SIZES[0]])
    for count in SIZES:
        mine = statistics.median(taken[count])
        print(f"get among {count:7}   {mine * 1e6:6.2f} µs   ratio {mine / base:.2f}   (at most 2)", flush=True)
    for registry in registries.values():
        await registry.close()


class Bare:
    """A service whose streams are each told of a change by bytes that are there."""

    def __init__(self):
        self.waiting = asyncio.Event()
        self.told = pb.Result()

    async def watch(self, request: pb.WatchRequest) -> AsyncIterator[pb.Result]:
        yield self.told
        while True:
            await self.waiting.wait()
            yield self.told

    async def change(self, request: pb.Service) -> pb.EmptyResponse:
        self.told = pb.Result(action="update", service=request)
        waiting, self.waiting = self.waiting, asyncio.Event()
        waiting.set()
        return pb.EmptyResponse()


class Memory:
    """Says what the process holds."""

    async def held(self, request: pb.GetRequest) -> pb.EmptyResponse:
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        return pb.EmptyResponse(revision=held())


def held():
    """Give the bytes that this process holds by itself."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("Private_Dirty:", "Private_Clean:")))


async def serve():
    """Be a process with a registry and a bare service."""
    from micro.registry.announce import Announcer
    from micro.registry.api import Registry
    from micro.registry.driver import ALL
    from micro.registry.memory import MemoryRegistry
    from micro.registry.service import RegistryHandler
    from micro.rpc.nghttp2 import Nghttp2Transport
    from micro.rpc.server import Server
    from micro.testing.served import PLATFORM, KnownAccounts

    guard = KnownAccounts()
    async with Registry(MemoryRegistry(), plugin="memory", domain=ALL) as registry:
        server = Server("registry", transport=Nghttp2Transport(), guard=guard, core=True)
        server.add(RegistryHandler(registry, Announcer(None, {})), "Registry")
        server.add(Bare(), "Bare")
        server.add(Memory(), "Memory")
        gc.freeze()
        print(await server.start("127.0.0.1:0"), guard.token(PLATFORM), flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


class Watchers:
    """Streams that count what they are told."""

    def __init__(self, caller, endpoint):
        self._caller = caller
        self._endpoint = endpoint
        self.told = 0
        self._enough = asyncio.Event()
        self._wanted = 0

    async def begin(self, count):
        self._tasks = [asyncio.create_task(self._watch()) for _ in range(count)]
        await self.until(count)

    async def _watch(self):
        stream = await self._caller.stream("registry", self._endpoint, pb.WatchRequest, pb.Result)
        async with stream:
            await stream.send(pb.WatchRequest(service=SERVICE, snapshot=True))
            async for result in stream:
                self.told += not result.synced
                if self.told >= self._wanted:
                    self._enough.set()

    async def until(self, count):
        self._wanted = count
        self._enough.clear()
        if self.told < count:
            await asyncio.wait_for(self._enough.wait(), 120)

    def end(self):
        for task in self._tasks:
            task.cancel()


async def watches(options):
    from micro.registry import wire
    from micro.registry.driver import Endpoint, Node, ServiceRecord
    from micro.rpc.client import RpcCaller
    from micro.rpc.credentials import FixedToken
    from micro.rpc.nghttp2 import Nghttp2Transport
    from micro.rpc.resolve import AddressBook

    def changed(number):
        endpoints = [Endpoint(f"Handler.Method{n}", metadata={"description": "x" * (RECORD // 20)}) for n in range(20)]
        nodes = [Node("one", f"10.0.0.1:{1000 + number}", {"protocol": "grpc"})]
        request = wire.record_out(ServiceRecord(SERVICE, endpoints=endpoints, nodes=nodes))
        request.options.ttl = 3600
        return request

    process = subprocess.Popen(  # noqa: ASYNC220 - nothing else runs yet
        [sys.executable, __file__, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    address, token = process.stdout.readline().split()
    caller = RpcCaller(
        transport=Nghttp2Transport(), resolver=AddressBook({"registry": address}), credentials=FixedToken(token)
    )

    async def memory():
        return (await caller.call("registry", "Memory.Held", pb.GetRequest(), pb.EmptyResponse)).revision

    for change in ("Registry.Register", "Bare.Change"):
        await caller.call("registry", change, changed(0), pb.EmptyResponse)
    name = f"service-{5:06}"
    for number in range(10):
        request = wire.record_out(record(number))
        request.options.ttl = 3600
        await caller.call("registry", "Registry.Register", request, pb.EmptyResponse)
    begun = time.perf_counter()
    for _ in range(500):
        await caller.call("registry", "Registry.GetService", pb.GetRequest(service=name), pb.GetResponse)
    print(f"get through gRPC       {(time.perf_counter() - begun) / 500 * 1e6:6.0f} µs", flush=True)
    kinds = {"Registry.Watch": "Registry.Register", "Bare.Watch": "Bare.Change"}
    taken, grown, peak = {kind: [] for kind in kinds}, {}, {}
    watchers = {}
    for kind in kinds:
        before = await memory()
        watchers[kind] = Watchers(caller, kind)
        await watchers[kind].begin(options.watchers)
        await asyncio.sleep(0.5)
        grown[kind] = await memory() - before
        peak[kind] = 0
    gc.freeze()
    for number in range(options.changes):
        for kind, change in kinds.items():
            before, wanted = await memory(), watchers[kind].told + options.watchers
            begun = time.perf_counter()
            await caller.call("registry", change, changed(number + 1), pb.EmptyResponse, timeout=60)
            await watchers[kind].until(wanted)
            taken[kind].append(time.perf_counter() - begun)
            peak[kind] = max(peak[kind], await memory() - before)
    for kind in kinds:
        mine = statistics.median(taken[kind])
        print(
            f"{kind:16} {options.watchers} told in {mine * 1000:7.1f} ms   each holds {grown[kind] / options.watchers / 1024:5.1f} KiB"
            f"   a change {peak[kind] / 1024:7.0f} KiB",
            flush=True,
        )
    ours, bare = (statistics.median(taken[kind]) for kind in kinds)
    print(f"one change to {options.watchers} watchers, with a bare service of the same bytes: ratio {ours / bare:.2f}")
    for one in watchers.values():
        one.end()
    await caller.close()
    process.stdin.close()
    process.wait(10)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", action="store_true")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--watchers", type=int, default=1000)
    parser.add_argument("--changes", type=int, default=10)
    options = parser.parse_args()

    async def work():
        if options.serve:
            await serve()
        else:
            await gets(options)
            await watches(options)

    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work())


if __name__ == "__main__":
    main()
