"""A topic goes from SQLite to NATS and back, over breaks, and is what it was."""

import asyncio
import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from micro.errors import Aborted, DeadlineExceeded, FailedPrecondition, Unavailable
from micro.events.api import Events
from micro.events.driver import NewEvent, Start
from micro.events.memory import MemoryEvents
from micro.events.moving import Copied, copy
from micro.events.sqlite import SqliteEvents
from micro.testing.door import Door
from micro.testing.events import following
from micro.testing.servers.nats import nats_server
from micro.testing.servers.server import Server
from micro.testing.store import AWKWARD, unique
from micro_broker_nats import NatsEvents, NatsEventsSettings

__all__ = ["nats_server"]
COUNT = 2_500
BROKEN = (Unavailable, DeadlineExceeded)


def nats(port: int | str) -> Events:
    return Events(NatsEvents(NatsEventsSettings(url=f"nats://127.0.0.1:{port}", timeout=2.0)), plugin="nats")


async def fill(events: Events, topic: str) -> None:
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    found = [NewEvent(key.encode(), f"id {key[:200]}", key[:90], {"key": key[:90], "é": "ü"}) for key in AWKWARD]
    found += [
        NewEvent(bytes([n % 256]) * 200, f"n{n}", timestamp=begin + timedelta(microseconds=n)) for n in range(COUNT)
    ]
    for at in range(0, len(found), 100):
        await events.publish_many(topic, found[at : at + 100])


async def test_a_topic_goes_to_nats_over_a_break_and_back_and_is_what_it_was(
    tmp_path: Path, nats_server: Server
) -> None:
    topic = unique()
    async with (
        Events(SqliteEvents(data=tmp_path / "one")) as source,
        Events(SqliteEvents(data=tmp_path / "two")) as back,
        Door(f"127.0.0.1:{nats_server.port}") as door,
        nats(door.address.rpartition(":")[2]) as there,
    ):
        await fill(source, topic)
        async with source.consume(topic, group="g", start=Start.OLDEST, manual=True) as deliveries:
            for _ in range(70):
                assert await (await following(deliveries)).ack()
        await source.seek(topic, "behind", Start.OLDEST)
        await source.seek(topic, "new", Start.NEW)
        await door.cut(after=1_500)  # bytes of answers: while it publishes
        with pytest.raises(BROKEN):
            await copy(source, there, topic)
        part = None
        while part is None:  # it comes back by itself
            try:
                part = await there.read(topic, limit=10_000)
            except BROKEN:
                await asyncio.sleep(0.02)
        assert 0 < len(part) < COUNT
        count = COUNT + len(AWKWARD)
        first = await copy(source, there, topic)
        assert (first.events, first.groups) == (count, 3)
        assert await copy(source, there, topic) == Copied(count, first.sha256, 0)
        second = await copy(there, back, topic)
        assert second == first
        assert await copy(source, back, topic) == Copied(count, first.sha256, 0)
        at = {group.name: group.lag for group in await back.groups(topic)}
        assert at == {"g": count - 70, "behind": count, "new": 0}
        async with back.consume(topic, group="g") as deliveries:
            delivery = await following(deliveries)
            assert delivery.event.id == (await source.read(topic, limit=71))[-1].event.id


async def test_what_is_not_a_beginning_of_the_source_is_left_alone() -> None:
    async with Events(MemoryEvents()) as source, Events(MemoryEvents()) as target:
        assert await copy(source, target, "t") == Copied(0, hashlib.sha256().hexdigest(), 0)
        await source.publish_many("t", [NewEvent(b"0", "a"), NewEvent(b"1", "b")])
        await target.publish("t", "0", id="a")
        with pytest.raises(FailedPrecondition, match="has other events already"):
            await copy(source, target, "t")  # another time of publishing
        assert len(await target.read("t")) == 1
        await copy(source, target, "u")
        await copy(source, target, "v", groups=False)
        async with Events(MemoryEvents()) as empty:
            await copy(source, empty, "t")
            await empty.publish("t", "2")
            with pytest.raises(FailedPrecondition, match="used already"):
                await copy(source, empty, "t")


async def test_an_id_that_came_twice_is_told_and_groups_may_stay_where_they_are() -> None:
    now = [1_000_000_000.0]
    async with (
        Events(MemoryEvents(clock=lambda: now[0])) as source,
        Events(MemoryEvents(clock=lambda: now[0])) as target,
    ):
        await source.publish("t", "0", id="a")
        now[0] += 200
        await source.publish("t", "1", id="a")
        with pytest.raises(Aborted, match="came twice"):
            await copy(source, target, "t")
        now[0] += 200
        await source.seek("t", "g", Start.OLDEST)
        await target.seek("t", "g", Start.NEW)
        assert (await copy(source, target, "t"))[::2] == (2, 0)
        assert [group.lag for group in await target.groups("t")] == [1]
