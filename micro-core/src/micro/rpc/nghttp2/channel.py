"""Calls out."""

from __future__ import annotations

import asyncio
import ssl

from micro.errors import Code
from micro.rpc.driver import PROTO, Channel, ClientCall, Headers, Limits, Reply
from micro.rpc.nghttp2 import message as wire
from micro.rpc.nghttp2.client_call import Nghttp2ClientCall
from micro.rpc.nghttp2.client_link import ClientLink
from micro.rpc.nghttp2.http2 import Http2Error
from micro.rpc.nghttp2.ledger import Ledgers
from micro.rpc.nghttp2.pool import Pool
from micro.rpc.status import Status

_MAX_HEADS = 512  # paths whose first headers are kept
_HEAD = 1024  # bytes of a request's headers besides the caller's, and more


class Nghttp2Channel(Channel):
    """Calls to one address."""

    def __init__(self, address: str, limits: Limits, ledgers: Ledgers, tls: ssl.SSLContext | None = None) -> None:
        self.address = address
        self._limits = limits
        self._pool = Pool(address, limits, ledgers, tls)
        self._scheme = b"http" if tls is None else b"https"
        self._heads: dict[tuple[bytes, bytes], tuple[tuple[bytes, bytes], ...]] = {}

    @property
    def outstanding(self) -> int:  # type: ignore[override]
        return self._pool.outstanding

    def _head(self, path: bytes, content_type: bytes) -> tuple[tuple[bytes, bytes], ...]:
        head = self._heads.get((path, content_type))
        if head is None:
            if len(self._heads) >= _MAX_HEADS:
                self._heads.clear()
            head = self._heads[path, content_type] = wire.request_head(self.address, self._scheme, path, content_type)
        return head

    def _begin(
        self,
        link: ClientLink,
        head: Headers,
        headers: Headers,
        timeout: float | None,
        whole: asyncio.Future[Reply] | None,
    ) -> Nghttp2ClientCall:
        request = list(head)
        if timeout is not None:
            request.append((b"grpc-timeout", wire.timeout_header(timeout)))
        if headers:
            request += wire.checked(headers)
            if wire.weight(headers) + _HEAD > link.header_bytes:
                raise Status(Code.RESOURCE_EXHAUSTED, "the headers are larger than the peer takes", processed=False)
        try:
            stream_id = link.begin(request)
        except Http2Error as error:
            self._pool.retire(link)
            raise Status(Code.UNAVAILABLE, f"no stream could be opened: {error}", processed=False) from error
        call = link.streams[stream_id] = Nghttp2ClientCall(link, self._pool, stream_id, timeout, whole)
        self._pool.outstanding += 1
        return call

    async def unary(
        self, path: bytes, message: bytes, headers: Headers = (), *, content_type: bytes = PROTO, timeout: float | None
    ) -> Reply:
        head = self._head(path, content_type)
        if len(message) > self._limits.message:
            raise _unsent(wire.too_large(len(message), self._limits.message))
        link, timeout = await self._link(timeout)
        whole: asyncio.Future[Reply] = link.loop.create_future()
        call = self._begin(link, head, headers, timeout, whole)
        call.send_whole(message)
        if self._pool.outstanding == 1:
            link.flush()  # nobody else is there to share the write
        try:
            return await whole
        except asyncio.CancelledError:
            call.cancel()
            raise

    async def open(
        self, path: bytes, headers: Headers = (), *, content_type: bytes = PROTO, timeout: float | None = None
    ) -> ClientCall:
        link, timeout = await self._link(timeout)
        return self._begin(link, self._head(path, content_type), headers, timeout, None)

    async def _link(self, timeout: float | None) -> tuple[ClientLink, float | None]:
        """Give a link, and what is left of the time."""
        if timeout is not None and timeout <= 0:
            raise Status(Code.DEADLINE_EXCEEDED, "deadline exceeded", processed=False)
        link = self._pool.free()
        if link is not None:
            return link, timeout
        if timeout is None:
            return await self._pool.get(None), None
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        link = await self._pool.get(timeout)
        return link, max(0.001, end - loop.time())

    async def close(self) -> None:
        await self._pool.close()


def _unsent(status: Status) -> Status:
    status.processed = False
    return status
