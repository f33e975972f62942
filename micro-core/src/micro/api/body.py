"""What an HTTP request sends as the call's message, by method and content type; passed on undecoded where it can be."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import msgspec

from micro.api import query as queries
from micro.errors import InvalidArgument, ServiceError
from micro.rpc.driver import JSON, PROTO

JSON_TYPE = "application/json"
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"
# The bytes are the message; what is answered has the same type.
AS_THEY_ARE = {
    "application/protobuf": PROTO,
    "application/proto": PROTO,
    "application/grpc": PROTO,
    "application/grpc+proto": PROTO,
}
_REFUSED = frozenset({"application/json-rpc", "application/proto-rpc", "application/octet-stream"})
_WITH_BODY = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_READ_AS_GET = frozenset({"GET", "HEAD"})
_PARTS = 1000  # of a multipart body

_any = msgspec.json.Decoder().decode
_check = msgspec.json.Decoder(msgspec.Raw).decode
_encode = msgspec.json.Encoder().encode


class Form:
    """How a request's message is written: `wire` as gRPC has it, `asked` as `x-content-type`, `answer` in HTTP."""

    __slots__ = ("answer", "asked", "plain", "wire")

    def __init__(self, plain: str, wire: bytes, asked: bytes, answer: str) -> None:
        self.plain = plain
        self.wire = wire
        self.asked = asked
        self.answer = answer


_JSON_FORM = Form(JSON_TYPE, JSON, b"application/json", JSON_TYPE)
_FORMS = {
    "": Form("", JSON, b"application/json", JSON_TYPE),
    JSON_TYPE: _JSON_FORM,
    "application/grpc+json": Form("application/grpc+json", JSON, JSON, "application/grpc+json"),
    **{plain: Form(plain, wire, plain.encode(), plain) for plain, wire in AS_THEY_ARE.items()},
}


def form_of(content_type: str) -> Form:
    """Read a request's `Content-Type`; raises 415 for an envelope that nobody unwraps."""
    found = _FORMS.get(content_type)
    if found is not None:
        return found
    plain = content_type.partition(";")[0].strip().lower()
    if plain in _REFUSED:
        raise ServiceError(f"Content-Type {plain} is not read here; send application/json", id="api", http=415)
    return _FORMS.get(plain) or Form(plain, JSON, b"application/json", JSON_TYPE)


async def message(method: str, form: Form, content_type: str, query: str, body: bytes) -> bytes:
    """Make the call's message. InvalidArgument for what cannot be read."""
    if form.wire is PROTO:
        return body
    if method in _READ_AS_GET:
        if query:
            return _encode(queries.to_json(query))
        return b"{}" if form.plain.endswith("json") else b"null"
    if method not in _WITH_BODY:
        return b"null"
    if form.plain == FORM and not _is_json(body):
        return _encode(_texts([*queries.pairs(query), *queries.pairs(_text(body), "form")]))
    if form.plain == MULTIPART:
        return _encode(await _multipart(content_type, body))
    if query:
        return _encode(merged(queries.to_json(query), _value(body)) if body else queries.to_json(query))
    if body:
        checked(body)
    return body or b"null"


def _is_json(body: bytes) -> bool:
    """Whether a body is meant as JSON though it says it is a form, as `curl -d` says of anything.

    Forms escape what a JSON text begins with; anything else is a form when it has a `=`, and JSON when it can be.
    """
    if body.lstrip()[:1] in {b"{", b"[", b'"'}:
        return True
    if b"=" in body:
        return False
    try:
        _check(body)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def checked(body: bytes) -> None:
    """Refuse what is no JSON."""
    try:
        _check(body)
    except (msgspec.DecodeError, RecursionError) as problem:
        raise _malformed(problem) from None


def _malformed(problem: Exception) -> InvalidArgument:
    return InvalidArgument(f"malformed JSON: {str(problem).removeprefix('JSON is malformed: ')}", id="api")


def merged(target: Any, patch: Any) -> Any:
    """Merge as RFC 7396 says: objects member by member, null takes away, anything else replaces."""
    if not isinstance(patch, dict):
        return patch
    out = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            out.pop(key, None)
        else:
            out[key] = merged(out.get(key), value)
    return out


def _value(body: bytes) -> Any:
    try:
        return _any(body)
    except (msgspec.DecodeError, RecursionError) as problem:
        raise _malformed(problem) from None


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise InvalidArgument("malformed form: not UTF-8", id="api") from None


def _texts(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Give fields as texts; one that came several times is joined by commas."""
    out: dict[str, str] = {}
    for key, value in pairs:
        out[key] = f"{out[key]},{value}" if key in out else value
    return out


async def _multipart(content_type: str, body: bytes) -> dict[str, str]:
    """Read fields as texts and files as base64."""
    from aiohttp.base_protocol import BaseProtocol
    from aiohttp.http_exceptions import HttpProcessingError
    from aiohttp.multipart import BodyPartReader, MultipartReader
    from aiohttp.streams import StreamReader

    loop = asyncio.get_running_loop()
    stream = StreamReader(BaseProtocol(loop), 2**16, loop=loop)
    stream.feed_data(body)
    stream.feed_eof()
    found: list[tuple[str, str]] = []
    try:
        reader = MultipartReader({"Content-Type": content_type}, stream)
        while (part := await reader.next()) is not None:
            if not isinstance(part, BodyPartReader) or not part.name:
                raise InvalidArgument("malformed multipart body: a part has no name", id="api")
            data = bytes(await part.read(decode=False))
            text = base64.b64encode(data).decode() if part.filename is not None else _text(data)
            found.append((part.name, text))
            if len(found) > _PARTS:
                raise InvalidArgument(f"malformed multipart body: over {_PARTS} parts", id="api")
    except (HttpProcessingError, ValueError, AssertionError, LookupError) as problem:
        raise InvalidArgument(f"malformed multipart body: {' '.join(str(problem).split())[:200]}", id="api") from None
    return _texts(found)
