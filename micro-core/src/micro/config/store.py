"""The embedded driver: one record of the store a namespace, and its history in the table beside it.

A record's value is `{"schema": 1, "version": n, "tree": …}`. Before version n + 1 takes the place of version n, version n
is written to the history, so that none is missing after a crash between the two; it may be written twice.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from micro.config.documents import KEPT, Document, DocumentConfig, decode, encode
from micro.errors import Aborted, AlreadyExists, FailedPrecondition
from micro.plugin.driver import Change, Reset, Synced
from micro.plugin.settings import Settings

if TYPE_CHECKING:
    from micro.store.api import Store

CLAIM = "~claim"  # no namespace's name begins so


class StoreConfig(DocumentConfig, interface=1):
    """Documents in the tables `config` and `config_history` of the platform's store."""

    settings_type = Settings
    needs = frozenset({"store"})

    def __init__(self, settings: Settings | None = None, *, store: Store) -> None:
        self._now = store
        self._past = store.table(f"{store.where.name}_history")
        self._closed = False

    async def close(self) -> None:
        self._closed = True  # the store is whose it was

    async def load(self, namespace: str) -> Document | None:
        self._check()
        found = (await self._now.read_many([namespace]))[0]
        return None if found is None else decode(found.value, found.version)

    async def swap(self, namespace: str, old: Document | None, new: Document) -> bool:
        if old is not None:
            async with self._past.batch() as batch:
                batch.write(_row(namespace, old.version), encode(old))
                batch.delete(_row(namespace, max(0, old.version - KEPT)))
        try:
            await self._now.write(namespace, encode(new), if_version=old.tag if old else 0)
        except (Aborted, AlreadyExists):
            return False
        return True

    async def past(self, namespace: str) -> AsyncIterator[Document]:
        async for record in self._past.scan(f"{namespace}/", descending=True):
            yield decode(record.value, record.version)

    async def follow(self, namespace: str) -> AsyncIterator[Change[Document] | Synced | Reset]:
        self._check()
        async for event in self._now.watch(namespace):
            if not isinstance(event, Change):
                yield event
            elif event.key == namespace and event.item is not None:  # not of namespaces that merely begin so
                yield Change("put", namespace, event.version, decode(event.item.value, event.version))

    async def claim(self, value: str) -> str:
        self._check()
        try:
            await self._now.write(CLAIM, value, if_version=0)
        except AlreadyExists:
            return (await self._now.read(CLAIM)).value.decode()
        return value

    def _check(self) -> None:
        if self._closed:
            raise FailedPrecondition("the configuration is closed")


def _row(namespace: str, version: int) -> str:
    return f"{namespace}/{version:020}"
