"""The embedded driver: a file for each blob, and what is known of it as a record of the store."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from micro.blobs.driver import CHUNK, Blob
from micro.blobs.indexed import TABLE, Gone, IndexedBlobs
from micro.errors import DataLoss
from micro.plugin.driver import file_code
from micro.plugin.settings import Settings, setting

if TYPE_CHECKING:
    from micro.store.api import Store

UNFINISHED = 3600.0  # seconds after which a file that no record names is swept


class FileSettings(Settings):
    """Where the files are."""

    path: str = setting("", "the folder; empty: blobs in the data folder")


class FileBlobs(IndexedBlobs, interface=1):
    """Files in one folder of this machine, named at random, and synced before a record names them."""

    settings_type = FileSettings
    needs = frozenset({"data", "store"})
    capabilities = frozenset({"conditions", "durable"})

    def __init__(self, settings: FileSettings | None = None, *, store: Store, data: Path | None = None) -> None:
        super().__init__(store)
        path = (settings or FileSettings()).path
        self._folder = Path(path) if path else (data or Path()) / "blobs"

    async def open(self) -> None:
        await asyncio.to_thread(self._folder.mkdir, 0o700, parents=True, exist_ok=True)
        named: set[str] = set()
        for table in await self._store.tables():
            if table.startswith(TABLE):
                records = self._store.table(table).scan()
                named.update([json.loads(record.value)["etag"] async for record in records])
        await asyncio.to_thread(self._sweep, named)

    def error_code(self, exc: Exception) -> int:
        return file_code(exc)

    def _file(self, etag: str) -> Path:
        return self._folder / etag[:2] / etag

    async def _fill(self, namespace: str, blob: Blob, body: AsyncIterable[bytes]) -> tuple[int, str]:
        """Write a file that is not named yet, and sync it; gives its size and its sum."""
        path = self._file(blob.etag)
        digest = hashlib.sha256()
        size = 0
        try:
            with _create(path) as file:
                async for chunk in body:
                    digest.update(chunk)
                    size += len(chunk)
                    await asyncio.to_thread(file.write, chunk)
                await asyncio.to_thread(_sync, file, path.parent)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return size, digest.hexdigest()

    @asynccontextmanager
    async def _contents(self, namespace: str, blob: Blob, start: int, end: int) -> AsyncIterator[AsyncIterator[bytes]]:
        try:
            file = self._file(blob.etag).open("rb")
        except FileNotFoundError:
            raise Gone from None
        with file:
            yield _chunks(file, start, end)

    async def _remove(self, namespace: str, blob: Blob) -> None:
        self._file(blob.etag).unlink(missing_ok=True)

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
