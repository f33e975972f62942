"""HTTP/2 written by hand: frames as bytes, header blocks without a library, a client that says whatever it is told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
ANSWER = (HEADERS, RST_STREAM, GOAWAY)  # what a request is answered by, one way or another
END_STREAM, ACK, END_HEADERS, PADDED = 0x1, 0x1, 0x4, 0x8
INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = 0x4, 0x5


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """Give one frame; nothing about it is checked."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def settings(*pairs: tuple[int, int]) -> bytes:
    """Give a SETTINGS frame."""
    return frame(SETTINGS, payload=b"".join(key.to_bytes(2, "big") + value.to_bytes(4, "big") for key, value in pairs))


def window_update(stream: int, increment: int) -> bytes:
    """Give a WINDOW_UPDATE frame."""
    return frame(WINDOW_UPDATE, 0, stream, increment.to_bytes(4, "big"))


def reset(stream: int, code: int = 8) -> bytes:
    """Give a RST_STREAM frame."""
    return frame(RST_STREAM, 0, stream, code.to_bytes(4, "big"))


def integer(value: int, prefix: int, first: int = 0) -> bytes:
    """Give an HPACK integer of RFC 7541, 5.1."""
    most = (1 << prefix) - 1
    if value < most:
        return bytes((first | value,))
    out = [first | most]
    value -= most
    while value >= 128:
        out.append(value % 128 + 128)
        value //= 128
    return bytes((*out, value))


def literal(name: bytes, value: bytes, *, indexed: bool = False) -> bytes:
    """Give one header field as a literal, without Huffman; `indexed` adds it to the dynamic table."""
    first = b"\x40" if indexed else b"\x00"
    return first + integer(len(name), 7) + name + integer(len(value), 7) + value


def request(path: bytes, extra: Iterable[tuple[bytes, bytes]] = ()) -> bytes:
    """Give the header block of a gRPC request."""
    fields = [
        (b":method", b"POST"), (b":scheme", b"http"), (b":path", path), (b":authority", b"127.0.0.1"),
        (b"content-type", b"application/grpc"), (b"te", b"trailers"), *extra,
    ]  # fmt: skip
    return b"".join(literal(name, value) for name, value in fields)


def headers(stream: int, block: bytes, *, end: bool = False) -> bytes:
    """Give a header block as one HEADERS frame."""
    return frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, block)


def message(body: bytes, *, length: int | None = None, flag: int = 0) -> bytes:
    """Give a gRPC message in its framing; `length` and `flag` may lie."""
    return bytes((flag,)) + (len(body) if length is None else length).to_bytes(4, "big") + body


def data(stream: int, body: bytes, *, end: bool = False) -> bytes:
    """Give one DATA frame."""
    return frame(DATA, END_STREAM if end else 0, stream, body)


def call(stream: int, path: bytes, body: bytes = b"", extra: Sequence[tuple[bytes, bytes]] = ()) -> bytes:
    """Give a whole unary call."""
    return headers(stream, request(path, extra)) + data(stream, message(body), end=True)


class Frame:
    """A frame that came."""

    __slots__ = ("flags", "kind", "payload", "stream")

    def __init__(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        self.kind = kind
        self.flags = flags
        self.stream = stream
        self.payload = payload

    def __repr__(self) -> str:
        return f"Frame({self.kind}, {self.flags:#x}, {self.stream}, {self.payload[:40]!r})"


class RawPeer:
    """A connection on which anything can be said. Entering it sends preface and settings, unless `hello` is empty."""

    def __init__(self, address: str, *, hello: bytes = PREFACE + settings()) -> None:
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self._hello = hello
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        self._writer.write(self._hello)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    def abort(self) -> None:
        """Vanish: no goodbye, what is under way is lost."""
        self._writer.transport.abort()

    async def send(self, raw: bytes, *, within: float = 2.0) -> bool:
        """Send bytes; False when the peer has hung up, or takes no more for that long."""
        try:
            self._writer.write(raw)
            async with asyncio.timeout(within):
                await self._writer.drain()
        except (OSError, TimeoutError):
            return False
        return True

    async def frames(self, *until: int, within: float = 2.0) -> list[Frame]:
        """Read frames until one of these kinds has come, the peer hangs up, or time is over."""
        found: list[Frame] = []
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
            async with asyncio.timeout(within):
                while not found or found[-1].kind not in until:
                    head = await self._reader.readexactly(9)
                    payload = await self._reader.readexactly(int.from_bytes(head[:3], "big"))
                    found.append(Frame(head[3], head[4], int.from_bytes(head[5:], "big") & 0x7FFFFFFF, payload))
        return found

    async def hung_up(self, *, within: float = 5.0) -> bool:
        """Whether the peer closes the connection in time; what it says until then is dropped."""
        try:
            async with asyncio.timeout(within):
                while await self._reader.read(65536):
                    pass
        except TimeoutError:
            return False
        except OSError:
            return True
        return True
