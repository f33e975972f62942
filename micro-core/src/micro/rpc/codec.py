"""JSON, protobuf or bytes: which a call's body is, by its content type, and the functions that read and write it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

from micro.errors import InvalidArgument
from micro.rpc.driver import JSON, PROTO
from micro.schema import MessageType

BYTES = b"application/grpc+bytes"
BARE = b"application/grpc"

Encode = Callable[[Any], bytes]
Decode = Callable[[bytes], Any]


class Codec:
    """One form of bodies; `content_type` is the wire's, `asked` what a caller puts into `x-content-type`."""

    __slots__ = ("asked", "content_type", "name")

    def __init__(self, name: str, content_type: bytes, asked: bytes) -> None:
        self.name = name
        self.content_type = content_type
        self.asked = asked

    def pair(self, message: MessageType[Any]) -> tuple[Decode, Encode]:
        """Give the reader and the writer of a message; InvalidArgument where the form has none for it."""
        if self is PROTOBUF:
            return message.from_proto, message.to_proto
        if self is PLAIN:
            return message.from_json, message.to_json
        if message.python_type is bytes:
            return bytes, bytes
        raise unsupported(self.content_type)

    def __repr__(self) -> str:
        return f"Codec({self.name!r})"


PROTOBUF = Codec("proto", PROTO, PROTO)
PLAIN = Codec("json", JSON, b"application/json")
RAW = Codec("bytes", BYTES, BYTES)

_BY_WIRE = {PROTO: PROTOBUF, JSON: PLAIN, BYTES: RAW}
_BY_ASKED = {
    b"application/json": PLAIN, JSON: PLAIN, b"multipart/form-data": PLAIN, BYTES: RAW,
}  # fmt: skip


def single_keys(decode: Decode) -> Decode:
    """Give a reader of JSON that refuses an object with a key twice: two readers might believe different ones."""

    def read(raw: bytes) -> Any:
        with contextlib.suppress(ValueError, RecursionError):  # the reader says it better
            json.loads(raw or b"null", object_pairs_hook=_once)
        return decode(raw)

    return read


def _once(pairs: list[tuple[str, Any]]) -> None:
    if len({key for key, _ in pairs}) < len(pairs):
        raise InvalidArgument("a key is twice in one JSON object")


def choose(content_type: bytes, asked: Callable[[bytes], bytes | None]) -> Codec:
    """Give the codec of a call, `asked` looks its headers up; InvalidArgument for a subtype nobody knows.

    Bare `application/grpc` is all that a peer on the official C library can say: there `x-content-type` is believed.
    """
    known = _BY_WIRE.get(content_type)
    if known is not None:
        return known
    plain = _stripped(content_type)
    if plain == BARE:
        return _BY_ASKED.get(_stripped(asked(b"x-content-type") or b""), PROTOBUF)
    known = _BY_WIRE.get(plain)
    if known is None:
        raise unsupported(content_type)
    return known


def unsupported(content_type: bytes) -> InvalidArgument:
    """Give the wire's words for a content type that there is no codec for."""
    return InvalidArgument(f"Unsupported Content-Type: {content_type[:100].decode('latin-1')}")


def _stripped(content_type: bytes) -> bytes:
    return content_type.partition(b";")[0].strip().lower()
