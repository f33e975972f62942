"""One consumer of a group, and one event that was taken for it and is not settled yet."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from micro.events.driver import Ack, Consumer, Delivery, Extend, Nack
from micro.events.kept import Kept

if TYPE_CHECKING:
    from micro.events.group import Members


class Open:
    """An event taken from the log and not settled."""

    __slots__ = ("begun", "deadline", "event", "lost", "member", "number", "stamp")

    def __init__(self, event: Kept, lost: int) -> None:
        self.event = event
        self.lost = lost  # events just before it that went before the group had them
        self.member: Member | None = None
        self.number = 0
        self.deadline = 0.0
        self.begun = False  # a handler has it: only then the delivery counts
        self.stamp = 0


class Member(Consumer):
    """One consumer, with the deliveries that it has not taken yet."""

    def __init__(self, group: Members, window: int) -> None:
        self.outstanding = 0
        self.late = False  # something was not settled in time, and nothing was begun or settled since: others go first
        self._group = group
        self._window = window
        self._queue: deque[Delivery] = deque()
        self._ended = False
        self._wake = asyncio.Event()

    @property
    def room(self) -> bool:
        """Whether it may be given more."""
        return not self._ended and self.outstanding < self._window

    def push(self, delivery: Delivery) -> None:
        """Give it a delivery."""
        self.outstanding += 1
        self._queue.append(delivery)
        self._wake.set()

    def end(self) -> None:
        """End its iteration."""
        self._ended = True
        self._queue.clear()
        self._wake.set()

    async def __anext__(self) -> Delivery:
        while not self._queue:
            if self._ended:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        return self._queue.popleft()

    def take(self, limit: int) -> list[Delivery]:
        """Give what is there now, up to a limit, without waiting."""
        return [self._queue.popleft() for _ in range(min(limit, len(self._queue)))]

    async def begin(self, delivery: Delivery) -> bool:
        return not self._ended and self._group.begin(self, delivery)

    async def settle(self, delivery: Delivery, how: Ack | Nack | Extend) -> bool:
        return await asyncio.shield(self.settle_soon(delivery, how))

    def settle_soon(self, delivery: Delivery, how: Ack | Nack | Extend) -> asyncio.Future[bool]:
        return self._group.settle(self, delivery, how)
