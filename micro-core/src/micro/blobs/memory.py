"""The reference driver: blobs in this process, gone with it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from micro import limits
from micro.blobs.driver import CHUNK, Blob, BlobsDriver, conflict
from micro.errors import FailedPrecondition, NotFound
from micro.plugin.settings import Settings


class MemoryBlobs(BlobsDriver, interface=1):
    """Bytes in dicts."""

    settings_type = Settings
    capabilities = frozenset({"conditions"})

    def __init__(self, settings: Settings | None = None, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._kept: dict[str, dict[str, tuple[Blob, bytes]]] = {}
        self._written = 0
        self._closed = False

    async def close(self) -> None:
        self._closed = True

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
        self._blobs(namespace)
        data = b"".join([chunk async for chunk in body])
        kept = self._blobs(namespace)
        found = kept.get(key)
        if if_etag is not None and if_etag != (found[0].etag if found else ""):
            raise conflict(key, if_etag)
        self._written += 1
        digest = hashlib.sha256(data).hexdigest()
        modified = datetime.fromtimestamp(self._clock(), UTC)
        blob = Blob(key, len(data), str(self._written), content_type, public, modified, digest)
        kept[key] = (blob, data)
        return blob

    @asynccontextmanager
    async def read(
        self, namespace: str, key: str, *, start: int = 0, end: int | None = None
    ) -> AsyncIterator[tuple[Blob, AsyncIterator[bytes]]]:
        blob, data = self._found(namespace, key)

        async def chunks() -> AsyncIterator[bytes]:
            wanted = data[start:end]
            for at in range(0, len(wanted), CHUNK):
                yield wanted[at : at + CHUNK]

        yield blob, chunks()

    async def stat(self, namespace: str, key: str) -> Blob:
        return self._found(namespace, key)[0]

    async def delete(self, namespace: str, key: str) -> bool:
        return self._blobs(namespace).pop(key, None) is not None

    async def scan(
        self, namespace: str, *, prefix: str = "", after: str | None = None, limit: int = limits.PAGE
    ) -> list[Blob]:
        kept = self._blobs(namespace)
        keys = sorted(key for key in kept if key.startswith(prefix) and (after is None or key > after))
        return [kept[key][0] for key in keys[:limit]]

    def _blobs(self, namespace: str) -> dict[str, tuple[Blob, bytes]]:
        if self._closed:
            raise FailedPrecondition("the blob store is closed")
        return self._kept.setdefault(namespace, {})

    def _found(self, namespace: str, key: str) -> tuple[Blob, bytes]:
        found = self._blobs(namespace).get(key)
        if found is None:
            raise NotFound("Blob not found")
        return found
