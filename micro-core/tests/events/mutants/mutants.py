"""Events that are each wrong in one way: the suite must tell every one of them. Run by test_suite_bites.py."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from micro.errors import FailedPrecondition, ResourceExhausted
from micro.events import deadlines, group
from micro.events.driver import (
    DEAD,
    Ack,
    Consumer,
    Delivery,
    Event,
    EventsDriver,
    Extend,
    Group,
    Nack,
    NewEvent,
    Receipt,
    Start,
)
from micro.events.kept import Kept, Limits, key_of
from micro.events.member import Member, Open
from micro.events.memory import MemoryEvents
from micro.events.room import Room
from micro.events.store import StoreEventsSettings
from micro.store import Delete
from micro.testing.bites import suites
from micro.testing.events import EventsSuite
from micro.testing.retention import Clock, RetentionSuite

Consumed = AbstractAsyncContextManager[Consumer]


class _Settled(MemoryEvents):
    """Settles wrongly: a subclass says how."""

    async def settled(self, consumer: Member, delivery: Delivery, how: Ack | Nack | Extend) -> bool:
        raise NotImplementedError

    def consume(self, namespace: str, topic: str, **options) -> Consumed:
        return self._consume(super().consume(namespace, topic, **options))

    @asynccontextmanager
    async def _consume(self, context: Consumed) -> AsyncIterator[Consumer]:
        async with context as consumer:
            consumer.settle = partial(self.settled, consumer)
            yield consumer


class AckLost(_Settled, interface=1):
    async def settled(self, consumer: Member, delivery: Delivery, how: Ack | Nack | Extend) -> bool:
        return True if isinstance(how, Ack) else await Member.settle(consumer, delivery, how)


class AckOfAllBefore(_Settled, interface=1):
    """An ack is a position: it settles what came earlier, and failed, too."""

    async def settled(self, consumer: Member, delivery: Delivery, how: Ack | Nack | Extend) -> bool:
        done = await Member.settle(consumer, delivery, how)
        for sequence, item in list(consumer._group._open.items()):
            if isinstance(how, Ack) and sequence < delivery.event.sequence:
                consumer._group._finish(item)
        return done


class NackIsAck(_Settled, interface=1):
    async def settled(self, consumer: Member, delivery: Delivery, how: Ack | Nack | Extend) -> bool:
        return await Member.settle(consumer, delivery, Ack() if isinstance(how, Nack) else how)


class NackIgnored(_Settled, interface=1):
    """Waits for the end of `ack_wait` instead."""

    async def settled(self, consumer: Member, delivery: Delivery, how: Ack | Nack | Extend) -> bool:
        return True if isinstance(how, Nack) else await Member.settle(consumer, delivery, how)


class DelayIgnored(_Settled, interface=1):
    async def settled(self, consumer: Member, delivery: Delivery, how: Ack | Nack | Extend) -> bool:
        return await Member.settle(consumer, delivery, Nack(0.0) if isinstance(how, Nack) else how)


class ExtendIgnored(_Settled, interface=1):
    async def settled(self, consumer: Member, delivery: Delivery, how: Ack | Nack | Extend) -> bool:
        return True if isinstance(how, Extend) else await Member.settle(consumer, delivery, how)


class LateAckIsFine(_Settled, interface=1):
    async def settled(self, consumer: Member, delivery: Delivery, how: Ack | Nack | Extend) -> bool:
        await Member.settle(consumer, delivery, how)
        return True


class _Consumed(MemoryEvents):
    """Consumes by other options: a subclass says which."""

    def changed(self, options: dict) -> dict:
        raise NotImplementedError

    def consume(self, namespace: str, topic: str, **options) -> Consumed:
        return super().consume(namespace, topic, **(options | self.changed(options)))


class GroupsShare(_Consumed, interface=1):
    """Where a group is is its topic's."""

    def changed(self, options: dict) -> dict:
        return {"group": "one" if options["group"] else ""}


class MembersDoNotShare(_Consumed, interface=1):
    """Every member of a group has a cursor of its own."""

    def changed(self, options: dict) -> dict:
        return {"group": ""}


