"""One HTTP request, from its path to its answer."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import aclosing
from secrets import token_hex
from typing import TYPE_CHECKING, Protocol

from multidict import CIMultiDict

from micro.api import answers, body, metadata, web
from micro.api.body import Form
from micro.api.call import Call
from micro.api.cors import Cors
from micro.api.door import HEADER_BYTES, Door, Held
from micro.api.gateway import Gateway, RefusedError
from micro.api.resolve import Resolved, Resolver
from micro.api.whole import Heads
from micro.errors import Internal, InvalidArgument, ServiceError
from micro.rpc import incoming

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

TIMEOUT = 30.0  # seconds of a unary call for which nobody said less
STALLED = 60.0  # seconds that a client may take to read one piece of a stream
_REFUSED_METHODS = frozenset({"CONNECT", "TRACE"})

log = logging.getLogger("micro.api")


class Streaming(Protocol):
    """What of the registrations counts here."""

    def streaming(self, service: str, namespace: str, endpoint: str) -> bool:
        """Tell whether a service registered an endpoint as a stream."""

    def idempotent(self, service: str, namespace: str, endpoint: str) -> bool:
        """Tell whether a service says that an endpoint may be repeated."""


class HttpHandler:
    """Answers requests: resolves, has them admitted, reads bodies, sends calls on."""

    def __init__(
        self, gateway: Gateway, routes: Streaming, *, cors: Cors, resolver: Resolver, timeout: float = TIMEOUT
    ) -> None:
        self._gateway = gateway
        self._routes = routes
        self._cors = cors
        self._resolver = resolver
        self._timeout = timeout
        self._heads = Heads()
        self.door: Door

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request, whatever happens."""
        headers = self._cors.headers(request.headers.get("Origin"))
        try:
            return await self._answer(request, headers)
        except RefusedError as refusal:
            return answers.refused(headers, refusal)
        except ServiceError as error:
            response = answers.failed(headers, error)
            return answers.trailing(response, error) if _is_grpc(request) else response
        except ConnectionError:
            raise
        except Exception:  # a bug is an id to the caller, and a traceback in the log
            number = token_hex(8)
            log.exception("a request failed, error %s", number)
            return answers.failed(headers, Internal(f"internal error {number}", id="api"))

    async def _answer(self, request: web.BaseRequest, headers: Mapping[str, str]) -> web.StreamResponse:
        method = request.method
        if method == "OPTIONS":
            return answers.empty(headers)
        if request.version < web.HttpVersion10:
            raise ServiceError("HTTP/0.9 is not served", id="api", http=505)
        if method in _REFUSED_METHODS:
            raise ServiceError(f"method {method} is not served", id="api", http=405)
        path, _, query = _origin_form(request.raw_path).partition("?")
        fixed = answers.fixed(headers, path)
        if fixed is not None:
            return fixed
        resolved = self._resolver.resolve(path)
        form = body.form_of(request.headers.get("Content-Type", ""))
        call = self._call(request, resolved, form)
        held = Held(self.door)
        try:
            await self._gateway.admit(call)  # before the body: what is refused need not be read
            streams = self._streams(call, resolved)
            if request.headers.get("Upgrade", "").lower() == "websocket":
                from micro.api.websocket import serve

                return await serve(request, headers, self._gateway, call, streaming=streams)
            message = await self._message(request, form, query, held)
            if streams:
                return await self._streamed(request, headers, call, message, form.answer)
            call.shorten(time.monotonic() + self._timeout)
            reply = await self._gateway.unary(call, message)
            if form.plain.startswith("application/grpc"):
                return answers.trailing(answers.answer(headers, reply.message, form.answer))
            return self._heads.answer(request, headers, reply.message, form.answer)
        finally:
            held.release()
            call.give_up()

    def _call(self, request: web.BaseRequest, resolved: Resolved, form: Form) -> Call:
        found = metadata.onward(request.raw_headers, most=HEADER_BYTES)
        metadata.identify(found, self._cors, request.headers.get("Host", ""))
        metadata.traced(found)
        peer = request.protocol.peername
        address, port = peer[:2] if isinstance(peer, tuple) else ("unix", 0)
        came_by = request.headers.get("X-Forwarded-For")
        found[b"x-forwarded-for"] = (f"{came_by}, {address}" if came_by and came_by.isascii() else address).encode()
        found[b"method"] = request.method.encode()
        found[b"url"] = request.raw_path.encode("ascii", "replace")
        found[incoming.CONTENT_TYPE] = form.asked
        return Call(resolved.path, list(found.items()), content_type=form.wire, peer=f"{address}:{port}")

    def _streams(self, call: Call, resolved: Resolved) -> bool:
        if call.node is None:
            return False
        namespace = call.node.header(incoming.NAMESPACE).decode("latin-1")
        return self._routes.streaming(resolved.service, namespace, resolved.endpoint)

    async def _message(self, request: web.BaseRequest, form: Form, query: str, held: Held) -> bytes:
        if "Content-Encoding" in request.headers:
            raise ServiceError("compressed bodies are not read here", id="api", http=415)
        data = await self.door.body(request, held)
        return await body.message(request.method, form, request.headers.get("Content-Type", ""), query, data)

    async def _streamed(
        self, request: web.BaseRequest, headers: Mapping[str, str], call: Call, message: bytes, content_type: str
    ) -> web.StreamResponse:
        """Send one message, write each answer as it comes; the status waits for the first."""
        async with aclosing(self._items(call, message)) as items:
            item = await anext(items, None)
            made = CIMultiDict(headers)
            made["Server"], made["Content-Type"] = "micro", content_type
            response = web.StreamResponse(headers=made)
            await response.prepare(request)
            try:
                while item is not None:
                    async with asyncio.timeout(STALLED):
                        await response.write(item)
                    item = await anext(items, None)
            except (ServiceError, TimeoutError) as problem:
                # the status is said already: that the answer is cut short is all that can be told
                if request.transport is not None:
                    request.transport.abort()
                raise ConnectionError("the stream was cut") from problem
            return response

    async def _items(self, call: Call, message: bytes) -> AsyncGenerator[bytes, None]:
        async with self._gateway.stream(call) as upstream:
            await upstream.write(message)
            while (item := await upstream.read()) is not None:
                yield item


def _origin_form(target: str) -> str:
    """Give a request's target as a path: proxies' clients name the host before it."""
    if target.startswith("/"):
        return target
    scheme, sep, rest = target.partition("://")
    if not sep or scheme.lower() not in {"http", "https"}:
        raise InvalidArgument("malformed request target", id="api")
    return "/" + rest.partition("/")[2]


def _is_grpc(request: web.BaseRequest) -> bool:
    return request.headers.get("Content-Type", "").startswith("application/grpc")
