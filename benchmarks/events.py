"""Events through gRPC against an echo of the same messages, and how late an event comes from a topic of a million.

    python -m benchmarks.events [--events 20000] [--rounds 5] [--stored 1000000]

`PublishMany` with 100 events a call, four calls in flight; consumption by the library's loop, which begins and acks each event. An
event that is published counts once, and once more when it is consumed. The echo is a service of ours that keeps nothing: it gives
receipts, sends events as the window has room, and answers each settlement at once. The lag is what passes between publishing one
event and having it in a loop's body, where everything before it is settled. Interleaved; medians.
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
from collections.abc import AsyncIterator
from pathlib import Path

from micro.proto import events_pb2 as pb

PAYLOAD = b"x" * 100
MANY = 100
FLIGHT = 4
WINDOW = 1000
BATCH = 64
GOAL = 20_000  # events a second, published and consumed


class Echo:
    """Answers as the events do, and keeps nothing."""

    def __init__(self) -> None:
        self.receipts = pb.PublishManyResponse(
            receipts=[pb.PublishResponse(id="0" * 32, sequence=at) for at in range(MANY)]
        )

    async def publish_many(self, request: pb.PublishManyRequest) -> pb.PublishManyResponse:
        return self.receipts

    async def subscribe(self, requests: AsyncIterator[pb.Upstream]) -> AsyncIterator[pb.EventBatch | None]:
        first = await anext(aiter(requests))
        yield None
        room, sequence, out = first.subscribe.window, 0, asyncio.Queue()
        event = pb.Event(topic="t", payload=PAYLOAD, timestamp=1, timestamp_ms=1000, delivery=1, group="g")

        def send(answers):
            nonlocal room, sequence
            batch = pb.EventBatch(settled=answers)
            for _ in range(min(room, BATCH)):
                sequence += 1
                event.id, event.sequence = f"{sequence:032x}", sequence
                batch.events.append(event)
            room -= len(batch.events)
            out.put_nowait(batch)

        async def read():
            nonlocal room
            async for message in requests:
                acks = [each for each in message.acks.acks if each.how == pb.Settle.ACK]
                room += len(acks)
                if acks:
                    send([pb.Settled(id=each.id, delivery=each.delivery, ok=True) for each in acks])
            out.put_nowait(None)

        for _ in range(room // BATCH):
            send([])
        reading = asyncio.create_task(read())
        try:
            while (batch := await out.get()) is not None:
                while not out.empty():
                    following = out.get_nowait()
                    if following is None:
                        return
                    batch.MergeFrom(following)
                yield batch
        finally:
            reading.cancel()


async def serve(kind, folder):
    """Be a process that serves the events, or the echo."""
    from micro.auth.driver import Credentials
    from micro.auth.guard import AuthGuard
    from micro.auth.store import StoreAuth
    from micro.context import Account
    from micro.events.service import StreamHandler, _Served
    from micro.events.sqlite import SqliteEvents
    from micro.rpc.nghttp2 import Nghttp2Transport
    from micro.rpc.server import Server
    from micro.store.api import Store
    from micro.store.memory import MemoryStore

    auth = StoreAuth(store=Store(MemoryStore(), plugin="memory"))
    await auth.open()
    made = await auth.create(Account("bench", type="service", scopes=("service", "admin")), "a secret of the bench")
    token = await auth.token("micro", Credentials("bench", made.secret), ttl=3600)
    guard = AuthGuard("events", "micro", await auth.keys(), driver=auth, core=True)
    await guard.start()
    async with _Served(SqliteEvents(data=Path(folder)), plugin="sqlite") as served:
        server = Server("events", transport=Nghttp2Transport(), guard=guard, namespace="micro", core=True)
        server.add(Echo() if kind == "echo" else StreamHandler(served), "Stream")
        gc.freeze()  # as the platform's processes do
        print(await server.start("127.0.0.1:0"), token.access_token, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


class Peer:
    """A process that serves, and what calls it."""

    def __init__(self, kind, folder):
        from micro.events.api import Events
        from micro.events.remote import RemoteEvents
        from micro.rpc.client import RpcCaller
        from micro.rpc.credentials import FixedToken
        from micro.rpc.nghttp2 import Nghttp2Transport
        from micro.rpc.resolve import AddressBook

        command = [sys.executable, __file__, "--serve", kind, "--folder", folder]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        address, token = self.process.stdout.readline().split()
        resolver = AddressBook({"events": address})
        self.caller = RpcCaller(transport=Nghttp2Transport(), resolver=resolver, credentials=FixedToken(token))
        self.events = Events(RemoteEvents(caller=self.caller), plugin="remote")

    def cpu(self):
        """Seconds of a processor that the process has had."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / 100

    async def stop(self):
        await self.caller.close()
        self.process.stdin.close()
        self.process.wait(60)


