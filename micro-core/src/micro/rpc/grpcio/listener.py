"""A door of grpc.aio: one generic handler that shows every call as raw bytes."""

from __future__ import annotations

import asyncio
import errno
import ssl
import time
from typing import Any

import grpc
import grpc.aio

from micro.errors import Code
from micro.rpc.driver import START, TAKEN, WAIT, Dispatcher, Headers, Limits, Listener, ServerCall, Status
from micro.rpc.grpcio import convert
from micro.rpc.grpcio.options import server_options

_CODES = {code.value[0]: code for code in grpc.StatusCode}
_UNASKED = object()
_LOOK = 0.5  # seconds between looks at whether the server still stands
_RESET_LAG = 0.02  # seconds; measured: 0.1 ms, on busy cores over 2 ms


class GrpcioServerCall(ServerCall):
    """A call of grpc.aio.

    What the interface lets a handler say without waiting (headers, reply, finish) is noted here and sent by
    `serve`, the coroutine that grpc runs and cancels.
    """

    content_type = b"application/grpc"  # all that grpc lets through

    def __init__(self, dispatcher: Dispatcher, limits: Limits, path: str, metadata: Any) -> None:
        self.path = path.encode()
        self.headers = convert.from_grpc(metadata)
        self.peer = ""
        self.deadline: float | None = None
        self.cancelled = False
        self.slot: Any = None
        self._dispatcher = dispatcher
        self._limits = limits
        self._context: Any = None
        self._ahead: Any = _UNASKED
        self._opening: asyncio.Task[None] | None = None
        self._reply: tuple[bytes, Headers] | None = None
        self._end: tuple[int, str, bytes, Headers] = (0, "", b"", ())
        self._ended: asyncio.Future[None]
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def serve(self, _requests: object, context: Any) -> None:
        """Answer the call; grpc cancels this when the peer is gone."""
        self._context = context
        self._ended = asyncio.get_running_loop().create_future()
        self.peer = convert.peer_of(context.peer())
        remaining = context.time_remaining()
        if remaining is not None:
            self.shorten(time.monotonic() + remaining)
        try:
            await self._begin()
            await self._ended
        except asyncio.CancelledError:
            self._lost()
            raise
        except grpc.aio.BaseError:
            self._lost()
            return
        finally:
            if self._timer is not None:
                self._timer.cancel()
        await self._send_end()

    async def _begin(self) -> None:
        if convert.size(self.headers) > self._limits.header_bytes:
            # grpc's own limit binds only peers that have acknowledged our settings
            self.finish(Code.RESOURCE_EXHAUSTED, f"headers are over {self._limits.header_bytes} bytes")
            return
        verdict = self._dispatcher.open(self)
        if verdict == TAKEN or self._ended.done():
            return
        if verdict == WAIT:
            self._ahead = await self._context.read()
        assert verdict in {START, WAIT}
        self.attach(asyncio.get_running_loop().create_task(self._dispatcher.run(self)))

    def attach(self, task: asyncio.Task[None]) -> None:
        """Name the task that answers: it is cancelled when the peer goes away or the deadline passes."""
        self._task = task
        task.add_done_callback(self._answered)
        if self._ended.done() and self.cancelled:
            task.cancel()

    def _answered(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            self.finish(Code.CANCELLED, "the call was cancelled by its server")
        elif (error := task.exception()) is not None:
            asyncio.get_running_loop().call_exception_handler(
                {"message": "a dispatcher raised", "exception": error, "task": task}
            )
            self.finish(Code.INTERNAL, "the call failed")
        else:
            self.finish(Code.INTERNAL, "the call was left without an answer")

    def _lost(self) -> None:
        self.cancelled = True
        if not self._ended.done():
            self._ended.cancel()
        if self._task is not None:
            self._task.cancel()

    def expire(self) -> None:
        """Answer that the deadline has passed, in the dispatcher's words, and end the task that answers."""
        if not self._ended.done():
            self.finish(*self._dispatcher.words(self, Code.DEADLINE_EXCEEDED, "deadline exceeded"))
            self.cancelled = True
            if self._task is not None:
                self._task.cancel()

    async def _send_end(self) -> None:
        context = self._context
        try:
            if self._opening is not None:
                await self._opening
            if self._reply is not None:
                message, headers = self._reply
                if headers and self._opening is None:
                    await context.send_initial_metadata(convert.to_grpc(headers))
                await context.write(message)
        except Status as status:  # headers that cannot be sent
            self._end = (status.code, status.message, b"", ())
        except grpc.aio.BaseError:
            return
        code, text, details, trailers = self._end
        try:
            sent = convert.to_grpc(trailers)
        except Status as status:
            code, text, details, sent = status.code, status.message, b"", ()
        if details:
            sent = (*sent, (convert.DETAILS, details))
        context.set_trailing_metadata(sent)
        if code:
            context.set_code(_CODES.get(code, grpc.StatusCode.UNKNOWN))  # a plain 16 would become UNKNOWN
            context.set_details(text)

    @property
    def code(self) -> int:
        """How the call ended."""
        return self._end[0] if self._ended.done() and not self._ended.cancelled() else Code.CANCELLED

    def header(self, name: bytes) -> bytes | None:
        for key, value in self.headers:
            if key == name:
                return value
        return None

    def shorten(self, deadline: float) -> None:
        if self.deadline is not None and deadline >= self.deadline:
            return
        self.deadline = deadline
        if self._timer is not None:
            self._timer.cancel()
        delay = max(0.0, deadline - time.monotonic())
        self._timer = asyncio.get_running_loop().call_later(delay, self.expire)

    async def read(self) -> bytes | None:
        if self._ahead is not _UNASKED:
            message, self._ahead = self._ahead, _UNASKED
        else:
            try:
                message = await self._context.read()
            except grpc.aio.BaseError as error:
                raise Status(Code.CANCELLED, "the call has ended") from error
        if message is convert.EOF:
            # grpc shows a reset as the same end, and its cancellation an event or two later
            await asyncio.sleep(_RESET_LAG)
            self._ahead = message
            return None
        return bytes(message)

    def send_headers(self, headers: Headers = ()) -> None:
        if self._opening is None and not self._ended.done():
            sent = convert.to_grpc(headers)
            self._opening = asyncio.get_running_loop().create_task(self._open(sent))

    async def _open(self, metadata: Any) -> None:
        try:
            await self._context.send_initial_metadata(metadata)
        except grpc.aio.BaseError:
            self.cancelled = True  # the peer is gone; grpc cancels `serve` as well

    async def write(self, message: bytes) -> None:
        if self._ended.done():
            raise asyncio.CancelledError
        if self._opening is None:
            self.send_headers()
        assert self._opening is not None
        try:
            await asyncio.shield(self._opening)
            await self._context.write(message)
        except grpc.aio.BaseError as error:
            raise asyncio.CancelledError from error

    def reply(self, message: bytes, headers: Headers = ()) -> None:
        if not self._ended.done():
            self._reply = (message, headers)
            self._ended.set_result(None)

    def finish(self, code: int = 0, message: str = "", details: bytes = b"", trailers: Headers = ()) -> None:
        if not self._ended.done():
            self._end = (code, message, details, trailers)
            self._ended.set_result(None)


class _Everything(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic in the stubs alone
    """Takes whatever path comes; which there are is the dispatcher's business."""

    def __init__(self, dispatcher: Dispatcher, limits: Limits) -> None:
        self._dispatcher = dispatcher
        self._limits = limits

    def service(self, handler_call_details: Any) -> Any:
        details = handler_call_details
        call = GrpcioServerCall(self._dispatcher, self._limits, details.method, details.invocation_metadata)
        return grpc.stream_stream_rpc_method_handler(call.serve)


class GrpcioListener(Listener):
    """A grpc.aio server, and another one when it falls.

    A request whose path is not UTF-8 stops a server of grpc.aio for everybody (1.85 decodes it outside of any call);
    the listener then serves anew on the same port, and what the old server had begun may finish.
    """

    def __init__(self, dispatcher: Dispatcher, limits: Limits) -> None:
        self._dispatcher = dispatcher
        self._limits = limits
        self._server: Any = None
        self._guard: asyncio.Task[None] | None = None
        self._fallen: set[asyncio.Task[None]] = set()

    async def start(self, address: str, *, tls: ssl.SSLContext | None = None) -> str:
        bound = await self._serve(address, tls)
        self._guard = asyncio.get_running_loop().create_task(self._stand(bound, tls))
        return bound

    async def _serve(self, address: str, tls: ssl.SSLContext | None) -> str:
        self._server = server = grpc.aio.server(
            handlers=[_Everything(self._dispatcher, self._limits)], options=server_options(self._limits)
        )
        try:
            if tls is None:
                port = server.add_insecure_port(address)
            else:
                from micro.rpc.grpcio.tls import server_credentials

                port = server.add_secure_port(address, server_credentials(tls))
        except RuntimeError as error:
            raise OSError(errno.EADDRINUSE, f"cannot bind {address}: {error}") from error
        await server.start()
        return f"{address.rpartition(':')[0]}:{port}"

    async def _stand(self, address: str, tls: ssl.SSLContext | None) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                await self._server.wait_for_termination(_LOOK)
            except UnicodeDecodeError:
                task = loop.create_task(self._server.stop(self._limits.max_age_grace))
                self._fallen.add(task)
                task.add_done_callback(self._fallen.discard)
                while not await self._served_again(address, tls):
                    pass

    async def _served_again(self, address: str, tls: ssl.SSLContext | None) -> bool:
        try:
            await self._serve(address, tls)
        except OSError:  # the fallen server has not let go of the port yet
            await asyncio.sleep(0.1)
            return False
        return True

    async def drain(self, *, grace: float) -> None:
        await self._stop(grace)

    async def close(self) -> None:
        await self._stop(None)

    async def _stop(self, grace: float | None) -> None:
        if self._guard is not None:
            self._guard.cancel()
            await asyncio.gather(self._guard, return_exceptions=True)
        if self._server is not None:
            await asyncio.gather(self._server.stop(grace), *self._fallen)
