"""The embedded store: durable writes against bare apsw in the same batches; calls against an echo of the same size.

    python -m benchmarks.store [--seconds 1.0] [--rounds 7]

64 in flight. The bare writer keeps a table of keys and values and nothing else, syncs as the store does, and commits as many
writes at once as the store did on average. The echo is a service of ours whose handlers do nothing. Interleaved; medians.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from micro.proto import store_pb2 as pb

VALUE = b"x" * 100
FLIGHT = 64
KEYS = 10_000


class Written:
    """Counts the commits of a store's writer."""

    def __init__(self) -> None:
        from micro.store.writer import Writer

        self.commits = 0
        commit = Writer.commit

        def counted(writer):
            self.commits += 1
            return commit(writer)

        Writer.commit = counted


async def driver_rate(store, seconds):
    """Writes a second by the driver itself, as many in flight."""
    from micro.store.driver import Put, Table

    table, end, done = Table("micro", "bench"), time.perf_counter() + seconds, 0

    async def worker(number):
        nonlocal done
        at = number
        while time.perf_counter() < end:
            await store.apply(table, [Put(f"key/{at % KEYS:05}", VALUE)])
            done, at = done + 1, at + FLIGHT

    begun = time.perf_counter()
    await asyncio.gather(*(worker(number) for number in range(FLIGHT)))
    return done / (time.perf_counter() - begun)


def bare_rate(connection, batch, seconds):
    end, done = time.perf_counter() + seconds, 0
    begun = time.perf_counter()
    while time.perf_counter() < end:
        connection.execute("BEGIN IMMEDIATE")
        for at in range(done, done + batch):
            connection.execute("INSERT OR REPLACE INTO bare VALUES (?, ?)", (f"key/{at % KEYS:05}", VALUE))
        connection.execute("COMMIT")
        done += batch
    return done / (time.perf_counter() - begun)


async def writes(options):
    import apsw

    from micro.store.sqlite import SqliteStore

    counted = Written()
    with tempfile.TemporaryDirectory() as folder:
        connection = apsw.Connection(str(Path(folder, "bare.db")))
        connection.pragma("journal_mode", "wal")
        connection.pragma("synchronous", 2)
        connection.execute("CREATE TABLE bare (key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID")
        pairs, sizes = [], []
        async with SqliteStore(data=Path(folder)) as store:
            await driver_rate(store, 0.3)
            for _ in range(options.rounds):
                before = counted.commits
                mine = await driver_rate(store, options.seconds)
                sizes.append(mine * options.seconds / (counted.commits - before))
                pairs.append((mine, bare_rate(connection, max(1, round(sizes[-1])), options.seconds)))
        connection.close()
    show(f"durable writes, {statistics.median(sizes):.0f} a commit", pairs, "bare apsw", 0.5)


async def serve(folder):
    """Be a process that serves a store and an echo."""
    from micro.auth.driver import Credentials
    from micro.auth.guard import AuthGuard
    from micro.auth.store import StoreAuth
    from micro.context import Account
    from micro.rpc.nghttp2 import Nghttp2Transport
    from micro.rpc.server import Server
    from micro.store.api import Store
    from micro.store.memory import MemoryStore
    from micro.store.service import StoreHandler
    from micro.store.sqlite import SqliteStore

    auth = StoreAuth(store=Store(MemoryStore(), plugin="memory"))
    await auth.open()
    made = await auth.create(Account("bench", type="service", scopes=("service", "admin")), "a secret of the bench")
    token = await auth.token("micro", Credentials("bench", made.secret), ttl=900)
    guard = AuthGuard("store", "micro", await auth.keys(), driver=auth, core=True)
    await guard.start()
    answer = pb.ReadResponse(records=[pb.Record(key="key/00000", value=VALUE)])

    class Echo:
        async def read(self, request: pb.ReadRequest) -> pb.ReadResponse:
            return answer

        async def write(self, request: pb.WriteRequest) -> pb.WriteResponse:
            return pb.WriteResponse()

    async with Store(SqliteStore(data=Path(folder)), plugin="sqlite", database="micro") as store:
        server = Server("store", transport=Nghttp2Transport(), guard=guard, namespace="micro", core=True)
        server.add(StoreHandler(store), "Store")
        server.add(Echo(), "Echo")
        gc.freeze()  # as the platform's processes do
        print(await server.start("127.0.0.1:0"), token.access_token, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def calls(options):
    from micro.rpc.client import RpcCaller
    from micro.rpc.credentials import FixedToken
    from micro.rpc.nghttp2 import Nghttp2Transport
    from micro.rpc.resolve import AddressBook
    from micro.store.api import Store
    from micro.store.remote import RemoteStore

    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--serve", folder]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220 - nothing else runs yet
        address, token = process.stdout.readline().split()
        resolver = AddressBook({"store": address})
        caller = RpcCaller(transport=Nghttp2Transport(), resolver=resolver, credentials=FixedToken(token))
        store = Store(RemoteStore(caller=caller), plugin="remote", database="micro", table="bench")
        for at in range(64):
            await store.write(f"key/{at:05}", VALUE)
        reading, record = pb.ReadRequest(key="key/00000"), pb.Record(key="key/00000", value=VALUE)
        writing = pb.WriteRequest(record=record)
        kinds = {
            "reads": (
                lambda at: store.read(f"key/{at % 64:05}"),
                lambda _: caller.call("store", "Echo.Read", reading, pb.ReadResponse),
                0.6,
            ),
            "writes": (
                lambda at: store.write(f"key/{at % 64:05}", VALUE),
                lambda _: caller.call("store", "Echo.Write", writing, pb.WriteResponse),
                0.4,
            ),
        }
        gc.freeze()
        for name, (mine, echo, wanted) in kinds.items():
            for each in (mine, echo):
                await rate(each, 0.2)
            pairs = [[await rate(each, options.seconds) for each in (mine, echo)] for _ in range(options.rounds)]
            show(f"{name} through gRPC", pairs, "echo", wanted)
        await caller.close()
        process.stdin.close()
        process.wait(10)


async def rate(once, seconds):
    end, done = time.perf_counter() + seconds, 0

    async def worker(at):
        nonlocal done
        while time.perf_counter() < end:
            await once(at)
            done += 1
            at += FLIGHT

    begun = time.perf_counter()
    await asyncio.gather(*(worker(at) for at in range(FLIGHT)))
    return done / (time.perf_counter() - begun)


def show(what, pairs, peer, wanted):
    mine, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(
        f"{what:32} ours {mine:8.0f}/s   {peer} {theirs:8.0f}/s   ratio {mine / theirs:.2f}   (at least {wanted})",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve")
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()

    async def work():
        if options.serve:
            await serve(options.serve)
        else:
            await writes(options)
            await calls(options)

    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work())


if __name__ == "__main__":
    main()
