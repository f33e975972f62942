"""Headers, statuses and addresses between the wire's own form and grpc's."""

from __future__ import annotations

import binascii
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

import grpc.aio

from micro.errors import Code
from micro.rpc.driver import JSON, PROTO, Headers, Status

DETAILS = "grpc-status-details-bin"
# grpc writes these itself, from its own arguments, and a second one spoils the call.
_OWN = frozenset({
    "content-type", "te", "host", "content-length", "user-agent", "grpc-timeout", "grpc-encoding",
    "grpc-accept-encoding", "grpc-status", "grpc-message", DETAILS,
})  # fmt: skip
EOF: Any = grpc.aio.EOF  # type: ignore[attr-defined]  # the stubs miss it
_BARE = frozenset({PROTO, b"application/grpc"})


def from_grpc(metadata: Iterable[tuple[str, str | bytes]] | None) -> Headers:
    """Give metadata as header pairs, `-bin` values back in base64."""
    return [
        (key.encode(), _base64(value) if isinstance(value, bytes) else value.encode())
        for key, value in metadata or ()
        if key != DETAILS
    ]


def to_grpc(headers: Headers) -> tuple[tuple[str, str | bytes], ...]:
    """Give header pairs as metadata, without what grpc writes itself; raises Status for what no peer would take."""
    found: list[tuple[str, str | bytes]] = []
    for raw_key, raw in headers:
        key = raw_key.decode("latin-1")
        if key in _OWN or key.startswith(":"):
            continue
        if (
            not key
            or key != key.lower()
            or not key.isascii()
            or not key.replace("-", "").replace("_", "").replace(".", "").isalnum()
        ):
            raise Status(Code.INTERNAL, f"header name {key!r} cannot be sent", processed=False)
        if key.endswith("-bin"):
            found += [(key, _bytes(key, part)) for part in raw.split(b",")]
        elif raw.isascii() and (not raw or raw.decode().isprintable()):
            found.append((key, raw.decode()))
        else:
            raise Status(Code.INTERNAL, f"value of header {key!r} cannot be sent", processed=False)
    return tuple(found)


def with_content_type(headers: Headers, content_type: bytes) -> Headers:
    """Say in `x-content-type` what grpc will not say in `content-type`."""
    if content_type in _BARE or any(key == b"x-content-type" for key, _ in headers):
        return headers
    return [*headers, (b"x-content-type", b"application/json" if content_type == JSON else content_type)]


def size(headers: Headers) -> int:
    """Give a header list's size as HTTP/2 counts it."""
    return sum(len(key) + len(value) + 32 for key, value in headers)


def status_of(error: grpc.aio.AioRpcError, address: str) -> Status:
    """Make the Status of a failed call; a peer that nobody could reach certainly did not see it."""
    trailing: list[Any] = list(error.trailing_metadata() or ())
    code, text = int(error.code().value[0]), error.details() or ""
    refused = code == Code.UNAVAILABLE and "failed to connect" in text.lower()
    unseen = refused or "RST_STREAM with error code 7" in text  # REFUSED_STREAM
    if refused:
        text = f"connection refused: {address}: {text.rpartition('last error: ')[2]}"
    details, trailers = details_of(trailing), from_grpc(trailing)
    return Status(code, text, details=details, trailers=trailers, processed=not unseen, reached=not refused)


def details_of(metadata: Iterable[tuple[str, Any]]) -> bytes:
    """Find the serialised google.rpc.Status among trailers."""
    return next((bytes(value) for key, value in metadata if key == DETAILS), b"")


def peer_of(name: str) -> str:
    """Give grpc's name of a peer, `ipv4:127.0.0.1:1`, as host and port."""
    kind, _, rest = name.partition(":")
    return unquote(rest) if kind in {"ipv4", "ipv6"} else kind


def _base64(value: bytes) -> bytes:
    return binascii.b2a_base64(value, newline=False).rstrip(b"=")


def _bytes(key: str, value: bytes) -> bytes:
    try:
        return binascii.a2b_base64(value + b"=" * (-len(value) % 4))
    except binascii.Error:
        raise Status(Code.INTERNAL, f"value of header {key!r} is not base64", processed=False) from None
