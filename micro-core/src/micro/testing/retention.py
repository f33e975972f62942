"""What every events driver with limits does: how long it keeps events, how many, and what a full topic does."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from micro import limits
from micro.errors import ResourceExhausted
from micro.events.api import Events
from micro.events.consumption import Consumption
from micro.events.driver import EventsDriver, NewEvent, Start
from micro.testing.events import following, none_comes
from micro.testing.suite import Suite


class Clock:
    """Unix seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1_000_000_000.0

    def __call__(self) -> float:
        return self.now


def body(number: int) -> bytes:
    """Give a payload of a hundred bytes, which with an id of one byte is all that counts."""
    return b"%099d" % number


async def kept(events: Events, topic: str) -> list[int]:
    """Give the numbers of what is kept."""
    return [int(e.payload) for e in await events.read(topic, limit=1000)]


async def publish(events: Events, topic: str, *numbers: int) -> None:
    """Publish bodies, each in a call of its own, with ids of one byte."""
    for number in numbers:
        await events.publish(topic, body(number), id=chr(number + 32))


async def told(deliveries: Consumption[Any], count: int) -> list[tuple[int, int]]:
    """Take and ack so many; gives their numbers, and how many were lost before each."""
    found = []
    for _ in range(count):
        delivery = await following(deliveries)
        found.append((int(delivery.payload), delivery.lost))
        await delivery.ack()
    return found


