"""Plain grpc.aio peers of the RPC suite: the oracle. They share no code with the driver over grpc.aio.

The server registers the test service the way generated code does; the client uses the four kinds of stub call.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from typing import Any, ClassVar

import grpc
import grpc.aio

from micro.errors import Code, Unimplemented
from micro.rpc.driver import (
    PROTO,
    Channel,
    ClientCall,
    Dispatcher,
    Forwarder,
    Headers,
    Http1,
    Limits,
    Listener,
    Reply,
    Status,
    Transport,
)
from micro.rpc.tls import TlsContext
from micro.testing.echo import KINDS, PREFIX, Failure, Service, echo_headers

EOF: Any = grpc.aio.EOF  # type: ignore[attr-defined]  # the stubs miss it


class PlainGrpcio(Transport, interface=1):
    """A peer on plain grpc.aio; its listener serves the suite's test service and nothing else."""

    name: ClassVar[str] = "plain grpcio"

    def listener(self, dispatcher: Dispatcher, *, limits: Limits | None = None, http1: Http1 | None = None) -> Listener:
        assert isinstance(dispatcher, Service)
        return _PlainListener(dispatcher, limits or Limits())

    def channel(self, address: str, *, limits: Limits | None = None, tls: ssl.SSLContext | None = None) -> Channel:
        return _PlainChannel(address, limits or Limits(), tls)

    def forwarder(self, *, limits: Limits | None = None) -> Forwarder:
        raise Unimplemented("a plain peer forwards nothing")


def _options(limits: Limits) -> list[tuple[str, int]]:
    options = [
        ("grpc.max_receive_message_length", limits.message),
        ("grpc.max_send_message_length", limits.message),
        ("grpc.max_concurrent_streams", limits.streams),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.so_reuseport", 0),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 200),
    ]
    if limits.keepalive:
        options += [
            ("grpc.keepalive_time_ms", int(limits.keepalive * 1000)),
            ("grpc.keepalive_timeout_ms", int(limits.keepalive_timeout * 1000)),
            ("grpc.http2.ping_timeout_ms", int(limits.keepalive_timeout * 1000)),
        ]
    return options


class _Handlers:
    """The test service, written as one writes for grpc.aio."""

    def __init__(self, service: Service) -> None:
        self.service = service

    async def unary(self, request: bytes, context: Any) -> bytes:
        return request

    async def meta(self, request: bytes, context: Any) -> bytes:
        await context.send_initial_metadata(echo_headers(context.invocation_metadata(), "x-"))
        context.set_trailing_metadata(echo_headers(context.invocation_metadata(), "t-"))
        return request

    async def fail(self, request: bytes, context: Any) -> None:
        wanted = Failure.decode(request)
        for index in range(wanted.before):
            await context.write(b"%d" % index)
        trailing = _to_plain(wanted.trailers)
        if wanted.details:
            trailing += (("grpc-status-details-bin", wanted.details),)
        context.set_trailing_metadata(trailing)
        context.set_code(next(code for code in grpc.StatusCode if code.value[0] == wanted.code))
        context.set_details(wanted.message)

    async def sleep(self, request: bytes, context: Any) -> bytes:
        await asyncio.sleep(float(request))
        return b"slept"

    async def remaining(self, request: bytes, context: Any) -> bytes:
        left = context.time_remaining()
        return b"none" if left is None else b"%f" % left

    async def collect(self, requests: Any, context: Any) -> bytes:
        total = 0
        async for message in requests:
            self.service.read += 1
            total += len(message)
        self.service.completed += 1
        return b"%d" % total

    async def hold(self, requests: Any, context: Any) -> bytes:
        await self.service.gate.wait()
        return await self.collect(requests, context)

    async def repeat(self, request: bytes, context: Any) -> None:
        count, size = map(int, request.split())
        for index in range(count):
            await context.write(index.to_bytes(4, "big").ljust(size, b"."))
            self.service.sent += 1

    async def chat(self, requests: Any, context: Any) -> None:
        await context.send_initial_metadata((("x-hello", "chat"),))
        async for message in requests:
            await context.write(message)

    async def early(self, requests: Any, context: Any) -> bytes:
        return b"no need to read"

    async def shorten(self, request: bytes, context: Any) -> bytes:
        await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "deadline exceeded")
        return b""

    async def throw(self, request: bytes, context: Any) -> bytes:
        await context.abort(grpc.StatusCode.UNKNOWN, "ZeroDivisionError: on purpose")
        return b""

    def table(self) -> Any:
        made = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }
        table = {}
        for name, kind in KINDS.items():
            handler = self.throw if name == "Raise" else getattr(self, name.lower())
            table[name] = made[kind](self._counted(handler))
        return grpc.method_handlers_generic_handler(PREFIX.strip("/"), table)

    def _counted(self, handler: Any) -> Any:
        async def counted(request: Any, context: Any) -> Any:
            self.service.begun += 1
            try:
                return await handler(request, context)
            except asyncio.CancelledError:
                self.service.cancelled += 1
                raise
            finally:
                self.service.over += 1

        return counted


