"""Watching: one reading of a table's changes, shared by all who watch the table, and one connection that is woken for all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import asyncpg

from micro import limits
from micro.errors import ServiceError, Unavailable
from micro.plugin.driver import Change
from micro.plugin.watch import Feed
from micro.store.driver import Event, Record, Table, weigh
from micro_store_postgres import schema
from micro_store_postgres.records import record_of

if TYPE_CHECKING:
    from micro_store_postgres.store import PostgresStore

POLL = 1.0  # seconds without news until a reading looks by itself; how late an expiry is reported at most, too
IDLE = 10.0  # seconds that a reading goes on when nobody watches: somebody resumes, mostly
COUNT = 500  # changes of one reading


class Trimmed(Exception):
    """The changes do not reach back to where somebody wants to resume."""


class Wakes:
    """Listens on a connection of its own, and wakes who reads the changes of a table.

    Nothing depends on it but haste: who reads looks by itself as well.
    """

    def __init__(self, store: PostgresStore) -> None:
        self._store = store
        self._readers: dict[str, asyncio.Event] = {}
        self._gone = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    def add(self, table: int) -> asyncio.Event:
        """Give what is set when a table has changed."""
        return self._readers.setdefault(str(table), asyncio.Event())

    def drop(self, table: int) -> None:
        """Forget it."""
        self._readers.pop(str(table), None)

    async def close(self) -> None:
        """End it."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                await self._listen()
            except (asyncpg.PostgresError, asyncpg.InterfaceError, ServiceError, OSError):
                await asyncio.sleep(POLL)

    async def _listen(self) -> None:
        self._gone.clear()
        connection = await self._store.pool.connect()
        try:
            connection.add_termination_listener(lambda _: self._gone.set())
            await connection.add_listener(self._store.schema, self._told)
            for reader in self._readers.values():
                reader.set()  # what was told before is not told again
            await self._gone.wait()
        finally:
            connection.terminate()

    def _told(self, _connection: object, _pid: int, _channel: str, table: str) -> None:
        if (reader := self._readers.get(table)) is not None:
            reader.set()


class Follower:
    """Reads a table's changes from the first watch on and hands them to a feed.

    When the server cannot be asked, or changes were removed before they were read, it ends, and all its watches with it: they
    resume by version, over a new one.
    """

    def __init__(self, store: PostgresStore, wakes: Wakes, table: Table) -> None:
        self._store = store
        self._wakes = wakes
        self._table = table
        self._id = 0
        self._feed: Feed[Record] = Feed(kept=1, weigh=weigh)
        self._begun = asyncio.Event()
        self._failure: Exception | None = None
        self._wanted = time.monotonic()
        self._watches = 0
        self._task = asyncio.create_task(self._run())

    @property
    def ended(self) -> bool:
        """Whether it reads no more."""
        return self._failure is not None

    async def stop(self) -> None:
        """End it, and its watches."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._end(Unavailable("the store was closed"))  # one that was cancelled before it began ends nothing itself

    async def watch(self, prefix: str, after: int | None) -> AsyncIterator[Event]:
        """Give what exists, or what changed after a version (Trimmed if that is gone), and then each change."""

        async def first() -> tuple[int, list[Change[Record]]]:
            await self._begun.wait()
            if self._failure is not None:
                raise self._failure
            return await (self._existing(prefix) if after is None else self._missed(after))

        self._watches += 1
        try:
            async for event in self._feed.watch(first, wanted=lambda change: change.key.startswith(prefix)):
                yield event
        finally:
            self._watches -= 1

    async def _run(self) -> None:
        try:
            row = (await self._fetch(schema.WATCHED_FROM, *self._table))[0]
            self._id, last = row["id"], row["version"]
            wake = self._wakes.add(self._id)
            self._begun.set()
            swept = time.monotonic()
            while self._needed():
                if time.monotonic() - swept >= POLL:
                    await self._fetch(schema.SWEEP_DUE, *self._table)
                    swept = time.monotonic()
                wake.clear()
                last, more = await self._read(last)
                if not more:
                    await _woken(wake, POLL - (time.monotonic() - swept))
            self._end(Unavailable("nobody watched"))
        except Trimmed:
            self._end(Unavailable("changes were removed before they were read"))
        except Exception as exc:  # whatever it is, the watchers are who must know
            self._end(exc)
        finally:
            self._wakes.drop(self._id)

    async def _read(self, last: int) -> tuple[int, bool]:
        """Publish what comes after a version; give the newest version seen, and whether there may be more."""
        rows = await self._fetch(schema.CHANGES, self._id, last, COUNT, limits.PAGE_BYTES)
        for change in _changes(rows, after=last):
            self._feed.publish(change)
        return (rows[-1]["number"], True) if rows else (last, False)

    def _end(self, failure: Exception) -> None:
        self._failure = self._failure or failure
        self._begun.set()
        self._feed.fail(self._failure)

    def _needed(self) -> bool:
        if self._watches:
            self._wanted = time.monotonic()
        return time.monotonic() - self._wanted < IDLE

    async def _existing(self, prefix: str) -> tuple[int, list[Change[Record]]]:
        """Read all there is as of one version: a transaction that sees what was committed when it began."""

        async def work(connection: Any) -> tuple[int, list[Change[Record]]]:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                version = await connection.fetchval(self._store.sql(schema.STATE), *self._table, column=1)
                changes: list[Change[Record]] = []
                after: str | None = None
                while page := await self._store.page(connection, self._table, prefix=prefix, after=after):
                    changes += [Change("put", record.key, record.version, record) for record in page]
                    after = page[-1].key
                return version, changes

        return await self._store.pool.run(work)

    async def _missed(self, after: int) -> tuple[int, list[Change[Record]]]:
        version = (await self._fetch(schema.STATE, *self._table))[0]["version"]
        if after > version:
            raise Trimmed
        changes: list[Change[Record]] = []
        at = after
        while at < version:
            rows = await self._fetch(schema.CHANGES, self._id, at, COUNT, limits.PAGE_BYTES)
            if not rows:
                raise Trimmed
            changes += _changes(rows, after=at)
            at = rows[-1]["number"]
        return at, changes

    async def _fetch(self, sql: str, *arguments: object) -> list[Any]:
        return await self._store.fetch(sql, *arguments)


def _changes(rows: list[Any], *, after: int) -> list[Change[Record]]:
    """Make changes of rows; a put that another change has followed is left out: the other says what is there."""
    if rows and rows[0]["number"] != after + 1:
        raise Trimmed
    changes: list[Change[Record]] = []
    for row in rows:
        if row["kind"] != "put":
            changes.append(Change(row["kind"], row["changed"], row["number"]))
        elif row["key"] is not None:
            changes.append(Change("put", row["key"], row["number"], record_of(row)))
    return changes


async def _woken(wake: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(max(seconds, 0)):
            await wake.wait()
    except TimeoutError:
        pass
