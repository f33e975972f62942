"""Events at least once, counted: consumers and the service killed, slow and gone subscribers, poison, odd settlements.

MICRO_KILLS=200 kills more often than a change needs.
"""

import asyncio
import gc
import os
import random
import signal
import sys
from collections import Counter
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from micro.errors import ServiceError
from micro.events import deadlines, group
from micro.events.api import Events
from micro.events.driver import NewEvent, Start
from micro.events.memory import MemoryEvents
from micro.events.remote import RemoteEvents
from micro.events.service import HistoryHandler, StreamHandler, _Served
from micro.events.sqlite import SqliteEvents
from micro.proto import events_pb2 as pb
from micro.rpc.nghttp2 import Nghttp2Transport
from micro.testing.bites import Hurried
from micro.testing.events import following, none_comes, taken
from micro.testing.served import PLATFORM, Served

KILLS = int(os.environ.get("MICRO_KILLS", "5"))
EACH = 40  # events between two kills, at most
RNG = random.Random(int(os.environ.get("MICRO_SEED", "1")))

CONSUMER = """
import asyncio, os, signal, sys
from micro.events.api import Events
from micro.events.driver import Start
from micro.events.remote import RemoteEvents
from micro.rpc.client import RpcCaller
from micro.rpc.credentials import FixedToken
from micro.rpc.nghttp2 import Nghttp2Transport
from micro.rpc.resolve import AddressBook

async def main(address, token, manual, last):
    async with Nghttp2Transport() as transport:
        credentials = FixedToken(token, namespace="micro")
        caller = RpcCaller(transport=transport, resolver=AddressBook({"events": address}), credentials=credentials)
        events = Events(RemoteEvents(caller=caller))
        left = int(last)
        async with events.consume("t", group="g", start=Start.OLDEST, manual=manual == "manual") as deliveries:
            async for delivery in deliveries:
                print("got", delivery.event.id, delivery.number, flush=True)
                left -= 1
                if not left:
                    os.kill(os.getpid(), signal.SIGKILL)
                if manual == "manual" and await delivery.ack():
                    print("done", delivery.event.id, delivery.number, flush=True)

asyncio.run(main(*sys.argv[1:]))
"""

SERVICE = """
import asyncio, pathlib, sys
from micro.events.service import HistoryHandler, StreamHandler, _Served
from micro.events.sqlite import SqliteEvents
from micro.rpc.nghttp2 import Nghttp2Transport
from micro.rpc.server import Server
from micro.rpc.stats import Stats
from micro.testing.served import PLATFORM, KnownAccounts

async def main(folder, address):
    guard = KnownAccounts()
    async with Nghttp2Transport() as transport, SqliteEvents(data=pathlib.Path(folder)) as driver:
        served = _Served(driver, plugin="sqlite")
        server = Server("events", transport=transport, guard=guard, core=True, stats=Stats())
        server.add(StreamHandler(served), "Stream")
        server.add(HistoryHandler(served), "Store")
        guard.token(PLATFORM)
        print(await server.start(address), flush=True)
        await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:]))
"""


@asynccontextmanager
async def embedded(folder):
    """Serve the embedded driver over sockets; gives the driver, the world and the portable class over the wire."""
    async with SqliteEvents(data=folder) as driver, Served(Nghttp2Transport()) as world:
        served = _Served(driver, plugin="sqlite")
        await world.serve("events", [("Stream", StreamHandler(served)), ("Store", HistoryHandler(served))])
        yield SimpleNamespace(driver=driver, world=world, events=Events(RemoteEvents(caller=world.caller(PLATFORM))))


async def history(events):
    """Give the ids of a topic, in order."""
    found, after = [], 0
    while page := await events.read("t", after=after, limit=500):
        found += [each.event.id for each in page]
        after = page[-1].event.sequence
    return found