class CursorsAreKept(_Consumed, interface=1):
    """A cursor of a stream's own stays when it ends."""

    def changed(self, options: dict) -> dict:
        vars(self)["made"] = vars(self).get("made", 0) + 1
        return {"group": options["group"] or f"cursor-{vars(self)['made']}"}


class StartIsExclusive(_Consumed, interface=1):
    def changed(self, options: dict) -> dict:
        sequence = options["start"].sequence
        return {"start": Start(sequence=sequence + 1) if sequence else options["start"]}


class StartSinceIsExclusive(_Consumed, interface=1):
    def changed(self, options: dict) -> dict:
        since = options["start"].since
        return {"start": Start(since=since + timedelta(microseconds=1)) if since else options["start"]}


class NewIsOldest(_Consumed, interface=1):
    def changed(self, options: dict) -> dict:
        return {"start": Start.OLDEST if options["start"] == Start.NEW else options["start"]}


class OldestIsNew(_Consumed, interface=1):
    def changed(self, options: dict) -> dict:
        return {"start": Start.NEW if options["start"] == Start.OLDEST else options["start"]}


class WaitIsLong(_Consumed, interface=1):
    """What is not settled comes again, but not for a while."""

    def changed(self, options: dict) -> dict:
        return {"ack_wait": 30.0}


class LimitIgnored(_Consumed, interface=1):
    def changed(self, options: dict) -> dict:
        return {"max_deliveries": None}


class LimitIsOneMore(_Consumed, interface=1):
    def changed(self, options: dict) -> dict:
        return {"max_deliveries": options["max_deliveries"] and options["max_deliveries"] + 1}


class LimitIsNeverNone(_Consumed, interface=1):
    def changed(self, options: dict) -> dict:
        return {"max_deliveries": options["max_deliveries"] or 5}


class WindowIgnored(_Consumed, interface=1):
    def changed(self, options: dict) -> dict:
        return {"window": 256}


class KeysIgnored(_Consumed, interface=1):
    def changed(self, options: dict) -> dict:
        return {"keyed": False}


class AnySettingsWillDo(_Consumed, interface=1):
    def changed(self, options: dict) -> dict:
        return {"adopt": True}


class GroupsBeginAgain(MemoryEvents, interface=1):
    """A group that nobody consumes is forgotten."""

    @asynccontextmanager
    async def consume(self, namespace: str, topic: str, *, group: str = "", **options) -> AsyncIterator[Consumer]:
        async with super().consume(namespace, topic, group=group, **options) as consumer:
            yield consumer
        place = await self._topic(namespace, topic)
        if group in place.groups and place.groups[group].empty:
            await self.seek(namespace, topic, group, None)


class LeaverKeepsWhatItHad(MemoryEvents, interface=1):
    """What a member had when it left comes again once its time is over."""

    @asynccontextmanager
    async def consume(self, namespace: str, topic: str, *, group: str = "", **options) -> AsyncIterator[Consumer]:
        async with super().consume(namespace, topic, group=group, **options) as consumer:
            members = consumer._group
            give_back = members._return
            try:
                yield consumer
            finally:
                members._return = lambda sequence, item, _: give_back(sequence, item, 30.0)
        members._return = give_back


class NumberIsAlwaysOne(MemoryEvents, interface=1):
    @asynccontextmanager
    async def consume(self, namespace: str, topic: str, **options) -> AsyncIterator[Consumer]:
        async with super().consume(namespace, topic, **options) as consumer:
            yield _First(consumer)


class _First(Consumer):
    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._given: dict[int, Delivery] = {}

    async def __anext__(self) -> Delivery:
        delivery = await anext(self._consumer)
        self._given[delivery.event.sequence] = delivery
        return replace(delivery, number=1)

    async def begin(self, delivery: Delivery) -> bool:
        return await self._consumer.begin(self._given[delivery.event.sequence])

    async def settle(self, delivery: Delivery, how: Ack | Nack | Extend) -> bool:
        return await self._consumer.settle(self._given[delivery.event.sequence], how)


