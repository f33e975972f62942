"""HTTP answers: the wire's errors as JSON, refusals as plain text, what is always the same."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from multidict import CIMultiDict

from micro._version import __version__
from micro.api import web
from micro.api.gateway import RefusedError, for_http
from micro.errors import Code, ServiceError, clip, phrase

_JSON = "application/json"
_PLAIN = "text/plain; charset=utf-8"
_VERSION = msgspec.json.encode({"version": __version__})

_encode = msgspec.json.Encoder().encode


def answer(headers: Mapping[str, str], body: bytes, content_type: str, *, status: int = 200) -> web.Response:
    """Give a body with its type; without one 204."""
    made = CIMultiDict(headers)
    made["Server"] = "micro"
    if not body and status == 200:
        return web.Response(status=204, headers=made)
    made["Content-Type"] = content_type
    return web.Response(status=status, body=body, headers=made)


def trailing(response: web.Response, error: ServiceError | None = None) -> web.Response:
    """Add what callers with a content type of gRPC's look for."""
    response.headers.extend(
        [
            ("Trailer", "grpc-status"),
            ("Trailer", "grpc-message"),
            ("grpc-status", "0" if error is None else "13"),
            ("grpc-message", "" if error is None else ascii(error.detail)[1:-1]),
        ]
    )
    return response


def error_json(error: ServiceError) -> bytes:
    """Write an error's four parts, in the wire's order."""
    error = for_http(error)
    return _encode({"id": error.id, "code": error.http, "detail": clip(error.detail), "status": phrase(error.http)})


def failed(headers: Mapping[str, str], error: ServiceError) -> web.Response:
    """Give an error: its code is the status, its four parts the body."""
    body = error_json(error)
    http = for_http(error).http
    status = http if 400 <= http <= 599 else 500
    response = answer(headers, body, _JSON, status=status)
    if status == 503:
        response.headers["Retry-After"] = "1"
    if status in {408, 413}:  # what is left of the request is not read
        response.force_close()
    return response


def refused(headers: Mapping[str, str], refusal: RefusedError) -> web.Response:
    """Answer a call that was not sent: plain text where it was identity or rules, as the original has it."""
    if refusal.error.code == Code.UNAUTHENTICATED:
        return answer(headers, b"unauthorized request\n", _PLAIN, status=401)
    if refusal.error.code == Code.PERMISSION_DENIED:
        return answer(headers, b"Forbidden request\n", _PLAIN, status=403)
    return failed(headers, refusal.error)


def fixed(headers: Mapping[str, str], path: str) -> web.Response | None:
    """Give the answer of a path that is no service's."""
    if path in {"/", ""}:
        return answer(headers, _VERSION, _PLAIN)
    if path == "/favicon.ico":
        return empty(headers)
    return None


def empty(headers: Mapping[str, str]) -> web.Response:
    """Give 200 without a body."""
    made = CIMultiDict(headers)
    made["Server"] = "micro"
    return web.Response(headers=made)
