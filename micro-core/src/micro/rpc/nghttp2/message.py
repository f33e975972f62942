"""gRPC's layer on HTTP/2 as pure functions: framing, status, timeouts, and what may be said in a header."""

from __future__ import annotations

import binascii

from micro.errors import Code
from micro.rpc.status import Status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from micro.rpc.status import Headers

PREFIX = 5  # bytes before each message: a flag for compression, and the length
OK_TRAILERS = ((b"grpc-status", b"0"),)
_BY_RESET = {0x7: Code.UNAVAILABLE, 0x8: Code.CANCELLED, 0xB: Code.RESOURCE_EXHAUSTED, 0xC: Code.PERMISSION_DENIED}
_BY_HTTP = {
    b"400": Code.INTERNAL, b"401": Code.UNAUTHENTICATED, b"403": Code.PERMISSION_DENIED, b"404": Code.UNIMPLEMENTED,
    b"429": Code.UNAVAILABLE, b"502": Code.UNAVAILABLE, b"503": Code.UNAVAILABLE, b"504": Code.UNAVAILABLE,
}  # fmt: skip
_UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_DETAILS = b"grpc-status-details-bin"
# What the transport writes itself, or HTTP/2 forbids. Gateways pass such on from HTTP/1.1, where they meant its body.
_FORBIDDEN = frozenset({
    b"content-type", b"te", b"grpc-timeout", b"host", b"content-length", b"connection", b"keep-alive",
    b"proxy-connection", b"transfer-encoding", b"upgrade", b"",
})  # fmt: skip
_OURS = _FORBIDDEN | {
    b"user-agent", b"grpc-encoding", b"grpc-accept-encoding", b"grpc-status", b"grpc-message", _DETAILS,
}  # fmt: skip
_IN_NAMES = b"abcdefghijklmnopqrstuvwxyz0123456789-_."
_IN_VALUES = b"\t" + bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100))
_IN_PATHS = bytes(range(0x21, 0x7F))
_MAX_KNOWN, _MAX_KNOWN_VALUE = 1024, 1024  # pairs, and bytes of a value

# Another for each call; remembered, they would only drive the others out.
_VARYING = frozenset({b"micro-trace-id", b"micro-span-id", b"traceparent", b"timeout"})
_IN_VARYING = b"0123456789abcdefghijklmnopqrstuvwxyz-"
_UNLIKE = _OURS | _VARYING  # not remembered

_known: set[tuple[bytes, bytes]] = set()  # pairs found good; callers repeat themselves


def frame(message: bytes) -> bytes:
    """Give a message with its prefix."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def request_head(address: str, scheme: bytes, path: bytes, content_type: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """Give the headers that every request begins with; the user agent is last."""
    if not path or path.translate(None, _IN_PATHS):
        raise Status(Code.INVALID_ARGUMENT, f"path {path!r} cannot be sent", processed=False)
    return (
        (b":method", b"POST"), (b":scheme", scheme), (b":path", path), (b":authority", address.encode("ascii")),
        (b"content-type", content_type), (b"te", b"trailers"), (b"user-agent", b"micro"),
    )  # fmt: skip


def checked(headers: Headers) -> Headers:
    """Give what of these headers may be sent, without those that are the transport's own.

    The binding sends whatever it is given, a line break in a value too: this is the one place that refuses.
    """
    if _known.issuperset(headers):
        return headers
    return _checked(headers, _OURS)


def passed_on(headers: Headers) -> Headers:
    """Give what of another call's headers may be sent with the body they came with."""
    if _known.issuperset(headers):
        return headers
    return _checked(headers, _FORBIDDEN)


def _checked(headers: Headers, dropped: frozenset[bytes]) -> Headers:
    found = []
    for pair in headers:
        if pair in _known:  # never one of ours
            found.append(pair)
            continue
        name, raw = pair
        if name in _VARYING:
            if not raw.translate(None, _IN_VARYING):
                found.append(pair)
                continue
        elif name in dropped:
            continue
        value = raw.strip(b" \t")
        if name.translate(None, _IN_NAMES):
            if name[:1] == b":":
                continue
            raise Status(Code.INTERNAL, f"header name {name!r} cannot be sent", processed=False)
        if value.translate(None, _IN_VALUES):
            raise Status(Code.INTERNAL, f"value of header {name.decode()!r} cannot be sent", processed=False)
        good = (name, value)
        if name not in _UNLIKE and len(value) <= _MAX_KNOWN_VALUE:
            if len(_known) >= _MAX_KNOWN:
                _known.clear()
            _known.add(good)
        found.append(good)
    return found


def weight(headers: Headers) -> int:
    """Give the bytes of a header list as RFC 9113 counts them."""
    size = 32 * len(headers)
    for name, value in headers:
        size += len(name) + len(value)
    return size


