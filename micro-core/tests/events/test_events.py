"""Events on memory, on SQLite, and through the wire; what outlives the process; what original peers see."""

import asyncio
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from micro.context import Account
from micro.errors import (
    ConfigError,
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    ResourceExhausted,
    Unauthenticated,
    Unimplemented,
)
from micro.events import group, log
from micro.events.api import Events
from micro.events.driver import EventsDriver, NewEvent, Start
from micro.events.kept import Limits
from micro.events.memory import MemoryEvents
from micro.events.remote import RemoteEvents
from micro.events.service import HistoryHandler, StreamHandler, _Served
from micro.events.sqlite import SqliteEvents, SqliteEventsSettings
from micro.events.store import StoreEventsSettings
from micro.proto import events_pb2 as pb
from micro.rpc.nghttp2 import Nghttp2Transport
from micro.store import Put, Store
from micro.store.database import SCHEMA
from micro.store.sqlite import SqliteSettings, SqliteStore
from micro.testing.events import EventsSuite, following, none_comes, taken
from micro.testing.retention import Clock, RetentionSuite, body, kept, told
from micro.testing.served import PLATFORM, Served


class TestMemoryEvents(EventsSuite):
    @pytest.fixture
    async def driver(self) -> AsyncIterator[EventsDriver]:
        async with MemoryEvents() as driver:
            yield driver


class TestSqliteEvents(EventsSuite):
    @pytest.fixture
    async def driver(self, tmp_path: Path) -> AsyncIterator[EventsDriver]:
        async with SqliteEvents(data=tmp_path) as driver:
            yield driver


def handlers(driver):
    served = _Served(driver, plugin="memory")
    return [("Stream", StreamHandler(served)), ("Store", HistoryHandler(served))]


@pytest.fixture
async def world() -> AsyncIterator[Served]:
    async with MemoryEvents() as driver, Served() as world:
        await world.serve("events", handlers(driver))
        yield world


class TestRemoteEvents(EventsSuite):
    namespaces = False

    @pytest.fixture
    async def driver(self, world: Served) -> AsyncIterator[EventsDriver]:
        driver = RemoteEvents(caller=world.caller(PLATFORM))
        yield driver
        await driver.close()


class TestRemoteEventsOverHttp2(EventsSuite):
    """The whole way: sockets, HTTP/2, the server, and SQLite behind it."""

    namespaces = False

    @pytest.fixture
    async def driver(self, tmp_path: Path) -> AsyncIterator[EventsDriver]:
        async with SqliteEvents(data=tmp_path) as served, Served(Nghttp2Transport()) as world:
            await world.serve("events", handlers(served))
            driver = RemoteEvents(caller=world.caller(PLATFORM))
            yield driver
            await driver.close()


class TestMemoryRetention(RetentionSuite):
    def opened(self, clock, **settings):
        return MemoryEvents(StoreEventsSettings(**settings), clock=clock)


class TestSqliteRetention(RetentionSuite):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path):
        self.folder = tmp_path

    def opened(self, clock, **settings):
        return SqliteEvents(SqliteEventsSettings(**settings), data=self.folder, clock=clock)


class TestRemoteRetention(RetentionSuite):
    """Through the wire, to the embedded driver."""

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path):
        self.folder = tmp_path

    @asynccontextmanager
    async def opened(self, clock, **settings):
        async with (
            SqliteEvents(SqliteEventsSettings(**settings), data=self.folder, clock=clock) as served,
            Served(Nghttp2Transport()) as world,
        ):
            await world.serve("events", handlers(served))
            driver = RemoteEvents(caller=world.caller(PLATFORM))
            yield driver
            await driver.close()