class RetentionSuite(Suite):
    """A subclass says how to open a driver on a clock with the settings `retention max_events max_bytes discard`."""

    def opened(self, clock: Clock, **settings: Any) -> AbstractAsyncContextManager[EventsDriver]:
        """Give an open driver whose time is the clock's; `retention` is in seconds, for ever where it is not given."""
        raise NotImplementedError  # a subclass gives it, as its docstring says

    @asynccontextmanager
    async def keeping(self, clock: Clock, **settings: Any) -> AsyncIterator[Events]:
        """Give the portable class over such a driver."""
        async with self.opened(clock, **{"retention": 0.0} | settings) as driver:
            yield Events(driver)

    @pytest.fixture
    def clock(self) -> Clock:
        """The driver's time."""
        return Clock()

    @pytest.fixture
    def topic(self) -> str:
        """A topic nobody else uses."""
        return f"topic-{uuid.uuid4().hex}"

    # age

    async def test_what_is_too_old_is_kept_no_more(self, clock: Clock, topic: str) -> None:
        async with self.keeping(clock, retention=60.0) as events:
            await publish(events, topic, 0, 1)
            clock.now += 30
            await publish(events, topic, 2)
            clock.now += 29.5
            assert await kept(events, topic) == [0, 1, 2]
            clock.now += 1
            assert await kept(events, topic) == [2]
            assert [int(e.payload) for e in await events.read(topic, descending=True)] == [2]
            async with events.consume(topic, group="g", start=Start.OLDEST) as deliveries:
                assert await told(deliveries, 1) == [(2, 0)]
                clock.now += 60
                assert await kept(events, topic) == []
                await publish(events, topic, 3)
                assert await told(deliveries, 1) == [(3, 0)]

    async def test_without_an_age_everything_is_kept(self, clock: Clock, topic: str) -> None:
        async with self.keeping(clock) as events:
            await publish(events, topic, 0)
            clock.now += 100 * 365 * 86400
            assert await kept(events, topic) == [0]

    async def test_an_id_is_known_for_two_minutes(self, clock: Clock, topic: str) -> None:
        async with self.keeping(clock) as events:
            first = await events.publish(topic, "x", id="one")
            clock.now += 119
            again = await events.publish(topic, "x", id="one")
            assert (again.duplicate, again.sequence) == (True, first.sequence)
            clock.now += 2
            assert not (await events.publish(topic, "x", id="one")).duplicate

    # a full topic

    async def test_a_full_topic_refuses_and_keeps_what_it_has(self, clock: Clock, topic: str) -> None:
        async with self.keeping(clock, max_events=3) as events:
            await publish(events, topic, 0, 1, 2)
            with pytest.raises(ResourceExhausted, match=r"is full: 3 events are kept and 1 came, the limit is 3"):
                await publish(events, topic, 3)
            assert await kept(events, topic) == [0, 1, 2]
            assert (await events.publish(topic, body(1), id=chr(33))).duplicate
            await publish(events, f"{topic}-other", 0)

    async def test_consuming_makes_no_room_and_time_does(self, clock: Clock, topic: str) -> None:
        async with self.keeping(clock, retention=60.0, max_events=3) as events:
            async with events.consume(topic, group="g") as deliveries:
                await publish(events, topic, 0)
                clock.now += 30
                await publish(events, topic, 1, 2)
                assert await told(deliveries, 3) == [(0, 0), (1, 0), (2, 0)]
                with pytest.raises(ResourceExhausted):
                    await publish(events, topic, 3)
                clock.now += 31
                await publish(events, topic, 3)  # its id was not kept with what was refused
                assert await told(deliveries, 1) == [(3, 0)]
                with pytest.raises(ResourceExhausted):
                    await publish(events, topic, 4)
            assert await kept(events, topic) == [1, 2, 3]

    async def test_a_call_that_does_not_fit_is_refused_whole(self, clock: Clock, topic: str) -> None:
        async with self.keeping(clock, max_events=3) as events:
            await publish(events, topic, 0)
            with pytest.raises(ResourceExhausted):
                await events.publish_many(topic, [body(n) for n in range(1, 4)])
            assert await kept(events, topic) == [0]
            await events.publish_many(topic, [body(n) for n in range(1, 3)])
            assert await kept(events, topic) == [0, 1, 2]

    async def test_bytes_are_counted_to_the_last(self, clock: Clock, topic: str) -> None:
        async with self.keeping(clock, max_bytes=310) as events:
            await publish(events, topic, 0, 1)
            with pytest.raises(ResourceExhausted, match=r"is full: 200 bytes are kept and 111 came, the limit is 310"):
                await events.publish(topic, body(2), id="i", key="keys", metadata={"meta": "ta"} | {"x": ""})
            await events.publish(topic, body(2), id="i", key="keys", metadata={"meta": "ta"})
            assert await kept(events, topic) == [0, 1, 2]
            with pytest.raises(ResourceExhausted):
                await events.publish(topic, "", id="j")

    # what drops

    async def test_when_asked_to_the_oldest_go(self, clock: Clock, topic: str) -> None:
        async with self.keeping(clock, max_events=3, discard="old") as events:
            await publish(events, topic, *range(10))
            assert await kept(events, topic) == [7, 8, 9]
            receipts = await events.publish_many(topic, [body(n) for n in range(10, 15)])
            assert await kept(events, topic) == [12, 13, 14]
            found = await events.read(topic)
            assert [e.event.sequence for e in found] == [r.sequence for r in receipts[2:]]
            assert await events.read(topic, after=found[-1].event.sequence) == []

    async def test_the_oldest_go_by_bytes_too(self, clock: Clock, topic: str) -> None:
        async with self.keeping(clock, max_bytes=350, discard="old") as events:
            await publish(events, topic, 0, 1, 2)
            await events.publish(topic, b"3" * 49, id="3")
            assert await kept(events, topic) == [0, 1, 2, int("3" * 49)]
            await publish(events, topic, 4)
            assert await kept(events, topic) == [1, 2, int("3" * 49), 4]
            await events.publish(topic, b"5" * 349, id="5")
            assert await kept(events, topic) == [int("5" * 349)]
            with pytest.raises(ResourceExhausted):
                await events.publish(topic, b"6" * 350, id="6")
            assert await kept(events, topic) == [int("5" * 349)]

    async def test_a_large_batch_passes_through_a_small_topic(self, clock: Clock, topic: str) -> None:
        async with self.keeping(clock, max_events=7, discard="old") as events:
            for first in (0, 100, 200):
                await events.publish_many(topic, [body(n) for n in range(first, first + limits.BATCH)])
            assert await kept(events, topic) == list(range(293, 300))

    # what a consumer is told

    async def test_who_is_behind_what_was_dropped_is_told_how_many(self, clock: Clock, topic: str) -> None:
        async with self.keeping(clock, max_events=3, discard="old") as events:
            async with events.consume(topic, group="g", window=1) as deliveries:
                await publish(events, topic, 0)
                assert await told(deliveries, 1) == [(0, 0)]
            await publish(events, topic, *range(1, 8))
            (group,) = await events.groups(topic)
            assert (group.lag, group.lost) == (3, 4)
            async with events.consume(topic, group="g", window=1) as deliveries:
                assert await told(deliveries, 3) == [(5, 4), (6, 0), (7, 0)]
                assert await none_comes(deliveries, 0.05)
            (group,) = await events.groups(topic)
            assert (group.lag, group.lost) == (0, 4)

    async def test_what_was_done_with_is_not_lost(self, clock: Clock, topic: str) -> None:
        async with self.keeping(clock, max_events=3, discard="old") as events:
            await publish(events, topic, 0, 1, 2)
            async with events.consume(topic, group="g", start=Start.OLDEST, manual=True) as deliveries:
                out = [await following(deliveries) for _ in range(3)]
                assert await out[1].ack()
            await events.seek(topic, "h", Start.OLDEST)
            await publish(events, topic, 3, 4)
            async with events.consume(topic, group="g") as deliveries:
                found = dict(await told(deliveries, 1))
                while 4 not in found:
                    found |= await told(deliveries, 1)
            assert found.keys() >= {2, 3, 4}
            assert 1 not in found
            lost = sum(found.values())
            assert len(found) + lost == 4  # what was out when it went may still come
            (g, h) = await events.groups(topic)
            assert (g.lost, h.lost, h.lag) == (lost, 2, 3)

    async def test_what_grew_too_old_is_told_too(self, clock: Clock, topic: str) -> None:
        async with self.keeping(clock, retention=60.0) as events:
            await events.seek(topic, "g", Start.OLDEST)
            await publish(events, topic, 0, 1)
            clock.now += 61
            (group,) = await events.groups(topic)
            assert (group.lag, group.lost) == (0, 2)
            await publish(events, topic, 2)
            async with events.consume(topic, group="g", manual=True) as deliveries:
                first = await following(deliveries)
                assert (int(first.payload), first.lost) == (2, 2)
                assert await first.nack(0)
                again = await following(deliveries)
                assert (again.number, again.lost) == (2, 2)
                await again.ack()
            (group,) = await events.groups(topic)
            assert (group.lag, group.lost) == (0, 2)

    async def test_who_begins_at_the_oldest_or_now_lost_nothing_and_who_names_what_went_is_told(
        self, clock: Clock, topic: str
    ) -> None:
        async with self.keeping(clock, max_events=3, discard="old") as events:
            receipts = await events.publish_many(topic, [NewEvent(body(n)) for n in range(6)])
            second = Start(sequence=receipts[1].sequence)
            async with (
                events.consume(topic, start=Start.OLDEST) as oldest,
                events.consume(topic, start=second) as named,
                events.consume(topic, start=Start(sequence=receipts[4].sequence)) as later,
                events.consume(topic) as new,
            ):
                assert await told(oldest, 1) == [(3, 0)]
                assert await told(named, 2) == [(3, 2), (4, 0)]
                assert await told(later, 1) == [(4, 0)]
                await publish(events, topic, 6)
                assert await told(new, 1) == [(6, 0)]
