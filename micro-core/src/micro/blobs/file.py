"""The embedded driver: a file for each blob, and what is known of it as a record of the store.

The record names the file. A new file is synced before the record that names it is written, and the old one goes after;
what a crash leaves between the two is swept away at the next start.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from micro import limits
from micro.blobs.driver import CHUNK, Blob, BlobsDriver, conflict
from micro.errors import Aborted, AlreadyExists, DataLoss, FailedPrecondition, NotFound
from micro.plugin.driver import file_code
from micro.plugin.settings import Settings, setting

if TYPE_CHECKING:
    from micro.store.api import Store
    from micro.store.driver import Record

TRIES = 64  # lost races until a write gives up
UNFINISHED = 3600.0  # seconds after which a file that no record names is swept


class FileSettings(Settings):
    """Where the files are."""

    path: str = setting("", "the folder; empty: blobs in the data folder")


class FileBlobs(BlobsDriver, interface=1):
    """Files in one folder of this machine, named at random; records in the tables `blobs/<namespace>`.

    `store` is a portable Store at any table of the database that the records are kept in.
    """

    settings_type = FileSettings
    needs = frozenset({"data", "store"})
    capabilities = frozenset({"conditions", "durable"})

    def __init__(self, settings: FileSettings | None = None, *, store: Store, data: Path | None = None) -> None:
        path = (settings or FileSettings()).path
        self._folder = Path(path) if path else (data or Path()) / "blobs"
        self._store = store
        self._naming: set[asyncio.Task[None]] = set()
        self._closed = False

    async def open(self) -> None:
        await asyncio.to_thread(self._folder.mkdir, 0o700, parents=True, exist_ok=True)
        named: set[str] = set()
        for table in await self._store.tables():
            if table.startswith("blobs/"):
                records = self._store.table(table).scan()
                named.update([json.loads(record.value)["etag"] async for record in records])
        await asyncio.to_thread(self._sweep, named)

    async def close(self) -> None:
        self._closed = True
        await asyncio.gather(*self._naming, return_exceptions=True)

    def error_code(self, exc: Exception) -> int:
        return file_code(exc)

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
        etag = os.urandom(16).hex()
        file = self._file(etag)
        try:
            size, digest = await self._fill(file, body)
        except BaseException:
            file.unlink(missing_ok=True)
            raise
        blob = Blob(key, size, etag, content_type, public, datetime.now(UTC), digest)
        naming = asyncio.create_task(self._named(table, blob, if_etag))
        self._naming.add(naming)
        naming.add_done_callback(self._done)
        await asyncio.shield(naming)  # whoever is cancelled now may have written it all the same
        return blob

    @asynccontextmanager
    async def read(
        self, namespace: str, key: str, *, start: int = 0, end: int | None = None
    ) -> AsyncIterator[tuple[Blob, AsyncIterator[bytes]]]:
        blob, file = await self._opened(namespace, key)
        with file:
            last = blob.size if end is None else min(end, blob.size)
            yield blob, _chunks(file, start, last)

    async def stat(self, namespace: str, key: str) -> Blob:
        return _blob(await self._record(namespace, key))

    async def delete(self, namespace: str, key: str) -> bool:
        table = self._table(namespace)
        for _ in range(TRIES):
            found = (await table.read_many([key]))[0]
            if found is None:
                return False
            try:
                await table.delete(key, if_version=found.version)
            except Aborted:
                continue
            self._file(_blob(found).etag).unlink(missing_ok=True)
            return True
        raise Aborted(f"blob {key!r} changed {TRIES} times meanwhile")

    async def scan(
        self, namespace: str, *, prefix: str = "", after: str | None = None, limit: int = limits.PAGE
    ) -> list[Blob]:
        return [_blob(record) async for record in self._table(namespace).scan(prefix, after=after, limit=limit)]

    def _table(self, namespace: str) -> Store:
        if self._closed:
            raise FailedPrecondition("the blob store is closed")
        return self._store.table(f"blobs/{namespace}")

    def _file(self, etag: str) -> Path:
        return self._folder / etag[:2] / etag

    async def _fill(self, path: Path, body: AsyncIterable[bytes]) -> tuple[int, str]:
        """Write a file that is not named yet, and sync it; gives its size and its sum."""
        digest = hashlib.sha256()
        size = 0
        with _create(path) as file:
            async for chunk in body:
                digest.update(chunk)
                size += len(chunk)
                await asyncio.to_thread(file.write, chunk)
            await asyncio.to_thread(_sync, file, path.parent)
        return size, digest.hexdigest()

    async def _named(self, table: Store, blob: Blob, if_etag: str | None) -> None:
        """Write the record that names a file, and remove the file that it takes the place of.

        A file that certainly is not named goes at once. One of which that is not known, the store being lost on the
        way, stays: gone, it would be missing where it is named. It is swept later.
        """
        try:
            old = await self._name(table, blob, if_etag)
        except (Aborted, AlreadyExists):
            self._file(blob.etag).unlink(missing_ok=True)
            raise
        if old:
            self._file(old).unlink(missing_ok=True)

    def _done(self, naming: asyncio.Task[None]) -> None:
        self._naming.discard(naming)
        if not naming.cancelled():
            naming.exception()  # nobody may be waiting for it any more

    async def _name(self, table: Store, blob: Blob, if_etag: str | None) -> str:
        """Write the record that names a file; gives the file that it takes the place of, or none."""
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
            old = _blob(found).etag if found else ""
            if if_etag is not None and if_etag != old:
                raise conflict(blob.key, if_etag)
            with suppress(Aborted, AlreadyExists):
                await table.write(blob.key, known, if_version=found.version if found else 0)
                return old
        raise Aborted(f"blob {blob.key!r} changed {TRIES} times meanwhile")

    async def _record(self, namespace: str, key: str) -> Record:
        found = (await self._table(namespace).read_many([key]))[0]
        if found is None:
            raise NotFound("Blob not found")
        return found

    async def _opened(self, namespace: str, key: str) -> tuple[Blob, BinaryIO]:
        blob = _blob(await self._record(namespace, key))
        for _ in range(TRIES):
            try:
                return blob, self._file(blob.etag).open("rb")
            except FileNotFoundError:
                now = _blob(await self._record(namespace, key))
                if now.etag == blob.etag:
                    raise DataLoss(f"the file of blob {key!r} is gone") from None
                blob = now  # it was replaced between our two looks
        raise Aborted(f"blob {key!r} changed {TRIES} times meanwhile")

    def _sweep(self, named: set[str]) -> None:
        for file in self._folder.glob("??/*"):
            if file.name not in named and time.time() - file.stat().st_mtime > UNFINISHED:
                file.unlink(missing_ok=True)


# Files are opened in the loop, as they are unlinked: one that a thread opens for who is cancelled meanwhile is nobody's.
def _create(path: Path) -> BinaryIO:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _sync(file: BinaryIO, folder: Path) -> None:
    file.flush()
    os.fsync(file.fileno())
    entry = os.open(folder, os.O_RDONLY)  # the folder holds the name
    try:
        os.fsync(entry)
    finally:
        os.close(entry)


async def _chunks(file: BinaryIO, start: int, end: int) -> AsyncIterator[bytes]:
    file.seek(start)
    while start < end:
        chunk = await asyncio.to_thread(file.read, min(CHUNK, end - start))
        if not chunk:
            raise DataLoss("a blob's file is shorter than it was")
        start += len(chunk)
        yield chunk


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
