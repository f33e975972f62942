"""The handler `BlobStore`, served by the process of the store: a portable Blobs behind the wire."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator

from micro import limits
from micro.blobs.api import Blobs
from micro.blobs.driver import Blob
from micro.blobs.wire import info_out
from micro.context import current
from micro.errors import InvalidArgument, NotFound, Unimplemented
from micro.proto import store_pb2 as pb
from micro.rpc import access
from micro.rpc.endpoint import endpoint

PIECE = 64 * limits.KIB  # bytes of one message to the original's clients, which take any


class BlobHandler:
    """Files under keys. The admins of a namespace may use its blobs."""

    def __init__(self, blobs: Blobs | None) -> None:
        self._blobs = blobs  # None: the profile has none

    @endpoint(idempotent=True)
    async def read(self, request: pb.BlobReadRequest) -> AsyncIterator[pb.BlobReadResponse]:
        """Give a blob in pieces."""
        async with self._at(request.options.namespace, request.key, "Read").stream(request.key) as chunks:
            async for chunk in chunks:
                for at in range(0, len(chunk), PIECE):
                    yield pb.BlobReadResponse(blob=chunk[at : at + PIECE])

    async def write(self, requests: AsyncIterator[pb.BlobWriteRequest]) -> pb.BlobWriteResponse:
        """Write a blob; key and options are those of the first message."""
        first = await anext(requests, None)
        if first is None:
            raise InvalidArgument("No blob was sent", id="store.Blob.Write")
        options = first.options
        blobs = self._at(options.namespace, first.key, "Write")

        async def body() -> AsyncIterator[bytes]:
            yield first.blob
            async for request in requests:
                yield request.blob

        await blobs.write(first.key, body(), content_type=options.contentType, public=options.public)
        return pb.BlobWriteResponse()

    async def delete(self, request: pb.BlobDeleteRequest) -> pb.BlobDeleteResponse:
        """Delete a blob."""
        if not await self._at(request.options.namespace, request.key, "Delete").delete(request.key):
            raise NotFound("Blob not found", id="store.Blob.Delete")
        return pb.BlobDeleteResponse()

    @endpoint(idempotent=True)
    async def list(self, request: pb.BlobListRequest) -> pb.BlobListResponse:
        """Give all keys with a prefix."""
        blobs = await self._namespace(request.options.namespace).list(request.options.prefix)
        return pb.BlobListResponse(keys=[blob.key for blob in blobs])

    @endpoint(idempotent=True)
    async def stat(self, request: pb.BlobStatRequest) -> pb.BlobInfo:
        """Give what is known of a blob."""
        return info_out(await self._at(request.options.namespace, request.key, "Stat").stat(request.key))

    @endpoint(idempotent=True)
    async def url(self, request: pb.BlobUrlRequest) -> pb.BlobUrlResponse:
        """Give an address from which whoever has it can read a blob for a while."""
        blobs = self._at(request.options.namespace, request.key, "Url")
        return pb.BlobUrlResponse(url=await blobs.url(request.key, expires=request.expires or 3600))

    @endpoint(idempotent=True)
    async def scan(self, request: pb.BlobScanRequest) -> pb.BlobScanResponse:
        """Give a page of what is known of blobs, by key."""
        blobs = self._namespace(request.options.namespace)
        limit = min(request.limit or limits.PAGE, limits.PAGE)
        page: list[Blob] = []
        async for blob in blobs.scan(request.options.prefix, after=request.after or None):
            if len(page) == limit:
                return pb.BlobScanResponse(blobs=map(info_out, page), more=True)
            page.append(blob)
        return pb.BlobScanResponse(blobs=map(info_out, page))

    @endpoint(idempotent=True)
    async def get(self, request: pb.BlobGetRequest) -> AsyncIterator[pb.BlobGetResponse]:
        """Give what is known of a blob, then its bytes, or some of them."""
        blobs = self._at(request.options.namespace, request.key, "Get")
        end = request.end if request.HasField("end") else None
        async with blobs.opened(request.key, start=request.start, end=end) as (blob, chunks):
            yield pb.BlobGetResponse(info=info_out(blob))
            async for chunk in chunks:
                yield pb.BlobGetResponse(chunk=chunk)

    async def put(self, requests: AsyncIterator[pb.BlobPutRequest]) -> pb.BlobInfo:
        """Write a blob: first what it is, then its bytes, then their sum."""
        first = await anext(requests, None)
        if first is None:
            raise InvalidArgument("No blob was sent", id="store.Blob.Put")
        options = first.options
        if_etag = first.if_etag if first.HasField("if_etag") else None
        body = _body(first, requests)
        blobs = self._at(options.namespace, first.key, "Put")
        blob = await blobs.write(
            first.key, body, content_type=options.contentType, public=options.public, if_etag=if_etag
        )
        return info_out(blob)

    def _at(self, namespace: str, key: str, method: str) -> Blobs:
        blobs = self._namespace(namespace)
        if not key:
            raise InvalidArgument("Missing key", id=f"store.Blob.{method}")
        return blobs

    def _namespace(self, namespace: str) -> Blobs:
        named = namespace or current().namespace
        access.admin(named)
        if self._blobs is None:
            raise Unimplemented("this platform's profile names no plugin for blobs")
        return self._blobs.at(named)


async def _body(first: pb.BlobPutRequest, requests: AsyncIterator[pb.BlobPutRequest]) -> AsyncIterator[bytes]:
    """Give the bytes; refuse what was cut off or changed on its way, before it is named."""
    digest = hashlib.sha256(first.chunk)
    size = len(first.chunk)
    sent = first.sha256
    yield first.chunk
    async for request in requests:
        digest.update(request.chunk)
        size += len(request.chunk)
        sent = request.sha256 or sent
        yield request.chunk
    if sent != digest.hexdigest():
        raise InvalidArgument(
            "the sum sent is not that of the bytes sent" if sent else "the sum of the bytes is missing"
        )
    if first.HasField("size") and first.size != size:
        raise InvalidArgument(f"{size} bytes were sent, {first.size} were announced")