class FetchedCounts(MemoryEvents, interface=1):
    """What was sent ahead counts as delivered."""

    @asynccontextmanager
    async def consume(self, namespace: str, topic: str, **options) -> AsyncIterator[Consumer]:
        async with super().consume(namespace, topic, **options) as consumer:
            members = consumer._group
            give_back = type(members)._return

            def given_back(sequence: int, item: Open, pause: float) -> None:
                item.begun = True
                give_back(members, sequence, item, pause)

            members._return = given_back
            yield consumer


class SlowOneHoldsAllUp(MemoryEvents, interface=1):
    """Members take turns, whether or not they have room."""

    @asynccontextmanager
    async def consume(self, namespace: str, topic: str, **options) -> AsyncIterator[Consumer]:
        async with super().consume(namespace, topic, **options) as consumer:
            members = consumer._group
            deliver = members._deliver_one

            async def in_turn() -> bool:
                return all(member.room for member in members._members) and await deliver()

            members._deliver_one = in_turn
            yield consumer


class _Buried(MemoryEvents):
    """Dead letters are written wrongly: a subclass says how."""

    def buried(self, letter: NewEvent) -> list[NewEvent]:
        raise NotImplementedError

    async def publish(self, namespace: str, topic: str, events: Sequence[NewEvent]) -> list[Receipt]:
        if topic.endswith(DEAD):
            events = [letter for event in events for letter in self.buried(event)]
        return await super().publish(namespace, topic, events)


def _without(letter: NewEvent, name: str) -> list[NewEvent]:
    return [replace(letter, metadata={key: text for key, text in letter.metadata.items() if key != name})]


class DeadAreLost(_Buried, interface=1):
    def buried(self, letter: NewEvent) -> list[NewEvent]:
        return []


class DeadWithoutCause(_Buried, interface=1):
    def buried(self, letter: NewEvent) -> list[NewEvent]:
        return _without(letter, "dead-cause")


class DeadWithoutTopic(_Buried, interface=1):
    def buried(self, letter: NewEvent) -> list[NewEvent]:
        return _without(letter, "dead-topic")


class DeadWithoutTheirOwn(_Buried, interface=1):
    """A dead letter has lost the key and the metadata that its event had."""

    def buried(self, letter: NewEvent) -> list[NewEvent]:
        kept = {name: text for name, text in letter.metadata.items() if name.startswith("dead-")}
        return [replace(letter, key="", metadata=kept)]


class _Published(MemoryEvents):
    """Publishes something else: a subclass says what."""

    def published(self, event: NewEvent) -> NewEvent:
        raise NotImplementedError

    async def publish(self, namespace: str, topic: str, events: Sequence[NewEvent]) -> list[Receipt]:
        return await super().publish(namespace, topic, [self.published(event) for event in events])


class IdsIgnored(_Published, interface=1):
    def published(self, event: NewEvent) -> NewEvent:
        return replace(event, id="")


class KeysLost(_Published, interface=1):
    def published(self, event: NewEvent) -> NewEvent:
        return replace(event, key="")


class MetadataLost(_Published, interface=1):
    def published(self, event: NewEvent) -> NewEvent:
        return event if event.metadata.get("dead-id") else replace(event, metadata={})


class TimeIsOfArrival(_Published, interface=1):
    def published(self, event: NewEvent) -> NewEvent:
        return replace(event, timestamp=datetime.now(UTC))


class LargeIsCut(_Published, interface=1):
    def published(self, event: NewEvent) -> NewEvent:
        return replace(event, payload=event.payload[:65_536])


class DoublesOfOneCallAreKept(MemoryEvents, interface=1):
    """Looks for an id in what was there, and not in what comes with it."""

    async def publish(self, namespace: str, topic: str, events: Sequence[NewEvent]) -> list[Receipt]:
        seen = set()
        fresh = []
        for event in events:
            fresh.append(replace(event, id="") if event.id in seen else event)
            seen.add(event.id)
        return await super().publish(namespace, topic, fresh)


class DoublesAreNotTold(MemoryEvents, interface=1):
    async def publish(self, namespace: str, topic: str, events: Sequence[NewEvent]) -> list[Receipt]:
        return [replace(receipt, duplicate=False) for receipt in await super().publish(namespace, topic, events)]


