"""What a transport provides: listeners, channels, a forwarder, and the calls between. No I/O here.

Bodies are the codec's bytes without gRPC's five-byte prefix; header names are lower case. Instants are
`time.monotonic()` seconds. A transport knows no accounts, no services, no codecs: `server.py` and `client.py` do.

    listener ──open(call)──▶ Dispatcher ──▶ START  ──▶ run(call): read, write, finish | reply
                                        └─▶ WAIT   ──▶ the same, once the first message or the half-close is there
                                        └─▶ TAKEN  ──▶ somebody else (a forwarder) has it, or it is answered
"""

from __future__ import annotations

import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Protocol

from micro import limits
from micro.plugin.driver import Driver
from micro.rpc.status import JSON, PROTO, Status

__all__ = [
    "JSON", "PROTO", "START", "TAKEN", "WAIT", "Channel", "ClientCall", "Dispatcher", "Forwarder", "Headers", "Http1",
    "Limits", "Listener", "Reply", "ServerCall", "Status", "Transport", "edge", "node_keepalive",
]  # fmt: skip

Headers = Sequence[tuple[bytes, bytes]]

START = 1  # run at once: the handler reads a stream of requests
WAIT = 2  # run when the first message, or the half-close, is there
TAKEN = 3  # do not run: it is answered already, or will be by whoever took it


class Limits:
    """What a listener or channel allows; the defaults are for traffic between services on the inside."""

    __slots__ = (
        "connections", "header_bytes", "idle", "keepalive", "keepalive_timeout", "max_age", "max_age_grace", "message",
        "preface_timeout", "reset_burst", "reset_rate", "streams", "window",
    )  # fmt: skip

    def __init__(
        self,
        *,
        message: int = limits.MESSAGE,
        header_bytes: int = limits.METADATA_INSIDE,
        streams: int = limits.STREAMS_INSIDE,
        window: int = limits.STREAM_WINDOW,
        connections: int = 20_000,
        reset_burst: int = 100_000,
        reset_rate: int = 20_000,
        preface_timeout: float = 10.0,
        idle: float = 0.0,
        keepalive: float = 0.0,
        keepalive_timeout: float = 5.0,
        max_age: float = 0.0,
        max_age_grace: float = 30.0,
    ) -> None:
        self.message = message
        self.header_bytes = header_bytes
        self.streams = streams
        self.window = window
        self.connections = connections
        self.reset_burst = reset_burst
        self.reset_rate = reset_rate
        self.preface_timeout = preface_timeout  # seconds for the first bytes to be a preface and settings
        self.idle = idle  # seconds without a call until a connection is sent away; 0: never
        self.keepalive = keepalive  # seconds of silence until a ping; 0: none
        self.keepalive_timeout = keepalive_timeout
        self.max_age = max_age  # seconds until a connection is drained; 0: never
        self.max_age_grace = max_age_grace


def edge() -> Limits:
    """Give the limits of a door that strangers knock at."""
    return Limits(
        header_bytes=limits.METADATA_EDGE,
        streams=limits.STREAMS_EDGE,
        reset_burst=1_000,
        reset_rate=33,
        idle=300.0,
        max_age=1800.0,
    )


class ServerCall(ABC):
    """One call as its server sees it. All methods belong to the listener's loop."""

    path: bytes  # as it came, also without a leading slash
    content_type: bytes  # the wire's; `application/grpc` when the transport cannot show another
    peer: str  # "127.0.0.1:51234", or "unix"
    deadline: float | None  # from grpc-timeout; `shorten` may bring it nearer
    headers: Headers  # all but pseudo-headers, as they came; -bin values still in base64
    cancelled: bool  # the peer is gone, or the deadline has passed
    slot: Any  # for the dispatcher between `open` and `run`

    @abstractmethod
    def header(self, name: bytes) -> bytes | None:
        """Give the first value of a header, or None. Cheap: looks at raw pairs."""

    @abstractmethod
    def shorten(self, deadline: float) -> None:
        """Bring the deadline nearer; when it passes the call is answered DEADLINE_EXCEEDED and `run` is cancelled."""

    @abstractmethod
    async def read(self) -> bytes | None:
        """Give the next request message, None after the peer's half-close.

        Raises Status for a broken or oversized message. Flow control: what is not read holds the sender back.
        """

    @abstractmethod
    def send_headers(self, headers: Headers = ()) -> None:
        """Send the response's headers now; otherwise they go with the first message. Once, repeated calls are void."""

    @abstractmethod
    async def write(self, message: bytes) -> None:
        """Send one response message; returns when there is room for more. Raises CancelledError once the call ended."""

    @abstractmethod
    def reply(self, message: bytes, headers: Headers = ()) -> None:
        """Send headers, one message and OK in one go: the whole of a unary answer."""

    @abstractmethod
    def finish(self, code: int = 0, message: str = "", details: bytes = b"", trailers: Headers = ()) -> None:
        """End the call; void when it has ended."""


