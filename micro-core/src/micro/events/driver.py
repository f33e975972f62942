"""What an events driver provides: an ordered log for each topic, groups with settled deliveries. No I/O here."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import ClassVar

from msgspec import Struct, field

from micro.errors import FailedPrecondition
from micro.plugin.driver import Driver

BACK_OFF = (0.0, 1.0, 5.0, 30.0, 120.0)  # seconds before the 2nd, 3rd, … delivery after a nack without a delay
DEAD = ".dlq"  # what a topic's dead letters are called: `<topic>.dlq`, an ordinary topic


def _now() -> datetime:
    return datetime.now(UTC)


class NewEvent(Struct):
    """An event to publish. Publishing an `id` again within the log's window publishes nothing; "" makes one."""

    payload: bytes
    id: str = ""
    key: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    timestamp: datetime | None = None


class Event(Struct):
    """An event of the log; `sequence` rises in its topic, from 1, with gaps."""

    topic: str
    sequence: int
    id: str
    payload: bytes
    key: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    timestamp: datetime = field(default_factory=_now)


class Receipt(Struct):
    """An event that is kept; `duplicate` says that its id was there already."""

    id: str
    sequence: int
    duplicate: bool = False


class Delivery(Struct):
    """An event given to a consumer for the `number`th time; to be settled before `deadline` (monotonic seconds).

    `lost` is how many events just before it went, too old or dropped, before the group had them.
    """

    event: Event
    number: int = 1
    deadline: float = 0.0
    lost: int = 0


class Start(Struct, frozen=True):
    """Where a group begins that was not there before: `sequence` inclusive, or an instant; neither is from now on."""

    sequence: int | None = None
    since: datetime | None = None

    NEW: ClassVar[Start]
    OLDEST: ClassVar[Start]


Start.NEW = Start()
Start.OLDEST = Start(sequence=0)


class Ack(Struct, frozen=True):
    """It is done."""


class Nack(Struct, frozen=True):
    """It failed: again after `delay` seconds, None by the back-off."""

    delay: float | None = None


class Extend(Struct, frozen=True):
    """It takes longer: the wait for its settling begins anew."""


class Group(Struct):
    """How far a group is: all up to `position` is settled, `pending` are out, `lag` are there and not yet delivered.

    `lost` is how many went, too old or dropped, before the group had them, ever since it began.
    """

    name: str
    position: int
    pending: int
    lag: int
    lost: int = 0


class Rules(Struct, frozen=True):
    """What the first consumer of a group fixes."""

    ack_wait: float
    max_deliveries: int | None
    keyed: bool

    def __str__(self) -> str:
        return f"ack_wait={self.ack_wait:g}, max_deliveries={self.max_deliveries}, keyed={self.keyed}"

    def agree(self, wanted: Rules, group: str, *, adopt: bool) -> None:
        """Refuse what another consumer of the group wants otherwise."""
        if wanted != self and not adopt:
            raise FailedPrecondition(f"group {group!r} has {self}, wanted {wanted}")


def dead_letter(event: Event, group: str, deliveries: int) -> NewEvent:
    """Give what is published to `<topic>.dlq` of an event that a group did not settle."""
    metadata = dict(event.metadata) | {
        "dead-topic": event.topic,
        "dead-id": event.id,
        "dead-group": group,
        "dead-deliveries": str(deliveries),
        "dead-cause": f"delivered {deliveries} times without being settled",
    }
    return NewEvent(event.payload, f"{event.id}.{group}", event.key, metadata, event.timestamp)


class Consumer(AsyncIterator[Delivery]):
    """One member of a group, receiving."""

    async def begin(self, delivery: Delivery) -> bool:
        """Say that a handler is given this delivery now; False when it is out no more: take the next one.

        Where `begin` is claimed this is what makes a delivery count, and its wait begins with it; elsewhere a delivery
        counts once it is sent.
        """
        return True

    @abstractmethod
    async def settle(self, delivery: Delivery, how: Ack | Nack | Extend) -> bool:
        """Say what became of a delivery; False when it is too late. Durable on return where the driver is."""

    def settle_soon(self, delivery: Delivery, how: Ack | Nack | Extend) -> asyncio.Future[bool]:
        """Say the same and go on; gives what `settle` does, once it does.

        Where it can be, it is said before this returns, or together with what is said next. What it gives may be that of
        others too: who may be cancelled while waiting for it shields it.
        """
        return asyncio.ensure_future(self.settle(delivery, how))


class EventsDriver(Driver, defines=1):
    """Keeps events in order and delivers them at least once.

    Arguments were validated. Capabilities: `durable` (an event with a receipt survives the process), `dedupe`, `keyed`
    (one event of a key in flight), `replay` (reading history), `delay` (a nack's own delay), `begin` (what was
    delivered ahead and no handler was given does not count).
    """

    @abstractmethod
    async def publish(self, namespace: str, topic: str, events: Sequence[NewEvent]) -> list[Receipt]:
        """Append events, in order; gives a receipt for each. Durable on return where claimed.

        All or none: ResourceExhausted when the topic is full, unless the driver's settings have it drop the oldest.
        """

    @abstractmethod
    def consume(
        self,
        namespace: str,
        topic: str,
        *,
        group: str = "",
        start: Start = Start.NEW,
        ack_wait: float = 30.0,
        max_deliveries: int | None = 5,
        window: int = 256,
        keyed: bool = False,
        adopt: bool = False,
    ) -> AbstractAsyncContextManager[Consumer]:
        """Join a group; entered, what is published from then on will come.

        Each event goes to one member. `group=""` is a cursor of this stream's own, which ends with it. A delivery that
        is not settled within `ack_wait` seconds comes again, as does what a member that leaves had; one that was
        begun `max_deliveries` times (None: without limit) goes to `<topic>.dlq` with its cause. What was not begun
        comes again with the same number. At most `window` are out to this member. The first
        consumer fixes a group's settings: others raise FailedPrecondition, or with `adopt` take the group's.
        """

    @abstractmethod
    async def read(
        self,
        namespace: str,
        topic: str,
        *,
        after: int = 0,
        since: datetime | None = None,
        limit: int = 250,
        descending: bool = False,
    ) -> list[Event]:
        """Give events above a sequence, of or after an instant, oldest first; shorter pages only at the end.

        With `descending` newest first: those below `after`, 0 being the topic's end.
        """

    @abstractmethod
    async def groups(self, namespace: str, topic: str) -> list[Group]:
        """Give the topic's named groups, sorted."""

    @abstractmethod
    async def seek(self, namespace: str, topic: str, group: str, start: Start | None) -> None:
        """Move a group; None forgets it. What is out is settled by nobody any more."""
