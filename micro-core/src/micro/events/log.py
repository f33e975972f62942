"""One topic as records of a store: events under rising keys, appended in order, the newest kept at hand."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from uuid import uuid4

import msgspec

from micro import limits
from micro.events.driver import Event, NewEvent, Receipt
from micro.store import Put, Store

EVENTS = "e/"
NEXT = "next"  # the record that says up to where sequences are spoken for
RESERVED = 10_000  # sequences spoken for at once, so that they rise even when every event has expired
BATCH = limits.BATCH - 1  # one operation stays free for NEXT
RECENT = 1024  # events at hand
RECENT_BYTES = 4 * limits.MIB
REMEMBERED = 100_000  # ids of one topic that a duplicate is known by
WINDOW = 120.0  # seconds an id is known for


class _Stored(msgspec.Struct, array_like=True):
    id: str
    key: str
    metadata: dict[str, str]
    timestamp: float
    payload: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Stored).decode


def key_of(sequence: int) -> str:
    """Give the record's key of a sequence; keys sort as sequences do."""
    return f"{EVENTS}{sequence:016x}"


class _Waiting:
    __slots__ = ("events", "future", "put")

    def __init__(self, events: list[Event], put: list[Put], future: asyncio.Future[None]) -> None:
        self.events = events
        self.put = put
        self.future = future


