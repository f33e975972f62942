"""What every events driver does, shown through the portable class."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from micro import limits
from micro.errors import FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted
from micro.events.api import Events
from micro.events.consumption import Consumption, Delivered
from micro.events.driver import EventsDriver, NewEvent, Start
from micro.testing import hostile
from micro.testing.suite import Suite

PATIENCE = 10.0  # seconds a delivery may take on a loaded machine


async def following(deliveries: Consumption[Any]) -> Delivered[Any]:
    """Give the next delivery; the one before is acked unless it was settled."""
    async with asyncio.timeout(PATIENCE):
        return await anext(deliveries)


async def taken(deliveries: Consumption[Any], count: int) -> list[bytes]:
    """Take and ack so many; gives their payloads."""
    found = []
    for _ in range(count):
        delivery = await following(deliveries)
        found.append(delivery.payload)
        await delivery.ack()
    return found


async def none_comes(deliveries: Consumption[Any], seconds: float = 0.15) -> bool:
    """Whether nothing comes for a while."""
    task = asyncio.ensure_future(anext(deliveries))
    done, _ = await asyncio.wait([task], timeout=seconds)
    if not done:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    return not done


async def _out(events: Events, topic: str, count: int) -> None:
    """Wait until so many are out to the topic's one group."""
    async with asyncio.timeout(PATIENCE):
        while (await events.groups(topic))[0].pending != count:  # noqa: ASYNC110 -- a group tells nobody
            await asyncio.sleep(0.005)


