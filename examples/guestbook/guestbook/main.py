"""A guestbook: store, config, events, broker and auth in one service, and a second service that it calls."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import uuid4

from micro import Client, Service, auth, broker, config, endpoint, events, store
from micro.errors import InvalidArgument


@dataclass
class Entry:
    text: str
    id: str = ""
    author: str = ""
    written: datetime | None = None


@dataclass
class Page:
    entries: list[Entry] = field(default_factory=list)
    motd: str = ""


@dataclass
class ListRequest:
    limit: int = 20


@dataclass
class Tally:
    total: int = 0
    authors: dict[str, int] = field(default_factory=dict)


@dataclass
class FollowRequest:
    count: int = 0


visitors = Client("visitors")


class Guestbook:
    """Keeps what visitors write."""

    async def sign(self, entry: Entry) -> Entry:
        """Write an entry; longer than `guestbook.max_length` (default 280) is refused."""
        longest = await config.get("guestbook.max_length", int, 280)
        if not entry.text or len(entry.text) > longest:
            raise InvalidArgument(f"text must have 1 to {longest} characters, it has {len(entry.text)}")
        account = auth.current()
        entry.id = uuid4().hex
        entry.author = account.name if account else "somebody"
        entry.written = datetime.now(UTC)
        await store.write(f"entry/{entry.written.isoformat()}/{entry.id}", entry)
        await events.publish("guestbook.signed", entry, key=entry.author)
        await broker.publish("guestbook.lobby", f"{entry.author} signed")
        return entry

    @endpoint(idempotent=True)
    async def list(self, request: ListRequest) -> Page:
        """Give the newest entries, and the message of the day."""
        page = Page(motd=await config.get("guestbook.motd", str, "Welcome"))
        async for record in store.scan("entry/", descending=True):
            page.entries.append(record.decode(Entry))
            if len(page.entries) >= request.limit:
                break
        return page

    @endpoint(idempotent=True)
    async def tally(self) -> Tally:
        """Ask the visitors service who wrote how often."""
        return await visitors.call("Visitors.Tally", None, Tally)

    async def follow(self, request: FollowRequest) -> AsyncIterator[Tally]:
        """Stream the tally as it changes: `count` of them, 0 for ever."""
        seen = 0
        async for tally in visitors.stream("Visitors.Watch", None, Tally):
            yield tally
            seen += 1
            if seen == request.count:
                return

    @auth.require("admin")
    async def clear(self) -> Page:
        """Remove all entries; for admins."""
        for key in await store.list("entry/"):
            await store.delete(key)
        return Page()


service = Service("guestbook", handlers=[Guestbook()])

if __name__ == "__main__":
    service.run()