class IdsAreOfAllTopics(MemoryEvents, interface=1):
    async def publish(self, namespace: str, topic: str, events: Sequence[NewEvent]) -> list[Receipt]:
        seen = vars(self).setdefault("seen", {})
        receipts = []
        for event in events:
            if seen.get(event.id, topic) != topic:
                receipts.append(Receipt(event.id, 1, duplicate=True))
                continue
            receipts += await super().publish(namespace, topic, [event])
            if event.id:
                seen[event.id] = topic
        return receipts


class OneCallIsNotInOrder(MemoryEvents, interface=1):
    async def publish(self, namespace: str, topic: str, events: Sequence[NewEvent]) -> list[Receipt]:
        return (await super().publish(namespace, topic, events[::-1]))[::-1]


class SequencesStandStill(MemoryEvents, interface=1):
    async def publish(self, namespace: str, topic: str, events: Sequence[NewEvent]) -> list[Receipt]:
        return [replace(receipt, sequence=1) for receipt in await super().publish(namespace, topic, events)]


class NamespacesMixed(MemoryEvents, interface=1):
    async def _topic(self, namespace: str, topic: str):
        return await super()._topic("", topic)


class HistoryIsAlwaysAscending(MemoryEvents, interface=1):
    async def read(self, namespace: str, topic: str, *, descending: bool = False, **options) -> list[Event]:
        return await super().read(namespace, topic, **options)


class HistoryOfTheOldestReversed(MemoryEvents, interface=1):
    """Newest first is the first page turned round."""

    async def read(self, namespace: str, topic: str, *, descending: bool = False, **options) -> list[Event]:
        found = await super().read(namespace, topic, **options)
        return found[::-1] if descending else found


class AfterIsInclusive(MemoryEvents, interface=1):
    async def read(self, namespace: str, topic: str, *, after: int = 0, **options) -> list[Event]:
        at = after - 1 if after and not options.get("descending") else after
        return await super().read(namespace, topic, after=at, **options)


class SinceIsExclusive(MemoryEvents, interface=1):
    async def read(self, namespace: str, topic: str, *, since: datetime | None = None, **options) -> list[Event]:
        later = since + timedelta(microseconds=1) if since else None
        return await super().read(namespace, topic, since=later, **options)


class SinceIsOnlyAscending(MemoryEvents, interface=1):
    async def read(self, namespace: str, topic: str, *, since: datetime | None = None, **options) -> list[Event]:
        return await super().read(namespace, topic, since=None if options.get("descending") else since, **options)


class HistoryLimitIgnored(MemoryEvents, interface=1):
    async def read(self, namespace: str, topic: str, *, limit: int = 250, **options) -> list[Event]:
        return await super().read(namespace, topic, limit=10_000, **options)


class HistoryIsShort(MemoryEvents, interface=1):
    """Knows the newest thousand and no more."""

    async def read(self, namespace: str, topic: str, **options) -> list[Event]:
        last = (await self._topic(namespace, topic)).log.last
        return [event for event in await super().read(namespace, topic, **options) if event.sequence > last - 1000]


class LagIsNothing(MemoryEvents, interface=1):
    async def groups(self, namespace: str, topic: str) -> list[Group]:
        return [replace(group, lag=0) for group in await super().groups(namespace, topic)]


class PendingIsLag(MemoryEvents, interface=1):
    """What is out is counted as not yet delivered too."""

    async def groups(self, namespace: str, topic: str) -> list[Group]:
        return [replace(group, lag=group.lag + group.pending) for group in await super().groups(namespace, topic)]


class PositionStandsStill(MemoryEvents, interface=1):
    async def groups(self, namespace: str, topic: str) -> list[Group]:
        return [replace(group, position=0) for group in await super().groups(namespace, topic)]


class GroupsUnsorted(MemoryEvents, interface=1):
    async def groups(self, namespace: str, topic: str) -> list[Group]:
        return (await super().groups(namespace, topic))[::-1]


class SeekIgnored(MemoryEvents, interface=1):
    async def seek(self, namespace: str, topic: str, group: str, start: Start | None) -> None:
        if start is None:
            await super().seek(namespace, topic, group, start)


