"""The store as users know it: one table of it, on any driver."""

from __future__ import annotations

import asyncio
import builtins
import inspect
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from micro import limits, names
from micro.durations import maybe
from micro.errors import Aborted, AlreadyExists, InvalidArgument, NotFound
from micro.plugin.portable import Portable
from micro.plugin.watch import resuming
from micro.schema.typed import encode_value
from micro.store import checks
from micro.store.batches import Batch
from micro.store.driver import MISSING, Delete, Event, Op, Put, Record, Scalar, StoreDriver, Table

if TYPE_CHECKING:
    import os

    from micro.durations import Duration
    from micro.store.collections import Collection
    from micro.store.dump import Snapshot

T = TypeVar("T")
D = TypeVar("D")
Order = Literal["asc", "desc"]

DEFAULT = "micro"  # database and table of whoever names none; the original's
UPDATE_TRIES = 64  # lost races until `update` gives up


class Store(Portable[StoreDriver]):
    """Records of one table: `store.table("other")` is another one, over the same driver.

    Values are `bytes` and `str` as they are, everything else as JSON (dataclasses and msgspec structs by their
    fields). Versions rise by one with each change of the table; 0 means absent. Safe for any number of tasks of one
    loop. Beyond the errors each method names, all raise InvalidArgument, ResourceExhausted (too big), Unavailable,
    DeadlineExceeded (it may have happened), DataLoss (a damaged record) and Unimplemented (see `capabilities`).
    """

    primitive = "store"

    def __init__(self, driver: StoreDriver, *, plugin: str = "", database: str = DEFAULT, table: str = DEFAULT) -> None:
        super().__init__(driver, plugin=plugin)
        self.where = Table(names.namespace(database), names.table(table))

    @property
    def capabilities(self) -> frozenset[str]:
        """What the driver can: see StoreDriver."""
        return self.driver.capabilities

    def table(self, name: str, *, database: str | None = None) -> Store:
        """Give the same store at another table. Costs nothing; closing one closes the driver of both."""
        return type(self)(self.driver, plugin=self.plugin, database=database or self.where.database, table=name)

    async def write(
        self,
        key: str,
        value: object,
        *,
        ttl: Duration | None = None,
        metadata: Mapping[str, Scalar] | None = None,
        if_version: int | None = None,
    ) -> int:
        """Write a record, whole, and give its version; `ttl` in seconds, or a timedelta; None for ever.

        `if_version=0`: only if absent, else AlreadyExists; n: only if at that version, else Aborted.
        """
        op = Put(key, encode_value(value), maybe(ttl, "ttl"), metadata or {}, if_version)
        return (await self._apply("write", [op]))[0]

    async def read(self, key: str) -> Record:
        """Read a record; NotFound when it is absent or has expired."""
        names.key(key)
        found = (await self._call("read", self.driver.read(self.where, [key])))[0]
        if found is None:
            raise NotFound(f"store.read [{self.plugin}]: not found: key {key!r}")
        return found

    async def read_many(self, keys: Sequence[str]) -> builtins.list[Record | None]:
        """Read the records of these keys, in their order, None for the absent; a round trip per 500."""
        for key in keys:
            names.key(key)
        found: builtins.list[Record | None] = []
        for at in range(0, len(keys), limits.PAGE):
            found += await self._call("read_many", self.driver.read(self.where, keys[at : at + limits.PAGE]))
        return found

    @overload
    async def get(self, key: str, type_: type[T]) -> T: ...
    @overload
    async def get(self, key: str, type_: type[T], default: D) -> T | D: ...
    @overload
    async def get(self, key: str, type_: Any = Any, default: Any = MISSING) -> Any: ...
    async def get(self, key: str, type_: Any = Any, default: Any = MISSING) -> Any:
        """Read a value as a type (JSON without one); `default`, if given, when absent, else NotFound."""
        if default is MISSING:
            return (await self.read(key)).decode(type_)
        found = (await self.read_many([key]))[0]
        return default if found is None else found.decode(type_)

    async def delete(self, key: str, *, if_version: int | None = None) -> None:
        """Delete a record; a missing one is fine, unless `if_version` says which it was: then Aborted."""
        await self._apply("delete", [Delete(key, if_version)])

    async def apply(self, ops: Sequence[Op]) -> builtins.list[int]:
        """Do up to 100 operations on different keys, all or none; gives their versions.

        0 stands for a deletion that found nothing. Aborted or AlreadyExists when a condition does not hold.
        """
        return await self._apply("apply", ops)

    def batch(self) -> Batch:
        """Collect operations: `async with store.batch() as b: b.write(…); b.delete(…)` applies them at the end."""
        return Batch(self)

    async def list(
        self, prefix: str = "", *, suffix: str = "", limit: int = 0, offset: int = 0, order: Order = "asc"
    ) -> builtins.list[str]:
        """Give keys in order, `limit` 0 for all; a round trip per 500, skipped ones included."""
        if limit < 0 or offset < 0:
            raise InvalidArgument("limit and offset are 0 or more")
        wanted = offset + limit if limit else None
        found = self._pages("list", prefix, suffix, order == "desc", None, values=False, limit=wanted)
        return [record.key async for record in found][offset:]

    def scan(
        self,
        prefix: str = "",
        *,
        suffix: str = "",
        after: str | None = None,
        descending: bool = False,
        values: bool = True,
        limit: int = 0,
    ) -> AsyncIterator[Record]:
        """Go through records by key, a page of 500 or 1 MiB at a time; `after` is a key, exclusive.

        Not a snapshot: what is written meanwhile may or may not be seen, what stays is seen once.
        """
        return self._pages("scan", prefix, suffix, descending, after, values=values, limit=limit or None)

    @overload
    async def update(
        self,
        key: str,
        function: Callable[[T | None], T | Awaitable[T]],
        type_: type[T],
        *,
        ttl: Duration | None = None,
    ) -> T: ...
    @overload
    async def update(
        self, key: str, function: Callable[[Any], Any], type_: Any = Any, *, ttl: Duration | None = None
    ) -> Any: ...
    async def update(
        self, key: str, function: Callable[[Any], Any], type_: Any = Any, *, ttl: Duration | None = None
    ) -> Any:
        """Replace a value by what `function` makes of it, and give that; over again when somebody was faster.

        `function` takes the value, None when absent, and may be async; it may be called many times. Metadata and
        time to live stay, unless `ttl` is given. Aborted after 64 lost races.
        """
        lasting = maybe(ttl, "ttl")
        for attempt in range(UPDATE_TRIES):
            found = (await self.read_many([key]))[0]
            value = function(None if found is None else found.decode(type_))
            if inspect.isawaitable(value):
                value = await value
            op = Put(key, encode_value(value), lasting, {}, 0)
            if found is not None:
                op = Put(key, op.value, lasting or self._left(found), found.metadata, found.version)
            try:
                await self._apply("update", [op])
            except (Aborted, AlreadyExists):
                await asyncio.sleep(random.uniform(0, 0.001 * min(2**attempt, 50)))
            else:
                return value
        raise Aborted(f"store.update [{self.plugin}]: aborted: key {key!r} changed {UPDATE_TRIES} times meanwhile")

    def watch(self, prefix: str = "", *, after: int | None = None, resume: bool = True) -> AsyncGenerator[Event, None]:
        """Follow a table: what exists as `put`, then `Synced`, then each change; `after` a version skips the first.

        `Reset` means: forget what you know, all that exists follows. No gap, perhaps a double, order per key. Goes on
        over lost connections unless `resume` is False; a reader 10,000 changes behind begins again.
        """
        if prefix:
            names.key(prefix)
        self._require("watch", "watch")

        def start(since: int | None) -> AsyncGenerator[Event, None]:
            return self._iterate("watch", self.driver.watch(self.where, prefix=prefix, after=since))

        return resuming(start, after=after) if resume else start(after)

    def collection(
        self, type_: type[T], *, key: str = "id", indexes: Sequence[str] = (), unique: Sequence[str] = ()
    ) -> Collection[T]:
        """Give the model layer for a class, kept in this table: see Collection."""
        from micro.store.collections import Collection

        return Collection(self, type_, key=key, indexes=indexes, unique=unique)

    async def snapshot(self, path: str | os.PathLike[str], *, prefix: str = "") -> Snapshot:
        """Write the table's records into a file while all goes on; the file is there whole or not at all.

        All records are of one version of the table, `version` of the answer, wherever the driver has `watch` and remembers
        what was written meanwhile (10,000 changes, or 16 MiB, for ten pages of 500); else it is None, and they are those of
        a while. What is broken off stays in `path.part`, and the next call goes on there. Memory: a page, and the keys that
        were changed meanwhile. FailedPrecondition when `path.part` is of another table.
        """
        from micro.store import moving

        if prefix:
            names.key(prefix)
        return await moving.take(self, moving.file_at(path), prefix)

    async def restore(self, path: str | os.PathLike[str], *, replace: bool = False, skip: int = 0) -> Snapshot:
        """Write a snapshot's records into this table, whichever it was taken of, and read them back.

        The file is verified before anything is written: InvalidArgument when it is no snapshot, FailedPrecondition when of
        a newer schema, DataLoss when damaged or cut off. FailedPrecondition where the table has records already (those of
        the snapshot's prefix count), unless `replace`, which deletes them first. When it fails on the way the error says
        how many records are there, and `skip` goes on after them. Versions are the table's own, not those of the snapshot;
        what has expired stays away. Aborted when at the end the table is not what the file says.
        """
        from micro.store import moving

        return await moving.put_back(self, moving.file_at(path), replace=replace, skip=skip)

    async def databases(self) -> builtins.list[str]:
        """Give all databases, sorted."""
        return await self._call("databases", self.driver.databases())

    async def tables(self) -> builtins.list[str]:
        """Give the tables of this database, sorted."""
        return await self._call("tables", self.driver.tables(self.where.database))

    def _left(self, record: Record) -> float | None:
        if record.expires is None:
            return None
        return max(0.001, record.expires.timestamp() - self.driver.clock())  # one that expires just now keeps a bit

    async def _apply(self, operation: str, ops: Sequence[Op]) -> builtins.list[int]:
        checks.ops(ops)
        for capability in checks.needs(ops):
            self._require(capability, operation)
        return await self._call(operation, self.driver.apply(self.where, ops))

    async def _pages(
        self,
        operation: str,
        prefix: str,
        suffix: str,
        descending: bool,
        after: str | None,
        *,
        values: bool,
        limit: int | None,
    ) -> AsyncIterator[Record]:
        for given in filter(None, (prefix, suffix, after)):
            names.key(given)
        left = limit
        while True:
            ask = limits.PAGE if left is None else min(left, limits.PAGE)
            page = await self._call(
                operation,
                self.driver.scan(
                    self.where,
                    prefix=prefix,
                    suffix=suffix,
                    descending=descending,
                    after=after,
                    limit=ask,
                    values=values,
                ),
            )
            for record in page:
                yield record
            if left is not None:
                left -= len(page)
            full = len(page) == ask or sum(len(r.value) for r in page) >= limits.PAGE_BYTES
            if not full or left == 0:
                return
            after = page[-1].key