class Dispatcher(Protocol):
    """Who answers a listener's calls."""

    def open(self, call: ServerCall) -> int:
        """Look at a call's headers: START, WAIT or TAKEN. Synchronous; must not raise."""

    async def run(self, call: ServerCall) -> None:
        """Answer it, on a task of its own, which is cancelled when the peer goes away. Must not raise."""

    def words(self, call: ServerCall, code: int, text: str) -> tuple[int, str, bytes]:
        """Give code, message and details of an end that the transport decides: the deadline, a stop, too much held."""
        return code, text, b""


class Listener(ABC):
    """A bound door. `start` once, `drain` or `close` once."""

    @abstractmethod
    async def start(self, address: str, *, tls: ssl.SSLContext | None = None) -> str:
        """Bind `host:port` (port 0 picks one) and serve; gives the bound address.

        Never shares a port: a taken one raises OSError.
        """

    @abstractmethod
    async def drain(self, *, grace: float) -> None:
        """Stop accepting, tell peers to go away, let calls finish for up to `grace` seconds, then cut."""

    @abstractmethod
    async def close(self) -> None:
        """Cut at once."""


class Reply:
    """The whole answer of a unary call."""

    __slots__ = ("headers", "message", "trailers")

    def __init__(self, message: bytes, headers: Headers, trailers: Headers) -> None:
        self.message = message
        self.headers = headers
        self.trailers = trailers


class ClientCall(ABC):
    """One call as its client sees it, of any of the four kinds."""

    @abstractmethod
    async def write(self, message: bytes) -> None:
        """Send one request message; returns when there is room for more. Raises the call's Status once it ended."""

    @abstractmethod
    def half_close(self) -> None:
        """Say that no more requests follow."""

    @abstractmethod
    async def read(self) -> bytes | None:
        """Give the next response message, None at an OK end; raises Status at any other."""

    @abstractmethod
    async def headers(self) -> Headers:
        """Wait for the response's headers; raises the call's Status when it ended before there were any."""

    @property
    @abstractmethod
    def trailers(self) -> Headers:
        """What came with the end; empty before."""

    @abstractmethod
    def cancel(self) -> None:
        """Reset the call; void when it has ended."""


class Channel(ABC):
    """Connections to one address, dialled on first use, dialled anew when lost. Belongs to one loop."""

    address: str
    outstanding: int  # calls begun and not ended; what balancing looks at

    @abstractmethod
    async def unary(
        self, path: bytes, message: bytes, headers: Headers = (), *, content_type: bytes = PROTO, timeout: float | None
    ) -> Reply:
        """Send one message, half-close, wait for one. `timeout` in seconds goes as grpc-timeout and holds here too."""

    @abstractmethod
    async def open(
        self, path: bytes, headers: Headers = (), *, content_type: bytes = PROTO, timeout: float | None = None
    ) -> ClientCall:
        """Begin a call of any kind; its headers leave at once."""

    @abstractmethod
    async def close(self) -> None:
        """End all calls and connections."""


# Gives another address for a call that nobody has seen, and who is to hear its end there; None when there is none.
Elsewhere = Callable[[], tuple[str, Callable[[int], None]] | None]

HURRY = 1.0  # seconds for a connection while there is another node; a lost SYN is sent again after one


class Forwarder(ABC):
    """Passes whole calls on without decoding, both ways, with flow control end to end."""

    @abstractmethod
    def forward(
        self,
        call: ServerCall,
        address: str,
        headers: Headers,
        *,
        done: Callable[[int], None] | None = None,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        """Take a call over and send it to `address` with these headers (path and content type stay the call's).

        Headers and trailers of the answer go back as they are. The upstream opens at once; the caller's half-close,
        cancellation and deadline are passed on. `done` hears the gRPC code at the end. Failing to connect answers
        UNAVAILABLE with the text `connection refused` in it, unless `elsewhere` gives another address: whatever the
        call does, it has not been sent. It may be asked too when connecting takes longer than HURRY.
        """

    @abstractmethod
    async def close(self) -> None:
        """Close the connections upstream."""


# Given the bytes read so far, a transport with the capability hands a plain HTTP/1.1 connection to this factory's
# asyncio.Protocol (connection_made, then data_received with those bytes). A draining listener calls the protocol's
# `close()`, if it has one, to say that the answer under way is its last, and waits for it as for calls.
Http1 = Callable[[], Any]


class Transport(Driver, defines=1):
    """A stack that carries calls.

    Capabilities: `content-types` (sends any content type; shows the one that came), `raw-paths` (shows any :path),
    `http1` (HTTP/1.1 on the same port).
    """

    name: ClassVar[str] = ""

    @abstractmethod
    def listener(self, dispatcher: Dispatcher, *, limits: Limits | None = None, http1: Http1 | None = None) -> Listener:
        """Make a listener; `http1` only with that capability."""

    @abstractmethod
    def channel(self, address: str, *, limits: Limits | None = None, tls: ssl.SSLContext | None = None) -> Channel:
        """Make a channel to `host:port`."""

    @abstractmethod
    def forwarder(self, *, limits: Limits | None = None) -> Forwarder:
        """Make a forwarder."""


def node_keepalive(metadata: Mapping[str, str]) -> float:
    """Give the seconds between pings that a node's registration allows; 0 for peers that would cut us off."""
    try:
        return max(0.0, float(metadata.get("keepalive", "0")))
    except ValueError:
        return 0.0
