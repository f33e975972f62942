"""Operations on one table that happen together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Self

from micro.durations import maybe
from micro.schema.typed import encode_value
from micro.store.driver import Delete, Op, Put, Scalar

if TYPE_CHECKING:
    from micro.durations import Duration
    from micro.store.api import Store


class Batch:
    """Operations on one table that happen together when the `async with` block ends well, and not at all otherwise.

    `versions` has theirs afterwards, in order.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._ops: list[Op] = []
        self.versions: list[int] = []

    def write(
        self,
        key: str,
        value: object,
        *,
        ttl: Duration | None = None,
        metadata: Mapping[str, Scalar] | None = None,
        if_version: int | None = None,
    ) -> None:
        """Add a write; as Store.write."""
        self._ops.append(Put(key, encode_value(value), maybe(ttl, "ttl"), metadata or {}, if_version))

    def delete(self, key: str, *, if_version: int | None = None) -> None:
        """Add a deletion; as Store.delete."""
        self._ops.append(Delete(key, if_version))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        if kind is None and self._ops:
            self.versions = await self._store._apply("batch", self._ops)
