"""The embedded driver: records in one SQLite file, on disk when they are acknowledged."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from micro import limits
from micro.errors import FailedPrecondition
from micro.plugin.settings import Count, Settings, setting
from micro.plugin.watch import Feed
from micro.store.driver import Event, Op, Record, StoreDriver, Table, weigh

if TYPE_CHECKING:
    from micro.store.commits import Outcome, WriterThread
    from micro.store.database import Database
    from micro.store.reads import Reads
    from micro.store.writer import Made

P = ParamSpec("P")
R = TypeVar("R")


class SqliteSettings(Settings):
    """Where the file is."""

    path: str = setting("", "the file; empty: store.db in the data folder")
    readers: Count = setting(Count(2), "threads that read")


class SqliteStore(StoreDriver, interface=1):
    """One thread writes, in groups, to a write-ahead log that is synced before the writes are acknowledged.

    Readers have connections and threads of their own, and see a write once it is acknowledged. What a watch may resume
    from is kept in memory, from the table's first watch on: after a restart it begins anew. One process opens the file.
    """

    settings_type = SqliteSettings
    needs = frozenset({"data"})
    imports = ("micro.store.commits", "micro.store.database", "micro.store.reads")
    capabilities = frozenset({"conditions", "batch", "watch", "expiry", "metadata", "durable"})

    def __init__(
        self,
        settings: SqliteSettings | None = None,
        *,
        data: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings or SqliteSettings()
        self._path = Path(self._settings.path) if self._settings.path else (data or Path()) / "store.db"
        self.clock = clock
        self._writer: WriterThread | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._readers: list[Database] = []  # those at rest; each is one thread's while it works
        self._reads: Reads | None = None
        self._feeds: dict[Table, Feed[Record]] = {}
        self._versions: dict[Table, int] = {}

    async def open(self) -> None:
        # imported here: whoever only checks the settings needs no SQLite
        from micro.store.commits import WriterThread
        from micro.store.database import Database
        from micro.store.reads import Reads

        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._writer = WriterThread(self._path, clock=self.clock, deliver=self._deliver)
        self._versions = self._writer.versions
        self._pool = ThreadPoolExecutor(self._settings.readers, thread_name_prefix="store-reader")
        for _ in range(self._settings.readers):
            self._readers.append(Database(self._path, reader=True))
        self._reads = Reads(
            self._pool,
            self._settings.readers,
            lambda table, keys: self._with_reader(Database.read, table, keys, self._now()),
        )

    async def close(self) -> None:
        pool, self._pool, self._reads = self._pool, None, None
        writer, self._writer = self._writer, None
        for feed in self._feeds.values():
            feed.end()
        if pool is not None:
            await asyncio.to_thread(pool.shutdown)
        while self._readers:
            self._readers.pop().close()
        if writer is not None:  # last: closing the last connection folds the log into the file
            await asyncio.to_thread(writer.stop)

    def error_code(self, exc: Exception) -> int:
        from micro.store.database import code_of

        return code_of(exc)

    async def read(self, table: Table, keys: Sequence[str]) -> list[Record | None]:
        if self._reads is None:
            raise FailedPrecondition("the store is closed")
        return await self._reads.read(table, keys)

    async def apply(self, table: Table, ops: Sequence[Op]) -> list[int]:
        if self._writer is None:
            raise FailedPrecondition("the store is closed")
        return await self._writer.write(table, ops)

    async def scan(
        self,
        table: Table,
        *,
        prefix: str = "",
        suffix: str = "",
        descending: bool = False,
        after: str | None = None,
        limit: int = limits.PAGE,
        values: bool = True,
    ) -> list[Record]:
        from micro.store.database import Database, Page

        work = Database.scan if values else Database.keys
        return await self._reading(work, table, Page(prefix, suffix, descending, after, limit), self._now())

    async def watch(self, table: Table, *, prefix: str = "", after: int | None = None) -> AsyncIterator[Event]:
        from micro.store.database import Database

        if self._writer is None:
            raise FailedPrecondition("the store is closed")
        feed = self._feeds.get(table)
        if feed is None:
            feed = self._feeds[table] = Feed(self._versions.get(table, 0), weigh=weigh)
        changes = feed.watch(
            lambda: self._reading(Database.snapshot, table, prefix, self._now()),
            after=after,
            wanted=lambda change: change.key.startswith(prefix),
        )
        async for event in changes:
            yield event

    async def databases(self) -> list[str]:
        return sorted({table.database for table in self._known()})

    async def tables(self, database: str) -> list[str]:
        return sorted(table.name for table in self._known() if table.database == database)

    def _known(self) -> list[Table]:
        if self._writer is None:
            raise FailedPrecondition("the store is closed")
        return [table for table, version in self._versions.items() if version]

    def _now(self) -> int:
        return int(self.clock() * 1000)

    async def _reading(self, work: Callable[Concatenate[Database, P], R], *args: P.args, **named: P.kwargs) -> R:
        if self._pool is None:
            raise FailedPrecondition("the store is closed")
        run = partial(self._with_reader, work, *args, **named)
        return await asyncio.get_running_loop().run_in_executor(self._pool, run)

    def _with_reader(self, work: Callable[Concatenate[Database, P], R], *args: P.args, **named: P.kwargs) -> R:
        """Work with a reader, in a thread of the pool."""
        reader = self._readers.pop()  # as many readers as threads: there is one
        try:
            return work(reader, *args, **named)
        finally:
            self._readers.append(reader)

    def _deliver(self, outcomes: list[Outcome], made: Made, versions: dict[Table, int]) -> None:
        """Take a committed group in the loop: watchers first, so that whoever is answered finds them told."""
        self._versions.update(versions)
        if self._feeds:
            self._tell(made)
        for future, result in outcomes:
            if future.done():  # its caller has gone
                continue
            if result.__class__ is list:
                future.set_result(result)
            else:
                future.set_exception(result)  # type: ignore[arg-type]  # no versions

    def _tell(self, made: Made) -> None:
        from micro.store.writer import change_of

        for table, change in made:
            feed = self._feeds.get(table)
            if feed is not None:
                feed.publish(change_of(change))