def timeout_header(seconds: float) -> bytes:
    """Give a grpc-timeout's value: at most eight digits and a unit."""
    micros = int(seconds * 1_000_000)
    if micros < 100_000_000:
        return b"%du" % micros if micros > 0 else b"1n"
    if seconds < 100_000:
        return b"%dm" % int(seconds * 1_000)
    return b"%dS" % min(int(seconds), 99_999_999)


def parse_timeout(value: bytes) -> float | None:
    """Give the seconds of a grpc-timeout, None for what is none."""
    unit = _UNITS.get(value[-1:])
    digits = value[:-1]
    if unit is None or not 1 <= len(digits) <= 8 or not digits.isdigit():
        return None
    return int(digits) * unit


def end_headers(code: int, message: str, details: bytes, trailers: Headers) -> Headers:
    """Give the trailers of a call's end."""
    if not code and not message and not details and not trailers:
        return OK_TRAILERS
    found = [(b"grpc-status", b"%d" % code)]
    if message:
        found.append((b"grpc-message", percent(message)))
    if details:
        found.append((_DETAILS, binascii.b2a_base64(details, newline=False).rstrip(b"=")))
    if trailers:
        found += checked(trailers)
    return found


def status_of(trailers: Headers) -> Status | None:
    """Read a call's end from its trailers; None for OK. `trailers` of the Status are the rest of them."""
    code, message, details = b"", "", b""
    rest = []
    for pair in trailers:
        name, value = pair
        if name == b"grpc-status":
            code = value
        elif name == b"grpc-message":
            message = unpercent(value)
        elif name == _DETAILS:
            details = unbase64(value)
        elif name[:1] != b":" and name != b"content-type":
            rest.append(pair)
    if code == b"0":
        return None
    if not code:
        return Status(Code.INTERNAL, "the answer has no grpc-status", trailers=rest)
    number = int(code) if code.isdigit() else Code.UNKNOWN
    return Status(number, message, details=details, trailers=rest)


def without_status(trailers: Headers) -> Headers:
    """Give the trailers of an OK end that are not gRPC's own."""
    if len(trailers) == 1:
        return ()
    return [pair for pair in trailers if pair[0][:1] != b":" and pair[0] not in _OURS]


def code_of(trailers: Headers) -> int:
    """Give the gRPC code of trailers that are passed on unread."""
    for name, value in trailers:
        if name == b"grpc-status":
            return int(value) if value.isdigit() else Code.UNKNOWN
    return Code.UNKNOWN


def reset_status(reset: int) -> Status:
    """Give the end that a reset of HTTP/2 means; only a refused stream was certainly not processed."""
    code = _BY_RESET.get(reset, Code.INTERNAL)
    return Status(code, f"the peer reset the stream (HTTP/2 error {reset})", processed=reset != 0x7)


def http_status(status: bytes) -> Status:
    """Give the end that an answer means which is not gRPC's."""
    return Status(_BY_HTTP.get(status, Code.UNKNOWN), f"HTTP status {status.decode('ascii', 'replace')}")


def percent(text: str) -> bytes:
    """Write a grpc-message. Spaces at the edges are written as codes: a header's value may not begin or end with one."""
    raw = text.encode("utf-8", "replace")
    if raw.isascii() and text.isprintable() and b"%" not in raw and raw.strip() == raw:
        return raw
    last = len(raw) - 1
    return b"".join(
        b"%%%02X" % byte
        if byte < 0x20 or byte > 0x7E or byte == 0x25 or (byte == 0x20 and index in {0, last})
        else raw[index : index + 1]
        for index, byte in enumerate(raw)
    )


def unpercent(raw: bytes) -> str:
    """Read a grpc-message; what is no code stays as it is."""
    if b"%" in raw:
        first, *parts = raw.split(b"%")
        raw = first
        for part in parts:
            try:
                raw += (binascii.unhexlify(part[:2]) if part else b"%") + part[2:]
            except ValueError:
                raw += b"%" + part
    return raw.decode("utf-8", "replace")


def unbase64(value: bytes) -> bytes:
    """Read a -bin value, padded or not; of several it is the first. Empty for what is none."""
    value = value.partition(b",")[0]
    try:
        return binascii.a2b_base64(value + b"=" * (-len(value) % 4))
    except ValueError:
        return b""


def gunzip(body: bytes, limit: int) -> bytes:
    """Unpack a compressed message, never to more than `limit` bytes."""
    import zlib

    unpacker = zlib.decompressobj(wbits=31)
    try:
        message = unpacker.decompress(body, limit + 1)
    except zlib.error as error:
        raise Status(Code.INTERNAL, "a message says it is gzip and is not") from error
    if len(message) > limit:
        raise too_large(len(message), limit)
    if not unpacker.eof:
        raise Status(Code.INTERNAL, "a message's gzip ends too early")
    return message


def too_large(size: int, limit: int) -> Status:
    """Give the end of a call whose message is over the limit."""
    return Status(Code.RESOURCE_EXHAUSTED, f"message larger than max ({size} vs. {limit})")
