"""The blob store as users know it: one namespace of it, on any driver."""

from __future__ import annotations

import asyncio
import builtins
import hashlib
import os
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from micro import limits, names
from micro.blobs.driver import CHUNK, Blob, BlobsDriver
from micro.context import CORE_NAMESPACE
from micro.durations import seconds
from micro.errors import DataLoss, InvalidArgument, ResourceExhausted
from micro.plugin.portable import Portable
from micro.plugin.watch import finish

if TYPE_CHECKING:
    from micro.durations import Duration

MAX_CONTENT_TYPE = 255  # characters
MAX_EXPIRES = 7 * 86_400  # seconds; S3's own


class Blobs(Portable[BlobsDriver]):
    """Files under keys in one namespace: `blobs.at("other")` is another one, over the same driver.

    A blob is seen whole or not at all. Errors: NotFound, AlreadyExists and Aborted (conditions), InvalidArgument,
    ResourceExhausted, Unavailable, DataLoss (what was read is not what was written).
    """

    primitive = "blobs"

    def __init__(self, driver: BlobsDriver, *, plugin: str = "", namespace: str = CORE_NAMESPACE) -> None:
        super().__init__(driver, plugin=plugin)
        self.namespace = names.namespace(namespace)

    @property
    def capabilities(self) -> frozenset[str]:
        """What the driver can: see BlobsDriver."""
        return self.driver.capabilities

    def at(self, namespace: str) -> Blobs:
        """Give the same blob store at another namespace. Costs nothing; closing one closes the driver of both."""
        return type(self)(self.driver, plugin=self.plugin, namespace=namespace)

    async def write(
        self,
        key: str,
        data: bytes | AsyncIterable[bytes] | os.PathLike[str],
        *,
        content_type: str = "",
        public: bool = False,
        if_etag: str | None = None,
    ) -> Blob:
        """Write bytes, a stream of them, or the file at a `Path`. `if_etag=""`: only if absent; else only if it is that one.

        `public` and `content_type` matter to those who serve blobs to browsers.
        """
        names.key(key)
        if not isinstance(data, bytes | bytearray | memoryview | os.PathLike | AsyncIterable):
            # text is none of them: it could mean itself, or the name of a file
            raise InvalidArgument(f"data is {type(data).__name__}, wanted bytes, an async iterable of them, or a Path")
        if len(content_type) > MAX_CONTENT_TYPE or not content_type.isprintable():
            raise InvalidArgument("the content type is too long, or not printable")
        if if_etag is not None:
            self._require("conditions", "write")
        work = self.driver.write(
            self.namespace, key, _chunks(data), content_type=content_type, public=public, if_etag=if_etag
        )
        return await self._call("write", work)

    async def read(self, key: str, *, start: int = 0, end: int | None = None) -> bytes:
        """Read a blob, or its bytes from `start` to before `end`, into memory."""
        async with self.stream(key, start=start, end=end) as chunks:
            return b"".join([chunk async for chunk in chunks])

    @asynccontextmanager
    async def stream(self, key: str, *, start: int = 0, end: int | None = None) -> AsyncIterator[AsyncIterator[bytes]]:
        """Read a blob in pieces of at most 1 MiB; a whole one is checked at its end, and then raises DataLoss."""
        async with self.opened(key, start=start, end=end) as (_, chunks):
            yield chunks

    @asynccontextmanager
    async def opened(
        self, key: str, *, start: int = 0, end: int | None = None
    ) -> AsyncIterator[tuple[Blob, AsyncIterator[bytes]]]:
        """Do as `stream`, and give what is known of the blob too."""
        names.key(key)
        if start < 0 or (end is not None and end < start):
            raise InvalidArgument(f"start is {start}, end is {end}: wanted 0 or more, and end not before start")
        body = self.driver.read(self.namespace, key, start=start, end=end)
        blob, chunks = await self._call("read", body.__aenter__())
        whole = start == 0 and (end is None or end >= blob.size)
        checked = self._iterate("read", _checked(blob, chunks) if whole else chunks)
        try:
            yield blob, checked
        finally:
            await checked.aclose()
            await self._call("read", body.__aexit__(None, None, None))

    async def stat(self, key: str) -> Blob:
        """Give what is known of a blob."""
        names.key(key)
        return await self._call("stat", self.driver.stat(self.namespace, key))

    async def url(self, key: str, *, expires: Duration = 3600.0) -> str:
        """Give an address from which whoever has it can read the blob until it expires, without an account.

        `expires` in seconds, a second to seven days. Unimplemented where the blobs are not served by something else.
        """
        names.key(key)
        lasts = seconds(expires, "expires")
        if not 1 <= lasts <= MAX_EXPIRES:
            raise InvalidArgument(f"expires is {lasts:g} seconds, wanted 1 to {MAX_EXPIRES}")
        # a driver that gives none says so itself: over the wire it is not known before it is asked
        return await self._call("url", self.driver.url(self.namespace, key, expires=lasts))

    async def delete(self, key: str) -> bool:
        """Delete a blob; False, and fine, when there was none."""
        names.key(key)
        return await self._call("delete", self.driver.delete(self.namespace, key))

    async def list(self, prefix: str = "") -> builtins.list[Blob]:
        """Give the blobs in order of their keys; a round trip per 500."""
        return [blob async for blob in self.scan(prefix)]

    async def scan(self, prefix: str = "", *, after: str | None = None) -> AsyncGenerator[Blob, None]:
        """Go through blobs by key, 500 at a time; `after` is a key, exclusive."""
        for given in filter(None, (prefix, after)):
            names.key(given)
        while True:
            page = await self._call("scan", self.driver.scan(self.namespace, prefix=prefix, after=after))
            for blob in page:
                yield blob
            if len(page) < limits.PAGE:
                return
            after = page[-1].key

    async def download(self, key: str, path: str | os.PathLike[str]) -> Blob:
        """Read a blob into a file, which is there whole or not at all."""
        try:
            path = Path(path)
            part = path.with_name(f"{path.name}.part")
        except (TypeError, ValueError) as err:
            raise InvalidArgument(f"path is {path!r:.200}, wanted a file's name as str or a Path") from err
        try:
            # opened here: what a thread opens for who is cancelled meanwhile is nobody's
            with part.open("wb") as file:
                async with self.opened(key) as (blob, chunks):
                    async for chunk in chunks:
                        await asyncio.to_thread(file.write, chunk)
            await asyncio.to_thread(part.replace, path)
        finally:
            part.unlink(missing_ok=True)
        return blob