class SeekForgetsNothing(MemoryEvents, interface=1):
    async def seek(self, namespace: str, topic: str, group: str, start: Start | None) -> None:
        await super().seek(namespace, topic, group, Start.NEW if start is None else start)


class SeekLeavesWhatIsOut(MemoryEvents, interface=1):
    """Only a group without members can be moved."""

    async def seek(self, namespace: str, topic: str, group: str, start: Start | None) -> None:
        members = (await self._topic(namespace, topic)).groups.get(group)
        if members is not None and not members.empty:
            raise FailedPrecondition("the group is consumed")
        await super().seek(namespace, topic, group, start)


class _Kept(MemoryEvents):
    """Keeps by other settings: a subclass says which."""

    def kept(self, keep: Limits) -> Limits:
        raise NotImplementedError

    def __init__(self, settings=None, **options) -> None:
        super().__init__(settings, **options)
        self._keep = self.kept(self._keep)


class AgeIgnored(_Kept, interface=1):
    def kept(self, keep: Limits) -> Limits:
        return keep._replace(age=None)


class AgeIsHalved(_Kept, interface=1):
    def kept(self, keep: Limits) -> Limits:
        return keep._replace(age=keep.age and keep.age / 2)


class CountIgnored(_Kept, interface=1):
    def kept(self, keep: Limits) -> Limits:
        return keep._replace(events=None)


class OneMoreIsKept(_Kept, interface=1):
    def kept(self, keep: Limits) -> Limits:
        return keep._replace(events=keep.events and keep.events + 1)


class BytesIgnored(_Kept, interface=1):
    def kept(self, keep: Limits) -> Limits:
        return keep._replace(bytes=None)


class OneByteMoreIsKept(_Kept, interface=1):
    def kept(self, keep: Limits) -> Limits:
        return keep._replace(bytes=keep.bytes and keep.bytes + 1)


class OneByteLessIsKept(_Kept, interface=1):
    def kept(self, keep: Limits) -> Limits:
        return keep._replace(bytes=keep.bytes and keep.bytes - 1)


class DropsUnasked(_Kept, interface=1):
    """A full topic drops the oldest, whatever was said."""

    def kept(self, keep: Limits) -> Limits:
        return keep._replace(drop=True)


class NeverDrops(_Kept, interface=1):
    def kept(self, keep: Limits) -> Limits:
        return keep._replace(drop=False)


class _Roomy(MemoryEvents):
    """Makes room wrongly: a subclass gives the room."""

    room: type[Room]

    async def _load(self, namespace: str, topic: str):
        place = await super()._load(namespace, topic)
        place.log.room = self.room(place.log, self._keep, self._clock)
        return place


class ACallIsKeptInPart(_Roomy, interface=1):
    """What of a call finds room is kept, and the rest is refused."""

    class room(Room):
        async def refusals(self, calls: list[list[Kept]]):
            found = []
            for call in calls:
                if (await super().refusals([call[:1]]))[0] is None:
                    found.append(None)
                    while (await super().refusals([call]))[0] is not None:
                        call.pop()
                else:
                    found += await super().refusals([call])
            return found


class DropsEverything(_Roomy, interface=1):
    """Makes room by letting all go."""

    class room(Room):
        async def make(self, events: list[Kept]) -> None:
            before, self.keep = self.keep, self.keep._replace(events=len(events))
            await super().make(events)
            self.keep = before


class DropsOneTooFew(_Roomy, interface=1):
    class room(Room):
        async def make(self, events: list[Kept]) -> None:
            await super().make(events[1:])


class ConsumedMakesRoom(MemoryEvents, interface=1):
    """What every group has done with is kept no more."""

    def consume(self, namespace: str, topic: str, **options) -> Consumed:
        return self._consume(namespace, topic, super().consume(namespace, topic, **options))

    @asynccontextmanager
    async def _consume(self, namespace: str, topic: str, context: Consumed) -> AsyncIterator[Consumer]:
        async with context as consumer:
            place = await self._topic(namespace, topic)
            refusals = place.log.room.refusals

            async def without_the_settled(calls):
                done = consumer._group.cursor.position
                await place.log.apply(
                    [Delete(key_of(e.sequence)) for e in await place.log.page(0, 100) if e.sequence <= done]
                )
                place.log.room._oldest = None
                return await refusals(calls)

            place.log.room.refusals = without_the_settled
            yield consumer


