"""Where a group is in its log: what it has taken, what of that is settled, what went before it was taken."""

from __future__ import annotations

import heapq
from collections import deque
from typing import Any

from micro.events.log import Log
from micro.events.member import Open

PAGE = 256  # events fetched at once
SETTLED = 10_000  # settled events above the position that a group remembers


class Cursor:
    """A group's place: all up to `position`, which are `counted` events with those that went, is settled."""

    def __init__(self, log: Log, position: int, counted: int) -> None:
        self.log = log
        self.position = position
        self.counted = counted
        self.open: dict[int, Open] = {}  # taken and not settled
        self._settled: set[int] = set()  # above the position
        self._lost = 0  # events that went before the group had them, up to the position
        self._order: list[int] = []  # a heap of the open ones, settled ones passed over
        self._ahead: deque[Open] = deque()
        self._next, self._seen = position, counted  # all up to here was taken from the log
        self._missed = 0  # events that went before they were taken, and which no event tells yet

    def state(self) -> dict[str, Any]:
        """Give what must outlive the process."""
        settled = sorted(self._settled)
        return {"position": self.position, "counted": self.counted, "settled": settled, "lost": self._lost}

    def restore(self, state: Any) -> None:
        """Take up a saved state."""
        self.position = self._next = state["position"]
        self.counted = self._seen = state.get("counted", self.position)
        self._settled = set(state["settled"])
        self._lost = state.get("lost", 0)

    @property
    def first(self) -> Open | None:
        """What was taken first of all that is not settled."""
        while self._order and self._order[0] not in self.open:
            heapq.heappop(self._order)
        return self.open[self._order[0]] if self._order else self._ahead[0] if self._ahead else None

    async def take(self) -> Open | None:
        """Take the next event that nobody has had; None when there is none."""
        while not self._ahead:
            if len(self._settled) > SETTLED:
                return None  # one event that never settles: wait rather than remember all above it
            if not await self._fetch():
                return None
        item = self._ahead.popleft()
        self.open[item.event.sequence] = item
        heapq.heappush(self._order, item.event.sequence)
        return item

    async def _fetch(self) -> bool:
        found = await self.log.read(self._next, PAGE)
        for event in found:
            went = event.count - 1 - self._seen
            if went > 0:
                self._missed += went - sum(self._next < each < event.sequence for each in self._settled)
            self._next, self._seen = event.sequence, event.count
            if event.sequence not in self._settled:
                self._ahead.append(Open(event, self._missed))
                self._missed = 0
        return bool(found)

    def finish(self, item: Open) -> None:
        """Have it settled."""
        sequence = item.event.sequence
        del self.open[sequence]
        self._settled.add(sequence)
        first = self.first
        if first is not None:
            position, counted = first.event.sequence - 1, first.event.count - 1 - first.lost
        else:
            position, counted = self._next, self._seen - self._missed
        self._lost += item.lost
        if position > self.position:
            self.position, self.counted = position, counted
            self._settled = {each for each in self._settled if each > position}

    async def measure(self) -> tuple[int, int]:
        """Give how many events are there and were not yet given to a member, and how many went before they were."""
        upto, gone = await self.log.room.gone()
        waiting = [item for item in (*self.open.values(), *self._ahead) if item.member is None]
        lost = self._lost + self._missed + sum(item.lost for item in (*self.open.values(), *self._ahead))
        if gone > self._seen:
            lost += gone - self._seen - sum(self._next < each <= upto for each in self._settled)
        return len(waiting) + self.log.count - max(self._seen, gone), lost
