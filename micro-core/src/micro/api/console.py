"""The command line's socket: a service's command from its words to its text and exit code. See docs/cli-protocol.md."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from secrets import token_hex
from typing import TYPE_CHECKING

from micro import names
from micro.api import frames, render, web
from micro.api.call import Call as Sent
from micro.api.command import Call, parse
from micro.api.complete import candidates
from micro.api.door import Door, Held
from micro.api.flags import UsageError
from micro.api.gateway import Gateway, RefusedError
from micro.api.outcome import UNPRINTABLE, outcome
from micro.api.routes import GatewayRoutes
from micro.api.schemas import Schemas
from micro.context import CORE_NAMESPACE, Account
from micro.errors import Internal, InvalidArgument, NotFound, ServiceError, Unauthenticated, Unavailable
from micro.registry.driver import ServiceRecord
from micro.rpc import incoming, paths
from micro.rpc.guard import NotReadyError

if TYPE_CHECKING:
    from micro.rpc.guard import Guard

TIMEOUT = 10.0  # seconds of a unary call, unless --request_timeout says otherwise; the original's
PEER = "unix"
_TEXT = "text/plain; charset=utf-8"
_JSON = b"application/json"

log = logging.getLogger("micro.api")


class _MalformedError(Exception):
    """The request is no command."""

    def __init__(self, error: ServiceError) -> None:
        super().__init__(error.detail)
        self.error = error


class _NobodyError(Exception):
    """The token that came with a command is no good."""


class Console:
    """Runs commands. The calls are made as whoever's token came with them, decided on like any of the gateway's."""

    def __init__(self, gateway: Gateway, routes: GatewayRoutes, guard: Guard) -> None:
        self._gateway = gateway
        self._routes = routes
        self._guard = guard
        self._schemas = Schemas(gateway)
        self.door: Door

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request, whatever happens."""
        run = {"/cli": self._command, "/complete": self._complete}.get(request.path)
        if run is None or request.method != "POST":
            return web.Response(status=404 if run is None else 405, text="POST /cli or /complete\n")
        held = Held(self.door)
        try:
            asked = await self._asked(request, held)
            return await run(request, asked, await self._namespace(asked))
        except _MalformedError as err:
            return web.Response(status=err.error.http, text=f"{err.error}\n")
        except _NobodyError:
            return web.Response(status=401, text="invalid token\n", headers={"X-Micro-Exit": "2"})
        except (ServiceError, RefusedError) as err:
            return _ended(*_failure(err))
        except ConnectionError:
            raise
        except Exception:  # a bug is an id to the caller, and a traceback in the log
            number = token_hex(8)
            log.exception("a command failed, error %s", number)
            return _ended(*_failure(Internal(f"internal error {number}")))
        finally:
            held.release()

    async def _asked(self, request: web.BaseRequest, held: Held) -> frames.Request:
        try:
            body = await self.door.body(request, held)
            asked = frames.read(request.headers.get("Content-Type", ""), request.headers, body)
            if not asked.argv:
                raise InvalidArgument("a command has at least one word")
            if asked.namespace:
                names.namespace(asked.namespace)
        except ServiceError as err:
            raise _MalformedError(err) from err
        return asked

    async def _command(self, request: web.BaseRequest, asked: frames.Request, namespace: str) -> web.StreamResponse:
        name = asked.argv[0]
        records = await self._find(name, namespace)
        if not records:
            near = names.near(name, self._routes.names(namespace), most=3)
            text = "".join(f"{each}\n" for each in near)
            return web.Response(status=404, text=text, headers={"X-Micro-Exit": "1"})
        where = records[0].domain
        service = await self._schemas.of(records, lambda content: _headers(asked, where, content))
        try:
            call = parse(service, asked.argv[1:], _reader(asked))
        except UsageError as err:
            return _ended(str(err), err.exit)
        if call.endpoint is None:
            return _printed(render.service_help(service))
        if call.help:
            return _printed(render.endpoint_help(service, call.endpoint))
        if call.endpoint.client_streaming and not call.given:
            # its side of the stream is the lines of standard input, which only the command line has
            return web.Response(status=409, text="standard input is read by the command line\n")
        headers = _headers(asked, where, _JSON)
        headers += [(key.encode(), value.encode()) for key, value in call.metadata.items()]
        sent = Sent(paths.build(name, call.endpoint.name), headers, peer=PEER)
        return await (self._stream(request, sent, call) if call.endpoint.server_streaming else self._unary(sent, call))

    async def _unary(self, sent: Sent, call: Call) -> web.StreamResponse:
        sent.shorten(time.monotonic() + (call.timeout or TIMEOUT))
        try:
            await self._admit(sent, call)
            reply = await self._gateway.unary(sent, render.request(call.body))
        except (ServiceError, RefusedError) as err:
            return _ended(*_failure(err, call.address))
        finally:
            sent.give_up()
        try:
            return _printed(render.answer(reply.message, call.output))
        except ValueError as problem:
            return _ended(f"The answer cannot be printed: {problem}", UNPRINTABLE)

    async def _stream(self, request: web.BaseRequest, sent: Sent, call: Call) -> web.StreamResponse:
        if call.timeout is not None:
            sent.shorten(time.monotonic() + call.timeout)
        await self._admit(sent, call)
        response = web.StreamResponse(headers={"Content-Type": frames.TYPE})
        await response.prepare(request)
        last = frames.end(0)
        try:
            async with aclosing(self._answers(sent, call)) as answers:
                async for message in answers:
                    await response.write(frames.frame(frames.OUT, render.answer(message, call.output)))
        except (ServiceError, RefusedError) as err:
            text, exit = _failure(err, call.address)
            last = frames.frame(frames.ERR, text) + frames.end(exit)
        except ValueError as problem:
            last = frames.frame(frames.ERR, f"The answer cannot be printed: {problem}") + frames.end(UNPRINTABLE)
        finally:
            sent.give_up()
        await response.write(last)
        return response

    async def _answers(self, sent: Sent, call: Call) -> AsyncGenerator[bytes, None]:
        async with self._gateway.stream(sent) as upstream:
            await upstream.write(render.request(call.body))
            if call.endpoint is not None and call.endpoint.client_streaming:
                upstream.half_close()  # elsewhere nobody waits for it, and some take it for the end
            while (item := await upstream.read()) is not None:
                yield item

    async def _admit(self, sent: Sent, call: Call) -> None:
        """Have a call admitted; `--address` says which node, not whether."""
        await self._gateway.admit(sent)
        if call.address and sent.node is not None:
            sent.node.address = call.address
            sent.pinned = True

    async def _complete(self, request: web.BaseRequest, asked: frames.Request, namespace: str) -> web.StreamResponse:
        *before, last = asked.argv
        if not before:
            found = [name for name in self._routes.names(namespace) if name.startswith(last)]
        else:
            records = await self._find(before[0], namespace)
            if not records:
                return web.Response(text="")
            where = records[0].domain
            service = await self._schemas.of(records, lambda content: _headers(asked, where, content))
            found = candidates(service, before[1:], last)
        return web.Response(text="".join(f"{each}\n" for each in found))

    async def _namespace(self, asked: frames.Request) -> str:
        """Give whose services are meant: as said, else the account's own, else the platform's."""
        account = await self._account(asked.token) if asked.token else None
        return asked.namespace or (account.issuer if account is not None else CORE_NAMESPACE)

    async def _account(self, token: str) -> Account:
        header = b"Bearer " + token.encode()
        for _ in range(3):
            try:
                return self._guard.identify(header)
            except NotReadyError:
                await self._guard.prepare(header, CORE_NAMESPACE)
            except Unauthenticated as err:
                raise _NobodyError from err
        raise Unavailable("who calls cannot be checked now")

    async def _find(self, name: str, namespace: str) -> list[ServiceRecord]:
        """Look a service up, in the namespace, then among the platform's."""
        try:
            names.service(name)
        except InvalidArgument:
            return []
        for where in dict.fromkeys((namespace, CORE_NAMESPACE)):
            try:
                return await self._routes.look_up(name, where)
            except NotFound:
                continue
        return []


def _headers(asked: frames.Request, namespace: str, content: bytes) -> list[tuple[bytes, bytes]]:
    headers = [
        (incoming.CONTENT_TYPE, content),
        (incoming.NAMESPACE, namespace.encode()),
        *incoming.trace_headers(lambda _: None),
    ]
    if asked.token:
        headers.append((incoming.AUTHORIZATION, b"Bearer " + asked.token.encode()))
    return headers


def _reader(asked: frames.Request) -> Callable[[str], bytes]:
    def read(name: str) -> bytes:
        found = asked.files.get(name)
        if found is None:
            raise UsageError(f"Cannot read {name!r}: the command line did not send it")
        return found

    return read


def _failure(err: ServiceError | RefusedError, address: str = "") -> tuple[str, int]:
    return outcome(err.error if isinstance(err, RefusedError) else err, address)


def _printed(text: str) -> web.Response:
    return _framed(frames.frame(frames.OUT, text) + frames.end(0))


def _ended(text: str, exit: int) -> web.Response:
    return _framed(frames.frame(frames.ERR, text) + frames.end(exit))


def _framed(body: bytes) -> web.Response:
    return web.Response(body=body, headers={"Content-Type": frames.TYPE})
