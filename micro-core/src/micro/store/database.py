"""A SQLite file of records, by apsw: what is in it and how it is read and changed. No threads, no event loop.

Each row carries a CRC of its key, version, expiry, metadata and value, checked whenever a value is read: SQLite does
not notice a bit that flipped in one.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from micro import limits
from micro.errors import Code, FailedPrecondition
from micro.plugin.driver import Change
from micro.store.driver import Record, Table, after_prefix

SCHEMA = 1
# Set and read back. FULL: a commit is on disk when it returns; NORMAL lost 12 % of acknowledged writes in simulated
# power cuts. Memory maps are blamed for worsening a WAL bug. Only the writer checkpoints, when it chooses to.
PRAGMAS: dict[str, object] = {"synchronous": 2, "mmap_size": 0, "wal_autocheckpoint": 0}
TABLES = """
CREATE TABLE tables (
    id INTEGER PRIMARY KEY, database TEXT NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL,
    UNIQUE (database, name)
) STRICT;
CREATE TABLE records (
    table_id INTEGER NOT NULL, key TEXT NOT NULL, version INTEGER NOT NULL, expires INTEGER, metadata BLOB NOT NULL,
    value BLOB NOT NULL, crc INTEGER NOT NULL, UNIQUE (table_id, key)
) STRICT;
CREATE INDEX due ON records (expires) WHERE expires IS NOT NULL;
"""
_COLUMNS = "key, version, expires, metadata, value, crc"
_LIVE = "table_id = ? AND (expires IS NULL OR expires > ?)"


class Page(NamedTuple):
    """What a scan asks for."""

    prefix: str
    suffix: str
    descending: bool
    after: str | None
    limit: int

    def where(self) -> tuple[str, list[Any]]:
        """Give the condition on keys, the order and the limit, with what is bound in them."""
        low, high = ("key >= ?", self.prefix), after_prefix(self.prefix) if self.prefix else None
        after = self.after
        # one bound each way: of two SQLite would look up one, and walk from there past what the other excludes
        if after is not None and self.descending:
            high = after if high is None else min(high, after)
        elif after is not None and after >= self.prefix:
            low = ("key > ?", after)
        terms: list[tuple[str, Any]] = [low] if high is None else [low, ("key < ?", high)]
        if self.suffix:
            terms.append((f"substr(key, -{len(self.suffix)}) = ?", self.suffix))
        order = "DESC" if self.descending else "ASC"
        sql = f"{' AND '.join(term for term, _ in terms)} ORDER BY key {order} LIMIT ?"
        return sql, [*(value for _, value in terms), self.limit]


class Damaged(Exception):
    """A row is not what was written."""


def code_of(exc: Exception) -> int:
    """Classify what SQLite raises."""
    match exc:
        case Damaged() | apsw.CorruptError() | apsw.NotADBError() | apsw.SQLError() | ValueError() | OverflowError():
            return Code.DATA_LOSS  # our SQL is right, and rows hold what we wrote, unless the file is damaged
        case apsw.FullError() | apsw.TooBigError() | apsw.NoMemError():
            return Code.RESOURCE_EXHAUSTED
        case apsw.ReadOnlyError() | apsw.PermissionsError():
            return Code.FAILED_PRECONDITION
        case apsw.IOError() | apsw.CantOpenError() | apsw.BusyError() | apsw.LockedError() | OSError():
            return Code.UNAVAILABLE
        case apsw.Error():
            return Code.INTERNAL  # we asked what cannot be asked
    return Code.UNKNOWN


class Database:
    """One connection, for one thread at a time."""

    def __init__(self, path: Path, *, reader: bool = False) -> None:
        if not reader:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # SQLite's other files take its permissions
        flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_NOFOLLOW
        self.connection = apsw.Connection(str(path.resolve()), flags=flags)
        self._ids: dict[Table, int] = {}
        try:
            self._configure(path, reader)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close; idempotent."""
        self.connection.close()

    def _configure(self, path: Path, reader: bool) -> None:
        self.connection.set_busy_timeout(5000)
        pragmas = PRAGMAS | ({"query_only": 1} if reader else {})
        try:
            mode = self.connection.pragma("journal_mode", "wal")
        except (apsw.NotADBError, apsw.CorruptError) as err:
            raise Damaged(f"{path}: {err}") from err
        for name, value in pragmas.items():
            self.connection.pragma(name, value)
        found = {name: self.connection.pragma(name) for name in pragmas}
        if mode != "wal" or found != pragmas:
            raise FailedPrecondition(f"{path}: SQLite did not take its settings: journal_mode {mode}, {found}")
        schema = self.connection.pragma("user_version")
        if schema > SCHEMA:
            raise FailedPrecondition(f"{path} has schema {schema}, this version of micro reads up to {SCHEMA}")
        if schema == 0 and not reader:
            with self.connection:
                self.connection.execute(TABLES)
                self.connection.pragma("user_version", SCHEMA)

    # reading

    def versions(self) -> dict[Table, int]:
        """Give all tables with their versions."""
        rows = self.connection.execute("SELECT database, name, version FROM tables")
        return {Table(database, name): version for database, name, version in rows}

    def read(self, table: Table, keys: Sequence[str], now: int) -> list[Record | None]:
        """Read these keys as of one moment; `now` in milliseconds."""
        where = "key = ?" if len(keys) == 1 else "key IN (SELECT value FROM json_each(?))"
        bound = keys[0] if len(keys) == 1 else json.dumps(list(keys))
        found = {record.key: record for record in self._rows(table, where, [bound], now)}
        return [found.get(key) for key in keys]

    def scan(self, table: Table, asked: Page, now: int) -> list[Record]:
        """Read a page, values and all."""
        page: list[Record] = []
        size = 0
        for record in self._rows(table, *asked.where(), now):
            page.append(record)
            size += len(record.value)
            if size >= limits.PAGE_BYTES:
                break
        return page

    def keys(self, table: Table, asked: Page, now: int) -> list[Record]:
        """Read a page without the values, which SQLite then need not fetch."""
        where, bound = asked.where()
        sql = f"SELECT key, version, expires, metadata FROM records WHERE {_LIVE} AND {where}"  # noqa: S608 - Page's
        rows = self.connection.execute(sql, [self.id(table), now, *bound])
        return [record_of(key, version, expires, metadata, b"") for key, version, expires, metadata in rows]

    def snapshot(self, table: Table, prefix: str, now: int) -> tuple[int, list[Change[Record]]]:
        """Give a table's version and what it holds at that version."""
        with self.connection:  # one read transaction
            version = next(self.connection.execute("SELECT version FROM tables WHERE id = ?", [self.id(table)]), (0,))
            found = [*self._rows(table, *Page(prefix, "", False, None, -1).where(), now)]  # -1: no limit
        return version[0], [Change("put", record.key, record.version, record) for record in found]

    def _rows(self, table: Table, where: str, bound: Sequence[Any], now: int) -> Iterator[Record]:
        table_id = self.id(table)
        sql = f"SELECT {_COLUMNS} FROM records WHERE {_LIVE} AND {where}"  # noqa: S608 - constants, and Page's words
        for key, version, expires, metadata, value, crc in self.connection.execute(sql, [table_id, now, *bound]):
            if crc != checksum(table_id, key, version, expires, metadata, value):
                raise Damaged(f"the record of key {key!r} in table {table.name!r} is damaged")
            yield record_of(key, version, expires, metadata, value)

    def id(self, table: Table) -> int:
        """Give a table's number, 0 for one that is not there."""
        found = self._ids.get(table)
        if found is None:
            sql = "SELECT id FROM tables WHERE database = ? AND name = ?"
            row = next(self.connection.execute(sql, table), None)
            if row is None:
                return 0
            found = self._ids[table] = int(row[0])
        return found


def record_of(key: str, version: int, expires: int | None, metadata: bytes, value: bytes) -> Record:
    """Make a record of a row."""
    instant = None if expires is None else datetime.fromtimestamp(expires / 1000, UTC)
    return Record(key, value, version, instant, json.loads(metadata) if metadata else {})


def checksum(table_id: int, key: str, version: int, expires: int | None, *blobs: bytes) -> int:
    """Give a row's CRC; the blobs are metadata and value."""
    metadata, value = blobs
    crc = zlib.crc32(f"{table_id} {version} {expires} {len(metadata)} {key}".encode())
    if metadata:
        crc = zlib.crc32(metadata, crc)
    return zlib.crc32(value, crc)
