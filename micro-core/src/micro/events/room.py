"""How much of a topic is kept: what is refused when it is full, or what goes to make room."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from micro import limits
from micro.errors import ResourceExhausted
from micro.events.kept import Kept, Limits, key_of, weight
from micro.store import Delete

if TYPE_CHECKING:
    from micro.events.log import Log


class Room:
    """The limits of one log. Every event says how many went before it, so the two ends tell how much there is."""

    def __init__(self, log: Log, keep: Limits, clock: Callable[[], float]) -> None:
        self.keep = keep
        self._log = log
        self._clock = clock
        self._oldest: Kept | None = None  # as it was last looked for: see `first`

    async def first(self) -> Kept | None:
        """Give the oldest event that is kept."""
        oldest = self._oldest
        if oldest is None or self.old(oldest):
            found = await self._log.page(0, 1)
            self._oldest = oldest = found[0] if found else None
        return oldest

    def old(self, event: Kept) -> bool:
        """Whether it has been kept for long enough."""
        return self.keep.age is not None and event.arrived + self.keep.age <= self._clock()

    async def gone(self) -> tuple[int, int]:
        """Give up to which sequence events are kept no more, and how many those were."""
        oldest = await self.first()
        return (self._log.last, self._log.count) if oldest is None else (oldest.sequence - 1, oldest.count - 1)

    async def refusals(self, calls: list[list[Kept]]) -> list[ResourceExhausted | None]:
        """Say of calls, each with new events in which `total` is still their weight, why they are not kept."""
        keep, log = self.keep, self._log
        if keep.events is None and keep.bytes is None:
            return [None] * len(calls)
        oldest = None if keep.drop else await self.first()
        events = log.count - oldest.count + 1 if oldest else 0
        size = log.total - oldest.total + weight(oldest) if oldest else 0
        found: list[ResourceExhausted | None] = []
        for call in calls:
            # what drops takes a call in parts, and has room for each
            more, bigger = (1, max(e.total for e in call)) if keep.drop else (len(call), sum(e.total for e in call))
            if keep.events is not None and events + more > keep.events:
                words = f"{events} events are kept and {more} came, the limit is {keep.events}"
            elif keep.bytes is not None and size + bigger > keep.bytes:
                words = f"{size} bytes are kept and {bigger} came, the limit is {keep.bytes}"
            else:
                found.append(None)
                if not keep.drop:
                    events, size = events + more, size + bigger
                continue
            found.append(ResourceExhausted(f"topic {log.topic!r} is full: {words}"))
        return found

    def parts(self, events: list[Kept]) -> Iterator[list[Kept]]:
        """Give new events in parts that a topic has room for once all else has gone."""
        if not self.keep.drop or not events:
            yield events
            return
        most, size, part = self.keep.events or len(events), 0, list[Kept]()
        for event in events:
            if part and (len(part) == most or (self.keep.bytes is not None and size + event.total > self.keep.bytes)):
                yield part
                size, part = 0, []
            part.append(event)
            size += event.total
        yield part

    async def make(self, events: list[Kept]) -> None:
        """Drop the oldest so that these find room, where that was asked for."""
        keep, log = self.keep, self._log
        if not keep.drop:
            return
        # what goes is told by how many events, or bytes, come before what stays
        count = log.count + len(events) - keep.events if keep.events is not None else 0
        total = log.total + sum(e.total for e in events) - keep.bytes if keep.bytes is not None else 0
        while True:
            oldest = await self.first()
            if oldest is None or (oldest.count > count and oldest.total - weight(oldest) >= total):
                return
            page = await log.page(0, limits.BATCH)
            going = [e for e in page if e.count <= count or e.total - weight(e) < total]
            if going:
                await log.apply([Delete(key_of(event.sequence)) for event in going])
                log.forget(going[-1].sequence)
            self._oldest = page[len(going)] if len(going) < len(page) else None