@pytest.mark.parametrize("manner", ["loop", "manual"])
async def test_r21_a_consumer_killed_between_delivery_and_ack_loses_nothing(tmp_path, manner):
    async with embedded(tmp_path) as it:
        count = KILLS * EACH
        for at in range(0, count, EACH):
            await it.events.publish_many("t", [NewEvent(b"", f"{n}") for n in range(at, at + EACH)])
        got, done, numbers = Counter(), set(), []
        for kill in range(KILLS):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", CONSUMER, it.world.addresses["events"], it.world.guard.token(PLATFORM),
                manner, str(RNG.randint(2, EACH)), stdout=-1,
            )  # fmt: skip
            out, _ = await asyncio.wait_for(process.communicate(), 60)
            assert process.returncode == -signal.SIGKILL
            for what, id, number in map(str.split, out.decode().splitlines()):
                assert id not in done, f"{id} was done with, and came again to consumer {kill}"
                if what == "done":
                    done.add(id)
                else:
                    got[id] += 1
                    numbers.append(int(number))
        async with it.events.consume("t", group="g", manual=True) as deliveries:
            while len(got) < count or (await it.events.groups("t"))[0].lag:
                delivery = await following(deliveries)
                got[delivery.event.id] += 1
                numbers.append(delivery.number)
                assert await delivery.ack()
            assert await none_comes(deliveries, 0.05)
        assert got.keys() == {str(n) for n in range(count)}
        # what each killed consumer had in hand came again; a loop's acks on their way may be lost with it, but no more than its window
        again = sum(got.values()) - count
        assert KILLS <= again <= (KILLS if manner == "manual" else KILLS * 256)
        assert max(numbers) > 1
        assert await it.events.read("t.dlq") == []


