"""Stores that are each wrong in one way: the suite must tell every one of them. Run by test_suite_bites.py."""

from collections.abc import AsyncIterator, Sequence
from fnmatch import fnmatchcase

import pytest
from msgspec.structs import replace

from micro import limits
from micro.errors import Aborted, AlreadyExists
from micro.plugin.driver import Change, Synced
from micro.store.driver import Event, Op, Record, Table
from micro.store.memory import MemoryStore
from micro.testing.bites import suites
from micro.testing.store import StoreSuite


class ExpiryIgnored(MemoryStore, interface=1):
    async def apply(self, table: Table, ops: Sequence[Op]) -> list[int]:
        return await super().apply(table, [replace(op, ttl=None) if hasattr(op, "ttl") else op for op in ops])


class ExpiryOnlyHidden(MemoryStore, interface=1):
    """Expired records cannot be read, and are listed."""

    async def read(self, table: Table, keys: Sequence[str]) -> list[Record | None]:
        now, self.clock = self.clock, lambda: 0.0
        found = await super().read(table, keys)
        self.clock = now
        return [None if r and r.expires and r.expires.timestamp() <= now() else r for r in found]

    async def scan(self, table: Table, **options) -> list[Record]:
        now, self.clock = self.clock, lambda: 0.0
        found = await super().scan(table, **options)
        self.clock = now
        return found


class ConditionAlwaysHolds(MemoryStore, interface=1):
    async def apply(self, table: Table, ops: Sequence[Op]) -> list[int]:
        return await super().apply(table, [replace(op, if_version=None) for op in ops])


class BatchInParts(MemoryStore, interface=1):
    async def apply(self, table: Table, ops: Sequence[Op]) -> list[int]:
        return [version for op in ops for version in await super(BatchInParts, self).apply(table, [op])]


class VersionsBeginAgain(MemoryStore, interface=1):
    async def apply(self, table: Table, ops: Sequence[Op]) -> list[int]:
        versions = await super().apply(table, ops)
        if not self._tables[table].records:
            del self._tables[table]
        return versions


class PrefixIsAPattern(MemoryStore, interface=1):
    async def scan(self, table: Table, *, prefix: str = "", limit: int = limits.PAGE, **options) -> list[Record]:
        found = await super().scan(table, **options)
        return [record for record in found if fnmatchcase(record.key, f"{prefix}*")][:limit]


class AfterIsInclusive(MemoryStore, interface=1):
    async def scan(self, table: Table, *, after: str | None = None, **options) -> list[Record]:
        page = await super().scan(table, after=after, **options)
        first = (await super().read(table, [after]))[0] if after else None
        return [first, *page][: options["limit"]] if first else page


class PagesEndEarly(MemoryStore, interface=1):
    async def scan(self, table: Table, *, limit: int = limits.PAGE, **options) -> list[Record]:
        return await super().scan(table, limit=min(limit, 100), **options)


class OrderIsCaseless(MemoryStore, interface=1):
    async def scan(self, table: Table, *, descending: bool = False, **options) -> list[Record]:
        page = await super().scan(table, descending=descending, **options)
        return sorted(page, key=lambda record: record.key.lower(), reverse=descending)


class MetadataIsText(MemoryStore, interface=1):
    async def apply(self, table: Table, ops: Sequence[Op]) -> list[int]:
        for op in ops:
            if getattr(op, "metadata", None):
                op.metadata = {name: str(value) for name, value in op.metadata.items()}
        return await super().apply(table, ops)


class DeletionsUnseen(MemoryStore, interface=1):
    async def watch(self, table: Table, **options) -> AsyncIterator[Event]:
        async for event in super().watch(table, **options):
            if not isinstance(event, Change) or event.kind != "delete":
                yield event


class ResumesFromTheStart(MemoryStore, interface=1):
    def watch(self, table: Table, *, prefix: str = "", after: int | None = None) -> AsyncIterator[Event]:
        return super().watch(table, prefix=prefix)


class NeverSynced(MemoryStore, interface=1):
    async def watch(self, table: Table, **options) -> AsyncIterator[Event]:
        async for event in super().watch(table, **options):
            if not isinstance(event, Synced):
                yield event


class TablesAreMixed(MemoryStore, interface=1):
    def _rows(self, table: Table):
        return super()._rows(Table(table.database, table.name.lower()))


class ConflictsAreOneClass(MemoryStore, interface=1):
    async def apply(self, table: Table, ops: Sequence[Op]) -> list[int]:
        try:
            return await super().apply(table, ops)
        except AlreadyExists as err:
            raise Aborted(err.detail) from None


class StaysOpen(MemoryStore, interface=1):
    async def close(self) -> None:
        pass


class Mutant(StoreSuite):
    made = MemoryStore

    @pytest.fixture
    async def driver(self) -> AsyncIterator[MemoryStore]:
        async with self.made() as driver:
            yield driver


globals().update(suites(Mutant, MemoryStore))