async def test_the_log_the_groups_and_their_settings_outlive_the_process(tmp_path):
    async with Events(SqliteEvents(data=tmp_path)) as events:
        await events.publish_many("t", [NewEvent(str(n).encode(), f"id{n}") for n in range(5)])
        async with events.consume("t", group="g", start=Start.OLDEST, ack_wait=7, manual=True) as deliveries:
            found = [await following(deliveries) for _ in range(5)]
            await found[0].ack()
            await found[2].ack()
            await found[3].nack(0)
    assert oct((tmp_path / "events" / "events.db").stat().st_mode)[-3:] == "600"
    async with Events(SqliteEvents(data=tmp_path)) as events:
        assert (await events.publish("t", "again", id="id1")).duplicate
        receipt = await events.publish("t", "5")
        assert receipt.sequence > 5
        async with events.consume("t", group="g", ack_wait=7, manual=True) as deliveries:
            rest = [await following(deliveries) for _ in range(4)]
            assert sorted(d.payload for d in rest) == [b"1", b"3", b"4", b"5"]
            assert next(d.number for d in rest if d.payload == b"3") == 2
            assert await none_comes(deliveries)


async def test_sequences_and_counts_go_on_even_when_every_event_has_gone(tmp_path):
    settings, clock = SqliteEventsSettings(retention=60.0, max_events=3, discard="old"), Clock()
    async with Events(SqliteEvents(settings, data=tmp_path, clock=clock)) as events:
        await events.seek("t", "g", Start.OLDEST)
        receipts = await events.publish_many("t", [body(n) for n in range(5)])
    clock.now += 61
    async with Events(SqliteEvents(settings, data=tmp_path, clock=clock)) as events:
        assert await events.read("t") == []
        (group,) = await events.groups("t")
        assert (group.lag, group.lost) == (0, 5)
        assert (await events.publish("t", body(5))).sequence > receipts[-1].sequence
        async with events.consume("t", group="g") as deliveries:
            assert await told(deliveries, 1) == [(5, 5)]


async def test_what_was_done_with_before_a_restart_is_not_lost_when_it_goes_after_it(tmp_path):
    settings = SqliteEventsSettings(max_events=4, discard="old")
    async with Events(SqliteEvents(settings, data=tmp_path)) as events:
        await events.publish_many("t", [body(n) for n in range(4)])
        async with events.consume("t", group="g", start=Start.OLDEST, manual=True) as deliveries:
            out = [await following(deliveries) for _ in range(3)]
            assert await out[1].ack()
    async with Events(SqliteEvents(settings, data=tmp_path)) as events:
        await events.publish_many("t", [body(n) for n in range(4, 7)])
        assert await kept(events, "t") == [3, 4, 5, 6]
        async with events.consume("t", group="g") as deliveries:
            assert await told(deliveries, 4) == [(3, 2), (4, 0), (5, 0), (6, 0)]
        assert [(g.lag, g.lost) for g in await events.groups("t")] == [(0, 2)]


async def test_a_topic_is_as_full_after_a_restart_as_before(tmp_path):
    for limit in ({"max_events": 3}, {"max_bytes": 300}):
        folder = tmp_path / next(iter(limit))
        async with Events(SqliteEvents(SqliteEventsSettings(**limit), data=folder)) as events:
            await events.publish_many("t", [NewEvent(body(n), str(n)) for n in range(3)])
        async with Events(SqliteEvents(SqliteEventsSettings(**limit), data=folder)) as events:
            with pytest.raises(ResourceExhausted, match="'t' is full"):
                await events.publish("t", "x")
            assert len(await events.read("t")) == 3


async def test_ids_are_known_over_a_restart_for_as_long_as_without_one(tmp_path):
    clock = Clock()
    async with Events(SqliteEvents(data=tmp_path, clock=clock)) as events:
        await events.publish("t", "old", id="old")
        clock.now += 60
        for at in range(0, 1500, 100):
            await events.publish_many("t", [NewEvent(b"", f"id{n}") for n in range(at, at + 100)])
    clock.now += 59
    async with Events(SqliteEvents(data=tmp_path, clock=clock)) as events:
        assert (await events.publish("t", "old", id="old")).duplicate
        assert (await events.publish("t", "", id="id0")).duplicate
        clock.now += 2
        assert not (await events.publish("t", "old", id="old")).duplicate
        assert (await events.publish("t", "", id="id0")).duplicate


