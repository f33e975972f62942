"""The HTTP server: aiohttp's, with a limit on everything a stranger can send, hold open or leave half done."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from micro import limits
from micro.api import answers, web
from micro.errors import DeadlineExceeded, Internal, InvalidArgument, ServiceError, Unavailable
from micro.rpc.bound import bound

if TYPE_CHECKING:
    import socket
    import ssl

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

LINE = 8 * limits.KIB  # bytes of a URL, and of one header
HEADERS = 64  # of one request
HEADER_BYTES = 32 * limits.KIB  # of all headers of one request
HEADER_TIME = 10.0  # seconds from the first byte of a request to the end of its headers
IDLE = 60.0  # seconds between requests
BODY_TIME = 30.0  # seconds for a body, unless it comes at BODY_RATE
BODY_RATE = 1024  # bytes a second
BODY_PAUSE = 10.0  # seconds between two pieces of a body
BODIES = 64 * limits.MIB  # bytes of all bodies held at once; parsing may need many times as much
LINGER = 1.0  # seconds that what is left of a refused body is read, so that its sender sees the answer
CONNECTIONS = 1000
_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\nRetry-After: 1\r\n\r\n"

log = logging.getLogger("micro.api")


class Door(web.Server):
    """A listener for one handler of requests. `start` or `start_unix` once, then `drain`, or `close`."""

    def __init__(
        self, handler: Handler, *, connections: int = CONNECTIONS, body: int = limits.HTTP_BODY, bodies: int = BODIES
    ) -> None:
        # a handler is cancelled when its client goes away
        super().__init__(handler, handler_cancellation=True)
        self.limit = connections
        self.body_limit = body
        self.bodies_limit = bodies
        self.held = 0  # bytes of bodies
        self.draining = False
        self._server: asyncio.Server | None = None
        self._complained = 0.0
        self._unsaid = 0

    def __call__(self) -> web.RequestHandler:
        return Connection(self)

    async def start(self, address: str, *, tls: ssl.SSLContext | None = None) -> str:
        """Bind `host:port` and serve; gives the bound address. OSError for a taken one."""
        host, _, port = address.rpartition(":")
        loop = asyncio.get_running_loop()
        sock = bound(host, int(port))
        where: dict[str, Any] = (
            {"sock": sock} if sock is not None else {"host": host.strip("[]") or None, "port": int(port)}
        )
        self._server = await loop.create_server(self, **where, ssl=tls, backlog=1024)
        name = self._server.sockets[0].getsockname()
        return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"

    async def start_unix(self, bound: socket.socket) -> None:
        """Serve whoever can open a bound socket file."""
        self._server = await asyncio.get_running_loop().create_unix_server(self, sock=bound, backlog=256)

    async def drain(self, *, grace: float) -> None:
        """Accept nobody more, end idle connections, let requests finish for up to `grace` seconds, then cut."""
        self.draining = True
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        self.pre_shutdown()
        await self.shutdown(grace)

    async def close(self) -> None:
        """Cut everything; idempotent."""
        await self.drain(grace=0)

    def complain(self, what: str) -> None:
        """Log a stranger's mistake: a line a second at most, on one line whatever it holds."""
        now = time.monotonic()
        if now < self._complained:
            self._unsaid += 1
            return
        more = f" (and {self._unsaid} more)" if self._unsaid else ""
        log.warning("%s%s", ascii(what[:200])[1:-1], more)
        self._complained, self._unsaid = now + 1.0, 0

    async def body(self, request: web.BaseRequest, held: Held) -> bytes:
        """Read a request's body within all limits; `held` is to be released when it is not needed any more."""
        content = request.content
        if content.is_eof():
            data = content.read_nowait(-1)
            held.take(len(data))
            return data
        size = request.content_length
        if size is not None and size > self.body_limit:
            raise too_large(self.body_limit)
        if request.headers.get("Expect", "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0
        if size is not None:
            held.take(size)
        return await self._pieces(content, held, reserved=size or 0)

    async def _pieces(self, content: Any, held: Held, *, reserved: int) -> bytes:
        pieces: list[bytes] = []
        got = 0
        began = time.monotonic()
        while True:
            try:
                async with asyncio.timeout(BODY_PAUSE):
                    piece = await content.readany()
            except TimeoutError:
                raise DeadlineExceeded("the body did not come in time", id="api") from None
            except (web.RequestPayloadError, ValueError) as problem:
                raise InvalidArgument(f"malformed body: {str(problem)[:100]}", id="api") from None
            if not piece:
                return b"".join(pieces)
            got += len(piece)
            if got > self.body_limit:
                raise too_large(self.body_limit)
            if got > reserved:
                held.take(got - reserved)
                reserved = got
            took = time.monotonic() - began
            if took > BODY_TIME and got < took * BODY_RATE:
                raise DeadlineExceeded("the body came too slowly", id="api")
            pieces.append(piece)


class Held:
    """What one request holds of the bytes that all bodies may."""

    __slots__ = ("_door", "_size")

    def __init__(self, door: Door) -> None:
        self._door = door
        self._size = 0

    def take(self, size: int) -> None:
        """Count bytes in; Unavailable when that were too many."""
        if self._door.held + size > self._door.bodies_limit:
            raise Unavailable("too many bodies at once", id="api")
        self._door.held += size
        self._size += size

    def release(self) -> None:
        """Count them out; idempotent."""
        self._door.held -= self._size
        self._size = 0


class Connection(web.RequestHandler):
    """One connection: its headers must come in time, its mistakes are one line in the log."""

    __slots__ = ("_door", "_head")

    def __init__(self, door: Door) -> None:
        super().__init__(
            door,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=IDLE,
            lingering_time=LINGER,
            access_log=None,  # type: ignore[arg-type]  # None is how it is turned off
            max_line_size=LINE,
            max_field_size=LINE,
            max_headers=HEADERS,
            auto_decompress=False,  # small bodies that unpack to large ones are refused, not read
            logger=log,
        )
        self._door = door
        self._head: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if len(self._door._connections) > self._door.limit:
            self._door.complain(f"over {self._door.limit} connections")
            if self.transport is not None:
                self.transport.write(_BUSY)
            self.force_close()

    def data_received(self, data: bytes) -> None:
        before = self._request_count
        super().data_received(data)
        if self._request_count != before:
            if self._head is not None:
                self._stop_waiting()
        elif self._head is None and self._payload_parser is None and (self._waiter is not None or before == 0):
            # it waits for a request, or will: the first one's first bytes may be here before it does
            self._head = self._loop.call_later(HEADER_TIME, self._late)

    def resume_reading(self, resume_parser: bool = True) -> None:
        # every body that is read asks for this, and hardly one was held back
        if self._reading_paused or self._buffer_paused:
            super().resume_reading(resume_parser)

    def _late(self) -> None:
        self._head = None
        self._door.complain("headers did not come in time")
        self.force_close()

    def _stop_waiting(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        error = _error_of(exc) if status == 400 else Internal("internal error", id="api")
        if status == 400:
            self._door.complain(f"{request.remote or 'unix'}: {error.detail}")
        else:
            log.error("a request failed", exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun")
        response = answers.failed({}, error)
        response.force_close()
        return response


def _error_of(exc: BaseException | None) -> ServiceError:
    """Say what is wrong with a request that cannot be read."""
    text = str(getattr(exc, "message", "") or exc or "").partition("\n")[0][:120]
    if isinstance(exc, web.LineTooLong):
        # the parser gives what it holds of a URL as a bytearray, of a header as bytes
        if isinstance(exc.args[0], bytearray):
            return ServiceError(f"the URL is over {LINE} bytes", id="api", http=414)
        return headers_too_large(f"a header is over {LINE} bytes")
    if text == "Too many headers received":
        return headers_too_large(f"over {HEADERS} headers")
    if isinstance(exc, web.BadStatusLine):
        return InvalidArgument("malformed request line", id="api")
    return InvalidArgument(f"malformed request: {text}", id="api")


def headers_too_large(what: str) -> ServiceError:
    """Give the error of headers over a limit."""
    return ServiceError(what, id="api", http=431)


def too_large(limit: int) -> ServiceError:
    """Give the error of a body over its limit."""
    return ServiceError(f"the body is over {limit} bytes", id="api", http=413)
