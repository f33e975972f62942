"""The types of micro.blocking.store, written by scripts/blocking.py."""

from collections.abc import Awaitable
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from micro.durations import Duration
from micro.store.api import Order
from micro.store.driver import Event
from micro.store.driver import Op
from micro.store.driver import Scalar
from micro.store.face import D
from micro.store.face import T
from typing import Any
from typing import Generic
from typing import Self
from typing import overload
import builtins
import os
from micro.store import Batch as Batch
from micro.store import Collection as Collection
from micro.store import Delete as Delete
from micro.store import Put as Put
from micro.store import Record as Record
from micro.store import Snapshot as Snapshot
from micro.store import Store as Store
from micro.store import StoreDriver as StoreDriver
from micro.store import Table as Table

class _Store:

    @property
    def capabilities(self) -> frozenset[str]:
        """What the driver can: see StoreDriver."""
        ...

    def table(self, name: str, *, database: str | None=None) -> _Store:
        """Give the same store at another table. Costs nothing; closing one closes the driver of both."""
        ...

    def write(self, key: str, value: object, *, ttl: Duration | None=None, metadata: Mapping[str, Scalar] | None=None, if_version: int | None=None) -> int:
        """Write a record, whole, and give its version; `ttl` in seconds, or a timedelta; None for ever."""
        ...

    def read(self, key: str) -> Record:
        """Read a record; NotFound when it is absent or has expired."""
        ...

    def read_many(self, keys: Sequence[str]) -> builtins.list[Record | None]:
        """Read the records of these keys, in their order, None for the absent; a round trip per 500."""
        ...

    @overload
    def get(self, key: str, type_: type[T]) -> T:
        ...

    @overload
    def get(self, key: str, type_: type[T], default: D) -> T | D:
        ...

    @overload
    def get(self, key: str, type_: Any=..., default: Any=...) -> Any:
        ...

    def delete(self, key: str, *, if_version: int | None=None) -> None:
        """Delete a record; a missing one is fine, unless `if_version` says which it was: then Aborted."""
        ...

    def apply(self, ops: Sequence[Op]) -> builtins.list[int]:
        """Do up to 100 operations on different keys, all or none; gives their versions."""
        ...

    def batch(self) -> _Batch:
        """Collect operations: `async with store.batch() as b: b.write(…); b.delete(…)` applies them at the end."""
        ...

    def list(self, prefix: str='', *, suffix: str='', limit: int=0, offset: int=0, order: Order='asc') -> builtins.list[str]:
        """Give keys in order, `limit` 0 for all; a round trip per 500, skipped ones included."""
        ...

    def scan(self, prefix: str='', *, suffix: str='', after: str | None=None, descending: bool=False, values: bool=True, limit: int=0) -> Iterator[Record]:
        """Go through records by key, a page of 500 or 1 MiB at a time; `after` is a key, exclusive."""
        ...

    @overload
    def update(self, key: str, function: Callable[[T | None], T | Awaitable[T]], type_: type[T], *, ttl: Duration | None=None) -> T:
        ...

    @overload
    def update(self, key: str, function: Callable[[Any], Any], type_: Any=..., *, ttl: Duration | None=None) -> Any:
        ...

    def watch(self, prefix: str='', *, after: int | None=None, resume: bool=True) -> Iterator[Event]:
        """Follow a table: what exists as `put`, then `Synced`, then each change; `after` a version skips the first."""
        ...

    def collection(self, type_: type[T], *, key: str='id', indexes: Sequence[str]=..., unique: Sequence[str]=...) -> _Collection[T]:
        """Give the model layer for a class, kept in this table: see Collection."""
        ...

    def snapshot(self, path: str | os.PathLike[str], *, prefix: str='') -> Snapshot:
        """Write the table's records into a file while all goes on; the file is there whole or not at all."""
        ...

    def restore(self, path: str | os.PathLike[str], *, replace: bool=False, skip: int=0) -> Snapshot:
        """Write a snapshot's records into this table, whichever it was taken of, and read them back."""
        ...

    def databases(self) -> builtins.list[str]:
        """Give all databases, sorted."""
        ...

    def tables(self) -> builtins.list[str]:
        """Give the tables of this database, sorted."""
        ...

class _Batch:
    versions: builtins.list[int]

    def write(self, key: str, value: object, *, ttl: Duration | None=None, metadata: Mapping[str, Scalar] | None=None, if_version: int | None=None) -> None:
        """Add a write; as Store.write."""
        ...

    def delete(self, key: str, *, if_version: int | None=None) -> None:
        """Add a deletion; as Store.delete."""
        ...

    def __enter__(self) -> Self:
        ...

    def __exit__(self, *exc: object) -> bool | None:
        ...

class _Collection(Generic[T]):

    def save(self, item: T) -> int:
        """Write an object, new or not, and give its version; AlreadyExists when a unique value is another's."""
        ...

    def get(self, key: object) -> T:
        """Give an object by its key; NotFound when absent."""
        ...

    def find(self, *, order_by: str='', limit: int=0, **equal: Any) -> builtins.list[T]:
        """Give the objects whose fields equal these, sorted by a field (`-field`: the other way), `limit` 0 for all."""
        ...

    def delete(self, key: object) -> None:
        """Delete an object and its entries; a missing one is fine."""
        ...

    def count(self, **equal: Any) -> int:
        """Count the objects whose fields equal these; without any it reads keys only."""
        ...

def write(key: str, value: object, *, ttl: Duration | None=None, metadata: Mapping[str, Scalar] | None=None, if_version: int | None=None) -> int:
    """Write a record and give its version: see Store.write."""
    ...

def read(key: str) -> Record:
    """Read a record: see Store.read."""
    ...

@overload
def get(key: str, type_: type[T]) -> T:
    ...

@overload
def get(key: str, type_: type[T], default: D) -> T | D:
    ...

@overload
def get(key: str, type_: Any=..., default: Any=...) -> Any:
    ...

def delete(key: str, *, if_version: int | None=None) -> None:
    """Delete a record: see Store.delete."""
    ...

def list(prefix: str='', *, suffix: str='', limit: int=0, offset: int=0, order: Order='asc') -> builtins.list[str]:
    """Give keys in order: see Store.list."""
    ...

def scan(prefix: str='', *, suffix: str='', after: str | None=None, descending: bool=False, values: bool=True, limit: int=0) -> Iterator[Record]:
    """Go through records by key: see Store.scan."""
    ...

@overload
def update(key: str, function: Callable[[T | None], T | Awaitable[T]], type_: type[T], *, ttl: Duration | None=None) -> T:
    ...

@overload
def update(key: str, function: Callable[[Any], Any], type_: Any=..., *, ttl: Duration | None=None) -> Any:
    ...

def batch() -> _Batch:
    """Collect operations that happen together: see Store.batch."""
    ...

def watch(prefix: str='', *, after: int | None=None) -> Iterator[Event]:
    """Follow the table: see Store.watch."""
    ...

def snapshot(path: str | os.PathLike[str], *, prefix: str='') -> Snapshot:
    """Write the table's records into a file: see Store.snapshot."""
    ...

def restore(path: str | os.PathLike[str], *, replace: bool=False, skip: int=0) -> Snapshot:
    """Write a snapshot's records into the table: see Store.restore."""
    ...

def table(name: str, *, database: str | None=None) -> _Store:
    """Give the store at another table."""
    ...

def collection(type_: type[T], *, key: str='id', indexes: Sequence[str]=..., unique: Sequence[str]=...) -> _Collection[T]:
    """Give the model layer for a class: see Collection."""
    ...
