"""Until when each delivery that is out is to be settled: one timer for a group, however many are out."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable

from micro.events.member import Member, Open


class Deadlines:
    """Of what is in `open`; `late` is called with what was not settled in time, and who had it."""

    def __init__(self, open: dict[int, Open], late: Callable[[Open, Member], None]) -> None:
        self._open = open
        self._late = late
        self._waits: list[tuple[float, int, int]] = []  # a heap: until when, sequence, number
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, item: Open) -> None:
        """Look at a delivery when its wait is over; it may have been begun or extended by then, and is waited for on."""
        if len(self._waits) > 64 + 2 * len(self._open):  # most are settled
            self._waits = [wait for wait in self._waits if self._out(wait) is not None]
            heapq.heapify(self._waits)
        heapq.heappush(self._waits, (item.deadline, item.event.sequence, item.number))
        if self._timer is None:  # else it is for one that was out before, whose wait is as long
            self._timer = asyncio.get_running_loop().call_later(item.deadline - time.monotonic(), self._look)

    def stop(self) -> None:
        """Look no more, until there is something to watch again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _out(self, wait: tuple[float, int, int]) -> Open | None:
        item = self._open.get(wait[1])
        return item if item is not None and item.member is not None and item.number == wait[2] else None

    def _look(self) -> None:
        now = time.monotonic()
        while self._waits and self._waits[0][0] <= now:
            wait = heapq.heappop(self._waits)
            item = self._out(wait)
            if item is None or item.member is None:
                continue
            if item.deadline > now:
                heapq.heappush(self._waits, (item.deadline, *wait[1:]))
            else:
                self._late(item, item.member)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._waits[0][0] - now, self._look) if self._waits else None
