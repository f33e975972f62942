"""One topic as records of a store: events under rising keys, appended in order, the newest kept at hand."""

from __future__ import annotations

import asyncio
import os
from bisect import bisect_left, bisect_right
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from micro import limits
from micro.errors import DataLoss
from micro.events.driver import NewEvent, Receipt
from micro.events.kept import Kept, Limits, Tail, key_of, scan, tail_in, tail_out, value_of, weight
from micro.events.room import Room
from micro.store import Delete, Put, Store

TAIL = "tail"  # the record that says where the topic ends, so that this is known when every event has gone
RECENT = 1024  # events at hand
RECENT_BYTES = 4 * limits.MIB
REMEMBERED = 100_000  # ids of one topic that a duplicate is known by
WINDOW = 120.0  # seconds an id is known for


class _Call:
    """The events of one call, on their way to the store."""

    __slots__ = ("events", "future", "size")

    def __init__(self, future: asyncio.Future[None]) -> None:
        self.events: list[Kept] = []
        self.size = 0
        self.future = future

    def sequence(self, id: str) -> int:
        """Give the sequence of one of them, once they are kept."""
        return next(event.sequence for event in self.events if event.id == id)


_Known = tuple[int, float] | _Call  # what is known of an id: its event's sequence and time, or what brings it


