"""Drivers on backends against their bare clients: the same work on the same server, 64 in flight.

    python -m benchmarks.backends [--seconds 1.0] [--rounds 5] [nats] [etcd] [s3]

nats: a message published, and known to be at the server; an event kept; events taken and acknowledged. etcd: a service with one node found; a node registered anew, against a
transaction of the same two keys under a lease that exists. s3: an object of 1 kB written, and read, by boto3 in as many threads. Interleaved; medians.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

FLIGHT = 64
GOAL = 0.85


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


async def compare(name, mine, bare, options):
    for way in (mine, bare):
        await rate(way, 0.3)
    rounds = [[await rate(way, options.seconds) for way in (mine, bare)] for _ in range(options.rounds)]
    ours, theirs = (statistics.median(column) for column in zip(*rounds, strict=True))
    print(
        f"{name:24} driver {ours:8.0f}/s   bare {theirs:8.0f}/s   ratio {ours / theirs:5.2f}   (at least {GOAL})",
        flush=True,
    )


async def on_nats(options, folder):
    import nats as client

    from micro.broker.driver import Message
    from micro.testing.servers.nats import nats
    from micro_broker_nats import NatsBroker, NatsSettings

    server = nats(folder)
    server.start()
    try:
        url = f"nats://127.0.0.1:{server.port}"
        bare = await client.connect(url)
        body = b"x" * 100
        async with NatsBroker(NatsSettings(url=url)) as driver:

            async def published():
                await bare.publish("micro.b.micro.bench", body)
                await bare.flush(5)

            await compare(
                "nats, publish", lambda: driver.publish("micro", "bench", Message({}, body)), published, options
            )
        await on_jetstream(options, url, bare, body)
        await bare.close()
    finally:
        server.stop()


async def on_jetstream(options, url, bare, body):
    from micro.events.driver import Ack, NewEvent, Start
    from micro_broker_nats import NatsEvents, NatsEventsSettings

    js = bare.jetstream()
    await js.add_stream(name="bare", subjects=["bare"])
    async with NatsEvents(NatsEventsSettings(url=url)) as driver:

        def kept():
            return driver.publish("micro", "bench", [NewEvent(body)])

        await compare("nats, event kept", kept, lambda: js.publish("bare", body), options)

        async def mine(count):
            async with driver.consume("micro", "filled", group=f"g{count}", start=Start.OLDEST) as member:
                acks = []
                async for delivery in member:
                    acks.append(member.settle_soon(delivery, Ack()))
                    if len(acks) == count:
                        break
                assert all(await asyncio.gather(*acks))

        async def theirs(count):
            pulled = await js.pull_subscribe("filled", f"g{count}", stream="filled")
            done = 0
            while done < count:
                found = await pulled.fetch(FLIGHT)
                await asyncio.gather(*(message.ack_sync() for message in found))
                done += len(found)
            await pulled.unsubscribe()
            await js.delete_consumer("filled", f"g{count}")

        await js.add_stream(name="filled", subjects=["filled"])
        count = 5000
        for _ in range(count // 50):
            await asyncio.gather(*(js.publish("filled", body) for _ in range(50)))
            await driver.publish("micro", "filled", [NewEvent(body)] * 50)
        rates = []
        for _ in range(options.rounds):
            for work in (mine, theirs):
                begun = time.perf_counter()
                await work(count)
                rates.append(count / (time.perf_counter() - begun))
            await driver.seek("micro", "filled", f"g{count}", None)
        ours, bares = statistics.median(rates[::2]), statistics.median(rates[1::2])
        print(
            f"{'nats, events acked':24} driver {ours:8.0f}/s   bare {bares:8.0f}/s   ratio {ours / bares:5.2f}   (at least {GOAL})",
            flush=True,
        )


async def on_etcd(options, folder):
    import grpc

    from micro.registry.driver import Node, ServiceRecord
    from micro.testing.servers.etcd import etcd
    from micro_registry_etcd import EtcdRegistry, EtcdSettings
    from micro_registry_etcd import etcd_pb2 as pb

    server = etcd(folder)
    server.start()
    try:
        where = f"127.0.0.1:{server.port}"
        numbers = itertools.count()
        async with (
            EtcdRegistry(EtcdSettings(endpoints=[f"http://{where}"])) as driver,
            grpc.aio.insecure_channel(where) as channel,
        ):

            def method(path, request, answer):
                return channel.unary_unary(
                    f"/etcdserverpb.{path}",
                    request_serializer=request.SerializeToString,
                    response_deserializer=answer.FromString,
                )

            ranged = method("KV/Range", pb.RangeRequest, pb.RangeResponse)
            changed = method("KV/Txn", pb.TxnRequest, pb.TxnResponse)
            granted = method("Lease/LeaseGrant", pb.LeaseGrantRequest, pb.LeaseGrantResponse)
            record = ServiceRecord("greeter", nodes=[Node("n1", "127.0.0.1:4000")])
            await driver.register("bench", record, ttl=600, owner="bench/a")
            prefix = b"/micro/registry/services/bench/greeter/"
            asked = pb.RangeRequest(key=prefix, range_end=prefix[:-1] + b"0", limit=1000)
            await compare("etcd, get", lambda: driver.get("bench", "greeter"), lambda: ranged(asked), options)

            async def registered():
                node = Node(f"n{next(numbers)}", "127.0.0.1:4000")
                await driver.register("many", ServiceRecord("s", nodes=[node]), ttl=600, owner="bench/a")

            async def put():
                key = b"/bench/%d" % next(numbers)
                await ranged(pb.RangeRequest(key=key))
                lease = (await granted(pb.LeaseGrantRequest(ttl=600))).id
                puts = [
                    pb.RequestOp(put=pb.PutRequest(key=key + end, value=b"x" * 150, lease=lease))
                    for end in (b"a", b"b")
                ]
                await changed(pb.TxnRequest(success=puts))

            await compare("etcd, register", registered, put, options)
    finally:
        server.stop()


async def on_s3(options, folder):
    from micro.store.api import Store
    from micro.store.memory import MemoryStore
    from micro.testing.servers.s3 import BUCKET, KEY, SECRET, s3
    from micro_blobs_s3 import S3Blobs, S3Settings

    server = s3(folder)
    server.start()
    try:
        given = {
            "endpoint": server.url,
            "bucket": BUCKET,
            "access_key": KEY,
            "secret_key": SECRET,
            "region": "us-east-1",
        }
        numbers = itertools.count()
        body = b"x" * 1000
        async with S3Blobs(S3Settings(**given), store=Store(MemoryStore())) as driver:
            bare = driver._bucket._client
            loop, pool = asyncio.get_running_loop(), ThreadPoolExecutor(32)

            async def pieces():
                yield body

            async def read():
                async with driver.read("bench", "one") as (_, chunks):
                    return [chunk async for chunk in chunks]

            def got():
                bare.get_object(Bucket=BUCKET, Key="one")["Body"].read()

            await driver.write("bench", "one", pieces())
            bare.put_object(Bucket=BUCKET, Key="one", Body=body)
            await compare("s3, read", read, lambda: loop.run_in_executor(pool, got), options)

            def put():
                bare.put_object(Bucket=BUCKET, Key=f"k{next(numbers)}", Body=body)

            await compare(
                "s3, write",
                lambda: driver.write("bench", f"k{next(numbers)}", pieces()),
                lambda: loop.run_in_executor(pool, put),
                options,
            )
            pool.shutdown()
    finally:
        server.stop()


BACKENDS = {"nats": on_nats, "etcd": on_etcd, "s3": on_s3}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("backends", nargs="*", default=[])
    options = parser.parse_args()

    async def work():
        for name in options.backends or BACKENDS:
            with tempfile.TemporaryDirectory() as folder:
                await BACKENDS[name](options, Path(folder))

    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work())


if __name__ == "__main__":
    main()