class _PlainListener(Listener):
    def __init__(self, service: Service, limits: Limits) -> None:
        self._service = service
        self._limits = limits
        self._server: Any = None

    async def start(self, address: str, *, tls: ssl.SSLContext | None = None) -> str:
        self._server = grpc.aio.server(handlers=[_Handlers(self._service).table()], options=_options(self._limits))
        try:
            if tls is None:
                port = self._server.add_insecure_port(address)
            else:
                assert isinstance(tls, TlsContext)
                port = self._server.add_secure_port(address, grpc.ssl_server_credentials([(tls.key, tls.chain)]))
        except RuntimeError as error:
            raise OSError(str(error)) from error
        await self._server.start()
        return f"{address.rpartition(':')[0]}:{port}"

    async def drain(self, *, grace: float) -> None:
        await self._server.stop(grace)

    async def close(self) -> None:
        if self._server is not None:
            await self._server.stop(None)


class _PlainChannel(Channel):
    def __init__(self, address: str, limits: Limits, tls: ssl.SSLContext | None) -> None:
        self.address = address
        self.outstanding = 0
        self._channel: Any
        if tls is None:
            self._channel = grpc.aio.insecure_channel(address, _options(limits))
        else:
            roots = "".join(ssl.DER_cert_to_PEM_cert(der) for der in tls.get_ca_certs(binary_form=True))
            self._channel = grpc.aio.secure_channel(
                address, grpc.ssl_channel_credentials(roots.encode()), _options(limits)
            )

    async def unary(
        self, path: bytes, message: bytes, headers: Headers = (), *, content_type: bytes = PROTO, timeout: float | None
    ) -> Reply:
        call = self._channel.unary_unary(path.decode())(message, metadata=_to_plain(headers), timeout=timeout)
        try:
            answer = await call
        except grpc.aio.AioRpcError as error:
            raise _status(error.code(), error.details(), error.trailing_metadata()) from error
        first, last = await call.initial_metadata(), await call.trailing_metadata()
        return Reply(answer, _from_plain(first), _from_plain(last))

    async def open(
        self, path: bytes, headers: Headers = (), *, content_type: bytes = PROTO, timeout: float | None = None
    ) -> ClientCall:
        sends, receives = KINDS.get(path.decode().removeprefix(PREFIX), (True, True))
        metadata = _to_plain(headers)

        def stream(kind: str, *request: bytes) -> Any:
            return getattr(self._channel, kind)(path.decode())(*request, metadata=metadata, timeout=timeout)

        if sends and receives:
            return _PlainCall(stream("stream_stream"))
        if sends:
            return _PlainCall(stream("stream_unary"), one_answer=True)
        return _PlainCall(
            None,
            later=lambda request: stream("unary_stream" if receives else "unary_unary", request),
            one_answer=not receives,
        )

    async def close(self) -> None:
        await self._channel.close()


class _PlainCall(ClientCall):
    def __init__(self, call: Any, *, later: Any = None, one_answer: bool = False) -> None:
        self._call = call
        self._later = later  # a stub that takes its one request when it is called
        self._one_answer = one_answer
        self._answered = False
        self._trailers: Headers = ()
        self._closing: asyncio.Task[None] | None = None

    async def write(self, message: bytes) -> None:
        if self._later is not None:
            self._call = self._later(message)
            return
        try:
            await self._call.write(message)
        except (asyncio.InvalidStateError, grpc.aio.AioRpcError) as error:
            raise await self._ended() from error
        except asyncio.CancelledError:
            raise self._cancelled() from None

    def half_close(self) -> None:
        if self._later is None:
            self._closing = asyncio.ensure_future(self._done_writing())

    async def _done_writing(self) -> None:
        try:
            await self._call.done_writing()
        except asyncio.CancelledError:
            return

    async def read(self) -> bytes | None:
        try:
            if not self._one_answer:
                message = await self._call.read()
            elif self._answered:
                message = EOF
            else:
                message = await self._call
                self._answered = True
        except grpc.aio.AioRpcError as error:
            raise await self._ended() from error
        except asyncio.CancelledError:
            raise self._cancelled() from None
        if message is EOF:
            self._trailers = _from_plain(await self._call.trailing_metadata())
            return None
        return bytes(message)

    def _cancelled(self) -> BaseException:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            return asyncio.CancelledError()
        return Status(Code.CANCELLED, "cancelled")

    async def _ended(self) -> Status:
        return _status(await self._call.code(), await self._call.details(), await self._call.trailing_metadata())

    async def headers(self) -> Headers:
        return _from_plain(await self._call.initial_metadata())

    @property
    def trailers(self) -> Headers:
        return self._trailers

    def cancel(self) -> None:
        self._call.cancel()


def _status(code: Any, text: str | None, trailing: Any) -> Status:
    pairs: list[Any] = list(trailing or ())
    details = next((value for key, value in pairs if key == "grpc-status-details-bin"), b"")
    rest = [pair for pair in pairs if pair[0] != "grpc-status-details-bin"]
    refused = "failed to connect" in (text or "") or "RST_STREAM with error code 7" in (text or "")
    text = (text or "").replace("Connection refused", "connection refused")
    return Status(code.value[0], text, details=details, trailers=_from_plain(rest), processed=not refused)


def _to_plain(headers: Headers) -> tuple[tuple[str, Any], ...]:
    return tuple(
        (key.decode(), base64.b64decode(value + b"==") if key.endswith(b"-bin") else value.decode())
        for key, value in headers
        if key not in {b"host", b"content-length"}
    )


def _from_plain(metadata: Any) -> Headers:
    return [
        (key.encode(), base64.b64encode(value).rstrip(b"=") if isinstance(value, bytes) else value.encode())
        for key, value in metadata or ()
    ]
