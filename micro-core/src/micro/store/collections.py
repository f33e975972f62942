"""The model layer: objects of one class in a table, found by their fields."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from micro.errors import Aborted, AlreadyExists, NotFound
from micro.schema.typed import encode_value
from micro.store.driver import Delete, Op, Put, Record

if TYPE_CHECKING:
    from micro.store.api import Store

T = TypeVar("T")
TRIES = 64  # lost races until `save` and `delete` give up


class Collection(Generic[T]):
    """Objects of a class, one record each, at `<class>/<key>` in the store's table; entries of indexes beside them.

    A record and its entries change in one batch, so what `find` gives by an index is what is there. `indexes` name
    fields that `find` looks up instead of going through all; `unique` are indexes that hold one object a value. Add
    either to a collection in use and save every object again. A field that is None is in no index.
    """

    def __init__(
        self, store: Store, type_: type[T], *, key: str = "id", indexes: Sequence[str] = (), unique: Sequence[str] = ()
    ) -> None:
        self._store = store
        self._type = type_
        self._key = key
        self._unique = tuple(unique)
        self._indexes = (*indexes, *unique)
        self._name = type_.__name__.lower()

    async def save(self, item: T) -> int:
        """Write an object, new or not, and give its version; AlreadyExists when a unique value is another's."""
        where = self._where(getattr(item, self._key))
        for attempt in range(TRIES):
            found = (await self._store.read_many([where]))[0]
            old = {} if found is None else self._entries(self._decoded(found))
            new = self._entries(item)
            ops: list[Op] = [Put(where, encode_value(item), if_version=found.version if found else 0)]
            ops += [Delete(entry) for entry in old if entry not in new]
            ops += [
                Put(entry, where.encode(), if_version=0 if field in self._unique else None)
                for entry, field in new.items()
                if entry not in old
            ]
            try:
                return (await self._store.apply(ops))[0]
            except (Aborted, AlreadyExists):
                await self._refuse_taken(new, where)
                await _pause(attempt)
        raise Aborted(f"{self._name} changed {TRIES} times meanwhile")

    async def get(self, key: object) -> T:
        """Give an object by its key; NotFound when absent."""
        found = (await self._store.read_many([self._where(key)]))[0]
        if found is None:
            raise NotFound(f"no {self._name} has {self._key} {key!r}")
        return self._decoded(found)

    async def find(self, *, order_by: str = "", limit: int = 0, **equal: Any) -> list[T]:
        """Give the objects whose fields equal these, sorted by a field (`-field`: the other way), `limit` 0 for all.

        By an index where one of the fields has one, else through all of the class.
        """
        found = []
        async for record in self._candidates(equal):
            item = self._decoded(record)
            if all(getattr(item, field) == value for field, value in equal.items()):
                found.append(item)
                if limit and not order_by and len(found) == limit:
                    break
        if order_by:
            field = order_by.lstrip("-")
            found.sort(key=lambda item: getattr(item, field), reverse=order_by.startswith("-"))
        return found[:limit] if limit else found

    async def delete(self, key: object) -> None:
        """Delete an object and its entries; a missing one is fine."""
        where = self._where(key)
        for attempt in range(TRIES):
            found = (await self._store.read_many([where]))[0]
            if found is None:
                return
            entries = self._entries(self._decoded(found))
            try:
                await self._store.apply([Delete(where, if_version=found.version), *map(Delete, entries)])
            except Aborted:
                await _pause(attempt)
            else:
                return
        raise Aborted(f"{self._name} changed {TRIES} times meanwhile")

    async def count(self, **equal: Any) -> int:
        """Count the objects whose fields equal these; without any it reads keys only."""
        if equal:
            return len(await self.find(**equal))
        return len(await self._store.list(f"{self._name}/"))

    def _where(self, key: object) -> str:
        return f"{self._name}/{key}"

    def _decoded(self, record: Record) -> T:
        return record.decode(self._type)

    def _entries(self, item: T) -> dict[str, str]:
        """Give the keys of an object's index entries, each with its field."""
        found = {}
        for field in self._indexes:
            value = getattr(item, field)
            if value is not None:
                end = "" if field in self._unique else str(getattr(item, self._key))
                found[self._entry(field, value) + end] = field
        return found

    def _entry(self, field: str, value: Any) -> str:
        # a digest: values may be long, or hold what a key may not
        digest = hashlib.blake2b(encode_value([value]), digest_size=16).hexdigest()
        return f"{self._name}.{field}/{digest}/"

    async def _candidates(self, equal: dict[str, Any]) -> AsyncIterator[Record]:
        field = next((f for f in (*self._unique, *self._indexes) if equal.get(f) is not None), None)
        if field is None:
            async for record in self._store.scan(f"{self._name}/"):
                yield record
            return
        entries = [entry async for entry in self._store.scan(self._entry(field, equal[field]))]
        for found in await self._store.read_many([entry.value.decode() for entry in entries]):
            if found is not None:
                yield found

    async def _refuse_taken(self, entries: dict[str, str], where: str) -> None:
        for entry, field in entries.items():
            if field not in self._unique:
                continue
            holder = (await self._store.read_many([entry]))[0]
            if holder is not None and holder.value != where.encode():
                raise AlreadyExists(f"another {self._name} has this {field}")


async def _pause(attempt: int) -> None:
    await asyncio.sleep(random.uniform(0, 0.001 * min(2**attempt, 50)))