async def test_events_and_groups_from_before_they_were_counted_go_on(tmp_path):
    old = msgspec.msgpack.encode(["id", "", {}, 1e9, b"x"])
    state = {"position": 6, "settled": [], "counts": {}, "rules": None}
    async with Store(SqliteStore(SqliteSettings(path=str(tmp_path / "events.db"))), table="t") as store:
        await store.apply([Put(f"e/{n:016x}", old) for n in (7, 8)] + [Put("g/g", json.dumps(state).encode())])
    async with Events(SqliteEvents(SqliteEventsSettings(path=str(tmp_path / "events.db")))) as events:
        assert [(g.lag, g.lost) for g in await events.groups("t")] == [(2, 0)]
        assert (await events.publish("t", "y")).sequence == 9
        async with events.consume("t", group="g") as deliveries:
            assert await taken(deliveries, 3) == [b"x", b"x", b"y"]


async def test_an_instant_is_found_in_a_few_reads_and_wherever_its_event_is(monkeypatch):
    begin, dice = datetime(2030, 1, 1, tzinfo=UTC), random.Random(3)
    reads = []
    read = log.Log.read

    async def counted(self, after, limit, **options):
        reads.append(limit)
        return await read(self, after, limit, **options)

    monkeypatch.setattr(log.Log, "read", counted)
    async with Events(MemoryEvents(StoreEventsSettings(retention=0))) as events:
        times = {"ordered": list(range(5000)), "odd": [dice.randrange(900) for _ in range(1000)]}
        for topic, seconds in times.items():
            for at in range(0, len(seconds), 100):
                some = [NewEvent(b"", timestamp=begin + timedelta(seconds=s)) for s in seconds[at : at + 100]]
                await events.publish_many(topic, some)
            for wanted in [-1, 0, 1, 898, 899, 900, 4999, 5000, *(dice.randrange(900) for _ in range(20))]:
                reads.clear()
                found = await events.read(topic, since=begin + timedelta(seconds=wanted), limit=1)
                first = next((n for n, s in enumerate(seconds) if s >= wanted), None)
                assert [e.event.sequence - 1 for e in found] == ([] if first is None else [first])
                assert len(reads) < 20


def damage(folder, like, put="x'00'"):
    """Change the value of records as a bit that flips does: the checksum stays."""
    with closing(sqlite3.connect(folder / "events" / "events.db")) as file, file:
        assert file.execute(f"UPDATE records SET value = {put} WHERE key LIKE ?", [like]).rowcount == 1


async def test_a_damaged_event_is_told_and_its_neighbours_are_read_and_consumed(tmp_path, caplog):
    async with Events(SqliteEvents(data=tmp_path)) as events:
        receipts = await events.publish_many("t", [str(n) for n in range(5)])
        await events.seek("t", "g", Start.OLDEST)
    bad = receipts[2].sequence
    damage(tmp_path, f"e/{bad:016x}")
    async with Events(SqliteEvents(data=tmp_path)) as events:
        for descending in (False, True):
            with pytest.raises(
                DataLoss, match=f"event {bad} of topic 't' is damaged; what follows is read with after={bad}"
            ):
                await events.read("t", descending=descending)
        assert [e.payload for e in await events.read("t", limit=2)] == [b"0", b"1"]
        assert [e.payload for e in await events.read("t", after=bad)] == [b"3", b"4"]
        async with events.consume("t", str, group="g") as deliveries:
            assert [(d.payload, d.lost) for d in [await following(deliveries) for _ in range(4)]] == [
                ("0", 0), ("1", 0), ("3", 1), ("4", 0),
            ]  # fmt: skip
            await events.publish("t", "5")
            assert await taken(deliveries, 1) == ["5"]
        assert [(g.lag, g.lost) for g in await events.groups("t")] == [(0, 1)]
    assert f"event {bad} of topic 't' is damaged, and passed over" in caplog.text


async def test_a_damaged_group_or_end_is_told_and_holds_nobody_else_up(tmp_path):
    async with Events(SqliteEvents(data=tmp_path)) as events:
        first = await events.publish("t", "0")
        for group in ("bad", "good"):
            await events.seek("t", group, Start.OLDEST)
    damage(tmp_path, "g/bad")
    damage(tmp_path, "tail")
    async with Events(SqliteEvents(data=tmp_path)) as events:
        assert (await events.publish("t", "1")).sequence > first.sequence
        async with events.consume("t", group="good") as deliveries:
            assert await taken(deliveries, 2) == [b"0", b"1"]
        with pytest.raises(DataLoss, match="where group 'bad' is in topic 't' is damaged; seek says it anew"):
            await events.consume("t", group="bad").__aenter__()
        await events.seek("t", "bad", Start.OLDEST)
        async with events.consume("t", group="bad") as deliveries:
            assert await taken(deliveries, 2) == [b"0", b"1"]


