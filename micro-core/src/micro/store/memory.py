"""The reference driver: records in this process, gone with it."""

from __future__ import annotations

import asyncio
import heapq
import time
from bisect import bisect_left, bisect_right, insort
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import UTC, datetime

from micro import limits
from micro.errors import FailedPrecondition
from micro.plugin.driver import Change
from micro.plugin.settings import Settings
from micro.plugin.watch import Feed
from micro.store.driver import Delete, Event, Op, Put, Record, StoreDriver, Table, after_prefix, conflict, weigh

SWEEP = 0.1  # seconds between looks for expired records of a watched table


class MemoryStore(StoreDriver, interface=1):
    """Dicts, with the keys sorted beside them."""

    settings_type = Settings
    capabilities = frozenset({"conditions", "batch", "watch", "expiry", "metadata"})

    def __init__(self, settings: Settings | None = None, *, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self._tables: dict[Table, _Rows] = {}
        self._closed = False

    async def close(self) -> None:
        self._closed = True
        for rows in self._tables.values():
            rows.feed.end()

    async def read(self, table: Table, keys: Sequence[str]) -> list[Record | None]:
        rows = self._rows(table)
        return [rows.records.get(key) for key in keys]

    async def apply(self, table: Table, ops: Sequence[Op]) -> list[int]:
        return self._rows(table).apply(ops, self.clock())

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
        rows = self._rows(table)
        page: list[Record] = []
        size = 0
        for key in rows.range(prefix, descending=descending, after=after):
            if not key.endswith(suffix):
                continue
            record = rows.records[key]
            page.append(record if values else Record(key, b"", record.version, record.expires, record.metadata))
            size += len(record.value) if values else 0
            if len(page) >= limit or size >= limits.PAGE_BYTES:
                break
        return page

    async def watch(self, table: Table, *, prefix: str = "", after: int | None = None) -> AsyncIterator[Event]:
        rows = self._rows(table)
        sweeper = asyncio.create_task(self._sweep(table))
        try:
            changes = rows.feed.watch(rows.snapshot, after=after, wanted=lambda change: change.key.startswith(prefix))
            async for event in changes:
                yield event
        finally:
            sweeper.cancel()

    async def databases(self) -> list[str]:
        self._check()
        return sorted({table.database for table, rows in self._tables.items() if rows.feed.version})

    async def tables(self, database: str) -> list[str]:
        self._check()
        return sorted(t.name for t, rows in self._tables.items() if t.database == database and rows.feed.version)

    def _check(self) -> None:
        if self._closed:
            raise FailedPrecondition("the store is closed")

    def _rows(self, table: Table) -> _Rows:
        self._check()
        rows = self._tables.get(table)
        if rows is None:
            rows = self._tables[table] = _Rows()
        rows.expire(self.clock())
        return rows

    async def _sweep(self, table: Table) -> None:
        while not self._closed:
            await asyncio.sleep(SWEEP)
            self._tables[table].expire(self.clock())


class _Rows:
    """One table."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.feed: Feed[Record] = Feed(weigh=weigh)
        self._keys: list[str] = []
        self._due: list[tuple[float, str, int]] = []  # a heap; entries of records changed since are passed over

    def apply(self, ops: Sequence[Op], now: float) -> list[int]:
        for op in ops:
            found = self.records.get(op.key)
            at = found.version if found else 0
            if op.if_version is not None and op.if_version != at:
                raise conflict(op.key, at, op.if_version)
        return [self._delete(op.key, "delete") if isinstance(op, Delete) else self._put(op, now) for op in ops]

    def range(self, prefix: str, *, descending: bool, after: str | None) -> Iterator[str]:
        end = after_prefix(prefix) if prefix else None
        low = bisect_left(self._keys, prefix)
        high = len(self._keys) if end is None else bisect_left(self._keys, end)
        if after is not None and descending:
            high = min(high, bisect_left(self._keys, after))
        elif after is not None:
            low = max(low, bisect_right(self._keys, after))
        places = range(high - 1, low - 1, -1) if descending else range(low, high)  # no copy: a page is a few of them
        return map(self._keys.__getitem__, places)

    def snapshot(self) -> list[Change[Record]]:
        return [Change("put", key, self.records[key].version, self.records[key]) for key in self._keys]

    def expire(self, now: float) -> None:
        while self._due and self._due[0][0] <= now:
            _, key, version = heapq.heappop(self._due)
            found = self.records.get(key)
            if found is not None and found.version == version:
                self._delete(key, "expire")

    def _put(self, op: Put, now: float) -> int:
        version = self.feed.version + 1
        expires = None
        if op.ttl is not None:
            expires = datetime.fromtimestamp(now + op.ttl, UTC)
            heapq.heappush(self._due, (now + op.ttl, op.key, version))
        if op.key not in self.records:
            insort(self._keys, op.key)
        record = self.records[op.key] = Record(op.key, bytes(op.value), version, expires, dict(op.metadata))
        self.feed.publish(Change("put", op.key, version, record))
        return version

    def _delete(self, key: str, kind: str) -> int:
        if self.records.pop(key, None) is None:
            return 0
        del self._keys[bisect_left(self._keys, key)]
        version = self.feed.version + 1
        self.feed.publish(Change(kind, key, version))
        return version