class Log:
    """The events of one topic, in one loop. `appended` is called once events are kept."""

    def __init__(self, store: Store, topic: str, *, retention: float, appended: Callable[[], None]) -> None:
        self.store = store
        self.topic = topic
        self.last = 0  # sequence of the newest event kept
        self._next = 1
        self._reserved = 0
        self._retention = retention
        self._appended = appended
        self._recent: list[Event] = []
        self._recent_bytes = 0
        self._ids: OrderedDict[str, tuple[int, float, asyncio.Future[None] | None]] = OrderedDict()
        self._queue: list[_Waiting] = []
        self._flusher: asyncio.Task[None] | None = None

    async def load(self) -> None:
        """Read how far the topic is, and the ids of its newest events."""
        newest = [r async for r in self.store.scan(EVENTS, descending=True, limit=RECENT)]
        reserved = await self.store.get(NEXT, int, 0)
        if newest:
            self.last = int(newest[0].key[len(EVENTS) :], 16)
            self._next = self.last + 1
        elif reserved:
            self._next = reserved
            self.last = reserved - 1
        self._reserved = self._next
        now = time.monotonic()
        for record in reversed(newest):
            event = self._event(record.key, record.value)
            self._ids[event.id] = (event.sequence, now, None)

    async def append(self, events: Sequence[NewEvent]) -> list[Receipt]:
        """Keep events, in the order of the calls; those whose id is known are kept once."""
        receipts: list[Receipt] = []
        fresh: list[Event] = []
        others: list[asyncio.Future[None]] = []
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._forget_ids()
        for new in events:
            known = self._ids.get(new.id) if new.id else None
            if known is not None:
                receipts.append(Receipt(new.id, known[0], duplicate=True))
                if known[2] is not None and not known[2].done() and known[2] is not future:
                    others.append(known[2])
                continue
            event = self._number(new)
            self._ids[event.id] = (event.sequence, time.monotonic(), future)
            fresh.append(event)
            receipts.append(Receipt(event.id, event.sequence))
        for other in others:  # a duplicate is acknowledged when its first is kept
            await asyncio.shield(other)
        if fresh:
            puts = [Put(key_of(e.sequence), self._value(e), self._retention or None) for e in fresh]
            self._queue.append(_Waiting(fresh, puts, future))
            if self._flusher is None or self._flusher.done():
                self._flusher = asyncio.create_task(self._flush())
            await asyncio.shield(future)
        return receipts

    async def read(self, after: int, limit: int) -> list[Event]:
        """Give up to `limit` events above a sequence."""
        if after >= self.last:
            return []
        if self._recent and self._recent[0].sequence <= after + 1:
            at = bisect_right(self._recent, after, key=lambda event: event.sequence)
            return self._recent[at : at + limit]
        found = self.store.scan(EVENTS, after=key_of(after), limit=limit)
        return [self._event(r.key, r.value) async for r in found if r.key <= key_of(self.last)]

    async def read_back(self, below: int, above: int, limit: int) -> list[Event]:
        """Give up to `limit` events between two sequences, both exclusive, the newest first."""
        below = min(below, self.last + 1)
        if below - above <= 1:
            return []
        if self._recent:
            at = bisect_left(self._recent, below, key=lambda event: event.sequence)
            found = self._recent[max(0, at - limit) : at][::-1]
            if len(found) == limit or self._recent[0].sequence <= above + 1:
                return [event for event in found if event.sequence > above]
        kept = self.store.scan(EVENTS, after=key_of(below), descending=True, limit=limit)
        return [self._event(r.key, r.value) async for r in kept if r.key > key_of(above)]

    async def first_since(self, since: datetime) -> int:
        """Give the sequence just below the first event of or after an instant; the log's end when there is none."""
        after = 0
        while page := await self.read(after, limits.PAGE):
            for event in page:
                if event.timestamp >= since:
                    return event.sequence - 1
            after = page[-1].sequence
        return self.last

    async def find(self, ids: Sequence[str]) -> dict[str, Event]:
        """Give the events of these ids, by going through all."""
        wanted = set(ids)
        found: dict[str, Event] = {}
        after = 0
        while wanted and (page := await self.read(after, limits.PAGE)):
            for event in page:
                if event.id in wanted:
                    found[event.id] = event
                    wanted.discard(event.id)
            after = page[-1].sequence
        return found

    async def close(self) -> None:
        """Keep what is waiting."""
        if self._flusher is not None:
            await asyncio.wait([self._flusher])

    async def _flush(self) -> None:
        while self._queue:
            group: list[_Waiting] = []
            ops: list[Put] = []
            size = 0
            while self._queue and (not group or len(ops) + len(self._queue[0].put) <= BATCH):
                size += sum(len(put.value) for put in self._queue[0].put)
                if group and size > limits.BATCH_BYTES:
                    break
                group.append(self._queue.pop(0))
                ops += group[-1].put
            try:
                await self._keep(ops)
            except Exception as exc:
                for waiting in group:
                    for event in waiting.events:
                        self._ids.pop(event.id, None)
                    waiting.future.set_exception(exc)
                    waiting.future.exception()  # the caller may be gone
                continue
            for waiting in group:
                self._remember(waiting.events)
                waiting.future.set_result(None)
            self._appended()

    async def _keep(self, ops: list[Put]) -> None:
        for at in range(0, len(ops), BATCH):
            batch = ops[at : at + BATCH]
            if self._next > self._reserved:
                self._reserved = self._next + RESERVED
                batch = [*batch, Put(NEXT, str(self._reserved).encode())]
            # by the driver itself: with what goes with it, the largest event is more than the largest value
            await self.store._call("apply", self.store.driver.apply(self.store.where, batch))

    def _number(self, new: NewEvent) -> Event:
        sequence, self._next = self._next, self._next + 1
        when = new.timestamp or datetime.now(UTC)
        return Event(self.topic, sequence, new.id or uuid4().hex, bytes(new.payload), new.key, dict(new.metadata), when)

    def _value(self, event: Event) -> bytes:
        when = event.timestamp.timestamp()
        return _encode(_Stored(event.id, event.key, dict(event.metadata), when, event.payload))

    def _event(self, key: str, value: bytes) -> Event:
        stored = _decode(value)
        when = datetime.fromtimestamp(stored.timestamp, UTC)
        sequence = int(key[len(EVENTS) :], 16)
        return Event(self.topic, sequence, stored.id, stored.payload, stored.key, stored.metadata, when)

    def _remember(self, events: list[Event]) -> None:
        self.last = events[-1].sequence
        self._recent += events
        self._recent_bytes += sum(len(event.payload) for event in events)
        over = len(self._recent) - RECENT
        while over > 0 or (self._recent_bytes > RECENT_BYTES and len(self._recent) > 1):
            cut = max(1, over)
            self._recent_bytes -= sum(len(event.payload) for event in self._recent[:cut])
            del self._recent[:cut]
            over = 0

    def _forget_ids(self) -> None:
        oldest = time.monotonic() - WINDOW
        while self._ids:
            id = next(iter(self._ids))
            if self._ids[id][1] >= oldest and len(self._ids) <= REMEMBERED:
                return
            del self._ids[id]
