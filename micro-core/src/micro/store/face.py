"""The functions a service calls: this process's store, at the table named like the service."""

from __future__ import annotations

import builtins
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, overload

from micro.store.driver import MISSING, Event, Record, Scalar

if TYPE_CHECKING:
    import os

    from micro.durations import Duration
    from micro.store.api import Order, Store
    from micro.store.batches import Batch
    from micro.store.collections import Collection
    from micro.store.dump import Snapshot

T = TypeVar("T")
D = TypeVar("D")


def _store() -> Store:
    from micro.service.process import current

    return current().store


async def write(
    key: str,
    value: object,
    *,
    ttl: Duration | None = None,
    metadata: Mapping[str, Scalar] | None = None,
    if_version: int | None = None,
) -> int:
    """Write a record and give its version: see Store.write."""
    return await _store().write(key, value, ttl=ttl, metadata=metadata, if_version=if_version)


async def read(key: str) -> Record:
    """Read a record: see Store.read."""
    return await _store().read(key)


@overload
async def get(key: str, type_: type[T]) -> T: ...
@overload
async def get(key: str, type_: type[T], default: D) -> T | D: ...
@overload
async def get(key: str, type_: Any = Any, default: Any = MISSING) -> Any: ...
async def get(key: str, type_: Any = Any, default: Any = MISSING) -> Any:
    """Read a value as a type: see Store.get."""
    return await _store().get(key, type_, default)


async def delete(key: str, *, if_version: int | None = None) -> None:
    """Delete a record: see Store.delete."""
    await _store().delete(key, if_version=if_version)


async def list(
    prefix: str = "", *, suffix: str = "", limit: int = 0, offset: int = 0, order: Order = "asc"
) -> builtins.list[str]:
    """Give keys in order: see Store.list."""
    return await _store().list(prefix, suffix=suffix, limit=limit, offset=offset, order=order)


def scan(
    prefix: str = "",
    *,
    suffix: str = "",
    after: str | None = None,
    descending: bool = False,
    values: bool = True,
    limit: int = 0,
) -> AsyncIterator[Record]:
    """Go through records by key: see Store.scan."""
    return _store().scan(prefix, suffix=suffix, after=after, descending=descending, values=values, limit=limit)


@overload
async def update(
    key: str, function: Callable[[T | None], T | Awaitable[T]], type_: type[T], *, ttl: Duration | None = None
) -> T: ...
@overload
async def update(key: str, function: Callable[[Any], Any], type_: Any = Any, *, ttl: Duration | None = None) -> Any: ...
async def update(key: str, function: Callable[[Any], Any], type_: Any = Any, *, ttl: Duration | None = None) -> Any:
    """Replace a value by what a function makes of it: see Store.update."""
    return await _store().update(key, function, type_, ttl=ttl)


def batch() -> Batch:
    """Collect operations that happen together: see Store.batch."""
    return _store().batch()


def watch(prefix: str = "", *, after: int | None = None) -> AsyncGenerator[Event, None]:
    """Follow the table: see Store.watch."""
    return _store().watch(prefix, after=after)


async def snapshot(path: str | os.PathLike[str], *, prefix: str = "") -> Snapshot:
    """Write the table's records into a file: see Store.snapshot."""
    return await _store().snapshot(path, prefix=prefix)


async def restore(path: str | os.PathLike[str], *, replace: bool = False, skip: int = 0) -> Snapshot:
    """Write a snapshot's records into the table: see Store.restore."""
    return await _store().restore(path, replace=replace, skip=skip)


def table(name: str, *, database: str | None = None) -> Store:
    """Give the store at another table."""
    return _store().table(name, database=database)


def collection(
    type_: type[T], *, key: str = "id", indexes: Sequence[str] = (), unique: Sequence[str] = ()
) -> Collection[T]:
    """Give the model layer for a class: see Collection."""
    return _store().collection(type_, key=key, indexes=indexes, unique=unique)
