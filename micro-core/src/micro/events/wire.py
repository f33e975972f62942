"""Events as the wire has them, both ways; `service.py` and `remote.py` share it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from micro.events.driver import Ack, Delivery, Event, Extend, Nack, NewEvent, Receipt, Start
from micro.proto import events_pb2 as pb


def millis(when: datetime) -> int:
    """Give unix milliseconds."""
    return round(when.timestamp() * 1000)


def instant(ms: int, seconds: int) -> datetime | None:
    """Read an instant: milliseconds where there are some, else seconds, else None."""
    if ms > 0:
        return datetime.fromtimestamp(ms / 1000, UTC)
    return datetime.fromtimestamp(seconds, UTC) if seconds > 0 else None


def new_out(topic: str, event: NewEvent) -> pb.PublishRequest:
    """Give an event to publish."""
    request = pb.PublishRequest(topic=topic, metadata=event.metadata, payload=event.payload, id=event.id, key=event.key)
    if event.timestamp is not None:
        request.timestamp_ms = millis(event.timestamp)
        request.timestamp = request.timestamp_ms // 1000
    return request


def new_in(request: pb.PublishRequest) -> NewEvent:
    """Read an event to publish."""
    when = instant(request.timestamp_ms, request.timestamp)
    return NewEvent(request.payload, request.id, request.key, dict(request.metadata), when)


def receipt_out(receipt: Receipt) -> pb.PublishResponse:
    """Give a receipt."""
    return pb.PublishResponse(id=receipt.id, sequence=receipt.sequence, duplicate=receipt.duplicate)


def receipt_in(response: pb.PublishResponse) -> Receipt:
    """Read a receipt; an original server's is empty."""
    return Receipt(response.id, response.sequence, response.duplicate)


def add_event(to: Any, event: Event, *, delivery: int = 0, group: str = "", lost: int = 0) -> None:
    """Add an event to a list of a message, with the number of its delivery, and how many went before it."""
    ms = millis(event.timestamp)
    to.add(
        id=event.id,
        topic=event.topic,
        metadata=event.metadata,
        payload=event.payload,
        timestamp=ms // 1000,
        timestamp_ms=ms,
        sequence=event.sequence,
        key=event.key,
        delivery=delivery,
        group=group,
        lost=lost,
    )


def event_out(event: Event, *, delivery: int = 0, group: str = "", lost: int = 0) -> pb.Event:
    """Give an event: see `add_event`."""
    batch = pb.EventBatch()
    add_event(batch.events, event, delivery=delivery, group=group, lost=lost)
    return batch.events[0]


def event_in(item: pb.Event) -> Event:
    """Read an event."""
    when = instant(item.timestamp_ms, item.timestamp) or datetime.fromtimestamp(0, UTC)
    return Event(item.topic, item.sequence, item.id, item.payload, item.key, dict(item.metadata), when)


def delivery_in(item: pb.Event, deadline: float) -> Delivery:
    """Read a delivery."""
    return Delivery(event_in(item), item.delivery or 1, deadline, item.lost)


def add_settle(to: pb.AckBatch, delivery: Delivery, how: Ack | Nack | Extend) -> None:
    """Say what became of a delivery."""
    kind = pb.Settle.ACK if isinstance(how, Ack) else pb.Settle.EXTEND if isinstance(how, Extend) else pb.Settle.NACK
    settle = to.acks.add(id=delivery.event.id, delivery=delivery.number, how=kind)
    if isinstance(how, Nack) and how.delay is not None:
        settle.delay_ms = round(how.delay * 1000)


def add_begin(to: pb.AckBatch, delivery: Delivery) -> None:
    """Say that a handler is given a delivery."""
    to.acks.add(id=delivery.event.id, delivery=delivery.number, how=pb.Settle.BEGIN)


def settle_in(settle: pb.Settle) -> Ack | Nack | Extend:
    """Read what became of a delivery."""
    if settle.how == pb.Settle.ACK:
        return Ack()
    if settle.how == pb.Settle.EXTEND:
        return Extend()
    return Nack(settle.delay_ms / 1000 if settle.HasField("delay_ms") else None)


def start_of(sequence: int | None, since_ms: int, offset: int) -> Start:
    """Read where to begin: a sequence beats an instant."""
    if sequence is not None:
        return Start(sequence=sequence)
    return Start(since=instant(since_ms, offset))
