"""The one connection that changes a SQLite file of records."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw

from micro.plugin.driver import Change
from micro.store.database import Database, checksum, record_of
from micro.store.driver import Delete, Op, Put, Record, Table, conflict

CHECKPOINT = 1000  # pages of the write-ahead log until it is folded into the file; SQLite's own default
SWEEP = 200  # expired records removed in one transaction


def harmless(exc: Exception) -> bool:
    """Tell an error that a rollback undoes from one after which the file must be opened anew."""
    return isinstance(exc, apsw.FullError | apsw.TooBigError | apsw.NoMemError)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class Writer(Database):
    """The one connection that changes the file."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._pages = 0
        self._versions = self.versions()
        self._changed: set[Table] = set()
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

    def commit(self) -> None:
        """Make the group durable; it is on disk when this returns."""
        for table in self._changed:
            sql = "UPDATE tables SET version = ? WHERE id = ?"
            self.connection.execute(sql, [self._versions[table], self.id(table)])
        self._changed.clear()
        self.connection.execute("COMMIT")

    def rollback(self) -> None:
        """Undo the group."""
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")
        self._ids.clear()
        self._changed.clear()
        self._versions = self.versions()

    def tidy(self) -> None:
        """Fold the log into the file when it has grown; between groups."""
        if self._pages >= CHECKPOINT:
            self.connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            self._pages = 0

    def close(self) -> None:
        """Close; the last connection to close folds the log in and removes it."""
        self.connection.set_wal_hook(None)
        super().close()

    def apply(self, table: Table, ops: Sequence[Op], now: int) -> tuple[list[int], list[tuple[Table, Change[Record]]]]:
        """Do all operations or none; gives their versions and the changes they made."""
        self._require(table)
        there = {
            op.key: self._version(table, op.key, now)
            for op in ops
            if op.if_version is not None or isinstance(op, Delete)
        }
        for op in ops:
            if op.if_version is not None and op.if_version != there[op.key]:
                raise conflict(op.key, there[op.key], op.if_version)
        versions, changes = [], []
        for op in ops:
            if isinstance(op, Put):
                change = self._put(table, op, now)
            elif there[op.key]:
                change = self._delete(table, op.key, "delete")
            else:
                versions.append(0)
                continue
            versions.append(change.version)
            changes.append((table, change))
        return versions, changes

    def sweep(self, now: int) -> list[tuple[Table, Change[Record]]]:
        """Remove up to 200 expired records; gives the changes."""
        sql = (
            "SELECT database, name, key FROM records JOIN tables ON tables.id = table_id"
            " WHERE expires IS NOT NULL AND expires <= ? ORDER BY expires LIMIT ?"
        )
        due = list(self.connection.execute(sql, [now, SWEEP]))
        return [(table := Table(*row[:2]), self._delete(table, row[2], "expire")) for row in due]

    def next_due(self) -> int | None:
        """Give when the next record expires, in milliseconds; None when none will."""
        sql = "SELECT min(expires) FROM records WHERE expires IS NOT NULL"
        due: int | None = next(self.connection.execute(sql))[0]
        return due

    def _require(self, table: Table) -> None:
        if table not in self._versions:
            sql = "INSERT INTO tables (database, name, version) VALUES (?, ?, 0)"
            self.connection.execute(sql, table)
            self._versions[table] = 0

    def _version(self, table: Table, key: str, now: int) -> int:
        sql = "SELECT version, expires FROM records WHERE table_id = ? AND key = ?"
        row = next(self.connection.execute(sql, [self.id(table), key]), None)
        return 0 if row is None or (row[1] is not None and row[1] <= now) else int(row[0])

    def _next(self, table: Table) -> int:
        version = self._versions[table] = self._versions[table] + 1
        self._changed.add(table)
        return version

    def _put(self, table: Table, op: Put, now: int) -> Change[Record]:
        version = self._next(table)
        expires = None if op.ttl is None else now + max(1, round(op.ttl * 1000))
        metadata = json.dumps(dict(op.metadata)).encode() if op.metadata else b""
        table_id = self.id(table)
        crc = checksum(table_id, op.key, version, expires, metadata, op.value)
        self.connection.execute(
            "INSERT INTO records (table_id, key, version, expires, metadata, value, crc) VALUES (?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET version = excluded.version, expires = excluded.expires,"
            " metadata = excluded.metadata, value = excluded.value, crc = excluded.crc",
            (table_id, op.key, version, expires, metadata, op.value, crc),
        )
        return Change("put", op.key, version, record_of(op.key, version, expires, metadata, op.value))

    def _delete(self, table: Table, key: str, kind: str) -> Change[Record]:
        self.connection.execute("DELETE FROM records WHERE table_id = ? AND key = ?", [self.id(table), key])
        return Change(kind, key, self._next(table))

    def _committed(self, connection: Any, name: str, pages: int) -> int:
        self._pages = pages
        return apsw.SQLITE_OK
