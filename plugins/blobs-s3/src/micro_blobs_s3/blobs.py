"""The driver: contents as objects of one bucket, what is known of them as records of the store."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import AsyncIterable, AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from micro import limits
from micro.blobs.driver import Blob
from micro.blobs.indexed import TABLE, Gone, IndexedBlobs
from micro.errors import DataLoss, FailedPrecondition, ServiceError
from micro.plugin.driver import Driver
from micro_blobs_s3.bucket import Bucket
from micro_blobs_s3.settings import S3Settings

if TYPE_CHECKING:
    from micro.store.api import Store

PENDING = "blobs.pending"  # table of the contents that may have no name
UNFINISHED = 86_400.0  # seconds that a write may take until what it left is swept
MOST = 10_000  # parts of one object; S3's own limit
_log = logging.getLogger(__name__)


class S3Blobs(IndexedBlobs, interface=1):
    """Contents as objects named `<prefix>/<namespace>/<etag>`; a large one goes in parts.

    Contents that are not named yet, or no more, are noted in the store until they are: what a crash leaves is removed
    by whichever server opens the bucket a day later.
    """

    settings_type = S3Settings
    imports = ("boto3", "botocore.client")
    capabilities = frozenset({"conditions", "durable", "urls"})

    def __init__(self, settings: S3Settings | None = None, *, store: Store) -> None:
        super().__init__(store)
        self._settings = settings or S3Settings()
        self._bucket = Bucket(self._settings)
        self._pending = store.table(PENDING)
        self._behind: set[asyncio.Task[None]] = set()  # removals that nobody waits for
        self._sweeper: asyncio.Task[None] | None = None

    @classmethod
    def probe(cls, settings: S3Settings) -> Driver:
        return Bucket(settings)  # it is the bucket that may be away

    async def open(self) -> None:
        await self._bucket.open()
        self._sweeper = asyncio.create_task(self._sweep())

    async def close(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
        await super().close()
        await asyncio.gather(*self._behind, return_exceptions=True)
        await self._bucket.close()

    def error_code(self, exc: Exception) -> int:
        return self._bucket.error_code(exc)

    async def url(self, namespace: str, key: str, *, expires: float) -> str:
        blob = await self.stat(namespace, key)
        return await self._bucket.url(self._bucket.name(namespace, blob.etag), blob.content_type, expires)

    async def _fill(self, namespace: str, blob: Blob, body: AsyncIterable[bytes]) -> tuple[int, str]:
        await self._note(namespace, blob)
        sending = _Sending(self._bucket, self._bucket.name(namespace, blob.etag), blob.content_type, self._settings)
        try:
            return await sending.all(body)
        except BaseException:
            self._later(self._taken_back(sending, blob))
            raise

    @asynccontextmanager
    async def _contents(self, namespace: str, blob: Blob, start: int, end: int) -> AsyncIterator[AsyncIterator[bytes]]:
        if self._closed:
            raise FailedPrecondition("the blob store is closed")
        if start >= end:
            yield _nothing()
            return
        from botocore.exceptions import ClientError

        try:
            reading = self._bucket.reading(self._bucket.name(namespace, blob.etag), start, end)
            chunks = await reading.__aenter__()
        except ClientError as exc:
            if exc.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                raise Gone from exc
            raise
        try:
            yield _whole(chunks, end - start)
        finally:
            await reading.__aexit__(None, None, None)

    async def _unnaming(self, namespace: str, blob: Blob) -> None:
        await self._note(namespace, blob)

    async def _named(self, namespace: str, table: Store, blob: Blob, if_etag: str | None) -> None:
        await super()._named(namespace, table, blob, if_etag)
        await self._pending.delete(blob.etag)

    async def _remove(self, namespace: str, blob: Blob) -> None:
        """Remove contents behind the caller's back: that it takes its time, or fails, is not the caller's."""
        self._later(self._removed(namespace, blob.etag))

    async def _removed(self, namespace: str, etag: str) -> None:
        await self._bucket.call("delete_object", Key=self._bucket.name(namespace, etag))
        await self._pending.delete(etag)

    async def _taken_back(self, sending: _Sending, blob: Blob) -> None:
        await sending.take_back()
        await self._pending.delete(blob.etag)

    async def _note(self, namespace: str, blob: Blob) -> None:
        await self._pending.write(blob.etag, {"namespace": namespace, "key": blob.key, "at": time.time()})

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._behind.add(task)
        task.add_done_callback(self._came)

    def _came(self, task: asyncio.Task[None]) -> None:
        self._behind.discard(task)
        if not task.cancelled() and (exc := task.exception()) is not None:
            _log.info("contents of a blob could not be removed now, and will be swept: %s", exc)

    async def _sweep(self) -> None:
        """Remove what crashes left: contents noted long ago that no record names."""
        try:
            async for record in self._pending.scan():
                noted = record.json()
                if time.time() - noted["at"] < UNFINISHED:
                    continue
                table = self._store.table(f"{TABLE}{noted['namespace']}")
                named = await table.get(noted["key"], dict, None)
                if named is None or named["etag"] != record.key:
                    await self._removed(noted["namespace"], record.key)
                else:
                    await self._pending.delete(record.key)
        except ServiceError as err:
            _log.warning("what crashes left in the bucket was not swept: %s", err)
        except Exception as exc:  # whatever boto3 raises: it is tried again at the next start
            _log.warning("what crashes left in the bucket was not swept: %s", exc)


class _Sending:
    """One object on its way: small ones in one call, larger ones in parts, a few at once."""

    def __init__(self, bucket: Bucket, key: str, content_type: str, settings: S3Settings) -> None:
        self._bucket = bucket
        self._key = key
        self._given = {"ContentType": content_type} if content_type else {}
        self._size: int = settings.part_size
        self._at_once = settings.parts
        self._upload = ""
        self._tasks: list[asyncio.Future[Any]] = []
        self._digest = hashlib.sha256()
        self._sent = 0

    async def all(self, body: AsyncIterable[bytes]) -> tuple[int, str]:
        """Send all of a body; gives size and SHA-256."""
        part = bytearray()
        async for chunk in body:
            part += chunk
            while len(part) > self._size:  # not at once: what fits one part exactly goes in one call
                await self._part(bytes(part[: self._size]))
                del part[: self._size]
        if self._upload:
            await self._part(bytes(part))
            await self._complete()
        else:
            self._count(part)
            await self._call("put_object", Body=bytes(part), **self._given)
        return self._sent, self._digest.hexdigest()

    async def take_back(self) -> None:
        """Leave nothing: wait for what is under way in threads, then remove it."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._upload:
            await self._bucket.call("abort_multipart_upload", Key=self._key, UploadId=self._upload)
        await self._bucket.call("delete_object", Key=self._key)

    async def _part(self, data: bytes) -> None:
        if not self._upload:
            begun = await self._call("create_multipart_upload", **self._given)
            self._upload = begun["UploadId"]
            self._tasks.clear()
        number = len(self._tasks) + 1
        if number % 1000 == 0:  # ten thousand parts must do, whatever the size
            self._size = min(self._size * 2, 5 * limits.MIB * 1024)
        self._count(data)
        waiting = [task for task in self._tasks if not task.done()]
        if len(waiting) >= self._at_once:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in self._tasks:
            if task.done():
                task.result()
        call = self._bucket.call("upload_part", Key=self._key, UploadId=self._upload, PartNumber=number, Body=data)
        self._tasks.append(asyncio.ensure_future(call))

    async def _complete(self) -> None:
        done = await asyncio.gather(*map(asyncio.shield, self._tasks))
        parts = [{"PartNumber": number, "ETag": each["ETag"]} for number, each in enumerate(done, 1)]
        await self._call("complete_multipart_upload", UploadId=self._upload, MultipartUpload={"Parts": parts})
        self._upload = ""

    async def _call(self, method: str, **named: Any) -> Any:
        """Make a call that goes on when its caller is cancelled, and is waited for when all is taken back."""
        call = asyncio.ensure_future(self._bucket.call(method, Key=self._key, **named))
        self._tasks.append(call)
        return await asyncio.shield(call)

    def _count(self, data: bytes | bytearray) -> None:
        self._digest.update(data)
        self._sent += len(data)


async def _whole(chunks: AsyncIterator[bytes], wanted: int) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        wanted -= len(chunk)
        yield chunk
    if wanted:
        raise DataLoss("a blob's object is shorter than it was")


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""
