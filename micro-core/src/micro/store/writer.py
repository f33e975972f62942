"""The one connection that changes a SQLite file of records."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import apsw

from micro.plugin.driver import Change
from micro.store.database import Database, checksum, record_of
from micro.store.driver import Delete, Op, Put, Record, Table, conflict

CHECKPOINT = 1000  # pages of the write-ahead log until it is folded into the file; SQLite's own default
SWEEP = 200  # expired records removed in one transaction
TOGETHER = (
    16,
    4,
    1,
)  # rows that one statement may write: each statement gives up the interpreter's lock, and waits for it
SMALL = 16_384  # bytes of a value; SQLite copies those that it writes with others, which takes longer for large ones

_ROW = "(?, ?, ?, ?, ?, ?, ?)"
PUT = {
    rows: "INSERT INTO records (table_id, key, version, expires, metadata, value, crc) VALUES "  # noqa: S608 - constants
    + ", ".join([_ROW] * rows)
    + " ON CONFLICT DO UPDATE SET version = excluded.version, expires = excluded.expires,"
    " metadata = excluded.metadata, value = excluded.value, crc = excluded.crc"
    for rows in TOGETHER
}

WIDTH = 7  # values of a row

Row = tuple[int, str, int, int | None, bytes, bytes, int]  # of `records`
Made = list[tuple[Table, "Row | Change[Record]"]]  # what a group changed: a put as its row, for nobody may be watching


def harmless(exc: Exception) -> bool:
    """Tell an error that a rollback undoes from one after which the file must be opened anew."""
    return isinstance(exc, apsw.FullError | apsw.TooBigError | apsw.NoMemError)


def change_of(made: Row | Change[Record]) -> Change[Record]:
    """Give what a group changed as watchers are told of it."""
    if isinstance(made, Change):
        return made
    _, key, version, expires, metadata, value, _ = made
    return Change("put", key, version, record_of(key, version, expires, metadata, value))


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class _Known:
    """A table in the file, and the version that it has reached in the group under way."""

    __slots__ = ("changed", "id", "version")

    def __init__(self, id: int, version: int) -> None:
        self.id = id
        self.version = version
        self.changed = False  # by the group under way

    def next(self) -> int:
        self.version += 1
        return self.version


class Writer(Database):
    """The one connection that changes the file. `due` is when the next record may expire, in milliseconds."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._pages = 0
        self._changed: list[tuple[Table, _Known]] = []
        self._waiting: list[Any] = []  # the values of rows that were put, and are not yet handed to SQLite
        self.due: int | None = None
        self._load()
        self.connection.set_wal_hook(self._committed)
        # What an earlier process could not be sure of, after a failed fsync say, is written out and synced here.
        try:
            self.connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except apsw.FullError:  # no room to fold it in: synced where it is, it can be read, and is folded in later
            self._pages = CHECKPOINT
            _sync(Path(f"{path}-wal"))

    def begin(self) -> None:
        """Begin the transaction of a group of writes."""
        self.connection.execute("BEGIN IMMEDIATE")

    def commit(self) -> dict[Table, int]:
        """Make the group durable; it is on disk when this returns. Gives the versions of the tables that it changed."""
        self._flush()
        changed, self._changed = self._changed, []
        for _, known in changed:
            known.changed = False
            self.connection.execute("UPDATE tables SET version = ? WHERE id = ?", (known.version, known.id))
        self.connection.execute("COMMIT")
        return {table: known.version for table, known in changed}

    def rollback(self) -> None:
        """Undo the group."""
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")
        self._changed.clear()
        self._waiting.clear()
        self._load()

    def tidy(self) -> None:
        """Fold the log into the file when it has grown; between groups."""
        if self._pages >= CHECKPOINT:
            self.connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            self._pages = 0

    def close(self) -> None:
        """Close; the last connection to close folds the log in and removes it."""
        self.connection.set_wal_hook(None)
        super().close()

    def apply(self, table: Table, ops: Sequence[Op], now: int, made: Made) -> list[int]:
        """Do all operations or none; gives their versions, and adds the changes to `made`."""
        known = self._tables.get(table) or self._make(table)
        if len(ops) == 1 and isinstance(op := ops[0], Put) and op.if_version is None:  # most are so, and it is quicker
            row = self._put(known, op, now)
            made.append((table, row))
            if not known.changed:
                self._mark(table, known)
            return [row[2]]
        there = self._checked(known, ops, now)
        versions = []
        for op in ops:
            if isinstance(op, Put):
                row = self._put(known, op, now)
                made.append((table, row))
                versions.append(row[2])
            elif there[op.key]:
                change = self._delete(known, op.key, "delete")
                made.append((table, change))
                versions.append(change.version)
            else:
                versions.append(0)
        if any(versions):
            self._mark(table, known)
        return versions

    def sweep(self, now: int, made: Made) -> None:
        """Remove up to 200 expired records, if there are any; the first of a group's work."""
        if self.due is None or self.due > now:
            return
        sql = (
            "SELECT database, name, key FROM records JOIN tables ON tables.id = table_id"
            " WHERE expires IS NOT NULL AND expires <= ? ORDER BY expires LIMIT ?"
        )
        for database, name, key in list(self.connection.execute(sql, (now, SWEEP))):
            table = Table(database, name)
            known = self._tables[table]
            self._mark(table, known)
            made.append((table, self._delete(known, key, "expire")))
        self.due = self._next_due()

    def _load(self) -> None:
        rows = self.connection.execute("SELECT database, name, id, version FROM tables")
        self._tables = {Table(database, name): _Known(id, version) for database, name, id, version in rows}
        self.due = self._next_due()

    def _next_due(self) -> int | None:
        sql = "SELECT min(expires) FROM records WHERE expires IS NOT NULL"
        due: int | None = next(self.connection.execute(sql))[0]
        return due

    def _make(self, table: Table) -> _Known:
        self.connection.execute("INSERT INTO tables (database, name, version) VALUES (?, ?, 0)", table)
        known = self._tables[table] = _Known(self.connection.last_insert_rowid(), 0)
        return known

    def _checked(self, known: _Known, ops: Sequence[Op], now: int) -> dict[str, int]:
        """Give the versions of the keys of which one must be known; raises where a condition does not hold."""
        there: dict[str, int] = {}
        for op in ops:
            if op.if_version is not None or isinstance(op, Delete):
                self._flush()
                there[op.key] = self._version(known, op.key, now)
        for op in ops:
            if op.if_version is not None and op.if_version != there[op.key]:
                raise conflict(op.key, there[op.key], op.if_version)
        return there

    def _version(self, known: _Known, key: str, now: int) -> int:
        sql = "SELECT version, expires FROM records WHERE table_id = ? AND key = ?"
        row = next(self.connection.execute(sql, (known.id, key)), None)
        return 0 if row is None or (row[1] is not None and row[1] <= now) else int(row[0])

    def _mark(self, table: Table, known: _Known) -> None:
        """Remember that the group changes a table."""
        if not known.changed:
            known.changed = True
            self._changed.append((table, known))

    def _put(self, known: _Known, op: Put, now: int) -> Row:
        known.version = version = known.version + 1
        id, key, value, metadata = known.id, op.key, op.value, op.metadata
        if op.ttl is None and not metadata:  # most are so: `checksum`, spelled out
            crc = crc32(value, crc32(f"{id} {version} None 0 {key}".encode()))
            row: Row = (id, key, version, None, b"", value, crc)
        else:
            expires = None if op.ttl is None else self._expiry(op.ttl, now)
            stored = json.dumps(dict(metadata)).encode() if metadata else b""
            row = (id, key, version, expires, stored, value, checksum(id, key, version, expires, stored, value))
        waiting = self._waiting
        waiting += row
        if len(waiting) == TOGETHER[0] * WIDTH or len(value) > SMALL:
            self._flush()
        return row

    def _expiry(self, ttl: float, now: int) -> int:
        expires = now + max(1, round(ttl * 1000))
        self.due = expires if self.due is None else min(self.due, expires)
        return expires

    def _flush(self) -> None:
        """Hand SQLite the rows that were put, as many at once as it has statements for."""
        waiting, self._waiting = self._waiting, []
        while waiting:
            rows = next(size for size in TOGETHER if size * WIDTH <= len(waiting))
            self.connection.execute(PUT[rows], waiting[: rows * WIDTH])
            del waiting[: rows * WIDTH]

    def _delete(self, known: _Known, key: str, kind: str) -> Change[Record]:
        self.connection.execute("DELETE FROM records WHERE table_id = ? AND key = ?", (known.id, key))
        return Change(kind, key, known.next())

    def _committed(self, connection: Any, name: str, pages: int) -> int:
        self._pages = pages
        return apsw.SQLITE_OK
