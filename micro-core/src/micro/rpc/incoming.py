"""A call's headers as a Context: what the wire says about caller, namespace, deadline and trace."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from random import getrandbits

from micro import names
from micro.context import Context, Trace
from micro.rpc.driver import Headers, ServerCall

AUTHORIZATION = b"authorization"
ON_BEHALF_OF = b"micro-on-behalf-of"
NAMESPACE = b"micro-namespace"
TRACE = b"micro-trace-id"
SPAN = b"micro-span-id"
TRACEPARENT = b"traceparent"
TIMEOUT = b"timeout"
CONTENT_TYPE = b"x-content-type"

_CONSUMED = frozenset({TIMEOUT, CONTENT_TYPE, b"content-type"})
_SAME = 0.005  # seconds by which the two forms of a deadline may differ and mean the same
_MAX_ID = 64  # characters of a peer's trace or span id
_UUID = 36  # characters of an original peer's
_HEX = b"0123456789abcdef"
_W3C = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")
_MAX_NAMESPACES = 1024  # remembered as valid
_namespaces: dict[bytes, str] = {}


class CallContext(Context):
    """The context of a call that came in; its metadata is decoded when somebody asks."""

    __slots__ = ("_call",)

    def __init__(self, call: ServerCall, service: str, endpoint: str) -> None:
        super().__init__(service=service, endpoint=endpoint, peer=call.peer)
        self._call = call

    @property
    def metadata(self) -> Mapping[str, str]:
        found = self._metadata
        if found is None:
            found = self._metadata = decoded(self._call.headers, self._call.content_type)
        return found


def decoded(headers: Headers, content_type: bytes) -> dict[str, str]:
    """Give a call's headers as metadata: repeated ones joined, without those that only the transport needs."""
    found = {"content-type": content_type.decode("latin-1")}
    for raw, value in headers:
        if raw in _CONSUMED:
            continue
        key, text = raw.decode("latin-1"), value.decode("utf-8", "replace")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


def bring_deadline(call: ServerCall) -> None:
    """Take the shorter of `grpc-timeout`, which the transport knows, and `timeout`, in nanoseconds."""
    raw = call.header(TIMEOUT)
    if raw is None or not raw.isdigit() or len(raw) > 18:
        return
    deadline = time.monotonic() + int(raw) / 1e9
    if call.deadline is None or deadline < call.deadline - _SAME:
        call.shorten(deadline)


def namespace_of(raw: bytes) -> str:
    """Read a namespace's name; InvalidArgument for what is none."""
    known = _namespaces.get(raw)
    if known is None:
        known = names.namespace(raw.decode("utf-8", "replace"))
        if len(_namespaces) < _MAX_NAMESPACES:
            _namespaces[raw] = known
    return known


def trace_of(header: Callable[[bytes], bytes | None]) -> Trace:
    """Continue the caller's trace, by the wire's own two keys or W3C's, else begin one."""
    span = header(SPAN)
    if span is not None:
        trace = header(TRACE) or header(b"micro-id")
        if trace and len(trace) <= _MAX_ID and len(span) <= _MAX_ID:
            return Trace(trace.decode("latin-1"), new_span(), span.decode("latin-1"))
    parent = _w3c(header(TRACEPARENT) or b"")
    if parent is not None:
        return Trace(parent[0].decode(), new_span(), parent[1].decode())
    return Trace(new_trace(), new_span())


def trace_headers(header: Callable[[bytes], bytes | None]) -> list[tuple[bytes, bytes]]:
    """Give what is to be said of the trace of a call that goes on: what it says itself, or a new one's.

    For those who pass calls on and are no part of the trace themselves.
    """
    trace, span, parent = header(TRACE) or header(b"micro-id"), header(SPAN), header(TRACEPARENT)
    if not trace or not span:
        known = _w3c(parent) if parent else None
        if known is None:
            both = b"%048x" % getrandbits(192)
            trace, span = both[:32], both[32:]
            return [(TRACE, trace), (SPAN, span), (TRACEPARENT, b"00-%b-%b-01" % (trace, span))]
        trace, span = known
    found = [(TRACE, trace), (SPAN, span)]
    parent = parent or traceparent(trace, span)
    if parent is not None:
        found.append((TRACEPARENT, parent))
    return found


def traceparent(trace: bytes, span: bytes) -> bytes | None:
    """Say in W3C's form where a call stands; None for a peer's ids which that has no room for."""
    if len(trace) == _UUID:
        trace = trace.replace(b"-", b"").lower()
    if len(trace) != 32 or len(span) != 16 or trace.translate(None, _HEX) or span.translate(None, _HEX):
        return None
    return b"00-%b-%b-01" % (trace, span)  # sampled: every process remembers its last calls


def _w3c(parent: bytes) -> tuple[bytes, bytes] | None:
    """Read trace and span of a `traceparent`, of later versions too; None for what is none, which is to be ignored."""
    found = _W3C.fullmatch(parent)
    if found is None or (found[3] is not None and parent.startswith(b"00")):
        return None
    return found[1], found[2]


def new_trace() -> str:
    """Make a trace's id: 128 random bits."""
    return f"{getrandbits(128):032x}"


def new_span() -> str:
    """Make a span's id: 64 random bits."""
    return f"{getrandbits(64):016x}"
