"""A table in a file: lines of JSON, its count and its SHA-256 at the end. Files only: no store, no event loop.

A snapshot is `Head`, each record as `Item` in the order of keys, `End`. What is taken so far is kept beside it as
`FILE.part`: `Head`, then items, changes (`Put` and `Gone`) and marks in the order in which they were learnt.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import msgspec
from msgspec import Struct, field

from micro.errors import DataLoss, FailedPrecondition, InvalidArgument
from micro.plugin.driver import Change
from micro.store.driver import Record, Scalar

SCHEMA = 1
LINE = 4 * 1024 * 1024  # bytes; a value of 1 MiB as base64, and all that may be with it, is half of that


class Head(Struct, frozen=True, tag="snapshot", tag_field="is", forbid_unknown_fields=True):
    """What the file is of. `version` is the table's, None where what follows is not of one version."""

    schema: int
    database: str
    table: str
    prefix: str
    taken: datetime
    version: int | None = None


class Item(Struct, tag="record", tag_field="is", forbid_unknown_fields=True, omit_defaults=True):
    """A record; `expires` in unix milliseconds."""

    key: str
    value: bytes
    version: int
    expires: int | None = None
    metadata: dict[str, Scalar] = field(default_factory=dict)


class Put(Item, tag="put"):
    """A record that was written while the table was read."""


class Gone(Struct, tag="gone", tag_field="is", forbid_unknown_fields=True):
    """A record that went while the table was read."""

    key: str
    version: int


class Mark(Struct, tag="mark", tag_field="is", forbid_unknown_fields=True):
    """All changes up to this version stand above; None: from here on some may not."""

    version: int | None


class End(Struct, tag="end", tag_field="is", forbid_unknown_fields=True):
    """How many records there are, and the SHA-256 of all bytes before this line, in hex."""

    records: int
    sha256: str


class Snapshot(Struct, frozen=True):
    """A snapshot's file. `version` is that of the table which all records are of; None: those of a while."""

    database: str
    table: str
    prefix: str
    taken: datetime
    version: int | None
    records: int
    sha256: str


Line = Head | Item | Put | Gone | Mark | End
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Line).decode


def item_of(record: Record, kind: type[Item] = Item) -> Item:
    """Give a record as it is kept."""
    expires = None if record.expires is None else round(record.expires.timestamp() * 1000)
    return kind(record.key, record.value, record.version, expires, dict(record.metadata))


