"""An HTTP request's headers as a call's metadata: what goes on to the service, and who the caller says they are."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from micro import limits
from micro.api.cors import Cors
from micro.errors import ServiceError
from micro.rpc import incoming

_COOKIE = b"cookie"
_TOKEN = b"micro-token"
# About the HTTP message and its connection, or said anew by whoever sends the call on.
_HELD_BACK = frozenset(
    {
        b"host", b"content-length", b"transfer-encoding", b"accept-encoding", b"content-encoding", b"te", b"trailer",
        b"upgrade", b"keep-alive", b"connection", b"proxy-connection", b"proxy-authorization", b"expect", b"http2-settings",
        b"x-content-type", b"x-forwarded-for", b"method", b"url", b"x-api-body",
    }
)  # fmt: skip
_PREFIXES = (b"grpc-", b"x-api-field-", b"sec-websocket-", b":")
_KEPT = 1024  # names remembered; callers choose them

_keys: dict[bytes, bytes] = {}


def onward(raw: Sequence[tuple[bytes, bytes]], *, most: int) -> dict[bytes, bytes]:
    """Give the headers that go on, lower-cased, repeated ones joined by commas.

    Binary metadata cannot come by HTTP, and values beyond ASCII are no gRPC metadata: both stay behind.
    """
    size = 0
    out: dict[bytes, bytes] = {}
    for name, value in raw:
        size += len(name) + len(value)
        key = _keys.get(name)
        if key is None:
            key = _key(name)
        if key and value.isascii():
            out[key] = out[key] + b"," + value if key in out else value
    if size > most:
        raise ServiceError(f"the headers are over {most} bytes", id="api", http=431)
    if size > limits.GATEWAY_HEADERS and sum(map(len, chain.from_iterable(out.items()))) > limits.GATEWAY_HEADERS:
        raise ServiceError(f"the headers that go on are over {limits.GATEWAY_HEADERS} bytes", id="api", http=431)
    return out


def _key(name: bytes) -> bytes:
    """Give a header's name as metadata has it, empty for one that stays behind; and remember it."""
    key = name.lower()
    if key in _HELD_BACK or key.startswith(_PREFIXES) or key.endswith(b"-bin"):
        key = b""
    if len(_keys) < _KEPT:
        _keys[name] = key
    return key


def identify(found: dict[bytes, bytes], cors: Cors, host: str) -> None:
    """Leave the one token that counts: Bearer's, or, where there is no `Authorization` at all, the cookie's.

    The cookie itself never goes on: a service is not to learn what its caller can do elsewhere.
    """
    cookie = found.get(_COOKIE)
    token = b""
    if cookie is not None and _TOKEN in cookie:
        token, rest = _parted(cookie)
        if rest:
            found[_COOKIE] = rest
        else:
            del found[_COOKIE]
    authorization = found.get(incoming.AUTHORIZATION)
    if authorization is not None:
        if not authorization.startswith(b"Bearer "):
            del found[incoming.AUTHORIZATION]  # Basic and others mean nothing here
    elif token and cors.cookies_count(_text(found, b"origin"), host, _text(found, b"sec-fetch-site")):
        found[incoming.AUTHORIZATION] = b"Bearer " + token


def _parted(cookie: bytes) -> tuple[bytes, bytes]:
    """Give the token of a `Cookie` header, and the header without it."""
    token, rest = b"", []
    for each in cookie.split(b";"):
        name, sep, value = each.strip().partition(b"=")
        if name == _TOKEN and sep:
            token = value.strip(b'"').removeprefix(_TOKEN + b"=")
        elif each.strip():
            rest.append(each.strip())
    return token, b"; ".join(rest)


def _text(found: dict[bytes, bytes], name: bytes) -> str | None:
    value = found.get(name)
    return None if value is None else value.decode("latin-1")


def traced(found: dict[bytes, bytes]) -> None:
    """Begin a trace unless the caller is in one, told by the wire's own keys or W3C's."""
    found.update(incoming.trace_headers(found.get))
