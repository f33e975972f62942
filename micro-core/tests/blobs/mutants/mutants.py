"""Blob stores that are each wrong in one way: the suite must tell every one of them. Run by test_suite_bites.py."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from unicodedata import normalize

import pytest
from msgspec.structs import replace

from micro import limits
from micro.blobs.driver import CHUNK, Blob, BlobsDriver, Body
from micro.blobs.memory import MemoryBlobs
from micro.errors import InvalidArgument, NotFound
from micro.testing.bites import suites
from micro.testing.blobs import BlobsSuite


class HalfIsSeen(MemoryBlobs, interface=1):
    """What has come of a blob is there before the rest has."""

    async def write(self, namespace: str, key: str, body: AsyncIterable[bytes], **options) -> Blob:
        async def seen() -> AsyncIterator[bytes]:
            data = b""
            async for chunk in body:
                data += chunk
                await super(HalfIsSeen, self).write(namespace, key, _whole(data))
                yield chunk

        found = self._blobs(namespace).get(key)
        if options.get("if_etag") is not None and options["if_etag"] != (found[0].etag if found else ""):
            return await super().write(namespace, key, body, **options)
        return await super().write(namespace, key, seen(), **{**options, "if_etag": None})


class OldIsGoneFirst(MemoryBlobs, interface=1):
    """What is replaced is deleted before what replaces it has come."""

    async def write(self, namespace: str, key: str, body: AsyncIterable[bytes], **options) -> Blob:
        if options.get("if_etag") is None:
            self._blobs(namespace).pop(key, None)
        return await super().write(namespace, key, body, **options)


class _Told(MemoryBlobs):
    """What is known of a blob is told wrongly from the start."""

    def told(self, blob: Blob) -> Blob:
        raise NotImplementedError

    async def write(self, namespace: str, key: str, body: AsyncIterable[bytes], **options) -> Blob:
        blob = await super().write(namespace, key, body, **options)
        _, data = self._kept[namespace][key]
        self._kept[namespace][key] = self.told(blob), data
        return self.told(blob)


class EtagIsConstant(_Told, interface=1):
    def told(self, blob: Blob) -> Blob:
        return replace(blob, etag="1")


class EtagIsTheSum(_Told, interface=1):
    """Equal bytes written again are the same blob."""

    def told(self, blob: Blob) -> Blob:
        return replace(blob, etag=blob.sha256)


class SumIsConstant(_Told, interface=1):
    def told(self, blob: Blob) -> Blob:
        return replace(blob, sha256="0" * 64)


class ContentTypeLost(_Told, interface=1):
    def told(self, blob: Blob) -> Blob:
        return replace(blob, content_type="")


class PublicLost(_Told, interface=1):
    def told(self, blob: Blob) -> Blob:
        return replace(blob, public=False)


class TimeLost(_Told, interface=1):
    def told(self, blob: Blob) -> Blob:
        return replace(blob, modified=datetime.fromtimestamp(0, UTC))


class FirstContentTypeStays(MemoryBlobs, interface=1):
    async def write(self, namespace: str, key: str, body: AsyncIterable[bytes], **options) -> Blob:
        found = self._blobs(namespace).get(key)
        if found:
            options["content_type"] = found[0].content_type
        return await super().write(namespace, key, body, **options)


class ListsKnowLess(MemoryBlobs, interface=1):
    async def scan(self, namespace: str, **options) -> list[Blob]:
        return [replace(blob, content_type="") for blob in await super().scan(namespace, **options)]


class ConditionAlwaysHolds(MemoryBlobs, interface=1):
    async def write(self, namespace: str, key: str, body: AsyncIterable[bytes], **options) -> Blob:
        return await super().write(namespace, key, body, **{**options, "if_etag": None})


class ConditionOnlyOfAbsence(MemoryBlobs, interface=1):
    async def write(self, namespace: str, key: str, body: AsyncIterable[bytes], **options) -> Blob:
        return await super().write(namespace, key, body, **{**options, "if_etag": options.get("if_etag") and None})


class AbsentHasAnyEtag(MemoryBlobs, interface=1):
    async def write(self, namespace: str, key: str, body: AsyncIterable[bytes], **options) -> Blob:
        if key not in self._blobs(namespace):
            options["if_etag"] = None
        return await super().write(namespace, key, body, **options)


class ConditionBeforeTheBody(MemoryBlobs, interface=1):
    """Looks before the bytes have come, so that several may create."""

    async def write(self, namespace: str, key: str, body: AsyncIterable[bytes], **options) -> Blob:
        found = self._blobs(namespace).get(key)
        if options.get("if_etag") == (found[0].etag if found else ""):
            await asyncio.sleep(0)
            options["if_etag"] = None
        return await super().write(namespace, key, body, **options)


class EndIsInclusive(MemoryBlobs, interface=1):
    def read(self, namespace: str, key: str, *, start: int = 0, end: int | None = None) -> Body:
        return super().read(namespace, key, start=start, end=None if end is None else end + 1)


class PartPastTheEndIsRefused(MemoryBlobs, interface=1):
    def read(self, namespace: str, key: str, *, start: int = 0, end: int | None = None) -> Body:
        if start and start >= len(self._found(namespace, key)[1]):
            raise InvalidArgument("range not satisfiable")
        return super().read(namespace, key, start=start, end=end)


class SizeOfThePart(MemoryBlobs, interface=1):
    """Tells the size of what is given rather than the blob's."""

    @asynccontextmanager
    async def read(
        self, namespace: str, key: str, *, start: int = 0, end: int | None = None
    ) -> AsyncIterator[tuple[Blob, AsyncIterator[bytes]]]:
        async with super().read(namespace, key, start=start, end=end) as (blob, chunks):
            yield replace(blob, size=len(range(blob.size)[start:end])), chunks


