"""The driver over gRPC: the blobs of the platform around this process, served by its store."""

from __future__ import annotations

import hashlib
import math
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager

from micro import limits
from micro.blobs.driver import Blob, BlobsDriver
from micro.blobs.wire import info_in
from micro.errors import FailedPrecondition, Internal, NotFound, ServiceError
from micro.plugin.settings import Settings
from micro.proto import debug_pb2
from micro.proto import store_pb2 as pb
from micro.rpc.caller import Caller, Stream

SERVICE = "store"


class RemoteBlobs(BlobsDriver, interface=1):
    """Calls the service `store` as the caller's account.

    Works without `open`, which only asks the service whether it is there and what its driver of blobs can.
    """

    settings_type = Settings
    needs = frozenset({"caller"})
    capabilities = frozenset({"conditions", "durable"})

    def __init__(self, settings: Settings | None = None, *, caller: Caller) -> None:
        self._caller = caller
        self._closed = False

    async def open(self) -> None:
        info = await self._caller.call(
            SERVICE, "Debug.Info", debug_pb2.InfoRequest(handler="BlobStore"), debug_pb2.InfoResponse, idempotent=True
        )
        self.capabilities = frozenset(info.capabilities)

    async def close(self) -> None:
        self._closed = True  # the caller is whose it was

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
        self._check()
        options = pb.BlobOptions(namespace=namespace, public=public, contentType=content_type)
        digest = hashlib.sha256()
        call = await self._caller.stream(SERVICE, "BlobStore.Put", pb.BlobPutRequest, pb.BlobInfo)
        async with call:
            going = await _sent(call, pb.BlobPutRequest(key=key, options=options, if_etag=if_etag))
            async for chunk in body:
                digest.update(chunk)
                going = going and await _sent(call, pb.BlobPutRequest(chunk=chunk))
                if not going:
                    break
            if going and await _sent(call, pb.BlobPutRequest(sha256=digest.hexdigest())):
                call.end()
            info = await call.receive()
        if info is None:
            raise Internal("the store ended the call without an answer")
        return info_in(info)

    @asynccontextmanager
    async def read(
        self, namespace: str, key: str, *, start: int = 0, end: int | None = None
    ) -> AsyncIterator[tuple[Blob, AsyncIterator[bytes]]]:
        self._check()
        call = await self._caller.stream(SERVICE, "BlobStore.Get", pb.BlobGetRequest, pb.BlobGetResponse)
        async with call:
            await call.send(pb.BlobGetRequest(key=key, options=_options(namespace), start=start, end=end))
            call.end()
            first = await call.receive()
            if first is None:
                raise Internal("the store ended the call without an answer")

            async def chunks() -> AsyncIterator[bytes]:
                async for answer in call:
                    yield answer.chunk

            yield info_in(first.info), chunks()

    async def stat(self, namespace: str, key: str) -> Blob:
        self._check()
        request = pb.BlobStatRequest(key=key, options=_options(namespace))
        return info_in(await self._caller.call(SERVICE, "BlobStore.Stat", request, pb.BlobInfo, idempotent=True))

    async def url(self, namespace: str, key: str, *, expires: float) -> str:
        self._check()
        request = pb.BlobUrlRequest(key=key, options=_options(namespace), expires=math.ceil(expires))
        answer = await self._caller.call(SERVICE, "BlobStore.Url", request, pb.BlobUrlResponse, idempotent=True)
        return answer.url

    async def delete(self, namespace: str, key: str) -> bool:
        self._check()
        request = pb.BlobDeleteRequest(key=key, options=_options(namespace))
        try:
            await self._caller.call(SERVICE, "BlobStore.Delete", request, pb.BlobDeleteResponse)
        except NotFound as err:
            if err.detail != "Blob not found":  # the service itself may be what was not found
                raise
            return False
        return True

    async def scan(
        self, namespace: str, *, prefix: str = "", after: str | None = None, limit: int = limits.PAGE
    ) -> list[Blob]:
        self._check()
        options = pb.BlobListOptions(namespace=namespace, prefix=prefix)
        request = pb.BlobScanRequest(options=options, after=after or "", limit=limit)
        answer = await self._caller.call(SERVICE, "BlobStore.Scan", request, pb.BlobScanResponse, idempotent=True)
        return [info_in(info) for info in answer.blobs]

    def _check(self) -> None:
        if self._closed:
            raise FailedPrecondition("the blob store is closed")


async def _sent(call: Stream[pb.BlobPutRequest, pb.BlobInfo], message: pb.BlobPutRequest) -> bool:
    """Send a message; False when the call has ended early, and `receive` says why."""
    try:
        await call.send(message)
    except ServiceError:
        return False
    return True


def _options(namespace: str) -> pb.BlobOptions:
    return pb.BlobOptions(namespace=namespace)
