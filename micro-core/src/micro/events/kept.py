"""An event as a record of a store, and how much of a topic is kept."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from micro.events.driver import Event, NewEvent
from micro.plugin.settings import Settings
from micro.store import Record

EVENTS = "e/"
END = len(EVENTS)


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


class _Stored(msgspec.Struct, array_like=True):
    id: str
    key: str
    metadata: dict[str, str]
    timestamp: float
    payload: bytes
    arrived: float = 0.0
    count: int = 0
    total: int = 0


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Stored).decode


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


def value_of(event: Kept) -> bytes:
    """Give the record's value: a `_Stored`, spelled as the array that it is."""
    when = event.timestamp.timestamp()
    return _encode((event.id, event.key, event.metadata, when, event.payload, event.arrived, event.count, event.total))


def event_of(topic: str, record: Record) -> Kept:
    """Read a record."""
    stored = _decode(record.value)
    when = datetime.fromtimestamp(stored.timestamp, UTC)
    sequence = sequence_of(record.key)
    return Kept(
        topic, sequence, stored.id, stored.payload, stored.key, stored.metadata, when,
        stored.arrived, stored.count or sequence, stored.total,
    )  # fmt: skip
