"""A ServiceError on the wire and back. The status message, compact JSON, is the contract; code and details are courtesy."""

from __future__ import annotations

from typing import Any

import msgspec

from micro.errors import ServiceError, Unavailable, clip, from_grpc, from_wire, phrase
from micro.rpc.status import Status

_URL = b"type.googleapis.com/errors.Error"
_MAX_TRAILERS = 8192  # bytes; beyond about 10 kB a peer loses the whole status, so the details are left out first
_NESTED = 8  # levels of errors within an error's detail

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def to_wire(error: ServiceError, speaker: str) -> tuple[int, str, bytes]:
    """Give the gRPC code, the message and the details; `speaker` is the id of an error that has none yet."""
    detail, http, code = clip(error.detail).encode("utf-8", "replace").decode(), error.http, error.code
    speaker = error.id or speaker
    status = phrase(http)
    message = _encode({"id": speaker, "code": http, "detail": detail, "status": status})
    said = _text(b"\x0a", speaker) + b"\x10" + _varint(http) + _text(b"\x1a", detail) + _text(b"\x22", status)
    first = _bytes(b"\x0a", _URL) + _bytes(b"\x12", said)
    details = b"\x08" + _varint(code) + _bytes(b"\x12", message) + _bytes(b"\x1a", first)
    text = message.decode()
    percent = len(message) + 2 * sum(byte > 0x7E for byte in message)  # how gRPC writes a message
    return code, text, details if percent + len(details) * 4 // 3 <= _MAX_TRAILERS else b""


def from_status(status: Status) -> ServiceError:
    """Make the error of a call's end: the JSON message decides, else the gRPC code, its text unchanged.

    An error whose detail is itself such JSON, as relays make them, is the inner one.
    """
    said = _read(status.message)
    if said is None:
        return from_grpc(status.code, status.message)
    for _ in range(_NESTED):
        inner = _read(said[2])
        if inner is None:
            break
        said = inner
    return from_wire(said[0], said[1], said[2], grpc=status.code)


def unasked(status: Status) -> ServiceError:
    """Make the error of a CANCELLED that the caller did not ask for: somebody between gave up, so it may be tried."""
    return Unavailable(status.message or "the call was cut")


def _read(message: str) -> tuple[str, int, str] | None:
    if not message.startswith("{"):
        return None
    try:
        found = _decode(message)
    except (msgspec.DecodeError, RecursionError):
        return None
    found = {str(key).lower(): value for key, value in found.items()}
    code = found.get("code")
    if not isinstance(code, int) or isinstance(code, bool) or code <= 0:
        return None
    return _plain(found.get("id")), code, _plain(found.get("detail"))


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _bytes(tag: bytes, value: bytes) -> bytes:
    return tag + _varint(len(value)) + value if value else b""


def _text(tag: bytes, value: str) -> bytes:
    return _bytes(tag, value.encode("utf-8", "replace"))
