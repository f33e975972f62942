"""Calls out through a grpc.aio channel."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import grpc.aio

from micro.errors import Code
from micro.rpc.driver import PROTO, Channel, ClientCall, Headers, Limits, Reply, Status
from micro.rpc.grpcio import convert
from micro.rpc.grpcio.options import channel_options


class GrpcioChannel(Channel):
    """A grpc.aio channel of its own connection, dialled on first use."""

    def __init__(self, address: str, limits: Limits, tls: ssl.SSLContext | None = None) -> None:
        self.address = address
        self.outstanding = 0
        self._limits = limits
        self._tls = tls
        self._channel: Any = None
        self._closed = False

    def _dialled(self) -> Any:
        if self._channel is None:
            if self._closed:
                raise Status(Code.UNAVAILABLE, "the channel is closed", processed=False, reached=False)
            options = channel_options(self._limits)
            if self._tls is None:
                self._channel = grpc.aio.insecure_channel(self.address, options)
            else:
                from micro.rpc.grpcio.tls import channel_credentials

                self._channel = grpc.aio.secure_channel(self.address, channel_credentials(self._tls), options)
        return self._channel

    async def unary(
        self, path: bytes, message: bytes, headers: Headers = (), *, content_type: bytes = PROTO, timeout: float | None
    ) -> Reply:
        metadata = convert.to_grpc(convert.with_content_type(headers, content_type))
        call = self._dialled().unary_unary(path)(message, metadata=metadata, timeout=timeout)
        self.outstanding += 1
        try:
            answer = await call
            first, last = await call.initial_metadata(), await call.trailing_metadata()
            return Reply(answer, convert.from_grpc(first), convert.from_grpc(last))
        except grpc.aio.AioRpcError as error:
            raise convert.status_of(error, self.address) from error
        except asyncio.CancelledError:
            if _asked():
                raise
            raise Status(Code.CANCELLED, "the channel was closed") from None
        finally:
            self.outstanding -= 1

    async def open(
        self, path: bytes, headers: Headers = (), *, content_type: bytes = PROTO, timeout: float | None = None
    ) -> GrpcioClientCall:
        metadata = convert.to_grpc(convert.with_content_type(headers, content_type))
        call = self._dialled().stream_stream(path)(metadata=metadata, timeout=timeout)
        self.outstanding += 1
        call.add_done_callback(self._ended)
        return GrpcioClientCall(call, self.address)

    def _ended(self, _call: object) -> None:
        self.outstanding -= 1

    async def close(self) -> None:
        self._closed = True
        if self._channel is not None:
            channel, self._channel = self._channel, None
            await channel.close()


class GrpcioClientCall(ClientCall):
    """A stream-stream call, which on the wire is a call of any kind."""

    def __init__(self, call: Any, address: str) -> None:
        self._call = call
        self._address = address
        self._trailers: Headers = ()
        self._closing: asyncio.Task[None] | None = None
        self._begun = False
        self._over = asyncio.get_running_loop().create_future()
        call.add_done_callback(self._done)

    def _done(self, _call: object) -> None:
        if not self._over.done():
            self._over.set_result(None)

    async def _begin(self) -> None:
        """Wait until the headers are out, or the call is over: grpc's own `write` waits for the first alone, for ever."""
        begun = asyncio.ensure_future(self._call.wait_for_connection())
        try:
            await asyncio.wait({begun, self._over}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            begun.cancel()
            await asyncio.gather(begun, return_exceptions=True)
        self._begun = True

    async def write(self, message: bytes) -> None:
        try:
            if not self._begun:
                await self._begin()
            if not self._call.done():
                await self._call.write(message)
                return
        except asyncio.InvalidStateError:
            if not self._call.done():
                raise
        except grpc.aio.AioRpcError as error:
            raise convert.status_of(error, self._address) from error
        except asyncio.CancelledError:
            raise self._cancelled() from None
        raise await self._status()

    def half_close(self) -> None:
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._half_close())

    async def _half_close(self) -> None:
        try:
            await self._call.done_writing()
        except (asyncio.CancelledError, grpc.aio.BaseError):
            return  # the call has ended; `read` says how

    async def read(self) -> bytes | None:
        try:
            message = await self._call.read()
        except grpc.aio.AioRpcError as error:
            status = convert.status_of(error, self._address)
            self._trailers = status.trailers
            raise status from error
        except asyncio.CancelledError:
            raise self._cancelled() from None
        if message is not convert.EOF:
            return bytes(message)
        self._trailers = convert.from_grpc(await self._call.trailing_metadata())
        return None

    def _cancelled(self) -> BaseException:
        """Tell a cancelled call from a cancelled caller: grpc raises the same for both."""
        return asyncio.CancelledError() if _asked() else Status(Code.CANCELLED, "the call was cancelled")

    async def _status(self) -> Status:
        code = int((await self._call.code()).value[0])
        last = list(await self._call.trailing_metadata())
        text = await self._call.details() or "the call has ended"
        return Status(code, text, details=convert.details_of(last), trailers=convert.from_grpc(last))

    async def headers(self) -> Headers:
        try:
            return convert.from_grpc(await self._call.initial_metadata())
        except asyncio.CancelledError:
            raise self._cancelled() from None

    @property
    def over(self) -> bool:
        """Whether the call has ended; `read` says how."""
        return bool(self._call.done())

    @property
    def trailers(self) -> Headers:
        return self._trailers

    def cancel(self) -> None:
        self._call.cancel()


def _asked() -> bool:
    """Whether this very task was asked to stop."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
