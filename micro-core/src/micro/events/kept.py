"""An event as a record of a store, and how much of a topic is kept."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from micro.errors import DataLoss
from micro.events.driver import Event, NewEvent
from micro.plugin.settings import Settings
from micro.store import Record, Store

EVENTS = "e/"
END = len(EVENTS)
NEVER = 1e12  # unix seconds, beyond every timestamp: of events from before it was kept

_log = logging.getLogger(__name__)


class Limits(NamedTuple):
    """How much of a topic is kept; None is without limit."""

    age: float | None = None  # seconds
    events: int | None = None
    bytes: int | None = None
    drop: bool = False  # when it is full the oldest go; else the new are refused

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """Read them from a driver's settings; those without any keep everything."""
        found = vars(settings)
        drop = found.get("discard") == "old"
        return cls(found.get("retention") or None, found.get("max_events"), found.get("max_bytes"), drop)

    @property
    def bounded(self) -> bool:
        """Whether a topic can be full."""
        return self.events is not None or self.bytes is not None


class Kept(Event):
    """An event of a log, with what tells how much of the log is left by looking at its two ends."""

    arrived: float = 0.0  # unix seconds
    count: int = 0  # events that the topic has ever kept, this one included
    total: int = 0  # bytes of them
    peak: float = 0.0  # the latest of their timestamps, in unix seconds


class Tail(msgspec.Struct, array_like=True):
    """Where a topic ends: what its newest event says, and how many ids are known."""

    last: int = 0
    count: int = 0
    total: int = 0
    known: int = 0
    peak: float = 0.0


class _Stored(msgspec.Struct, array_like=True):
    id: str
    key: str
    metadata: dict[str, str]
    timestamp: float
    payload: bytes
    arrived: float = 0.0
    count: int = 0
    total: int = 0
    peak: float = NEVER


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Stored).decode
tail_out = msgspec.json.Encoder().encode
tail_in = msgspec.json.Decoder(Tail).decode


def key_of(sequence: int) -> str:
    """Give the record's key of a sequence; keys sort as sequences do."""
    return f"{EVENTS}{sequence:016x}"


def sequence_of(key: str) -> int:
    """Give the sequence of a record's key."""
    return int(key[END:], 16)


def weight(event: Event | NewEvent) -> int:
    """Give the bytes that count against a topic's limit: payload, id, key and metadata."""
    size = len(event.payload) + len(event.id) + len(event.key)
    for name, text in event.metadata.items():
        size += len(name) + len(text)
    return size


def value_of(event: Kept, when: float) -> bytes:
    """Give the record's value, `when` being its timestamp: a `_Stored`, spelled as the array that it is."""
    counted = (event.arrived, event.count, event.total, event.peak)
    return _encode((event.id, event.key, event.metadata, when, event.payload, *counted))


def event_of(topic: str, record: Record) -> Kept:
    """Read a record."""
    stored = _decode(record.value)
    when = datetime.fromtimestamp(stored.timestamp, UTC)
    sequence = sequence_of(record.key)
    return Kept(
        topic, sequence, stored.id, stored.payload, stored.key, stored.metadata, when,
        stored.arrived, stored.count or sequence, stored.total,
        stored.peak,
    )  # fmt: skip


async def scan(store: Store, topic: str, *, strict: bool, **options: Any) -> list[Kept]:
    """Read events as `Store.scan` does; a damaged one is passed over, or `strict` raises DataLoss that names it."""
    try:
        return [event_of(topic, record) async for record in store.scan(EVENTS, **options)]
    except DataLoss:
        keys = [record.key async for record in store.scan(EVENTS, values=False, **options)]
    found = []
    for key in keys:
        try:
            found += [event_of(topic, record) for record in await store.read_many([key]) if record]
        except DataLoss as err:
            sequence = sequence_of(key)
            words = f"event {sequence} of topic {topic!r} is damaged; what follows is read with after={sequence}"
            if strict:
                raise DataLoss(words) from err
            _log.error("event %d of topic %r is damaged, and passed over", sequence, topic)
    return found
