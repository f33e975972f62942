"""The functions a service calls: this process's blobs, in its own namespace."""

from __future__ import annotations

import builtins
import os
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from micro.blobs.driver import Blob

if TYPE_CHECKING:
    from micro.blobs.api import Blobs
    from micro.durations import Duration


def _blobs() -> Blobs:
    from micro.service.process import current

    return current().blobs


async def write(
    key: str,
    data: bytes | AsyncIterable[bytes] | os.PathLike[str],
    *,
    content_type: str = "",
    public: bool = False,
    if_etag: str | None = None,
) -> Blob:
    """Write bytes, a stream of them, or a file: see Blobs.write."""
    return await _blobs().write(key, data, content_type=content_type, public=public, if_etag=if_etag)


async def read(key: str, *, start: int = 0, end: int | None = None) -> bytes:
    """Read a blob into memory: see Blobs.read."""
    return await _blobs().read(key, start=start, end=end)


def open(key: str, *, start: int = 0, end: int | None = None) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
    """Read a blob in pieces, `async with blobs.open(key) as chunks`: see Blobs.stream."""
    return _blobs().stream(key, start=start, end=end)


async def stat(key: str) -> Blob:
    """Give what is known of a blob: see Blobs.stat."""
    return await _blobs().stat(key)


async def url(key: str, *, expires: Duration = 3600.0) -> str:
    """Give an address of a blob for who has no account: see Blobs.url."""
    return await _blobs().url(key, expires=expires)


async def delete(key: str) -> bool:
    """Delete a blob: see Blobs.delete."""
    return await _blobs().delete(key)


async def list(prefix: str = "") -> builtins.list[Blob]:
    """Give the blobs in order of their keys: see Blobs.list."""
    return await _blobs().list(prefix)


async def download(key: str, path: str | os.PathLike[str]) -> Blob:
    """Read a blob into a file: see Blobs.download."""
    return await _blobs().download(key, path)