class Service:
    """The service in a process of its own, that can be killed and is back on its port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = "127.0.0.1:0"

    async def start(self):
        command = [sys.executable, "-c", SERVICE, str(self.folder), self.address]
        self.process = await asyncio.create_subprocess_exec(*command, stdout=-1)
        self.address = (await asyncio.wait_for(self.process.stdout.readline(), 60)).decode().strip()
        return self

    async def kill(self):
        self.process.kill()
        await self.process.wait()

    async def __aenter__(self):
        return await self.start()

    async def __aexit__(self, *exc):
        await self.kill()


async def test_r24_the_service_killed_between_delivery_and_ack_loses_nothing_and_keeps_each_id_once(tmp_path):
    async with Service(tmp_path) as service, Served(Nghttp2Transport()) as world:
        world.addresses["events"] = service.address
        events = Events(RemoteEvents(caller=world.caller(PLATFORM)))
        kept, got, done, killed = set(), Counter(), set(), 0
        count = KILLS * EACH

        async def publish(worker):
            for n in range(worker, count, 8):
                while True:
                    try:
                        await events.publish("t", "", id=str(n), key=str(worker))
                    except ServiceError:
                        await asyncio.sleep(0.02)  # it may be kept, or not: the same id again
                    else:
                        kept.add(str(n))
                        break

        async def consume():
            nonlocal killed
            at = RNG.randint(2, EACH)
            async with events.consume("t", group="g", start=Start.OLDEST, manual=True) as deliveries:
                while len(done) < count:
                    delivery = await following(deliveries)
                    id = delivery.event.id
                    assert id not in done, f"{id} was done with, and came again"
                    got[id] += 1
                    if killed < KILLS and len(done) >= at:
                        killed, at = killed + 1, at + RNG.randint(2, EACH)
                        await service.kill()
                        assert not await delivery.ack()
                        await service.start()
                    elif await delivery.ack():
                        done.add(id)

        await events.seek("t", "g", Start.OLDEST)
        async with asyncio.timeout(100), asyncio.TaskGroup() as group:
            group.create_task(consume())
            for worker in range(8):
                group.create_task(publish(worker))
        ids = await history(events)
        assert killed == KILLS
        assert kept == done == set(ids)
        assert len(ids) == len(set(ids)) == count
        assert sum(got.values()) >= count + KILLS


async def test_r22_a_slow_group_holds_nobody_up_and_little_in_memory(tmp_path):
    async with embedded(tmp_path) as it, it.events.consume("t", group="slow", window=16, manual=True) as slow:
        async with it.events.consume("t", group="fast") as fast:
            for at in range(20):
                await it.events.publish_many("t", [f"{at}.{n}" for n in range(100)])
            for _ in range(2000):
                await following(fast)
        held = await following(slow)
        fast_group, slow_group = await it.events.groups("t")
        assert (fast_group.lag, slow_group.pending, slow_group.lag) == (0, 16, 1984)
        members = (await it.driver._topic("micro", "t")).groups["slow"]
        assert len(members.cursor.open) + len(members.cursor._ahead) <= 16 + 256
        assert await held.ack()


async def test_r25_subscribers_that_are_cut_leave_nothing_behind(tmp_path):
    async with embedded(tmp_path) as it:

        async def cut(count):
            for at in range(count):
                stream = await it.world.caller(PLATFORM).stream(
                    "events", "Stream.Subscribe", pb.Upstream, pb.EventBatch
                )
                named = {"group": "g"} if at % 2 else {}
                await stream.send(pb.Upstream(subscribe=pb.SubscribeRequest(topic="t", **named)))
                await stream.started()
                stream.cancel()
                await it.world._callers.pop().close()

        await cut(10)
        await gone(it)
        gc.collect()
        before = (len(asyncio.all_tasks()), len([*Path("/proc/self/fd").iterdir()]))
        await cut(20 * KILLS)
        place = await gone(it)
        gc.collect()
        tasks, fds = len(asyncio.all_tasks()), len([*Path("/proc/self/fd").iterdir()])
        assert tasks <= before[0] + 2
        assert fds <= before[1] + 2
        assert not place.private
        assert place.groups["g"].empty


async def gone(it):
    """Wait until nobody consumes; gives the topic."""
    place = await it.driver._topic("micro", "t")
    async with asyncio.timeout(30):
        while place.private or not place.groups["g"].empty:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)  # what was cut is closed
    return place


def test_r23_a_poison_event_comes_five_times_with_pauses_and_holds_up_nothing_behind_it(monkeypatch):
    """In hurried time: what takes minutes takes none."""
    monkeypatch.setattr(group, "time", SimpleNamespace(monotonic=lambda: asyncio.get_running_loop().time()))
    monkeypatch.setattr(deadlines, "time", group.time)

    async def work():
        now = asyncio.get_running_loop().time
        async with Events(MemoryEvents()) as events:
            await events.publish_many("t", ["poison", *(str(n) for n in range(20))])
            begun, came, others = now(), [], 0
            async with events.consume("t", group="g", start=Start.OLDEST, manual=True) as deliveries:
                while len(came) < 5 or others < 20:
                    delivery = await anext(deliveries)
                    if delivery.payload == b"poison":
                        came.append(round(now() - begun))
                        await delivery.nack()
                    else:
                        assert now() - begun < 1
                        others += await delivery.ack()
                await asyncio.sleep(200)
                assert await none_comes(deliveries, 1000.0)
            (letter,) = await events.read("t.dlq")
            assert came == [0, 0, 1, 6, 36]
            told = {name: text for name, text in letter.event.metadata.items() if name.startswith("dead-")}
            assert told["dead-topic"] == "t"
            assert told["dead-deliveries"] == "5"
            assert told["dead-cause"] == "delivered 5 times without being settled"
            (receipt,) = await events.replay("t", [told["dead-id"]])
            assert not receipt.duplicate
            async with events.consume("t", group="g") as deliveries:
                assert await taken(deliveries, 1) == [b"poison"]

    with asyncio.Runner(loop_factory=Hurried) as runner:
        runner.run(work())


async def test_r26_a_settlement_for_another_time_settles_nothing(tmp_path):
    async with embedded(tmp_path) as it:
        await it.events.publish("t", "x", id="x")
        stream = await it.world.caller(PLATFORM).stream("events", "Stream.Subscribe", pb.Upstream, pb.EventBatch)

        events, answers = [], []

        async def until(found, count):
            async with asyncio.timeout(10):
                while len(found) < count:
                    batch = await stream.receive()
                    events.extend(event.delivery for event in batch.events)
                    answers.extend(answer.ok for answer in batch.settled)

        async def settle(number, how):
            settle = pb.Settle(id="x", delivery=number, how=how, delay_ms=0)
            await stream.send(pb.Upstream(acks=pb.AckBatch(acks=[settle])))
            await until(answers, len(answers) + 1)
            return answers[-1]

        ack, nack = pb.Settle.ACK, pb.Settle.NACK
        async with stream:
            asked = pb.SubscribeRequest(topic="t", group="g", start_sequence=0, max_deliveries=2)
            await stream.send(pb.Upstream(subscribe=asked))
            await until(events, 1)
            assert not await settle(2, ack)  # of a time that was not yet
            assert await settle(1, nack)
            await until(events, 2)
            assert not await settle(1, ack)  # late: it is out for the second time
            assert [g.pending for g in await it.events.groups("t")] == [1]
            assert await settle(2, nack)
            async with asyncio.timeout(10):
                while not await it.events.read("t.dlq"):
                    await asyncio.sleep(0.01)
            assert not await settle(2, ack)  # it is among the dead
            assert not await settle(2, ack)
            assert events == [1, 2]
            assert len(await it.events.read("t.dlq")) == 1