class RefusedIdsAreKnown(MemoryEvents, interface=1):
    """Remembers the ids of what it refused."""

    async def publish(self, namespace: str, topic: str, events: Sequence[NewEvent]) -> list[Receipt]:
        log = (await self._topic(namespace, topic)).log
        try:
            return await super().publish(namespace, topic, events)
        except ResourceExhausted:
            log._ids.update({event.id: (log.last + 1, self._clock()) for event in events if event.id})
            raise


class IdsAreKnownForLonger(MemoryEvents, interface=1):
    async def publish(self, namespace: str, topic: str, events: Sequence[NewEvent]) -> list[Receipt]:
        log = (await self._topic(namespace, topic)).log
        log._forget_ids = lambda: None
        return await super().publish(namespace, topic, events)


class IdsAreKnownForAMinute(MemoryEvents, interface=1):
    async def publish(self, namespace: str, topic: str, events: Sequence[NewEvent]) -> list[Receipt]:
        log = (await self._topic(namespace, topic)).log
        for id, (_, when) in list(log._ids.items()):
            if when + 60 < self._clock():
                del log._ids[id]
        return await super().publish(namespace, topic, events)


class LossIsNotTold(MemoryEvents, interface=1):
    @asynccontextmanager
    async def consume(self, namespace: str, topic: str, **options) -> AsyncIterator[Consumer]:
        async with super().consume(namespace, topic, **options) as consumer:
            push = consumer.push
            consumer.push = lambda delivery: push(replace(delivery, lost=0))
            yield consumer


class LossIsToldOverAgain(MemoryEvents, interface=1):
    """Each delivery tells all that the group has lost."""

    @asynccontextmanager
    async def consume(self, namespace: str, topic: str, **options) -> AsyncIterator[Consumer]:
        async with super().consume(namespace, topic, **options) as consumer:
            push, group = consumer.push, consumer._group
            consumer.push = lambda d: push(replace(d, lost=d.lost or group.cursor._lost))
            yield consumer


class LossIsSomething(MemoryEvents, interface=1):
    """Tells that something was lost, and not how much."""

    @asynccontextmanager
    async def consume(self, namespace: str, topic: str, **options) -> AsyncIterator[Consumer]:
        async with super().consume(namespace, topic, **options) as consumer:
            push = consumer.push
            consumer.push = lambda delivery: push(replace(delivery, lost=min(1, delivery.lost)))
            yield consumer


class LossIsNotOfTheGroup(MemoryEvents, interface=1):
    async def groups(self, namespace: str, topic: str) -> list[Group]:
        return [replace(group, lost=0) for group in await super().groups(namespace, topic)]


class WhatWentIsLag(MemoryEvents, interface=1):
    async def groups(self, namespace: str, topic: str) -> list[Group]:
        place = await self._topic(namespace, topic)
        return [
            replace(group, lag=place.log.count - place.groups[group.name].cursor._seen)
            for group in await super().groups(namespace, topic)
        ]


class WhoBeginsLostAllBefore(MemoryEvents, interface=1):
    """What went before a group was there counts as lost to it."""

    def consume(self, namespace: str, topic: str, **options) -> Consumed:
        start = options["start"]
        return super().consume(
            namespace, topic, **options | {"start": Start(sequence=1) if start == Start.OLDEST else start}
        )


class StaysOpen(MemoryEvents, interface=1):
    async def close(self) -> None:
        for task in self._topics.values():
            await asyncio.wait([task])


deadlines.time = group.time = SimpleNamespace(monotonic=lambda: asyncio.get_running_loop().time())


class Mutant(EventsSuite, RetentionSuite):
    made = MemoryEvents
    hurried = True

    @pytest.fixture
    async def driver(self) -> AsyncIterator[EventsDriver]:
        async with self.made() as driver:
            yield driver

    def opened(self, clock: Clock, **settings):
        return self.made(StoreEventsSettings(**settings), clock=clock)


globals().update(suites(Mutant, MemoryEvents))