class Part:
    """What is taken so far, in `FILE.part`: a new one, or one that was broken off and goes on. Blocks.

    `after` is the last key that was read, `since` the version up to which all changes are known, None when some are not.
    """

    def __init__(self, path: Path, head: Head) -> None:
        self.path = path.with_name(f"{path.name}.part")
        self._target = path
        self.head = head
        self.after: str | None = None
        self.since: int | None = None
        self.begun = False  # whether there is a mark
        self.newest = 0  # version of what was read
        self._changed: dict[str, tuple[int, int]] = {}  # by key: the last change's version, and its line's place, or -1
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._file: BinaryIO = os.fdopen(os.open(self.path, flags, 0o600), "r+b")
        try:
            self._lock()
            self._resume()
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        """Leave it for the next time."""
        self._file.close()

    def read(self, records: Iterable[Record]) -> None:
        """Keep a page of records, in the order of keys."""
        self._write(item_of(record) for record in records)

    def changed(self, changes: Iterable[Change[Record]], version: int | None) -> None:
        """Keep all changes up to a version; None: they are not known."""
        self._write(
            item_of(change.item, Put) if change.item is not None else Gone(change.key, change.version)
            for change in changes
        )
        self._write([Mark(version)])

    def finish(self) -> Snapshot:
        """Write the snapshot, synced, in the place of what was there, and remove this."""
        made = self._target.with_name(f"{self._target.name}.new")
        head = msgspec.structs.replace(self.head, version=self.since)
        with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
            digest = hashlib.sha256()
            count = -1  # the head is no record
            for line in chain([_encode(head) + b"\n"], self._merged()):
                digest.update(line)
                file.write(line)
                count += 1
            file.write(_encode(End(count, digest.hexdigest())) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        made.replace(self._target)
        self.close()
        self.path.unlink()
        return _snapshot(head, count, digest.hexdigest())

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FailedPrecondition(f"{self.path} is being written already") from None

    def _resume(self) -> None:
        """Take up what is there, as far as it is whole."""
        at = 0
        for line, item in _lines(self._file):
            if at == 0 and (not isinstance(item, Head) or not self._same(item)):
                raise FailedPrecondition(f"{self.path} is of another snapshot; remove it if nobody takes that")
            if item is None:
                break
            self._note(item, at)
            at += len(line)
        self._file.seek(at)
        self._file.truncate()
        if at == 0:
            self._write([self.head])

    def _same(self, head: Head) -> bool:
        mine = self.head
        return (head.schema, head.database, head.table, head.prefix) == (SCHEMA, mine.database, mine.table, mine.prefix)

    def _note(self, item: Line, at: int) -> None:
        """Know what a line says that begins at a place."""
        if isinstance(item, Put | Gone):
            self._changed[item.key] = (item.version, at if isinstance(item, Put) else -1)
            self.newest = max(self.newest, item.version)  # some drivers read what changed after they heard of it
        elif isinstance(item, Item):
            self.after, self.newest = item.key, max(self.newest, item.version)
        elif isinstance(item, Mark):
            self.since, self.begun = item.version, True

    def _write(self, items: Iterable[Line]) -> None:
        at = self._file.tell()
        for item in items:
            line = _encode(item) + b"\n"
            self._file.write(line)
            self._note(item, at)
            at += len(line)
        self._file.flush()

    def _merged(self) -> Iterator[bytes]:
        """Give the lines of the records, by key, each as it last was."""
        changed = iter(sorted(self._changed))
        key = next(changed, None)
        self._file.seek(0)
        with self.path.open("rb") as other:
            for line, item in _lines(self._file):
                if type(item) is not Item:
                    continue
                while key is not None and key < item.key:
                    yield from self._change(other, key)
                    key = next(changed, None)
                if key == item.key:
                    later = self._changed[key][0] > item.version
                    yield from self._change(other, key) if later else [line]
                    key = next(changed, None)
                else:
                    yield line
            while key is not None:
                yield from self._change(other, key)
                key = next(changed, None)

    def _change(self, file: BinaryIO, key: str) -> Iterator[bytes]:
        at = self._changed[key][1]
        if at >= 0:
            file.seek(at)
            put = _decode(file.readline())
            assert isinstance(put, Put)
            yield _encode(Item(put.key, put.value, put.version, put.expires, put.metadata)) + b"\n"


def verified(path: Path) -> tuple[Snapshot, frozenset[str]]:
    """Read a snapshot to its end, and give what it is of and the capabilities that its records need. Blocks.

    InvalidArgument: it is none; FailedPrecondition: of a newer schema; DataLoss: cut off, or not what was written.
    """
    with _opened(path) as file:
        first = file.readline(LINE)
        head = _head(path, first)
        digest, count, last = hashlib.sha256(first), 0, ""
        needs: set[str] = set()
        for line, item in _lines(file):
            if isinstance(item, End):
                if (item.records, item.sha256) != (count, digest.hexdigest()) or file.read(1):
                    raise DataLoss(f"{path} is damaged: its count or its sum is not that which was written")
                return _snapshot(head, count, item.sha256), frozenset(needs)
            if type(item) is not Item or item.key <= last:
                break
            digest.update(line)
            last, count = item.key, count + 1
            needs.update(["expiry"] * (item.expires is not None) + ["metadata"] * bool(item.metadata))
    raise DataLoss(f"{path} is damaged or cut off after {count} records")


def items(path: Path) -> Iterator[Item]:
    """Give the records of a snapshot that was verified. Blocks."""
    with _opened(path) as file:
        yield from (item for _, item in _lines(file) if type(item) is Item)


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as err:
        raise InvalidArgument(f"cannot read {path}: {err.strerror}") from err


def _head(path: Path, line: bytes) -> Head:
    try:
        found = json.loads(line)
        if found["is"] != "snapshot":
            raise ValueError
        schema = int(found["schema"])
    except (ValueError, KeyError, TypeError):
        raise InvalidArgument(f"{path} is not a snapshot of a table") from None
    if schema > SCHEMA:
        raise FailedPrecondition(f"{path} has schema {schema}, this version of micro reads up to {SCHEMA}")
    try:
        head = _decode(line)
        assert isinstance(head, Head)
    except (msgspec.MsgspecError, AssertionError) as err:
        raise DataLoss(f"{path} is damaged: {err}") from err
    return head


def _snapshot(head: Head, records: int, sha256: str) -> Snapshot:
    return Snapshot(head.database, head.table, head.prefix, head.taken, head.version, records, sha256)


def _lines(file: BinaryIO) -> Iterator[tuple[bytes, Line | None]]:
    """Give the lines from here on; None for one that is not whole, the last then."""
    while line := file.readline(LINE):
        try:
            item = _decode(line) if line.endswith(b"\n") else None
        except (msgspec.MsgspecError, UnicodeDecodeError):
            item = None
        yield line, item
        if item is None:
            return