async def publish(events, topic, count):
    payloads, left = [PAYLOAD] * MANY, count // MANY

    async def worker():
        nonlocal left
        while left > 0:
            left -= 1
            await events.publish_many(topic, payloads)

    begun = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(FLIGHT)))
    return count / (time.perf_counter() - begun)


async def consume(events, topic, count):
    from micro.events.driver import Start

    async with events.consume(topic, group="g", start=Start.OLDEST, window=WINDOW) as deliveries:
        begun, got = time.perf_counter(), 0
        async for _ in deliveries:
            got += 1
            if got == count:
                break
        return count / (time.perf_counter() - begun)


async def both(events, topic, count):
    """Publish and consume at once: each event counts twice."""

    async def consuming():
        got = 0
        async with events.consume(topic, group="g", window=WINDOW) as deliveries:
            ready.set()
            async for _ in deliveries:
                got += 1
                if got == count:
                    return

    ready = asyncio.Event()
    consumer = asyncio.create_task(consuming())
    await ready.wait()
    begun = time.perf_counter()
    await publish(events, topic, count)
    await consumer
    return 2 * count / (time.perf_counter() - begun)


async def rates(options):
    with tempfile.TemporaryDirectory() as folder:
        mine, echo = Peer("events", folder), Peer("echo", f"{folder}/echo")
        gc.freeze()
        works = {"PublishMany": publish, "the loop": consume, "both at once": both}
        await publish(mine.events, "warm", 2000)
        pairs = {name: [] for name in works}
        for turn in range(options.rounds):
            for name, work in works.items():
                topic = f"both{turn}" if work is both else f"t{turn}"
                before, begun = mine.cpu(), time.perf_counter()
                ours = await work(mine.events, topic, options.events)
                spent, share = mine.cpu() - before, (mine.cpu() - before) / (time.perf_counter() - begun)
                theirs = await work(echo.events, topic, options.events)
                pairs[name].append((ours, theirs, spent / options.events * 1e6, share))
        for name, measured in pairs.items():
            ours, theirs, spent, share = (statistics.median(column) for column in zip(*measured, strict=True))
            wanted = f" (at least {GOAL}/s)" if name == "both at once" else ""
            print(
                f"{name:14} ours {ours:7.0f}/s{wanted}   echo {theirs:7.0f}/s   ratio {ours / theirs:.2f}"
                f"   service {spent:3.0f} µs an event, and had {share:.0%} of a processor",
                flush=True,
            )
        for peer in (mine, echo):
            await peer.stop()


async def lags(options):
    """How late one event comes, at a thousand stored events and at a thousand times as many."""
    with tempfile.TemporaryDirectory() as folder:
        peer = Peer("events", folder)
        medians = []
        stored = 0
        for wanted in (1000, options.stored):
            while stored < wanted:
                upto = min(wanted, stored + 10_000)
                await publish(peer.events, "t", upto - stored)
                stored = upto
            found = []
            async with peer.events.consume("t", group=f"at{wanted}") as deliveries:
                for _ in range(500):
                    begun = time.perf_counter()
                    await peer.events.publish("t", PAYLOAD)
                    await anext(deliveries)
                    found.append((time.perf_counter() - begun) * 1e3)
            medians.append(statistics.median(found))
        few, many = medians
        print(
            f"lag, {options.stored} stored  {many:.2f} ms   1000 stored {few:.2f} ms   ratio {many / few:.2f}"
            "   (flat: about 1)",
            flush=True,
        )
        await peer.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", choices=["events", "echo"])
    parser.add_argument("--folder")
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--stored", type=int, default=1_000_000)
    options = parser.parse_args()

    async def work():
        if options.serve:
            await serve(options.serve, options.folder)
        else:
            await rates(options)
            await lags(options)

    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work())


if __name__ == "__main__":
    main()
