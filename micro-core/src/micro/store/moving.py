"""A table into a file and back, a page at a time, over any driver: reading, watching and writing are all it takes."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from micro import limits
from micro.errors import (
    Aborted,
    FailedPrecondition,
    InvalidArgument,
    ResourceExhausted,
    ServiceError,
    Unimplemented,
)
from micro.plugin.driver import Change, Reset, Synced
from micro.plugin.watch import finish
from micro.store import dump
from micro.store.driver import Delete, Op, Put, Record

if TYPE_CHECKING:
    import os

    from micro.store.api import Store

P = ParamSpec("P")
T = TypeVar("T")
CATCH_UP = 10  # pages after which the changes since are asked for: a driver remembers some 10,000
NOBODY = "\U0010ffff" * 256  # a prefix that no key has; a watch of it tells the table's version


async def take(store: Store, path: Path, prefix: str) -> dump.Snapshot:
    """Write a table's records into a file; see Store.snapshot."""
    head = dump.Head(dump.SCHEMA, *store.where, prefix, datetime.now(UTC).replace(microsecond=0))
    part = await _blocking(path, dump.Part, path, head)
    try:
        if not part.begun:
            await _blocking(path, part.changed, [], await _version(store))
        pages = 0
        async with aclosing(_pages(store, prefix, part.after)) as found:
            async for page in found:
                await _blocking(path, part.read, page)
                pages += 1
                if pages % CATCH_UP == 0:
                    await _catch_up(store, path, part)
        await _catch_up(store, path, part)
        while part.since is not None and part.since < part.newest:  # read before the watch was told of it
            await asyncio.sleep(0.01)
            await _catch_up(store, path, part)
        return await _blocking(path, part.finish)
    finally:
        part.close()


async def _pages(store: Store, prefix: str, after: str | None) -> AsyncGenerator[list[Record], None]:
    page: list[Record] = []
    size = 0
    async for record in store.scan(prefix, after=after):
        page.append(record)
        size += len(record.value)
        if len(page) == limits.PAGE or size >= limits.PAGE_BYTES:
            yield page
            page, size = [], 0
    yield page


async def _version(store: Store) -> int | None:
    """Give a table's version; None where the driver cannot follow changes."""
    if "watch" not in store.capabilities:
        return None
    async with aclosing(store.watch(NOBODY, resume=False)) as events:
        async for event in events:
            if isinstance(event, Synced):
                return event.version
    return None


async def _catch_up(store: Store, path: Path, part: dump.Part) -> None:
    """Keep what has changed since the last time."""
    if part.since is None:
        return
    changes: list[Change[Record]] = []
    version = None
    async with aclosing(store.watch(part.head.prefix, after=part.since, resume=False)) as events:
        async for event in events:
            if isinstance(event, Reset):  # it is forgotten, what changed since
                break
            if isinstance(event, Synced):
                version = event.version
                break
            changes.append(event)
    await _blocking(path, part.changed, changes, version)


async def put_back(store: Store, path: Path, *, replace: bool, skip: int) -> dump.Snapshot:
    """Write a file's records into a table; see Store.restore."""
    found, needs = await _blocking(path, dump.verified, path)
    for missing in needs - store.capabilities:
        raise Unimplemented(f"store.restore [{store.plugin}]: needs the capability {missing!r}")
    if not 0 <= skip <= found.records:
        raise InvalidArgument(f"skip is {skip}, {path} has {found.records} records")
    if not skip:
        await _clear(store, found, replace=replace)
    done = skip
    try:
        async for ops, records in _batches(store, path, skip):
            if ops:
                await store.apply(ops)
            done += records
        await _compare(store, path, found)
    except ServiceError as err:
        left = f"{done} of {found.records} records are there" if done < found.records else "all records were written"
        raise type(err)(f"table {store.where.name!r} is not restored, {left}: {err.detail}") from err
    return found


async def _clear(store: Store, found: dump.Snapshot, *, replace: bool) -> None:
    """See that there is nothing where the records go."""
    together = limits.BATCH if "batch" in store.capabilities else 1
    keys: list[str] = []
    async for record in store.scan(found.prefix, values=False):
        if not replace:
            raise FailedPrecondition(
                f"table {store.where.name!r} of database {store.where.database!r} has records already; "
                "restore into an empty one, or replace them"
            )
        keys.append(record.key)
        if len(keys) == together:
            await store.apply([Delete(key) for key in keys])
            keys = []
    if keys:
        await store.apply([Delete(key) for key in keys])


async def _batches(store: Store, path: Path, skip: int) -> AsyncIterator[tuple[Sequence[Op], int]]:
    """Give what is to be written together, and how many records of the file that is: expired ones stay away."""
    together = limits.BATCH if "batch" in store.capabilities else 1
    ops: list[Op] = []
    size = count = 0
    async for item in _items(path, skip):
        if ops and (len(ops) == together or size + len(item.value) > limits.BATCH_BYTES):
            yield ops, count
            ops, size, count = [], 0, 0
        count += 1
        ttl = _left(store, item)
        if ttl is None or ttl > 0:
            ops.append(Put(item.key, item.value, ttl, item.metadata))
            size += len(item.value)
    yield ops, count


async def _compare(store: Store, path: Path, found: dump.Snapshot) -> None:
    """Read back what was written, beside the file."""
    records = store.scan(found.prefix)
    try:
        record = await anext(records, None)
        async for item in _items(path, 0):
            if record is not None and record.key == item.key:
                if (record.value, record.metadata) != (item.value, item.metadata):
                    raise _differs(item.key, path)
                record = await anext(records, None)
            elif (left := _left(store, item)) is None or left > 0:
                raise _differs(item.key, path)
        if record is not None:
            raise _differs(record.key, path)
    finally:
        await finish(records)


def _differs(key: str, path: Path) -> Aborted:
    return Aborted(f"key {key!r} is not as in {path}; perhaps somebody else writes to the table")


def _left(store: Store, item: dump.Item) -> float | None:
    """Give the seconds until a record expires, None for ever."""
    return None if item.expires is None else item.expires / 1000 - store.driver.clock()


async def _items(path: Path, skip: int) -> AsyncIterator[dump.Item]:
    """Give a file's records, read a hundred at a time."""
    items = islice(dump.items(path), skip, None)
    while some := await _blocking(path, _some, items):
        for item in some:
            yield item


def _some(items: Iterator[dump.Item]) -> list[dump.Item]:
    some: list[dump.Item] = []
    size = 0
    for item in items:
        some.append(item)
        size += len(item.value)
        if len(some) == limits.BATCH or size >= limits.PAGE_BYTES:
            break
    return some


def file_at(path: str | os.PathLike[str]) -> Path:
    """Give a file's path as a Path."""
    try:
        found = Path(path)
        if found.name and "\0" not in found.name:
            return found
    except TypeError:
        pass
    raise InvalidArgument(f"path is {path!r:.200}, wanted a file's name as str or a Path")


async def _blocking(path: Path, work: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
    """Work with the file in a thread."""
    try:
        return await asyncio.to_thread(work, *args, **named)
    except OSError as err:
        if err.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise ResourceExhausted(f"cannot write {path}: {err.strerror}") from err
        raise InvalidArgument(f"cannot use {path}: {err.strerror}") from err
