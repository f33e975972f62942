"""Calls to handlers: path, codec, identity, rules, deadline, context, errors. Knows no transport.

server = Server("orders", transport=transport, guard=guard, namespace="shop")
server.add(Orders())
address = await server.start("127.0.0.1:0")
...
await server.stop(grace=10)
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextvars import ContextVar
from functools import cached_property
from secrets import token_hex
from typing import Any

from micro.context import CORE_NAMESPACE, enter
from micro.errors import Code, Internal, InvalidArgument, ServiceError, from_grpc
from micro.rpc import incoming
from micro.rpc.admission import Admission
from micro.rpc.codec import Decode, Encode, choose
from micro.rpc.driver import TAKEN, Dispatcher, Http1, Limits, Listener, ServerCall, Status, Transport
from micro.rpc.endpoint import Endpoint, collect
from micro.rpc.errors import to_wire
from micro.rpc.guard import Guard
from micro.rpc.incoming import CallContext
from micro.rpc.invoke import Interceptor, invocation
from micro.rpc.paths import malformed, split
from micro.rpc.route import Route, encoded, requests
from micro.rpc.standing import Standing
from micro.rpc.stats import PROCESS, Stats
from micro.rpc.streaming import Streams
from micro.schema import ServiceSchema

THREADS = 64  # of handlers that are plain functions
_PATHS = 4096  # remembered; what stands before the handler's name is the caller's to choose
_STRICT = frozenset({"auth", "config"})  # where JSON that two readers may read differently is refused

log = logging.getLogger("micro.rpc")


class Server(Dispatcher):
    """One service's endpoints behind any number of doors. Belongs to one loop once started.

    `core` says that it is one of the platform's own: its errors name the endpoint, and tokens must be good for the
    platform itself. Without a `guard` nobody is identified and everybody may pass: for tests, and for what listens
    to nobody else. `interceptors` wrap every endpoint, the first outermost; `variables` are set for each call.
    """

    def __init__(
        self,
        name: str,
        *,
        transport: Transport,
        guard: Guard | None = None,
        namespace: str = CORE_NAMESPACE,
        limits: Limits | None = None,
        core: bool = False,
        interceptors: Sequence[Interceptor] = (),
        variables: Sequence[tuple[ContextVar[Any], Any]] = (),
        stats: Stats | None = None,
    ) -> None:
        self.name = name
        self.namespace = namespace
        self.transport = transport
        self.guard = guard
        self.limits = limits
        self.core = core
        self.stats = stats or PROCESS
        self.serving = False
        self.changed = asyncio.Event()  # whether it serves; another one then takes its place
        self.endpoints: list[Endpoint] = []
        self.hidden: list[tuple[str, Endpoint]] = []  # what every process has: package and endpoint
        self._interceptors = tuple(interceptors)
        self._variables = tuple(variables)
        self._standing = Standing(guard, service=name, namespace=namespace) if guard is not None else None
        self._admission = Admission(guard, service=name, namespace=namespace, core=core)
        self._routes: dict[str, dict[str, Route]] = {}
        self._exact: dict[bytes, Route] = {}
        self._paths: dict[bytes, Route] = {}
        self._doors: list[Listener] = []
        self._pool: ThreadPoolExecutor | None = None
        self._streams = Streams()

    # declaring

    def add(self, handler: object, name: str | None = None) -> None:
        """Serve a handler's public methods; TypeError for what cannot travel, or is there already."""
        self.add_endpoints(collect(handler, name))

    def add_endpoints(self, endpoints: Iterable[Endpoint]) -> None:
        """Serve endpoints that `collect` or `of_function` read."""
        for one in endpoints:
            if one.handler in {hidden.handler for _, hidden in self.hidden}:
                raise TypeError(f"{one.name}: every process has a handler {one.handler} of its own; rename yours")
            self._add(one)
            self.endpoints.append(one)
        self.__dict__.pop("schema", None)

    def add_hidden(self, handler: object, name: str, *, package: str = "") -> None:
        """Serve what is not listed among the service's endpoints; with a `package` at that exact path alone."""
        for one in collect(handler, name):
            self.hidden.append((package, one))
            if package:
                self._exact[f"/{package}.{one.handler}/{one.method}".encode()] = self._route(one)
            else:
                self._add(one)

    def _add(self, one: Endpoint) -> None:
        methods = self._routes.setdefault(one.handler, {})
        if one.method in methods:
            raise TypeError(f"{self.name}: two endpoints are named {one.name}")
        methods[one.method] = self._route(one)
        self._paths.clear()

    def _route(self, one: Endpoint) -> Route:
        invoke = invocation(one, self._threads)
        for wrap in reversed(self._interceptors):
            invoke = wrap(one, invoke)
        span = f"{self.name}.{one.name}"
        strict = self.core and self.name in _STRICT
        return Route(one, invoke, error_id=span if self.core else self.name, span=span, strict=strict)

    @cached_property
    def schema(self) -> ServiceSchema:
        """What the listed endpoints look like."""
        return ServiceSchema(self.name, self.endpoints)

    def _threads(self) -> Executor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix=f"{self.name}-handler")
        return self._pool

    # serving

    async def start(
        self,
        address: str,
        *,
        tls: ssl.SSLContext | None = None,
        limits: Limits | None = None,
        wrap: Callable[[Dispatcher], Dispatcher] | None = None,
        http1: Http1 | None = None,
    ) -> str:
        """Open a door and give its bound address; OSError for one that is taken. May be called for several.

        `wrap` puts another dispatcher before this one, as the proxy does.
        """
        dispatcher = wrap(self) if wrap is not None else self
        listener = self.transport.listener(dispatcher, limits=limits or self.limits, http1=http1)
        bound = await listener.start(address, tls=tls)
        self._doors.append(listener)
        await self.set_serving(serving=True)
        return bound

    async def set_serving(self, *, serving: bool) -> None:
        """Say by `grpc.health.v1` whether calls are welcome; `stop` does so too."""
        self.serving = serving
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    async def stop(self, *, grace: float = 10.0) -> None:
        """Say so, take no more calls, let those under way finish for up to `grace` seconds, then cut. Idempotent.

        Streams that have nothing to say, such as watches, are ended after a second: their callers go elsewhere. Who is
        registered must deregister, and wait until callers have seen it, before.
        """
        await self.set_serving(serving=False)
        doors, self._doors = self._doors, []
        quiet = asyncio.create_task(self._streams.end_quiet(self.name))
        try:
            await asyncio.gather(*(door.drain(grace=grace) for door in doors))
        finally:
            quiet.cancel()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

    # answering

    def open(self, call: ServerCall) -> int:
        route = self._paths.get(call.path) or self._find(call)
        if route is None:
            return TAKEN
        call.slot = route
        return route.verdict

    def _find(self, call: ServerCall) -> Route | None:
        path = call.path
        route = self._exact.get(path)
        if route is None:
            parts = split(path)
            if parts is None:
                call.finish(Code.INVALID_ARGUMENT, malformed(path))
                return None
            handler, method = parts
            methods = self._routes.get(handler)
            route = methods.get(method) if methods is not None else None
            if route is None:
                call.finish(
                    Code.UNIMPLEMENTED, f"unknown service {handler}" + (f".{method}" if methods is not None else "")
                )
                return None
        if len(self._paths) >= _PATHS:
            self._paths.clear()
        self._paths[path] = route
        return route

    async def run(self, call: ServerCall) -> None:
        route: Route = call.slot
        began = time.monotonic_ns()
        context = CallContext(call, self.name, route.name)
        context.trace = trace = incoming.trace_of(call.header)
        code = Code.CANCELLED
        try:
            incoming.bring_deadline(call)
            context.deadline = call.deadline
            if not self._admission.admit(route, context, call):
                await self._admission.prepare(route, context, call)
            enter(context)  # this task's own, so nobody need leave it; what admitting began is not part of the call
            for variable, value in self._variables:
                variable.set(value)
            decode, encode = route.pair(choose(call.content_type, call.header))
            if route.unary:
                message = await call.read()
                if message is None:
                    raise InvalidArgument("one message was expected, none came")
                response = await route.invoke(decode(message), context)
                call.reply(encoded(encode, response, route))
            else:
                if self._standing is not None and not route.public:
                    self._standing.add(call, context.account, route)
                await self._streamed(call, route, context, decode, encode)
            code = Code.OK
        except Exception as exc:  # whatever a handler raises is answered
            code = self._fail(call, route, exc)
        finally:
            if self._standing is not None and not route.unary:
                self._standing.discard(call)
            if call.cancelled:  # whatever the handler made of it
                late = call.deadline is not None and time.monotonic() >= call.deadline
                code = Code.DEADLINE_EXCEEDED if late else Code.CANCELLED
            context.deadline = None  # tasks that a handler leaves behind keep its context, and have time
            self.stats.inbound(route.span, trace, began, code)

    def words(self, call: ServerCall, code: int, text: str) -> tuple[int, str, bytes]:
        route: Route | None = call.slot
        return to_wire(from_grpc(code, text), self.name if route is None else route.error_id)

    async def _streamed(
        self, call: ServerCall, route: Route, context: CallContext, decode: Decode, encode: Encode
    ) -> None:
        endpoint = route.endpoint
        if endpoint.client_streaming:
            request: Any = requests(call, decode)
        else:
            message = await call.read()
            if message is None:
                raise InvalidArgument("one message was expected, none came")
            request = decode(message)
        if not endpoint.server_streaming:
            call.reply(encoded(encode, await route.invoke(request, context), route))
            return
        await self._streams.send(call, route, route.invoke(request, context), encode)

    def _fail(self, call: ServerCall, route: Route, exc: Exception) -> int:
        if isinstance(exc, Status):
            error: ServiceError = from_grpc(exc.code, exc.message)
        elif isinstance(exc, ServiceError):
            error = exc
        else:
            number = token_hex(8)
            log.error("%s failed, error %s", route.span, number, exc_info=exc)
            error = Internal(f"internal error {number}")
        code, message, details = to_wire(error, route.error_id)
        call.finish(code, message, details)
        return code
