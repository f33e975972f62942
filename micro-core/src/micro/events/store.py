"""The driver on a store: a topic is a table, an event a record, a group a record beside them.

So it is as durable as its store, and has its group commit and its checksums. One process owns the store's topics.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import ClassVar, Literal

from micro.errors import DataLoss, FailedPrecondition
from micro.events.cursor import Cursor
from micro.events.driver import (
    DEAD,
    Consumer,
    Event,
    EventsDriver,
    Group,
    NewEvent,
    Receipt,
    Rules,
    Start,
    dead_letter,
)
from micro.events.group import Members
from micro.events.kept import Limits
from micro.events.log import Log
from micro.plugin.settings import Count, Seconds, Settings, Size, setting
from micro.store import Store

GROUPS = "g/"


class StoreEventsSettings(Settings):
    """How long events are kept, and how many of a topic."""

    retention: Seconds = setting(7 * 86400.0, "until an event is forgotten, consumed or not; 0: never")
    max_events: Count | None = setting(None, "events kept of a topic; not given: without limit")
    max_bytes: Size | None = setting(
        None, "bytes kept of a topic's payloads, ids, keys and metadata; not given: without limit"
    )
    discard: Literal["new", "old"] = setting("new", "what a full topic does: refuses new events, or drops the oldest")


class StoreEvents(EventsDriver, interface=1):
    """Logs and groups over a portable Store that it is handed, and closes."""

    settings_type: ClassVar[type[Settings]] = StoreEventsSettings
    needs: ClassVar[frozenset[str]] = frozenset({"store"})

    def __init__(
        self, settings: Settings | None = None, *, store: Store, clock: Callable[[], float] = time.time
    ) -> None:
        self._keep = Limits.of(settings or self.settings_type())
        self._store = store
        self._clock = clock
        self._topics: dict[tuple[str, str], asyncio.Task[_Topic]] = {}
        self._closed = False

    async def open(self) -> None:
        await self._store.open()
        features = {"dedupe", "keyed", "replay", "delay", "begin"}
        self.capabilities = frozenset(features | (self._store.capabilities & {"durable"}))

    async def close(self) -> None:
        self._closed = True
        for task in self._topics.values():
            if task.done() and not task.cancelled() and task.exception() is None:
                await task.result().close()
            else:
                task.cancel()
        self._topics.clear()
        await self._store.close()

    async def publish(self, namespace: str, topic: str, events: Sequence[NewEvent]) -> list[Receipt]:
        return await (await self._topic(namespace, topic)).log.append(events)

    @asynccontextmanager
    async def consume(
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
    ) -> AsyncIterator[Consumer]:
        place = await self._topic(namespace, topic)
        members = await place.join(group, start)
        members.agree(Rules(ack_wait, max_deliveries, keyed), adopt=adopt)
        member = members.join(window)
        await asyncio.shield(members.save())  # a group is there once somebody has joined it
        try:
            yield member
        finally:
            members.leave(member)
            if not group:
                place.private.discard(members)

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
        log = (await self._topic(namespace, topic)).log
        above = 0
        if since is not None:
            first = await log.first_since(since)
            above = first.sequence - 1 if first else log.last
        if descending:
            return [*await log.read_back(after or log.last + 1, above, limit)]
        after = max(after, above)
        found: list[Event] = []
        while len(found) < limit and (page := await log.read(after, limit - len(found), strict=True)):
            found += page
            after = page[-1].sequence
        return found

    async def groups(self, namespace: str, topic: str) -> list[Group]:
        place = await self._topic(namespace, topic)
        return [await members.describe() for _, members in sorted(place.groups.items())]

    async def seek(self, namespace: str, topic: str, group: str, start: Start | None) -> None:
        place = await self._topic(namespace, topic)
        await place.seek(group, start)

    async def _topic(self, namespace: str, topic: str) -> _Topic:
        if self._closed:
            raise FailedPrecondition("the events are closed")
        task = self._topics.get((namespace, topic))
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = self._topics[namespace, topic] = asyncio.create_task(self._load(namespace, topic))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():  # by `close`: whoever waits was not cancelled
                raise FailedPrecondition("the events are closed") from None
            raise

    async def _load(self, namespace: str, topic: str) -> _Topic:
        async def bury(event: Event, group: str, deliveries: int) -> None:
            await self.publish(namespace, topic + DEAD, [dead_letter(event, group, deliveries)])

        place = _Topic(self._store.table(topic, database=namespace), topic, self._keep, self._clock, bury)
        await place.load()
        return place


class _Topic:
    def __init__(
        self, store: Store, topic: str, keep: Limits, clock: Callable[[], float], bury: Callable[..., object]
    ) -> None:
        self.groups: dict[str, Members] = {}
        self.private: set[Members] = set()
        self.damaged: set[str] = set()
        self._store = store
        self._bury = bury
        self.log = Log(store, topic, keep=keep, clock=clock, appended=self._appended)

    async def load(self) -> None:
        await self.log.load()
        for key in await self._store.list(GROUPS):  # one by one: a damaged one is not the others' fault
            members = self._make(key[len(GROUPS) :], 0, 0)
            try:
                members.restore(await self._store.get(key))
            except DataLoss:
                self.damaged.add(members.name)
                continue
            self.groups[members.name] = members

    def whole(self, group: str) -> None:
        """Refuse what is asked of a group whose place is damaged, until it is moved or forgotten."""
        if group in self.damaged:
            raise DataLoss(f"where group {group!r} is in topic {self.log.topic!r} is damaged; seek says it anew")

    async def join(self, group: str, start: Start) -> Members:
        self.whole(group)
        if group and group in self.groups:
            return self.groups[group]
        members = self._make(group, *await self._position(start))
        if not group:
            self.private.add(members)
            return members
        return self.groups.setdefault(group, members)  # another may have come while the start was looked for

    async def seek(self, group: str, start: Start | None) -> None:
        members = self.groups.get(group)
        self.damaged.discard(group)
        if start is None:
            if members is not None:
                del self.groups[group]
                members.end()
            await self._store.delete(GROUPS + group)
            return
        moved = self._make(group, *await self._position(start))
        if members is not None:
            moved.rules = members.rules
            members.end()  # its consumers come again, by themselves
        self.groups[group] = moved
        await asyncio.shield(moved.save())

    async def close(self) -> None:
        for members in [*self.groups.values(), *self.private]:
            members.end()
        await self.log.close()

    async def _position(self, start: Start) -> tuple[int, int]:
        """Give the sequence after which a group begins, and how many events were kept up to there."""
        log = self.log
        if start.since is not None and start.sequence is None:
            first = await log.first_since(start.since)
            return (first.sequence - 1, first.count - 1) if first else (log.last, log.count)
        if start.sequence is None:
            return log.last, log.count
        gone, count = await log.room.gone()
        before = max(0, start.sequence - 1)
        if before <= gone:  # what was asked for by its number and has gone is lost; of the oldest kept nothing is
            return before, count - (min(count, gone - before) if start.sequence else 0)
        found = await log.read(before - 1, 1)
        if found and found[0].sequence == before:
            return before, found[0].count
        return before, found[0].count - 1 if found else log.count + before - log.last

    def _make(self, group: str, position: int, counted: int) -> Members:
        save = self._save if group else None
        cursor = Cursor(self.log, position, counted)
        return Members(self.log, group, None, cursor, bury=self._bury, save=save)  # type: ignore[arg-type] # awaitable

    async def _save(self, group: str, state: bytes) -> None:
        if group in self.groups:
            await self._store.write(GROUPS + group, state)

    def _appended(self) -> None:
        for members in [*self.groups.values(), *self.private]:
            members.wake()