class EventsSuite(Suite):
    """A subclass gives the fixture `driver`, opened. `namespaces` False: the driver's own account decides."""

    namespaces = True

    @pytest.fixture
    def events(self, driver: EventsDriver) -> Events:
        """The portable class over the driver."""
        return Events(driver)

    @pytest.fixture
    def topic(self) -> str:
        """A topic nobody else uses."""
        return f"topic-{uuid.uuid4().hex}"

    # -- the log

    async def test_what_is_published_is_read_in_order(self, events: Events, topic: str) -> None:
        receipts = [await events.publish(topic, str(n), key="k", metadata={"m": "é"}) for n in range(5)]
        found = await events.read(topic)
        assert [e.payload for e in found] == [b"0", b"1", b"2", b"3", b"4"]
        assert [e.event.sequence for e in found] == [r.sequence for r in receipts]
        assert sorted({r.sequence for r in receipts}) == [r.sequence for r in receipts]
        assert {(e.event.key, e.event.metadata["m"], e.event.topic) for e in found} == {("k", "é", topic)}

    async def test_history_is_read_after_a_sequence_since_an_instant_and_in_pages(
        self, events: Events, topic: str
    ) -> None:
        begin = datetime(2030, 1, 1, tzinfo=UTC)
        for n in range(6):
            await events.publish(topic, str(n), timestamp=begin + timedelta(seconds=n))
        everything = await events.read(topic)
        after = await events.read(topic, after=everything[2].event.sequence, limit=2)
        assert [e.payload for e in after] == [b"3", b"4"]
        since = await events.read(topic, since=begin + timedelta(seconds=4))
        assert [e.payload for e in since] == [b"4", b"5"]
        assert everything[1].event.timestamp == begin + timedelta(seconds=1)
        newest = await events.read(topic, limit=2, descending=True)
        assert [e.payload for e in newest] == [b"5", b"4"]
        older = await events.read(topic, after=newest[-1].event.sequence, descending=True)
        assert [e.payload for e in older] == [b"3", b"2", b"1", b"0"]
        recent = await events.read(topic, since=begin + timedelta(seconds=3), limit=5, descending=True)
        assert [e.payload for e in recent] == [b"5", b"4", b"3"]
        below = everything[4].event.sequence
        between = await events.read(topic, after=below, since=begin + timedelta(seconds=2), descending=True)
        assert [e.payload for e in between] == [b"3", b"2"]
        later = begin + timedelta(days=1)
        assert await events.read(topic, since=later) == await events.read(topic, since=later, descending=True) == []
        assert await events.read(f"{topic}-none", descending=True) == []
        assert await events.read(f"{topic}-none") == []

    async def test_a_long_history_is_read_newest_first_in_pages(self, events: Events, topic: str) -> None:
        for n in range(0, 1200, 100):
            await events.publish_many(topic, [str(m) for m in range(n, n + 100)])
        found = await events.read(topic, limit=1100, descending=True)
        assert [int(e.payload) for e in found] == list(range(1199, 99, -1))
        rest = await events.read(topic, after=found[-1].event.sequence, descending=True)
        assert [int(e.payload) for e in rest] == list(range(99, -1, -1))

    async def test_the_same_id_is_kept_once(self, events: Events, topic: str) -> None:
        first = await events.publish(topic, "x", id="one")
        again = await events.publish(topic, "x", id="one")
        assert (first.duplicate, again.duplicate) == (False, True)
        assert first.sequence == again.sequence
        receipts = await events.publish_many(
            topic, [NewEvent(b"y", "two"), NewEvent(b"y", "two"), NewEvent(b"z", "one")]
        )
        assert [r.duplicate for r in receipts] == [False, True, True]
        assert len(await events.read(topic)) == 2
        other = await events.publish(f"{topic}-other", "x", id="one")
        assert not other.duplicate
        assert len(await events.read(f"{topic}-other")) == 1

    async def test_many_publishers_lose_and_double_nothing(self, events: Events, topic: str) -> None:
        receipts = await asyncio.gather(*(events.publish(topic, str(n)) for n in range(100)))
        assert len({r.sequence for r in receipts}) == 100
        assert len({e.payload for e in await events.read(topic)}) == 100

    async def test_values_go_as_json_and_come_as_the_type_asked_for(self, events: Events, topic: str) -> None:
        await events.publish(topic, {"n": 1})
        assert [e.payload for e in await events.read(topic, dict)] == [{"n": 1}]
        (event,) = await events.read(topic, list)
        with pytest.raises(InvalidArgument):
            _ = event.payload

    async def test_the_largest_event_passes_and_a_larger_one_is_refused(self, events: Events, topic: str) -> None:
        await events.publish(topic, b"x" * limits.VALUE)
        with pytest.raises(ResourceExhausted):
            await events.publish(topic, b"x" * (limits.VALUE + 1))
        (event,) = await events.read(topic)
        assert len(event.payload) == limits.VALUE

    @pytest.mark.parametrize("name", ["", "x" * 256, "a\n", "\x00"])
    async def test_what_is_no_topic_is_refused(self, events: Events, name: str) -> None:
        with pytest.raises(InvalidArgument):
            await events.publish(name, "x")

    @pytest.mark.parametrize("name", ["*", ">", "a.*", "..", "a/b", "é", "next", "g/x", "x" * 250])
    async def test_an_awkward_topic_is_a_topic(self, events: Events, name: str) -> None:
        await events.publish(name, "x")
        assert len(await events.read(name)) >= 1

    @hostile.pairs
    async def test_hostile_names_are_apart(self, driver: EventsDriver, topic: str, pair: tuple[str, str]) -> None:
        async def put(place: hostile.Place, value: bytes) -> None:
            await driver.publish(*place, [NewEvent(value + topic.encode(), topic)])

        found = await hostile.places(pair, put, only=not self.namespaces)
        for place, value in found.items():
            (mine,) = [event for event in await driver.read(*place, limit=10_000) if event.id == topic]
            assert mine.payload == value + topic.encode()
            for group in pair:
                await driver.seek(*place, group, Start(sequence=mine.sequence))
            await driver.seek(*place, pair[0], None)
            assert {group.name for group in await driver.groups(*place)} & set(pair) == {pair[1]}
            async with driver.consume(*place, group=pair[1]) as member, asyncio.timeout(PATIENCE):
                assert (await anext(member)).event.payload == mine.payload

    async def test_namespaces_are_apart(self, driver: EventsDriver, topic: str) -> None:
        if not self.namespaces:
            pytest.xfail("the account decides: shown where two accounts call")
        await Events(driver, namespace="a").publish(topic, "x")
        assert await Events(driver, namespace="ab").read(topic) == []

    # -- groups

    async def test_a_new_group_begins_now_at_the_oldest_or_where_asked(self, events: Events, topic: str) -> None:
        begin = datetime.now(UTC)
        receipts = [await events.publish(topic, str(n), timestamp=begin + timedelta(seconds=n)) for n in range(4)]
        async with events.consume(topic, group="oldest", start=Start.OLDEST) as all_:
            assert await taken(all_, 4) == [b"0", b"1", b"2", b"3"]
        async with events.consume(topic, group="at", start=Start(sequence=receipts[2].sequence)) as some:
            assert await taken(some, 2) == [b"2", b"3"]
        async with events.consume(topic, group="since", start=Start(since=begin + timedelta(seconds=3))) as last:
            assert await taken(last, 1) == [b"3"]
        async with events.consume(topic, group="new") as new:
            await events.publish(topic, "4")
            assert await taken(new, 1) == [b"4"]

    async def test_a_group_goes_on_where_it_was(self, events: Events, topic: str) -> None:
        for n in range(4):
            await events.publish(topic, str(n))
        async with events.consume(topic, group="g", start=Start.OLDEST) as one:
            assert await taken(one, 2) == [b"0", b"1"]
        await events.publish(topic, "4")
        async with events.consume(topic, group="g") as two:
            assert await taken(two, 3) == [b"2", b"3", b"4"]

    async def test_members_share_and_groups_do_not(self, events: Events, topic: str) -> None:
        async with (
            events.consume(topic, group="g", window=1) as one,
            events.consume(topic, group="g", window=1) as two,
            events.consume(topic, group="h") as other,
        ):
            for n in range(10):
                await events.publish(topic, str(n))
            shared: list[bytes] = []

            async def member(deliveries: Consumption[Any]) -> None:
                while len(shared) < 10:
                    delivery = await following(deliveries)
                    shared.append(delivery.payload)
                    await delivery.ack()

            tasks = [asyncio.create_task(member(one)), asyncio.create_task(member(two))]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert sorted(shared) == [str(n).encode() for n in range(10)]
            assert await taken(other, 10) == [str(n).encode() for n in range(10)]

    async def test_a_cursor_of_its_own_sees_everything_and_ends_with_its_stream(
        self, events: Events, topic: str
    ) -> None:
        async with events.consume(topic) as one, events.consume(topic) as two:
            await events.publish(topic, "x")
            assert await taken(one, 1) == await taken(two, 1) == [b"x"]
        assert await events.groups(topic) == []

    async def test_asking_for_the_next_acks_the_one_before(self, events: Events, topic: str) -> None:
        await events.publish_many(topic, ["0", "1"])
        async with events.consume(topic, group="g", start=Start.OLDEST) as deliveries:
            await following(deliveries)
            await following(deliveries)
        (group,) = await events.groups(topic)
        assert (group.name, group.pending, group.lag) == ("g", 0, 0)

    async def test_leaving_by_an_exception_nacks(self, events: Events, topic: str) -> None:
        await events.publish(topic, "x")
        with pytest.raises(ZeroDivisionError):
            async with events.consume(topic, group="g", start=Start.OLDEST) as deliveries:
                async for _ in deliveries:
                    raise ZeroDivisionError
        async with events.consume(topic, group="g") as deliveries:
            assert (await following(deliveries)).number == 2

    async def test_a_nack_comes_again_at_once_or_after_its_delay(self, events: Events, topic: str) -> None:
        await events.publish(topic, "x")
        async with events.consume(topic, group="g", start=Start.OLDEST, manual=True) as deliveries:
            assert await (await following(deliveries)).nack()
            second = await following(deliveries)
            assert second.number == 2
            begun = asyncio.get_running_loop().time()
            assert await second.nack(0.2)
            third = await following(deliveries)
            assert asyncio.get_running_loop().time() - begun >= 0.18
            assert third.number == 3
            assert await third.ack()

    async def test_what_is_not_settled_in_time_comes_again_and_the_late_settle_counts_for_nothing(
        self, events: Events, topic: str
    ) -> None:
        await events.publish(topic, "x")
        async with events.consume(topic, group="g", start=Start.OLDEST, ack_wait=0.2, manual=True) as deliveries:
            first = await following(deliveries)
            second = await following(deliveries)
            assert second.number == 2
            assert not await first.ack()
            assert await second.ack()
            assert not await second.ack()
            assert await none_comes(deliveries, 0.3)

    async def test_extending_holds_it(self, events: Events, topic: str) -> None:
        await events.publish(topic, "x")
        async with events.consume(topic, group="g", start=Start.OLDEST, ack_wait=0.4, manual=True) as deliveries:
            first = await following(deliveries)
            for _ in range(3):
                await asyncio.sleep(0.2)
                assert await first.extend()
            assert await first.ack()
            assert await none_comes(deliveries, 0.1)

    async def test_what_a_member_had_when_it_left_goes_to_another(self, events: Events, topic: str) -> None:
        await events.publish(topic, "x")
        async with events.consume(topic, group="g", manual=True) as two:
            async with events.consume(topic, group="g", start=Start.OLDEST, manual=True) as one:
                await events.publish(topic, "y")
                holder = asyncio.ensure_future(anext(one))
                other = asyncio.ensure_future(anext(two))
                done, _ = await asyncio.wait([holder, other], timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
                assert done
                for task in (holder, other):
                    if not task.done():
                        task.cancel()
                await asyncio.gather(holder, other, return_exceptions=True)
            if other in done:  # it had it from the start; the other case is what is shown
                assert other.result().payload == b"y"
            else:
                again = await following(two)
                assert (again.payload, again.number) == (b"y", 2)

    async def test_what_was_only_fetched_ahead_counts_for_nothing_however_often_its_member_leaves(
        self, driver: EventsDriver, events: Events, topic: str
    ) -> None:
        if "begin" not in driver.capabilities:
            # `begin` has no call of its own that could be refused: without it a delivery counts when it is sent
            pytest.skip("this driver counts what it sends")
        await events.publish_many(topic, [str(n) for n in range(4)])
        for _ in range(7):  # more than max_deliveries
            async with events.consume(topic, group="g", start=Start.OLDEST):
                await _out(events, topic, 4)
        for number in range(1, 4):  # each time the first is begun, and its handler is cut
            with pytest.raises(asyncio.CancelledError):
                async with events.consume(topic, group="g") as deliveries:
                    delivery = await following(deliveries)
                    assert (delivery.payload, delivery.number) == (b"0", number)
                    await _out(events, topic, 4)
                    raise asyncio.CancelledError
        async with events.consume(topic, group="g", manual=True) as deliveries:
            found = {}
            for _ in range(4):
                delivery = await following(deliveries)
                found[delivery.payload] = delivery.number
                assert await delivery.ack()
        assert found == {b"0": 4, b"1": 1, b"2": 1, b"3": 1}
        assert await events.read(f"{topic}.dlq") == []

    async def test_what_waits_behind_a_slow_handler_counts_for_nothing_and_comes_once(
        self, driver: EventsDriver, events: Events, topic: str
    ) -> None:
        if "begin" not in driver.capabilities:
            # `begin` has no call of its own that could be refused: without it a delivery counts when it is sent
            pytest.skip("this driver counts what it sends")
        await events.publish_many(topic, [str(n) for n in range(6)])
        options: Any = {"group": "g", "ack_wait": 0.6, "max_deliveries": 1}
        async with events.consume(topic, start=Start.OLDEST, **options) as deliveries:
            found = []
            for _ in range(6):
                delivery = await following(deliveries)
                found.append((delivery.payload, delivery.number))
                await asyncio.sleep(0.25)
        assert sorted(found) == [(str(n).encode(), 1) for n in range(6)]
        assert await events.read(f"{topic}.dlq") == []

    async def test_what_a_stuck_member_fetched_ahead_goes_to_another(self, events: Events, topic: str) -> None:
        await events.publish_many(topic, [str(n) for n in range(4)])
        options: Any = {"group": "g", "ack_wait": 0.5, "manual": True}
        async with events.consume(topic, start=Start.OLDEST, **options) as stuck:
            held = await following(stuck)
            await _out(events, topic, 4)
            async with events.consume(topic, **options) as other:
                found = [await following(other) for _ in range(4)]
                assert sorted(d.payload for d in found) == [b"0", b"1", b"2", b"3"]
                assert next(d.number for d in found if d.payload == held.payload) == 2
                assert not await held.ack()

    async def test_a_poison_event_ends_with_the_dead_letters_and_holds_nobody_up(
        self, events: Events, topic: str
    ) -> None:
        await events.publish(topic, "poison", id="bad", key="k", metadata={"m": "é"})
        await events.publish(topic, "fine")
        tries = 0
        async with events.consume(topic, group="g", start=Start.OLDEST, max_deliveries=3, manual=True) as deliveries:
            fine = False
            while tries < 3 or not fine:
                delivery = await following(deliveries)
                if delivery.payload == b"poison":
                    tries += 1
                    assert delivery.number == tries
                    await delivery.nack(0)
                else:
                    fine = await delivery.ack()
            assert await none_comes(deliveries)
        (letter,) = await events.read(f"{topic}.dlq")
        assert (letter.payload, letter.event.key, letter.event.metadata["m"]) == (b"poison", "k", "é")
        assert letter.event.metadata["dead-topic"] == topic
        assert letter.event.metadata["dead-cause"]
        assert letter.event.metadata["dead-id"] == "bad"
        assert letter.event.metadata["dead-group"] == "g"
        assert letter.event.metadata["dead-deliveries"] == "3"
        (receipt,) = await events.replay(topic, ["bad"])
        assert not receipt.duplicate
        async with events.consume(topic, group="g", max_deliveries=3) as deliveries:
            assert await taken(deliveries, 1) == [b"poison"]
        with pytest.raises(NotFound):
            await events.replay(topic, ["nothing"])

    async def test_without_a_limit_it_comes_for_ever(self, events: Events, topic: str) -> None:
        await events.publish(topic, "x")
        async with events.consume(topic, group="g", start=Start.OLDEST, max_deliveries=None, manual=True) as deliveries:
            for number in range(1, 9):
                delivery = await following(deliveries)
                assert delivery.number == number
                await delivery.nack(0)

    async def test_a_window_bounds_what_is_out(self, events: Events, topic: str) -> None:
        await events.publish_many(topic, [str(n) for n in range(5)])
        async with events.consume(topic, group="g", start=Start.OLDEST, window=2, manual=True) as deliveries:
            first = await following(deliveries)
            await following(deliveries)
            assert await none_comes(deliveries)
            await first.ack()
            assert (await following(deliveries)).payload == b"2"

    async def test_events_of_one_key_come_one_after_the_other_when_asked(self, events: Events, topic: str) -> None:
        for n, key in enumerate("aabab"):
            await events.publish(topic, str(n), key=key)
        async with events.consume(topic, group="g", start=Start.OLDEST, keyed=True, manual=True) as deliveries:
            first, second = await following(deliveries), await following(deliveries)
            assert {first.payload, second.payload} == {b"0", b"2"}
            assert await none_comes(deliveries)
            await (first if first.payload == b"0" else second).ack()
            assert (await following(deliveries)).payload == b"1"

    async def test_a_groups_first_consumer_fixes_its_settings(self, events: Events, topic: str) -> None:
        async with events.consume(topic, group="g", ack_wait=5):
            with pytest.raises(FailedPrecondition, match="ack_wait"):
                async with events.consume(topic, group="g", ack_wait=6):
                    pass

    async def test_a_group_is_moved_and_forgotten(self, events: Events, topic: str) -> None:
        await events.publish_many(topic, ["0", "1"])
        async with events.consume(topic, group="g", start=Start.OLDEST) as deliveries:
            assert await taken(deliveries, 2) == [b"0", b"1"]
        await events.seek(topic, "g", Start.OLDEST)
        async with events.consume(topic, group="g") as deliveries:
            assert await taken(deliveries, 2) == [b"0", b"1"]
        await events.seek(topic, "g", None)
        assert await events.groups(topic) == []

    async def test_a_group_is_moved_under_its_members(self, events: Events, topic: str) -> None:
        await events.publish_many(topic, ["0", "1"])
        async with events.consume(topic, group="g", start=Start.OLDEST, manual=True) as deliveries:
            assert await (await following(deliveries)).ack()
            held = await following(deliveries)
            await events.seek(topic, "g", Start.OLDEST)
            assert not await held.ack()
            again = await following(deliveries)
            assert (again.payload, again.number) == (b"0", 1)

    async def test_groups_tell_how_far_they_are(self, events: Events, topic: str) -> None:
        first, second, third = [r.sequence for r in await events.publish_many(topic, ["0", "1", "2"])]
        async with (
            events.consume(topic, group="g", start=Start.OLDEST, window=1, manual=True) as deliveries,
            events.consume(topic, group="a"),
        ):
            delivery = await following(deliveries)
            new, old = await events.groups(topic)
            assert (new.name, new.pending, new.lag, new.position >= third) == ("a", 0, 0, True)
            assert (old.name, old.pending, old.position < first) == ("g", 1, True)
            assert 2 <= old.lag <= third - first
            for _ in range(2):
                assert await delivery.ack()
                delivery = await following(deliveries)
            _, old = await events.groups(topic)
            assert (old.pending, old.lag, second <= old.position < third) == (1, 0, True)

    async def test_a_fast_member_is_not_held_back_by_a_slow_one(self, events: Events, topic: str) -> None:
        async with (
            events.consume(topic, group="g", window=4, manual=True) as slow,
            events.consume(topic, group="g", window=4) as fast,
        ):
            await events.publish_many(topic, [str(n) for n in range(20)])
            assert len(await taken(fast, 12)) == 12
            assert slow is not None

    async def test_after_closing_everything_is_refused(self, driver: EventsDriver, topic: str) -> None:
        events = Events(driver)
        await events.close()
        await events.close()
        with pytest.raises(FailedPrecondition):
            await events.publish(topic, "x")