class Log:
    """The events of one topic, in one loop. `appended` is called once events are kept."""

    def __init__(
        self, store: Store, topic: str, *, keep: Limits, clock: Callable[[], float], appended: Callable[[], None]
    ) -> None:
        self.store = store
        self.topic = topic
        self.last = 0  # sequence of the newest event kept
        self.count = self.total = 0  # events ever kept, and their bytes
        self._peak = 0.0  # the latest of their timestamps
        self.room = Room(self, keep, clock)
        self._next = 1
        self._clock = clock
        self._appended = appended
        self._recent: list[Kept] = []
        self._recent_bytes = 0
        self._ids: OrderedDict[str, _Known] = OrderedDict()
        self._queue: deque[_Call] = deque()
        self._flusher: asyncio.Task[None] | None = None

    async def load(self) -> None:
        """Read where the topic ends, and the ids that a duplicate is known by."""
        newest = next(iter(await self._scan(descending=True, limit=1)), None)
        try:
            record = (await self.store.read_many([TAIL]))[0]
            tail = tail_in(record.value) if record else Tail()
        except DataLoss:
            if newest is None:
                raise
            tail = Tail()
        if newest is not None and newest.sequence > tail.last:
            tail = Tail(newest.sequence, newest.count, newest.total, REMEMBERED, newest.peak)
        self.last, self.count, self.total, self._peak = tail.last, tail.count, tail.total, tail.peak
        self._next = self.last + 1
        if tail.known:  # a hundred thousand take two seconds
            await self._load_ids()

    async def _load_ids(self) -> None:
        found: list[tuple[str, _Known]] = []
        since, below = self._clock() - WINDOW, None
        while len(found) < REMEMBERED and (page := await self._scan(after=below, descending=True, limit=limits.PAGE)):
            below = key_of(page[-1].sequence)
            found += [(e.id, (e.sequence, e.arrived)) for e in page if e.arrived >= since or len(found) < RECENT]
            if page[-1].arrived < since and len(found) >= RECENT:
                break
        self._ids.update(reversed(found))

    async def append(self, events: Sequence[NewEvent]) -> list[Receipt]:
        """Keep events, in the order of the calls; those whose id is known are kept once.

        All of a call or none: ResourceExhausted when the topic is full and drops nothing.
        """
        call = _Call(asyncio.get_running_loop().create_future())
        given: list[tuple[str, _Known | Kept]] = []
        self._forget_ids()
        now, random = datetime.now(UTC), os.urandom(16 * len(events)).hex()
        for at, new in enumerate(events):
            known = self._ids.get(new.id) if new.id else None
            if known is not None:
                given.append((new.id, known))
                continue
            id, when = new.id or random[32 * at : 32 * at + 32], new.timestamp or now
            event = Kept(self.topic, 0, id, bytes(new.payload), new.key, dict(new.metadata), when)
            event.total = weight(event)  # until it is numbered
            call.size += event.total
            call.events.append(event)
            given.append((id, event))
            if new.id:
                self._ids[id] = call
        if call.events:
            self._queue.append(call)
            if self._flusher is None or self._flusher.done():
                self._flusher = asyncio.create_task(self._flush())
            await asyncio.shield(call.future)
        for _, first in given:  # a duplicate is acknowledged when its first is kept
            if isinstance(first, _Call) and first is not call:
                await asyncio.shield(first.future)
        return [self._receipt(id, first) for id, first in given]

    @staticmethod
    def _receipt(id: str, known: _Known | Kept) -> Receipt:
        if isinstance(known, Kept):
            return Receipt(id, known.sequence)
        return Receipt(id, known.sequence(id) if isinstance(known, _Call) else known[0], duplicate=True)

    async def read(self, after: int, limit: int, *, strict: bool = False) -> list[Kept]:
        """Give up to `limit` events above a sequence; a damaged one is passed over, or `strict` raises DataLoss."""
        if after >= self.last:
            return []
        self._forget_old()
        if self._recent and self._recent[0].sequence <= after + 1:
            at = bisect_right(self._recent, after, key=lambda event: event.sequence)
            return self._recent[at : at + limit]
        return await self.page(after, limit, strict=strict)

    async def page(self, after: int, limit: int, *, strict: bool = False) -> list[Kept]:
        """Give up to `limit` events above a sequence, from the store; what is not acknowledged yet is not there."""
        found = await self._scan(after=key_of(after), limit=limit, strict=strict)
        return [event for event in found if event.sequence <= self.last]

    async def _scan(self, *, strict: bool = False, **options: Any) -> list[Kept]:
        return await scan(self.store, self.topic, strict=strict, **options)

    async def read_back(self, below: int, above: int, limit: int) -> list[Kept]:
        """Give up to `limit` events between two sequences, both exclusive, the newest first."""
        below = min(below, self.last + 1)
        if below - above <= 1:
            return []
        self._forget_old()
        if self._recent:
            at = bisect_left(self._recent, below, key=lambda event: event.sequence)
            found = self._recent[max(0, at - limit) : at][::-1]
            if len(found) == limit or self._recent[0].sequence <= above + 1:
                return [event for event in found if event.sequence > above]
        kept = await self._scan(after=key_of(below), descending=True, limit=limit, strict=True)
        return [event for event in kept if event.sequence > above]

    async def first_since(self, since: datetime) -> Kept | None:
        """Give the first event of or after an instant; a handful of reads, unless timestamps are far from in order."""
        when, below, upto = since.timestamp(), 0, self.last
        while below < upto:  # before the first event whose peak is that late, none is
            middle = (below + upto) // 2
            found = await self.read(middle, 1)
            if found and found[0].peak < when:
                below = found[0].sequence
            else:
                upto = middle
        while page := await self.read(below, limits.PAGE):
            for event in page:
                if event.timestamp >= since:
                    return event
            below = page[-1].sequence
        return None

    def forget(self, upto: int) -> None:
        """Have what was dropped no longer at hand."""
        self._forget_recent(bisect_right(self._recent, upto, key=lambda event: event.sequence))

    async def apply(self, ops: Sequence[Put | Delete]) -> None:
        """Write to the topic's table."""
        # by the driver itself: with what goes with it, the largest event is more than the largest value
        await self.store._call("apply", self.store.driver.apply(self.store.where, ops))

    async def close(self) -> None:
        """Keep what is waiting."""
        if self._flusher is not None:
            await asyncio.wait([self._flusher])

    # -- from the queue to the store

    async def _flush(self) -> None:
        while self._queue:
            group = self._group()
            try:
                refusals = await self.room.refusals([call.events for call in group])
                for call, refusal in zip(group, refusals, strict=True):
                    if refusal is not None:
                        self._fail(call, refusal)
                group = [call for call in group if not call.future.done()]
                for part in self.room.parts([event for call in group for event in call.events]):
                    await self.room.make(part)
                    await self._keep(part)
            except Exception as exc:
                for call in group:
                    if not call.future.done():
                        self._fail(call, exc)
                continue
            for call in group:
                call.future.set_result(None)
            self._appended()

    def _group(self) -> list[_Call]:
        """Take from the queue what goes to the store at once."""
        group = [self._queue.popleft()]
        size, count = group[0].size, len(group[0].events)
        while self._queue:
            size, count = size + self._queue[0].size, count + len(self._queue[0].events)
            if count > limits.BATCH or size > limits.BATCH_BYTES:
                break
            group.append(self._queue.popleft())
        return group

    def _fail(self, call: _Call, exc: Exception) -> None:
        for event in call.events:
            if self._ids.get(event.id) is call:
                del self._ids[event.id]
        call.future.set_exception(exc)
        call.future.exception()  # the caller may be gone

    async def _keep(self, events: list[Kept]) -> None:
        """Number events and keep them; after an error their numbers are not used again, for they may be there."""
        if not events:
            return
        arrived, first, count, total, peak = self._clock(), self._next, self.count, self.total, self._peak
        self._next += len(events)
        puts = []
        for sequence, event in enumerate(events, first):
            when = event.timestamp.timestamp()
            count, total, peak = count + 1, total + event.total, max(peak, when)
            event.sequence, event.arrived, event.count, event.total, event.peak = sequence, arrived, count, total, peak
            puts.append(Put(key_of(sequence), value_of(event, when), self.room.keep.age))
        tail = Put(TAIL, tail_out(Tail(events[-1].sequence, count, total, len(self._ids), peak)))
        if len(puts) < limits.BATCH:
            await self.apply([*puts, tail])
        else:  # each is as much as is written at once; the newest event says the same
            await asyncio.gather(self.apply([tail]), self.apply(puts))
        self.count, self.total, self.last, self._peak = count, total, events[-1].sequence, peak
        self._remember(events)

    # -- at hand

    def _remember(self, events: list[Kept]) -> None:
        for event in events:
            if event.id in self._ids:
                self._ids[event.id] = (event.sequence, event.arrived)
        self._recent += events
        self._recent_bytes += sum(len(event.payload) for event in events)
        over = len(self._recent) - RECENT
        while over > 0 or (self._recent_bytes > RECENT_BYTES and len(self._recent) > 1):
            self._forget_recent(max(1, over))
            over = 0

    def _forget_recent(self, count: int) -> None:
        self._recent_bytes -= sum(len(event.payload) for event in self._recent[:count])
        del self._recent[:count]

    def _forget_old(self) -> None:
        count = 0
        while count < len(self._recent) and self.room.old(self._recent[count]):
            count += 1
        if count:
            self._forget_recent(count)

    def _forget_ids(self) -> None:
        oldest = self._clock() - WINDOW
        while self._ids:
            id, known = next(iter(self._ids.items()))
            if isinstance(known, _Call) or (known[1] >= oldest and len(self._ids) <= REMEMBERED):
                return
            del self._ids[id]
