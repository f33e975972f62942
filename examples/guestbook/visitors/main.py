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


tally = Tally()
changed = asyncio.Condition()


class Visitors:
    """Knows who wrote how often."""

    async def tally(self) -> Tally:
        """Give the tally."""
        return tally

    async def watch(self) -> AsyncIterator[Tally]:
        """Stream the tally now, and each time it changes."""
        seen = -1
        while True:
            async with changed:
                while tally.total == seen:
                    await changed.wait()
            seen = tally.total
            yield tally


service = Service("visitors", handlers=[Visitors()])


@service.consumer("guestbook.signed", group="", start=events.Start.OLDEST)
async def signed(entry: Entry) -> None:
    """Count one entry; on start all there are, so that the tally survives this process."""
    tally.total += 1
    tally.authors[entry.author] = tally.authors.get(entry.author, 0) + 1
    async with changed:
        changed.notify_all()


if __name__ == "__main__":
    service.run()
