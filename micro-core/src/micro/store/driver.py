"""What a store's driver provides: records in tables. No I/O here.

A table is a map from keys to records, in the byte order of the keys' UTF-8 (which is the order of Python's `str`).
Each table counts its changes: a record's version is the number of the change that wrote it, it never goes back, not
even when the table is emptied, and so it is a fencing token. Nothing is atomic across tables.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, TypeVar, overload

from msgspec import Struct, field

from micro import limits
from micro.errors import Aborted, AlreadyExists
from micro.plugin.driver import Change, Driver, Reset, Synced

T = TypeVar("T")
Scalar = str | int | float | bool
MISSING: Any = object()  # no default, where None would be one


class Table(NamedTuple):
    """Where records are: a namespace's database, and a table in it."""

    database: str
    name: str


class Record(Struct):
    """What is stored under a key; `expires` is aware, in UTC, None for ever."""

    key: str
    value: bytes
    version: int = 0
    expires: datetime | None = None
    metadata: Mapping[str, Scalar] = field(default_factory=dict)

    def json(self) -> Any:
        """Read the value as JSON."""
        return self.decode(Any)

    @overload
    def decode(self, type_: type[T]) -> T: ...
    @overload
    def decode(self, type_: Any) -> Any: ...
    def decode(self, type_: Any) -> Any:
        """Read the value as a type; raises InvalidArgument naming the field that does not fit."""
        from micro.schema.typed import decode_as

        return decode_as(type_, self.value)


class Put(Struct):
    """Write a record. `ttl` in seconds; `if_version` 0: must be absent, n: must be at that version."""

    key: str
    value: bytes
    ttl: float | None = None
    metadata: Mapping[str, Scalar] = field(default_factory=dict)
    if_version: int | None = None


class Delete(Struct):
    """Delete a record; one that is missing is fine unless `if_version` says which it was."""

    key: str
    if_version: int | None = None


Op = Put | Delete
Event = Change[Record] | Synced | Reset


class StoreDriver(Driver, defines=1):
    """Keeps records.

    Arguments were validated (names, sizes, each key of a batch once). Capabilities: `conditions` (`if_version`),
    `batch` (several operations, all or none), `watch`, `expiry`, `metadata`, `durable` (survives the process). A
    record past its expiry is absent for every method, to the millisecond of the driver's clock.

    After `close` every method raises FailedPrecondition. `clock` is what expiry is measured by, in unix seconds.
    """

    clock: Callable[[], float] = staticmethod(time.time)

    @abstractmethod
    async def read(self, table: Table, keys: Sequence[str]) -> list[Record | None]:
        """Give the records of these keys, in their order; None for the absent."""

    @abstractmethod
    async def apply(self, table: Table, ops: Sequence[Op]) -> list[int]:
        """Do all operations or none; one is the plain write. Visible to `read` on return, and durable where claimed.

        Gives each operation's version, rising in order; 0 for a deletion that found nothing. A condition that does
        not hold raises what `conflict` makes, and nothing is changed.
        """

    @abstractmethod
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
        """Give a page of records by key; `after` is a key, exclusive, in the order asked for.

        `limit` is at most limits.PAGE. A page is shorter only at the end, or once its values come to
        limits.PAGE_BYTES (the record that reaches it is the last). Without `values` they are empty and count nothing.
        """

    @abstractmethod
    def watch(self, table: Table, *, prefix: str = "", after: int | None = None) -> AsyncIterator[Event]:
        """Give what exists, `Synced`, then changes; kinds `put`, `delete`, `expire`. See micro/plugin/watch.py.

        An expiry is reported within about a second.
        """

    @abstractmethod
    async def databases(self) -> list[str]:
        """Give the databases that were ever written to, sorted."""

    @abstractmethod
    async def tables(self, database: str) -> list[str]:
        """Give the tables of a database that were ever written to, sorted."""


def conflict(key: str, found: int, wanted: int) -> Aborted | AlreadyExists:
    """Make the error of a condition that did not hold; `found` is 0 when the key is absent."""
    if wanted == 0:
        return AlreadyExists(f"key {key!r} exists, at version {found}")
    at = f"at version {found}" if found else "absent"
    return Aborted(f"key {key!r} is {at}, wanted version {wanted}")


def after_prefix(prefix: str) -> str | None:
    """Give the least key above all keys with this prefix; None when there is none."""
    for at in range(len(prefix) - 1, -1, -1):
        code = ord(prefix[at])
        if code < 0x10FFFF:
            # UTF-8 has no surrogates, so the code point after U+D7FF is U+E000
            return prefix[:at] + chr(0xE000 if code == 0xD7FF else code + 1)
    return None


def weigh(change: Change[Record]) -> int:
    """Give the bytes that a change keeps in memory, for a feed's budget."""
    return 200 + len(change.key) + (len(change.item.value) if change.item else 0)
