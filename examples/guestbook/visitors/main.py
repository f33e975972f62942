"""Counts who signed the guestbook, from its events, and streams the tally as it changes."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from micro import Service, events


@dataclass
class Entry:
    text: str
    id: str = ""
    author: str = ""


@dataclass
class Tally:
    total: int = 0
    authors: dict[str, int] = field(default_factory=dict)


class Visitors:
    """Knows who wrote how often."""

    def __init__(self) -> None:
        self._tally = Tally()
        self._changed = asyncio.Condition()

    async def tally(self) -> Tally:
        """Give the tally."""
        return self._tally

    async def watch(self) -> AsyncIterator[Tally]:
        """Stream the tally now, and each time it changes."""
        while True:
            total = self._tally.total
            yield self._tally
            async with self._changed:
                await self._changed.wait_for(lambda seen=total: self._tally.total != seen)

    async def count(self, entry: Entry) -> None:
        authors = self._tally.authors
        self._tally = Tally(self._tally.total + 1, authors | {entry.author: authors.get(entry.author, 0) + 1})
        async with self._changed:
            self._changed.notify_all()


visitors = Visitors()
service = Service("visitors", handlers=[visitors])


@service.consumer("guestbook.signed", group="", start=events.Start.OLDEST)
async def signed(entry: Entry) -> None:
    """Count one entry; on start all there are, so that the tally survives this process."""
    await visitors.count(entry)


if __name__ == "__main__":
    service.run()