async def test_a_newer_file_is_refused_with_both_numbers(tmp_path):
    async with Events(SqliteEvents(data=tmp_path)) as events:
        await events.publish("t", "0")
    with closing(sqlite3.connect(tmp_path / "events" / "events.db")) as file:
        file.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    with pytest.raises(FailedPrecondition, match=rf"events.db has schema {SCHEMA + 1}, .* reads up to {SCHEMA}"):
        await Events(SqliteEvents(data=tmp_path)).open()


async def test_only_so_many_ids_are_known(monkeypatch):
    monkeypatch.setattr(log, "REMEMBERED", 50)
    async with Events(MemoryEvents()) as events:
        await events.publish_many("t", [NewEvent(b"", str(n)) for n in range(51)])
        assert (await events.publish("t", "", id="1")).duplicate
        assert not (await events.publish("t", "", id="0")).duplicate


async def test_a_dead_letter_that_is_not_kept_yet_waits_and_holds_nobody_up(monkeypatch, caplog):
    monkeypatch.setattr(group, "REBURY", 0.05)
    clock = Clock()
    async with Events(MemoryEvents(StoreEventsSettings(retention=60.0, max_events=3), clock=clock)) as events:
        await events.publish_many("t.dlq", ["0", "1", "2"])
        await events.publish("t", "poison")
        await events.publish("t", "fine")
        async with events.consume("t", group="g", start=Start.OLDEST, max_deliveries=1, manual=True) as deliveries:
            await (await following(deliveries)).nack(0)
            assert await taken(deliveries, 1) == [b"fine"]
            async with asyncio.timeout(10):
                while "is not kept yet" not in caplog.text:
                    await asyncio.sleep(0.01)
                clock.now += 61  # the dead letters grow too old, and there is room
                while not (letters := await events.read("t.dlq")):
                    await asyncio.sleep(0.01)
            await events.publish("t", "next")
            assert await taken(deliveries, 1) == [b"next"]
        assert [letter.payload for letter in letters] == [b"poison"]
        assert [(g.pending, g.lag) for g in await events.groups("t")] == [(0, 0)]


def test_limits_have_units_and_mistakes_are_told():
    given = SqliteEventsSettings.decode(
        {"retention": "36h", "max_events": 1000, "max_bytes": "64MiB", "discard": "old"}
    )
    assert Limits.of(given) == Limits(36 * 3600.0, 1000, 64 * 2**20, drop=True)
    assert Limits.of(SqliteEventsSettings()) == Limits(7 * 86400.0)
    assert Limits.of(SqliteEventsSettings(retention=0)) == Limits()
    with pytest.raises(ConfigError) as told:
        SqliteEventsSettings.decode({"max_events": 0, "max_bytes": "many", "discard": "oldest", "retention": -1})
    for word in ("'max_events': expected 1 or more", "'max_bytes': expected a size", "'new', 'old'", "'retention'"):
        assert word in str(told.value)


WRITER = """
import asyncio, pathlib, sys
from micro.events.api import Events
from micro.events.sqlite import SqliteEvents, SqliteEventsSettings
from micro.events.store import StoreEventsSettings

async def main():
    async with Events(SqliteEvents(data=pathlib.Path(sys.argv[1]))) as events:
        async def publish(worker):
            for n in range(10**6):
                receipt = await events.publish("t", f"{worker}.{n}", id=f"{worker}.{n}")
                print(f"{worker}.{n}", receipt.sequence, flush=True)
        await asyncio.gather(*(publish(w) for w in range(8)))

asyncio.run(main())
"""