async def _chunks(data: bytes | AsyncIterable[bytes] | os.PathLike[str]) -> AsyncGenerator[bytes, None]:
    """Give what is to be written in pieces of at most 1 MiB, none empty."""
    size = 0
    pieces = _pieces(data)
    try:
        async for piece in pieces:
            size += len(piece)
            if size > limits.BLOB:
                raise ResourceExhausted(f"a blob of more than {limits.BLOB} bytes")
            for at in range(0, len(piece), limits.MIB):
                yield bytes(piece[at : at + limits.MIB])
    finally:
        await finish(pieces)


async def _pieces(data: bytes | AsyncIterable[bytes] | os.PathLike[str]) -> AsyncGenerator[bytes, None]:
    if isinstance(data, bytes | bytearray | memoryview):
        yield bytes(data)
    elif isinstance(data, os.PathLike):
        try:
            file = await asyncio.to_thread(Path(data).open, "rb")
        except OSError as err:
            raise InvalidArgument(f"cannot read {data}: {err.strerror}") from err
        with file:
            while piece := await asyncio.to_thread(file.read, CHUNK):
                yield piece
    else:
        async for piece in data:
            yield piece


async def _checked(blob: Blob, chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    digest = hashlib.sha256()
    size = 0
    async for chunk in chunks:
        digest.update(chunk)
        size += len(chunk)
        yield chunk
    if size != blob.size or (blob.sha256 and digest.hexdigest() != blob.sha256):
        raise DataLoss(f"blob {blob.key!r} is not what was written")
