"""The types of micro.blocking.events, written by scripts/blocking.py."""

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from datetime import datetime
from micro.durations import Duration
from micro.events.consumption import T
from micro.events.face import P
from typing import Any
from typing import Generic
from typing import Self
from typing import overload
import builtins
from micro.events import Ack as Ack
from micro.events import Consumption as Consumption
from micro.events import Delivered as Delivered
from micro.events import Delivery as Delivery
from micro.events import Event as Event
from micro.events import Events as Events
from micro.events import EventsDriver as EventsDriver
from micro.events import Extend as Extend
from micro.events import Group as Group
from micro.events import Nack as Nack
from micro.events import NewEvent as NewEvent
from micro.events import Receipt as Receipt
from micro.events import Start as Start

class _Consumption(Generic[T]):

    def __enter__(self) -> Self:
        ...

    def __exit__(self, *exc: object) -> bool | None:
        ...

    def __iter__(self) -> Iterator[_Delivered[T]]:
        ...

class _Delivered(Generic[T]):
    delivery: Delivery
    settled: bool

    @property
    def payload(self) -> T:
        """The payload; raises InvalidArgument naming the field that does not fit the type."""
        ...

    @property
    def event(self) -> Event:
        """The event: id, topic, sequence, key, metadata, timestamp."""
        ...

    @property
    def number(self) -> int:
        """How often it was delivered, this time included; 0 for history."""
        ...

    @property
    def lost(self) -> int:
        """How many events just before it went, too old or dropped, before the group had them."""
        ...

    def ack(self) -> bool:
        """It is done; False when it was too late."""
        ...

    def nack(self, delay: Duration | None=None) -> bool:
        """It failed: again after `delay` (seconds, or a timedelta), None by the group's back-off; False when it was too late."""
        ...

    def extend(self) -> bool:
        """It takes longer; False when it was too late."""
        ...

def publish(topic: str, payload: object, *, key: str='', id: str='', metadata: Mapping[str, str] | None=None, timestamp: datetime | None=None) -> Receipt:
    """Append an event: see Events.publish."""
    ...

def publish_many(topic: str, payloads: Sequence[object]) -> builtins.list[Receipt]:
    """Append events in order: see Events.publish_many."""
    ...

@overload
def consume(topic: str, type_: type[P]=..., *, group: str=..., start: Start | datetime=..., ack_wait: Duration=..., max_deliveries: int | None=..., window: int=..., keyed: bool=..., manual: bool=...) -> _Consumption[P]:
    ...

@overload
def consume(topic: str, type_: Any, *, group: str=..., start: Start | datetime=..., ack_wait: Duration=..., max_deliveries: int | None=..., window: int=..., keyed: bool=..., manual: bool=...) -> _Consumption[Any]:
    ...

@overload
def read(topic: str, type_: type[P]=..., *, after: int=..., since: datetime | None=..., limit: int=..., descending: bool=...) -> builtins.list[Delivered[P]]:
    ...

@overload
def read(topic: str, type_: Any, *, after: int=..., since: datetime | None=..., limit: int=..., descending: bool=...) -> builtins.list[Delivered[Any]]:
    ...

def groups(topic: str) -> builtins.list[Group]:
    """Say how far each group is: see Events.groups."""
    ...

def seek(topic: str, group: str, start: Start | datetime | None) -> None:
    """Move a group: see Events.seek."""
    ...

def replay(topic: str, ids: Sequence[str]) -> builtins.list[Receipt]:
    """Publish dead letters again: see Events.replay."""
    ...