async def test_no_acknowledged_event_is_lost_when_the_process_is_killed(tmp_path):
    acknowledged = set()
    for _ in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        with writer:
            for _ in range(200):
                line = writer.stdout.readline().split()
                acknowledged.add(line[0])
            os.kill(writer.pid, signal.SIGKILL)
            rest = writer.stdout.read().splitlines()
            acknowledged |= {line.split()[0] for line in rest[:-1]}
    async with Events(SqliteEvents(data=tmp_path)) as events:
        kept, after = [], 0
        while page := await events.read("t", after=after, limit=500):
            kept += [event.event.id for event in page]
            after = page[-1].event.sequence
    assert acknowledged <= set(kept)
    assert len(kept) == len(set(kept))


DIES = """
import asyncio, os, signal, sys
from micro.events.api import Events
from micro.events.driver import Start
from micro.events.remote import RemoteEvents
from micro.rpc.client import RpcCaller
from micro.rpc.credentials import FixedToken
from micro.rpc.nghttp2 import Nghttp2Transport
from micro.store import Put, Store
from micro.store.database import SCHEMA
from micro.store.sqlite import SqliteSettings, SqliteStore
from micro.rpc.resolve import AddressBook

async def main(address, token):
    async with Nghttp2Transport() as transport:
        credentials = FixedToken(token, namespace="micro")
        caller = RpcCaller(transport=transport, resolver=AddressBook({"events": address}), credentials=credentials)
        events = Events(RemoteEvents(caller=caller))
        async with events.consume("t", group="g", start=Start.OLDEST) as deliveries:
            async for delivery in deliveries:
                print(delivery.payload.decode(), delivery.number, flush=True)
                if delivery.payload == b"poison":
                    os.kill(os.getpid(), signal.SIGKILL)
                if delivery.payload == b"last":
                    break
        await caller.close()

asyncio.run(main(*sys.argv[1:]))
"""


async def test_what_kills_its_consumer_is_counted_and_what_was_behind_it_is_not(tmp_path):
    async with SqliteEvents(data=tmp_path) as served, Served(Nghttp2Transport()) as world:
        await world.serve("events", handlers(served))
        events = Events(RemoteEvents(caller=world.caller(PLATFORM)))
        await events.publish_many("t", ["first", "poison", *(str(n) for n in range(50)), "last"])
        lives = []
        for _ in range(6):
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-c", DIES, world.addresses["events"], world.guard.token(PLATFORM), stdout=-1
            )
            out, _ = await asyncio.wait_for(child.communicate(), 30)
            lives.append(out.decode().splitlines())
        assert lives[:5] == [["first 1", "poison 1"], *([f"poison {n}"] for n in range(2, 6))]
        assert lives[5] == [*(f"{n} 1" for n in range(50)), "last 1"]
        (letter,) = await events.read("t.dlq")
        assert (letter.payload, letter.event.metadata["dead-deliveries"]) == (b"poison", "5")


async def test_a_subscriber_that_does_not_say_what_it_begins_is_counted_by_what_it_is_sent(world):
    events = Events(RemoteEvents(caller=world.caller(PLATFORM)))
    await events.publish_many("t", ["0", "1"])
    numbers = []
    for _ in range(2):
        stream = await world.caller(PLATFORM).stream("events", "Stream.Subscribe", pb.Upstream, pb.EventBatch)
        async with stream:
            await stream.send(pb.Upstream(subscribe=pb.SubscribeRequest(topic="t", group="g", start_sequence=0)))
            found = []
            while len(found) < 2:
                found += (await stream.receive()).events
        numbers.append([event.delivery for event in found])
    assert numbers == [[1, 1], [2, 2]]


async def test_an_original_consumer_that_leaves_has_begun_only_what_is_first_in_line(world):
    events = Events(RemoteEvents(caller=world.caller(PLATFORM)))
    await events.publish_many("t", ["0", "1", "2"])
    await events.seek("t", "g", Start.OLDEST)
    async with await consume(world, group="g", retry_limit=-1) as stream:
        found = [await stream.receive() for _ in range(3)]
        await settle(stream, found[0], success=True)
        await events.publish("t", "3")
        assert (await stream.receive()).payload == b"3"
        while (await events.groups("t"))[0].pending != 3:
            await asyncio.sleep(0.005)
    async with await consume(world, group="g", retry_limit=-1) as stream:
        again = [await stream.receive() for _ in range(3)]
    assert [(event.payload, event.delivery) for event in again] == [(b"1", 2), (b"2", 1), (b"3", 1)]


