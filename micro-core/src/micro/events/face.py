"""The functions a service calls: this process's events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, overload

from micro.events.driver import Start

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    from micro.durations import Duration
    from micro.events.api import Events
    from micro.events.consumption import Consumption, Delivered
    from micro.events.driver import Group, Receipt

    P = TypeVar("P", default=bytes)  # what a payload is: as it came, where no type is asked for


def _events() -> Events:
    from micro.service.process import current

    return current().events


async def publish(
    topic: str,
    payload: object,
    *,
    key: str = "",
    id: str = "",
    metadata: Mapping[str, str] | None = None,
    timestamp: datetime | None = None,
) -> Receipt:
    """Append an event: see Events.publish."""
    return await _events().publish(topic, payload, key=key, id=id, metadata=metadata, timestamp=timestamp)


async def publish_many(topic: str, payloads: Sequence[object]) -> list[Receipt]:
    """Append events in order: see Events.publish_many."""
    return await _events().publish_many(topic, payloads)


@overload
def consume(
    topic: str,
    type_: type[P] = ...,
    *,
    group: str = ...,
    start: Start | datetime = ...,
    ack_wait: Duration = ...,
    max_deliveries: int | None = ...,
    window: int = ...,
    keyed: bool = ...,
    manual: bool = ...,
) -> Consumption[P]: ...
@overload
def consume(
    topic: str,
    type_: Any,
    *,
    group: str = ...,
    start: Start | datetime = ...,
    ack_wait: Duration = ...,
    max_deliveries: int | None = ...,
    window: int = ...,
    keyed: bool = ...,
    manual: bool = ...,
) -> Consumption[Any]: ...
def consume(
    topic: str,
    type_: Any = None,
    *,
    group: str = "",
    start: Start | datetime = Start.NEW,
    ack_wait: Duration = 30.0,
    max_deliveries: int | None = 5,
    window: int = 256,
    keyed: bool = False,
    manual: bool = False,
) -> Consumption[Any]:
    """Join a group and iterate its deliveries: see Events.consume."""
    return _events().consume(
        topic,
        type_,
        group=group,
        start=start,
        ack_wait=ack_wait,
        max_deliveries=max_deliveries,
        window=window,
        keyed=keyed,
        manual=manual,
    )


@overload
async def read(
    topic: str,
    type_: type[P] = ...,
    *,
    after: int = ...,
    since: datetime | None = ...,
    limit: int = ...,
    descending: bool = ...,
) -> list[Delivered[P]]: ...
@overload
async def read(
    topic: str,
    type_: Any,
    *,
    after: int = ...,
    since: datetime | None = ...,
    limit: int = ...,
    descending: bool = ...,
) -> list[Delivered[Any]]: ...
async def read(
    topic: str,
    type_: Any = None,
    *,
    after: int = 0,
    since: datetime | None = None,
    limit: int = 250,
    descending: bool = False,
) -> list[Delivered[Any]]:
    """Read history: see Events.read."""
    return await _events().read(topic, type_, after=after, since=since, limit=limit, descending=descending)


async def groups(topic: str) -> list[Group]:
    """Say how far each group is: see Events.groups."""
    return await _events().groups(topic)


async def seek(topic: str, group: str, start: Start | datetime | None) -> None:
    """Move a group: see Events.seek."""
    await _events().seek(topic, group, start)


async def replay(topic: str, ids: Sequence[str]) -> list[Receipt]:
    """Publish dead letters again: see Events.replay."""
    return await _events().replay(topic, ids)
