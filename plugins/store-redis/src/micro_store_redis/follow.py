"""Watching: one reading of a table's stream, shared by all who watch the table."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from redis.exceptions import ConnectionError as LostConnection

from micro.plugin.driver import Change
from micro.plugin.watch import Feed
from micro.store.driver import Event, Record, Table, weigh
from micro_store_redis import layout

if TYPE_CHECKING:
    from micro_store_redis.store import RedisStore

BLOCK = 1.0  # seconds that a reading waits for news; how late an expiry is reported at most, too
IDLE = 10.0  # seconds that a reading goes on when nobody watches: somebody resumes, mostly
COUNT = 500  # entries of one reading


class Trimmed(Exception):
    """The stream does not reach back to where somebody wants to resume."""


class Follower:
    """Reads a table's stream from the first watch on and hands its changes to a feed.

    When its connection is lost, or the stream was trimmed before it was read, it ends, and all its watches with it:
    they resume by version, over a new one.
    """

    def __init__(self, store: RedisStore, table: Table) -> None:
        self._store = store
        self._table = table
        self._base = layout.base(table)
        self._feed: Feed[Record] = Feed(kept=1, weigh=weigh)
        self._begun = asyncio.Event()
        self._swept = self._wanted = time.monotonic()
        self._watches = 0
        self._stopping = False
        self._anew = False  # another server than before answers, which may lack what that one had
        self.ended = False
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End it, and its watches."""
        self._stopping = True  # the client may swallow a cancellation that comes with its answer
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def watch(self, prefix: str, after: int | None) -> AsyncIterator[Event]:
        """Give what exists, or what changed after a version (Trimmed if that is gone), and then each change."""
        self._watches += 1
        try:
            await self._begun.wait()
            async for event in self._watch(prefix, after):
                yield event
        finally:
            self._watches -= 1

    async def _watch(self, prefix: str, after: int | None) -> AsyncIterator[Event]:
        newer: dict[str, int] = {}  # what was read in a later state than the version that the rest is of

        async def first() -> tuple[int, list[Change[Record]]]:
            if self.ended:
                raise LostConnection("connection lost")
            version, changes = await (self._existing(prefix) if after is None else self._missed(after))
            newer.update((change.key, change.version) for change in changes if change.version > version)
            return version, changes

        async for event in self._feed.watch(first, wanted=lambda change: change.key.startswith(prefix)):
            if isinstance(event, Change) and event.key in newer:
                if event.version < newer[event.key]:
                    continue
                del newer[event.key]
            yield event

    async def _run(self) -> None:
        try:
            self._anew = await self._store._moved(self._table)
            last = await self._version()
            self._begun.set()
            while not self._stopping and self._needed():
                last = await self._read(last)
                await self._sweep()
        except Exception as exc:  # whatever it is, the watchers are who must know
            self._end(exc if not isinstance(exc, Trimmed) else LostConnection("the stream was trimmed"))
        finally:
            if not self.ended:
                self._end(LostConnection("the store was closed"))

    async def _read(self, last: int) -> int:
        """Wait for what comes after a version, publish it, give the newest version seen."""
        stream = f"{self._base}:w"
        answer: Any = await self._store._waiting.xread({stream: f"{last}-0"}, count=COUNT, block=int(BLOCK * 1000))
        if not answer:
            return last
        entries = answer[0][1]
        for change in await self._changes(entries, after=last):
            self._feed.publish(change)
        return _number(entries[-1])

    def _end(self, failure: Exception) -> None:
        self.ended = True
        self._begun.set()
        self._feed.fail(failure)

    def _needed(self) -> bool:
        if self._watches:
            self._wanted = time.monotonic()
        return time.monotonic() - self._wanted < IDLE

    async def _version(self) -> int:
        return int(await self._store._client.get(f"{self._base}:s") or 0)

    async def _existing(self, prefix: str) -> tuple[int, list[Change[Record]]]:
        version = await self._version()  # first: what changes while the pages are read comes again
        changes: list[Change[Record]] = []
        after: str | None = None
        while page := await self._store.scan(self._table, prefix=prefix, after=after):
            changes += [Change("put", record.key, record.version, record) for record in page]
            after = page[-1].key
        return version, changes

    async def _missed(self, after: int) -> tuple[int, list[Change[Record]]]:
        version = await self._version()
        if self._anew or after > version:
            raise Trimmed  # a version of the other server may be of another change here
        changes: list[Change[Record]] = []
        at = after
        while at < version:
            entries = await self._store._client.xrange(f"{self._base}:w", f"({at}-0", f"{version}-0", count=COUNT)
            if not entries:
                raise Trimmed
            changes += await self._changes(entries, after=at)
            at = _number(entries[-1])
        return version, changes

    async def _changes(self, entries: list[Any], *, after: int) -> list[Change[Record]]:
        """Read the records of entries.

        A put that one of these followed is left out: the other says what is there. One that another is yet to follow has the
        other's record, which comes again with it.
        """
        if not entries:
            return []
        if _number(entries[0]) != after + 1:
            raise Trimmed
        keys = list({entry[1][b"k"].decode() for entry in entries if entry[1][b"o"] == b"put"})
        records = dict(zip(keys, await self._store.read(self._table, keys), strict=True)) if keys else {}
        changes: list[Change[Record]] = []
        for entry in entries:
            kind, key, version = entry[1][b"o"].decode(), entry[1][b"k"].decode(), _number(entry)
            if kind != "put":
                changes.append(Change(kind, key, version))
                continue
            record = records[key]
            if record is not None and (record.version == version or record.version > _number(entries[-1])):
                changes.append(Change("put", key, version, record))
        return changes

    async def _sweep(self) -> None:
        if time.monotonic() - self._swept >= BLOCK:
            self._swept = time.monotonic()
            await self._store._sweep([self._base])


def _number(entry: Any) -> int:
    return int(entry[0].partition(b"-")[0])
