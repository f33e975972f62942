"""Blobs whose contents are kept under names of their own, and what is known of each as a record of the store.

The record of a key names the contents. New contents are whole and durable before the record that names them is written;
the old ones go after. So a blob is seen whole or not at all, a list costs no look at each, and conditions are the
store's. What a crash leaves between the two steps its driver sweeps away.
"""

from __future__ import annotations

import asyncio
import json
import os
from abc import abstractmethod
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from micro import limits
from micro.blobs.driver import Blob, BlobsDriver, conflict
from micro.errors import Aborted, AlreadyExists, DataLoss, FailedPrecondition, NotFound

if TYPE_CHECKING:
    from micro.store.api import Store
    from micro.store.driver import Record

TRIES = 64  # lost races until a write gives up
TABLE = "blobs/"  # and the namespace: where its records are


class Gone(Exception):
    """Contents are not there: they were replaced between a look at the record and one at them."""


class IndexedBlobs(BlobsDriver):
    """Base of drivers that keep contents somewhere and records in the tables `blobs/<namespace>`.

    `store` is a portable Store at any table of the database that the records are kept in. The etag of a blob names its
    contents. A subclass keeps those: `_fill`, `_contents`, `_remove`.
    """

    needs = frozenset({"store"})

    def __init__(self, store: Store) -> None:
        self._store = store
        self._naming: set[asyncio.Task[None]] = set()
        self._closed = False

    @abstractmethod
    async def _fill(self, namespace: str, blob: Blob, body: AsyncIterable[bytes]) -> tuple[int, str]:
        """Keep contents under `blob.etag`, durably; gives size and SHA-256. One that fails or is cancelled leaves none."""

    @abstractmethod
    def _contents(
        self, namespace: str, blob: Blob, start: int, end: int
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Open contents, from `start` to before `end`; raises Gone on entering. What was opened is read to its end."""

    @abstractmethod
    async def _remove(self, namespace: str, blob: Blob) -> None:
        """Remove contents that nobody names any more; missing ones are fine."""

    async def _unnaming(self, namespace: str, blob: Blob) -> None:
        """Be told that a blob's contents are about to lose their name, and to be removed."""

    async def close(self) -> None:
        self._closed = True
        await asyncio.gather(*self._naming, return_exceptions=True)

    async def write(
        self,
        namespace: str,
        key: str,
        body: AsyncIterable[bytes],
        *,
        content_type: str = "",
        public: bool = False,
        if_etag: str | None = None,
    ) -> Blob:
        table = self._table(namespace)
        blob = Blob(key, 0, os.urandom(16).hex(), content_type, public, datetime.now(UTC))
        blob.size, blob.sha256 = await self._fill(namespace, blob, body)
        blob.modified = datetime.now(UTC)
        naming = asyncio.create_task(self._named(namespace, table, blob, if_etag))
        self._naming.add(naming)
        naming.add_done_callback(self._done)
        await asyncio.shield(naming)  # whoever is cancelled now may have written it all the same
        return blob

    @asynccontextmanager
    async def read(
        self, namespace: str, key: str, *, start: int = 0, end: int | None = None
    ) -> AsyncIterator[tuple[Blob, AsyncIterator[bytes]]]:
        async with AsyncExitStack() as stack:
            yield await self._opened(stack, namespace, key, start, end)

    async def stat(self, namespace: str, key: str) -> Blob:
        return _blob(await self._record(namespace, key))

    async def delete(self, namespace: str, key: str) -> bool:
        table = self._table(namespace)
        for _ in range(TRIES):
            found = (await table.read_many([key]))[0]
            if found is None:
                return False
            await self._unnaming(namespace, _blob(found))
            try:
                await table.delete(key, if_version=found.version)
            except Aborted:
                continue
            await self._remove(namespace, _blob(found))
            return True
        raise Aborted(f"blob {key!r} changed {TRIES} times meanwhile")

    async def scan(
        self, namespace: str, *, prefix: str = "", after: str | None = None, limit: int = limits.PAGE
    ) -> list[Blob]:
        return [_blob(record) async for record in self._table(namespace).scan(prefix, after=after, limit=limit)]

    def _table(self, namespace: str) -> Store:
        if self._closed:
            raise FailedPrecondition("the blob store is closed")
        return self._store.table(f"{TABLE}{namespace}")

    async def _named(self, namespace: str, table: Store, blob: Blob, if_etag: str | None) -> None:
        """Write the record that names contents, and remove those that they take the place of.

        Contents that certainly are not named go at once. Those of which that is not known, the store being lost on the
        way, stay: gone, they would be missing where they are named. They are swept later.
        """
        try:
            old = await self._name(namespace, table, blob, if_etag)
        except (Aborted, AlreadyExists):
            await self._remove(namespace, blob)
            raise
        if old is not None:
            await self._remove(namespace, old)

    def _done(self, naming: asyncio.Task[None]) -> None:
        self._naming.discard(naming)
        if not naming.cancelled():
            naming.exception()  # nobody may be waiting for it any more

    async def _name(self, namespace: str, table: Store, blob: Blob, if_etag: str | None) -> Blob | None:
        """Write the record that names contents; gives the blob that it takes the place of, or None."""
        known = {
            "size": blob.size,
            "etag": blob.etag,
            "content_type": blob.content_type,
            "public": blob.public,
            "modified": blob.modified.isoformat(),
            "sha256": blob.sha256,
        }
        for _ in range(TRIES):
            found = (await table.read_many([blob.key]))[0]
            old = _blob(found) if found else None
            if if_etag is not None and if_etag != (old.etag if old else ""):
                raise conflict(blob.key, if_etag)
            if old is not None:
                await self._unnaming(namespace, old)
            with suppress(Aborted, AlreadyExists):
                await table.write(blob.key, known, if_version=found.version if found else 0)
                return old
        raise Aborted(f"blob {blob.key!r} changed {TRIES} times meanwhile")

    async def _record(self, namespace: str, key: str) -> Record:
        found = (await self._table(namespace).read_many([key]))[0]
        if found is None:
            raise NotFound("Blob not found")
        return found

    async def _opened(
        self, stack: AsyncExitStack, namespace: str, key: str, start: int, end: int | None
    ) -> tuple[Blob, AsyncIterator[bytes]]:
        blob = _blob(await self._record(namespace, key))
        for _ in range(TRIES):
            last = blob.size if end is None else min(end, blob.size)
            try:
                return blob, await stack.enter_async_context(self._contents(namespace, blob, start, last))
            except Gone:
                now = _blob(await self._record(namespace, key))
                if now.etag == blob.etag:
                    raise DataLoss(f"the contents of blob {key!r} are gone") from None
                blob = now  # it was replaced between our two looks
        raise Aborted(f"blob {key!r} changed {TRIES} times meanwhile")


def _blob(record: Record) -> Blob:
    known = json.loads(record.value)
    return Blob(
        record.key,
        known["size"],
        known["etag"],
        known["content_type"],
        known["public"],
        datetime.fromisoformat(known["modified"]),
        known["sha256"],
    )