async def test_topics_are_apart_by_the_accounts_issuer_and_only_its_admins_may(world):
    shop = Account("ann", issuer="shop", scopes=("admin",))
    mine = Events(RemoteEvents(caller=world.caller(shop)))
    await mine.publish("t", "x")
    assert len(await mine.read("t")) == 1
    assert await Events(RemoteEvents(caller=world.caller(PLATFORM))).read("t") == []
    for who in (None, Account("bob", issuer="shop")):
        with pytest.raises(Unauthenticated):
            await Events(RemoteEvents(caller=world.caller(who))).publish("t", "x")


async def test_an_original_client_publishes_reads_and_is_refused_in_its_words(world):
    admin = world.caller(PLATFORM)
    with pytest.raises(InvalidArgument, match="Missing topic"):
        await admin.call("events", "Stream.Publish", pb.PublishRequest(payload=b"x"), pb.PublishResponse)
    with pytest.raises(InvalidArgument, match="Missing topic"):
        await admin.call("events", "Store.Read", pb.ReadRequest(), pb.ReadResponse)
    with pytest.raises(Unimplemented, match="Writing to the store directly is not supported"):
        await admin.call("events", "Store.Write", pb.WriteRequest(), pb.WriteResponse)
    for n in range(3):
        request = pb.PublishRequest(topic="t", payload=str(n).encode(), timestamp=1_900_000_000 + n)
        await admin.call("events", "Stream.Publish", request, pb.PublishResponse)
    found = await admin.call("events", "Store.Read", pb.ReadRequest(topic="t", offset=1, limit=1), pb.ReadResponse)
    assert [(e.payload, e.timestamp) for e in found.events] == [(b"1", 1_900_000_001)]
    async with await consume(world, group="g", offset=1_900_000_001, auto_ack=True) as stream:
        delivered = [await stream.receive() for _ in range(2)]
    assert delivered[0].id == found.events[0].id
    assert [event.payload for event in delivered] == [b"1", b"2"]


async def consume(world, **options):
    stream = await world.caller(PLATFORM).stream("events", "Stream.Consume", pb.ConsumeRequest, pb.Event)
    await stream.send(pb.ConsumeRequest(topic="t", **options))
    await stream.started()
    return stream


async def settle(stream, event, success):
    # an original client sends another message type on the same stream
    await stream.send(pb.ConsumeRequest.FromString(pb.AckRequest(id=event.id, success=success).SerializeToString()))


async def test_an_original_consumer_acks_and_nacks_on_its_one_stream(world):
    events = Events(RemoteEvents(caller=world.caller(PLATFORM)))
    stream = await consume(world, group="g", offset=-62135596800, retry_limit=-1, ack_wait=10**9)
    async with stream:
        await events.publish("t", "0")
        first = await stream.receive()
        assert first.payload == b"0"
        await settle(stream, first, success=False)
        again = await stream.receive()
        assert (again.id, again.delivery) == (first.id, 2)
        await settle(stream, again, success=True)
        await settle(stream, pb.Event(id="unknown"), success=True)
        await events.publish("t", "1")
        assert (await stream.receive()).payload == b"1"


async def test_an_original_consumer_that_half_closes_ends_and_one_with_auto_ack_need_not_answer(world):
    events = Events(RemoteEvents(caller=world.caller(PLATFORM)))
    async with await consume(world, group="g", auto_ack=True) as stream:
        await events.publish_many("t", ["0", "1"])
        assert [(await stream.receive()).payload for _ in range(2)] == [b"0", b"1"]
        (group,) = await events.groups("t")
        assert group.pending == 0
        stream.end()
        async with asyncio.timeout(5):
            assert await stream.receive() is None


async def test_publishing_waits_for_no_consumer_and_a_consumer_for_no_other(world):
    events = Events(RemoteEvents(caller=world.caller(PLATFORM)))
    async with events.consume("t", group="slow", manual=True) as slow, events.consume("t", group="fast") as fast:
        for batch in range(10):
            await events.publish_many("t", [f"{batch}.{n}" for n in range(100)])
        assert len(await taken(fast, 1000)) == 1000
        assert slow is not None
