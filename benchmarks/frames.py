"""A load and a backend that cost next to nothing, so that what stands between them is what is measured.

They speak just enough HTTP/2 for unary gRPC: headers go as literals, what comes back is counted by its frames alone.
"""

from __future__ import annotations

import asyncio
import struct
import time

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST, SETTINGS, PING, GOAWAY, WINDOW = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
OPENING = (
    struct.pack(">BHBBIHI", 0, 6, SETTINGS, 0, 0, 4, 1 << 30)  # stream windows
    + struct.pack(">BHBBII", 0, 4, WINDOW, 0, 0, (1 << 31) - 1 - 65_535)  # the connection's
)


def frame(kind: int, flags: int, stream: int, body: bytes = b"") -> bytes:
    """Write a frame."""
    return struct.pack(">BHBBI", len(body) >> 16, len(body) & 0xFFFF, kind, flags, stream) + body


def _text(value: bytes) -> bytes:
    length = len(value)
    if length < 127:
        return bytes([length]) + value
    more, head = length - 127, bytearray([127])
    while more > 127:
        head.append(more & 127 | 128)
        more >>= 7
    head.append(more)
    return bytes(head) + value


def block(headers: list[tuple[bytes, bytes]]) -> bytes:
    """Write a header block, each field a literal that is not indexed."""
    return b"".join(b"\0" + _text(name) + _text(value) for name, value in headers)


class _Connection(asyncio.Protocol):
    """Takes frames apart."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._rest = b""
        self._skip = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        at, end, out = self._skip, len(data), []
        if at > end:
            self._rest = data
            return
        self._skip = 0
        while end - at >= 9:
            size = data[at] << 16 | data[at + 1] << 8 | data[at + 2]
            if end - at < 9 + size:
                break
            kind, flags = data[at + 3], data[at + 4]
            if kind <= HEADERS:
                stream = int.from_bytes(data[at + 5 : at + 9], "big")
                answer = self.took(stream, kind, size, flags & END_STREAM)
                if answer:
                    out.append(answer)
            elif kind == SETTINGS and not flags & ACK:
                out.append(frame(SETTINGS, ACK, 0))
            elif kind == PING and not flags & ACK:
                out.append(frame(PING, ACK, 0, data[at + 9 : at + 17]))
            elif kind in {RST, GOAWAY}:
                self.failed(f"frame {kind}: {data[at + 9 : at + 9 + size]!r}")
            at += 9 + size
        self._rest = data[at:]
        if out:
            assert self.transport is not None
            self.transport.write(b"".join(out))

    def took(self, stream: int, kind: int, size: int, ended: int) -> bytes:
        """Look at a frame of a call; gives what is to be sent."""
        raise NotImplementedError  # the two ends below say it

    def failed(self, why: str) -> None:
        """Hear of a call or a connection that was given up."""


class Backend(_Connection):
    """Answers every call with one message."""

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self._skip = len(PREFACE)
        message = b"\0" + struct.pack(">I", len(body)) + body
        self._head = block([(b":status", b"200"), (b"content-type", b"application/grpc+proto")])
        self._message = message
        self._last = block([(b"grpc-status", b"0")])

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        transport.write(OPENING)  # type: ignore[attr-defined]

    def took(self, stream: int, kind: int, size: int, ended: int) -> bytes:
        if not ended:
            return b""
        return (
            frame(HEADERS, END_HEADERS, stream, self._head)
            + frame(DATA, 0, stream, self._message)
            + frame(HEADERS, END_HEADERS | END_STREAM, stream, self._last)
        )


class Load(_Connection):
    """Keeps so many calls under way for a time, and counts those that brought a message of the size wanted."""

    def __init__(
        self, path: bytes, headers: list[tuple[bytes, bytes]], body: bytes, *, flight: int, seconds: float
    ) -> None:
        super().__init__()
        fixed = [
            (b":method", b"POST"), (b":scheme", b"http"), (b":path", path), (b":authority", b"bench"),
            (b"te", b"trailers"), (b"content-type", b"application/grpc+proto"), (b"grpc-timeout", b"30S"),
        ]  # fmt: skip
        self._block = block(fixed + headers)
        self._body = b"\0" + struct.pack(">I", len(body)) + body
        self._flight, self._seconds = flight, seconds
        self._next = 1
        self._until = 0.0
        self._open = 0
        self._got: dict[int, int] = {}
        self._began = 0.0
        self.done = 0
        self.ended: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._began = time.perf_counter()
        self._until = self._began + self._seconds
        first = b"".join(self._begin() for _ in range(self._flight))
        transport.write(PREFACE + OPENING + first)  # type: ignore[attr-defined]

    def _begin(self) -> bytes:
        stream, self._next = self._next, self._next + 2
        self._open += 1
        return frame(HEADERS, END_HEADERS, stream, self._block) + frame(DATA, END_STREAM, stream, self._body)

    def took(self, stream: int, kind: int, size: int, ended: int) -> bytes:
        if kind == DATA:
            self._got[stream] = self._got.get(stream, 0) + size
        if not ended:
            return b""
        if self._got.pop(stream, 0) != len(self._body):
            self.failed("a call ended without its message")
            return b""
        self.done += 1
        self._open -= 1
        if time.perf_counter() < self._until:
            return self._begin()
        if not self._open and not self.ended.done():
            self.ended.set_result(self.done / (time.perf_counter() - self._began))
        return b""

    def failed(self, why: str) -> None:
        if not self.ended.done():
            self.ended.set_exception(RuntimeError(why))

    def connection_lost(self, exc: Exception | None) -> None:
        self.failed("the connection was cut")
