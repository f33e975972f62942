"""What a loop over events sees: deliveries, settled by how the loop's body ends."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from micro.durations import maybe
from micro.errors import FailedPrecondition, Unavailable
from micro.events.driver import Ack, Consumer, Delivery, Event, Extend, Nack, Start
from micro.schema.typed import decode_as

if TYPE_CHECKING:
    from micro.durations import Duration
    from micro.events.api import Events

T = TypeVar("T")


class Delivered(Generic[T]):
    """An event as its consumer has it: `payload` as the type asked for, bytes without one."""

    __slots__ = ("_consumer", "_payload", "_type", "delivery", "settled")

    def __init__(self, consumer: Consumer | None, delivery: Delivery, type_: type[T] | None) -> None:
        self.delivery = delivery
        self.settled = False
        self._consumer = consumer
        self._type = type_
        self._payload: Any = None

    @property
    def payload(self) -> T:
        """The payload; raises InvalidArgument naming the field that does not fit the type."""
        if self._type is None:
            return self.delivery.event.payload  # type: ignore[return-value] # T is bytes then
        if self._payload is None:
            self._payload = decode_as(self._type, self.delivery.event.payload)
        return self._payload  # type: ignore[no-any-return]

    @property
    def event(self) -> Event:
        """The event: id, topic, sequence, key, metadata, timestamp."""
        return self.delivery.event

    @property
    def number(self) -> int:
        """How often it was delivered, this time included; 0 for history."""
        return self.delivery.number

    @property
    def lost(self) -> int:
        """How many events just before it went, too old or dropped, before the group had them."""
        return self.delivery.lost

    async def ack(self) -> bool:
        """It is done; False when it was too late."""
        return await self._settle(Ack())

    async def nack(self, delay: Duration | None = None) -> bool:
        """It failed: again after `delay` (seconds, or a timedelta), None by the group's back-off; False when it was too late."""
        return await self._settle(Nack(maybe(delay, "delay")))

    async def extend(self) -> bool:
        """It takes longer; False when it was too late."""
        assert self._consumer is not None
        return await self._consumer.settle(self.delivery, Extend())

    async def _settle(self, how: Ack | Nack) -> bool:
        if self._consumer is None:
            raise FailedPrecondition("an event of history has nothing to settle")
        if self.settled:
            return False
        self.settled = True
        try:
            return await self._consumer.settle(self.delivery, how)
        except Unavailable:
            return False  # it comes again

    def __repr__(self) -> str:
        event = self.event
        return f"Delivered({event.topic!r}, sequence={event.sequence}, id={event.id!r}, number={self.number})"


class Consumption(Generic[T]):
    """A group being consumed; ends when left."""

    def __init__(
        self,
        events: Events,
        topic: str,
        type_: type[T] | None,
        *,
        group: str,
        start: Start,
        options: Mapping[str, Any],
        manual: bool,
    ) -> None:
        self._events = events
        self._topic = topic
        self._type = type_
        self._group = group
        self._start = start
        self._options = options
        self._manual = manual
        self._context: AbstractAsyncContextManager[Consumer] | None = None
        self._consumer: Consumer | None = None
        self._last: Delivered[T] | None = None
        self._acks: deque[asyncio.Future[bool]] = deque()  # said, and not yet known to be kept
        self._next: Delivery | None = None  # taken from the consumer, and not begun yet
        self._wait = 0.05

    async def __aenter__(self) -> Self:
        await self._join()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: object) -> None:
        last, self._last = self._last, None
        try:
            # after an exception leaving is enough: what is out comes again at once, to another
            if kind is None:
                self._done(last)
                while self._acks:
                    await _kept(self._acks.popleft())
        finally:
            await self._leave()

    def __aiter__(self) -> AsyncIterator[Delivered[T]]:
        return self

    async def __anext__(self) -> Delivered[T]:
        last, self._last = self._last, None
        self._done(last)
        while self._acks and self._acks[0].done():
            await _kept(self._acks.popleft())
        while True:
            if self._consumer is None:
                await self._join()
            assert self._consumer is not None
            try:
                if self._next is None:
                    self._next = await anext(self._consumer)
                begun = await self._consumer.begin(self._next)
            except (Unavailable, StopAsyncIteration):
                await self._leave()
                await self._pause()
                continue
            except asyncio.CancelledError:
                raise
            except Exception as exc:
                await self._leave()
                raise self._events._wrapped("consume", exc) from exc
            delivery, self._next = self._next, None
            self._wait = 0.05
            if not begun:
                continue  # it waited here for too long: somebody else has it
            if not self._group:
                self._start = Start(sequence=delivery.event.sequence + 1)
            self._last = Delivered(self._consumer, delivery, self._type)
            return self._last

    def _done(self, last: Delivered[T] | None) -> None:
        """Ack what the loop has done with, unless it settled that itself."""
        if last is not None and not self._manual and not last.settled and self._consumer is not None:
            last.settled = True
            self._acks.append(self._consumer.settle_soon(last.delivery, Ack()))

    async def _join(self) -> None:
        first = self._wait == 0.05 and self._last is None
        while True:
            context = self._events.driver.consume(
                self._events.namespace, self._topic, group=self._group, start=self._start, **self._options
            )
            try:
                self._consumer = await self._events._call("consume", context.__aenter__())
            except Unavailable:
                if first:
                    raise
                await self._pause()
                continue
            self._context = context
            return

    async def _leave(self) -> None:
        context, self._context, self._consumer, self._next = self._context, None, None, None
        if context is not None:
            await context.__aexit__(None, None, None)

    async def _pause(self) -> None:
        await asyncio.sleep(self._wait * random.uniform(0.5, 1.0))
        self._wait = min(self._wait * 2, 5.0)


async def _kept(ack: asyncio.Future[bool]) -> None:
    with suppress(Unavailable):  # what it was for comes again
        await asyncio.shield(ack)
