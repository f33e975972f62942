"""A service: handlers, where they listen, and their life from start to drain."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import logging
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self, TypeVar, overload

from micro import names
from micro.rpc.endpoint import Endpoint, camel, collect, endpoint, of_function
from micro.rpc.guard import Guard
from micro.rpc.server import Server
from micro.schema import ServiceSchema
from micro.service.listening import Listener
from micro.service.process import CURRENT, Process
from micro.service.registration import Registration
from micro.service.surroundings import Surroundings, surroundings

_ALL = "0.0.0.0"  # noqa: S104 - what an address without a host means, for whoever writes one
SEEN = 0.3  # seconds until callers have seen that a node is gone from the registry
PATIENCE = 1.0  # seconds for registry and topics before a start goes on without: they are tried for ever
GRACE = 10.0  # seconds for calls under way when a service stops

F = TypeVar("F", bound=Callable[..., Any])

_log = logging.getLogger("micro.service")


class Service:
    """What a program serves under one name.

        service = Service("orders", handlers=[Orders()])
        service.run()

    A handler's public methods are its endpoints. Name, version and address that the platform gives by the environment
    win over those in the code. Raises TypeError, naming class, method and field, for what cannot travel.
    """

    def __init__(
        self,
        name: str,
        *,
        handlers: Sequence[object] = (),
        version: str = "latest",
        metadata: Mapping[str, str] | None = None,
        address: str | None = None,
    ) -> None:
        self._code_name = names.service(name)
        self._code_version = names.version(version)
        self.metadata = dict(metadata or {})
        self.address = ""  # where it listens, once it does
        self.endpoints: list[Endpoint] = []
        self._address = address or "127.0.0.1:0"
        self._listeners: list[Listener] = []
        self._starting: list[Callable[[], Any]] = []
        self._stopping: list[Callable[[], Any]] = []
        self._running: _Running | None = None
        for handler in handlers:
            self.handle(handler)

    @property
    def name(self) -> str:
        """The name it is called by."""
        return surroundings().name or self._code_name

    @property
    def version(self) -> str:
        """The version it is registered as."""
        return surroundings().version or self._code_version

    def handle(self, handler: object, name: str | None = None) -> None:
        """Serve an object's public methods, under its class's name or another."""
        self._add(collect(handler, name))

    @overload
    def endpoint(self, function: F, /) -> F: ...
    @overload
    def endpoint(
        self,
        /,
        *,
        name: str = "",
        idempotent: bool = False,
        public: bool = False,
        metadata: Mapping[str, str] | None = None,
    ) -> Callable[[F], F]: ...
    def endpoint(
        self,
        function: F | None = None,
        /,
        *,
        name: str = "",
        idempotent: bool = False,
        public: bool = False,
        metadata: Mapping[str, str] | None = None,
    ) -> F | Callable[[F], F]:
        """Serve a bare function, under the handler named like the service; options as of `micro.endpoint`."""

        def add(served: F) -> F:
            if name or idempotent or public or metadata:
                endpoint(name=name, idempotent=idempotent, public=public, metadata=metadata)(served)
            self._add([of_function(served, camel(self._code_name))])
            return served

        return add if function is None else add(function)

    def consumer(self, topic: str, *, group: str | None = None, **options: Any) -> Callable[[F], F]:
        """Call a function with each event of a topic; it is settled when that returns, and comes again when it raises.

        Instances of a service share the events: `group` is its name unless another is given; `""` gives each instance
        all. Options as of `events.consume`.
        """

        def add(function: F) -> F:
            given = {**options, "group": self._code_name if group is None else group}
            self._listeners.append(Listener("events", topic, function, given))
            return function

        return add

    def subscriber(self, topic: str, *, queue: str = "") -> Callable[[F], F]:
        """Call a function with each message of the broker's; members of one `queue` share them."""

        def add(function: F) -> F:
            self._listeners.append(Listener("broker", topic, function, {"queue": queue}))
            return function

        return add

    def on_start(self, function: F) -> F:
        """Call a function, plain or async, before calls are answered; when it raises the service does not start."""
        self._starting.append(function)
        return function

    def on_stop(self, function: F) -> F:
        """Call a function when the last call has been answered."""
        self._stopping.append(function)
        return function

    def _add(self, endpoints: list[Endpoint]) -> None:
        ServiceSchema(self._code_name, [*self.endpoints, *endpoints])  # refuses what clashes, where it is declared
        self.endpoints += endpoints

    # its life

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then drain. Leaves by SystemExit when the service cannot start."""
        if not logging.getLogger().handlers:
            logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        try:
            import uvloop

            factory = uvloop.new_event_loop
        except ImportError:
            factory = None
        with asyncio.Runner(loop_factory=factory) as runner:
            try:
                runner.run(self._until_told())
            except OSError as err:
                sys.exit(f"{self.name}: {err}")

    async def _until_told(self) -> None:
        told = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, told.set)
        async with self:
            gc.freeze()  # what is there now stays: looking through it again and again would be a pause for every caller
            _log.info("%s listens on %s", self.name, self.address)
            await told.wait()
            _log.info("%s stops", self.name)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    async def start(self, process: Process | None = None, *, guard: Guard | None = None) -> str:
        """Serve, register and listen; gives the bound address. Needs no server to be there: it registers when it can.

        `process` and `guard` stand in for the platform in tests: then it registers nowhere.
        """
        if self._running is not None:
            raise RuntimeError(f"service {self.name} runs already")
        around = surroundings().named(self._code_name, self._code_version)
        running = self._running = _Running(self, around, process, guard)
        try:
            for function in self._starting:
                await _called(function, running.process)
            self.address = await running.serve(around.address or self._address)
        except BaseException:
            await self.stop(grace=0)
            raise
        return self.address

    async def stop(self, *, grace: float = GRACE) -> None:
        """Drain: leave the registry, give callers time to see it, finish the calls under way. Idempotent."""
        running, self._running = self._running, None
        if running is None:
            return
        await running.drain(grace)
        for function in self._stopping:
            try:
                await _called(function, running.process)
            except Exception:  # what an author's clean-up raises must not keep ours from happening
                _log.exception("%s did not stop cleanly", self.name)
        await running.close()


class _Running:
    """What a service holds while it runs."""

    def __init__(self, service: Service, around: Surroundings, process: Process | None, guard: Guard | None) -> None:
        self._service = service
        self._around = around
        self._alone = process is not None
        self.process = process or Process(around)
        self._guard = guard
        self._server: Server | None = None
        self._registration: Registration | None = None
        self._listening: list[asyncio.Task[None]] = []

    async def serve(self, address: str) -> str:
        """Open the door, then tell the registry, then listen to topics."""
        from micro.debug import attach

        process, around = self.process, self._around
        if self._guard is None and not self._alone:
            from micro.auth.guard import AuthGuard

            self._guard = own = AuthGuard(around.name, around.namespace, "", caller=process.caller)
            await own.start()
        server = self._server = Server(
            around.name,
            transport=process.transport,
            guard=self._guard,
            namespace=process.namespace,
            variables=[(CURRENT, process)],
        )
        server.add_endpoints(self._service.endpoints)
        attach(server, version=around.version)
        bound = await server.start(f"{_ALL}{address}" if address.startswith(":") else address)
        if not self._alone:
            await self._register(server, bound)
        token = process.use()  # for the tasks that are made here
        try:
            self._listening = [asyncio.create_task(one.run(process)) for one in self._service._listeners]
        finally:
            process.unuse(token)
        if self._listening:
            begun = asyncio.gather(*(one.listening.wait() for one in self._service._listeners))
            with contextlib.suppress(TimeoutError):  # there may be no server yet; it listens when there is one
                await asyncio.wait_for(begun, PATIENCE)
        return bound

    async def _register(self, server: Server, bound: str) -> None:
        from micro.service.record import record_of

        record = record_of(server, bound, version=self._around.version, metadata=self._service.metadata)
        self._registration = Registration(self._around, record)
        self._registration.start()
        await asyncio.to_thread(self._registration.tried.wait, PATIENCE)  # so that it is found once it has started

    async def drain(self, grace: float) -> None:
        if self._registration is not None and await self._registration.stop():
            await asyncio.sleep(SEEN)
        for task in self._listening:
            task.cancel()
        await asyncio.gather(*self._listening, return_exceptions=True)
        if self._server is not None:
            await self._server.stop(grace=grace)

    async def close(self) -> None:
        closing = getattr(self._guard, "close", None)
        if closing is not None and not self._alone:
            await closing()
        if not self._alone:
            with contextlib.suppress(Exception):  # it is given up in any case
                await self.process.close()


async def _called(function: Callable[[], Any], process: Process) -> None:
    with process:
        result = function()
        if inspect.isawaitable(result):
            await result