class WholeAtOnce(MemoryBlobs, interface=1):
    @asynccontextmanager
    async def read(
        self, namespace: str, key: str, *, start: int = 0, end: int | None = None
    ) -> AsyncIterator[tuple[Blob, AsyncIterator[bytes]]]:
        blob, data = self._found(namespace, key)
        yield blob, _whole(data[start:end])


class ReadersAreGivenWhatIsNew(MemoryBlobs, interface=1):
    """A reading goes on in what has replaced its blob."""

    @asynccontextmanager
    async def read(
        self, namespace: str, key: str, *, start: int = 0, end: int | None = None
    ) -> AsyncIterator[tuple[Blob, AsyncIterator[bytes]]]:
        blob, data = self._found(namespace, key)

        async def chunks() -> AsyncIterator[bytes]:
            for at in range(start, len(data) if end is None else min(end, len(data)), CHUNK):
                yield self._found(namespace, key)[1][start:end][at - start : at - start + CHUNK]

        yield blob, chunks()


class DeletingNothingRaises(MemoryBlobs, interface=1):
    async def delete(self, namespace: str, key: str) -> bool:
        if not await super().delete(namespace, key):
            raise NotFound("Blob not found")
        return True


class DeletingAlwaysDid(MemoryBlobs, interface=1):
    async def delete(self, namespace: str, key: str) -> bool:
        await super().delete(namespace, key)
        return True


class DeletedIsListed(MemoryBlobs, interface=1):
    async def delete(self, namespace: str, key: str) -> bool:
        found = self._blobs(namespace).get(key)
        if found:
            vars(self).setdefault("deleted", {})[namespace, key] = found[0]
        return await super().delete(namespace, key)

    async def scan(self, namespace: str, **options) -> list[Blob]:
        deleted = [blob for (where, _), blob in vars(self).get("deleted", {}).items() if where == namespace]
        return [*await super().scan(namespace, **options), *deleted]


class PrefixIsAPattern(MemoryBlobs, interface=1):
    async def scan(self, namespace: str, *, prefix: str = "", limit: int = limits.PAGE, **options) -> list[Blob]:
        found = await super().scan(namespace, **options)
        return [blob for blob in found if fnmatchcase(blob.key, f"{prefix}*")][:limit]


class PrefixIsAFolder(MemoryBlobs, interface=1):
    async def scan(self, namespace: str, *, prefix: str = "", limit: int = limits.PAGE, **options) -> list[Blob]:
        found = await super().scan(namespace, **options)
        folder = prefix.rstrip("/") + "/" if prefix else ""
        return [blob for blob in found if blob.key.startswith(folder)][:limit]


class AfterIsInclusive(MemoryBlobs, interface=1):
    async def scan(self, namespace: str, *, after: str | None = None, **options) -> list[Blob]:
        found = await super().scan(namespace, after=after, **options)
        at = self._blobs(namespace).get(after or "")
        return [at[0], *found] if at else found


class PagesEndEarly(MemoryBlobs, interface=1):
    async def scan(self, namespace: str, *, limit: int = limits.PAGE, **options) -> list[Blob]:
        return await super().scan(namespace, limit=min(limit, 10), **options)


class LimitIgnored(MemoryBlobs, interface=1):
    async def scan(self, namespace: str, *, limit: int = limits.PAGE, **options) -> list[Blob]:
        return await super().scan(namespace, limit=1_000_000, **options)


class OrderIsOfWriting(MemoryBlobs, interface=1):
    async def scan(self, namespace: str, **options) -> list[Blob]:
        return sorted(await super().scan(namespace, **options), key=lambda blob: int(blob.etag))


class KeysAreNormalised(MemoryBlobs, interface=1):
    async def write(self, namespace: str, key: str, body: AsyncIterable[bytes], **options) -> Blob:
        return await super().write(namespace, normalize("NFC", key), body, **options)

    def _found(self, namespace: str, key: str) -> tuple[Blob, bytes]:
        return super()._found(namespace, normalize("NFC", key))


class NamespacesAreCaseless(MemoryBlobs, interface=1):
    def _blobs(self, namespace: str) -> dict[str, tuple[Blob, bytes]]:
        return super()._blobs(namespace.lower())


class GoneWhenCancelled(MemoryBlobs, interface=1):
    """A write that is cancelled after it was made takes the blob away."""

    async def write(self, namespace: str, key: str, body: AsyncIterable[bytes], **options) -> Blob:
        blob = await super().write(namespace, key, body, **options)
        try:
            await asyncio.sleep(0.001)
        except asyncio.CancelledError:
            self._blobs(namespace).pop(key, None)
            raise
        return blob


class WritesShareABuffer(MemoryBlobs, interface=1):
    """What several write at once comes together."""

    _buffer = b""

    async def write(self, namespace: str, key: str, body: AsyncIterable[bytes], **options) -> Blob:
        async def gathered() -> AsyncIterator[bytes]:
            self._buffer = b""
            async for chunk in body:
                self._buffer += chunk
            yield self._buffer

        return await super().write(namespace, key, gathered(), **options)


class StaysOpen(MemoryBlobs, interface=1):
    async def close(self) -> None:
        pass


async def _whole(data: bytes) -> AsyncIterator[bytes]:
    yield data


class Mutant(BlobsSuite):
    made = MemoryBlobs

    @pytest.fixture
    async def driver(self) -> AsyncIterator[BlobsDriver]:
        async with self.made() as driver:
            yield driver


globals().update(suites(Mutant, MemoryBlobs))
