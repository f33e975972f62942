"""What a door does with a call that is not its own: path, identity, rules, route, and on it goes, undecoded.

    call ─▶ canonical path? ─▶ who, which namespace ─▶ rules ─▶ nodes ─▶ least busy ─▶ forwarder
              │ own name, health, reflection: the process's own dispatcher answers

All of it is decided in `open`, without waiting, once keys, rules, routes and exchanged tokens are here; a call that
finds one missing waits in a task of its own.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from micro import limits
from micro.context import CORE_NAMESPACE, Account
from micro.errors import (
    Code,
    Internal,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    ServiceError,
    Unavailable,
    from_grpc,
)
from micro.proxy.balance import Balance
from micro.proxy.exchange import Exchange
from micro.proxy.paths import Plan, nameless, read
from micro.rpc import incoming
from micro.rpc.balance import Target
from micro.rpc.driver import TAKEN, Dispatcher, Forwarder, ServerCall
from micro.rpc.errors import to_wire
from micro.rpc.guard import Guard, NotReadyError
from micro.rpc.paths import malformed
from micro.rpc.resolve import Resolver

CLIENT = "go.micro.client"  # the id that peers expect of errors about routes
PROXY = "go.micro.proxy"
PATIENCE = 10.0  # seconds that a call waits for keys, rules or a route
TRIES = 5  # nodes that a call is offered to which none has seen
_PATHS = 4096  # remembered; callers choose them
_REMOTE = b"remote"
_TRACED = {incoming.TRACE: 1, incoming.SPAN: 2}
_WHOLE_TRACE = 3  # both were said
# Read here, or the transport's own on each side.
_NOTED = frozenset({incoming.AUTHORIZATION, incoming.NAMESPACE, incoming.TIMEOUT})
_DROPPED = frozenset({b"te", b"content-type", b"content-length", b"host", b"user-agent", b"connection"})
_DROPPED_AT_EDGE = frozenset({incoming.ON_BEHALF_OF, _REMOTE})

log = logging.getLogger("micro.proxy")


class ForwardingDispatcher(Dispatcher):
    """Passes calls on to the services that their paths name, as far as identity and rules let them.

    `name` is the door's own service, `own` what answers for it. `edge`: callers are strangers; what they say of
    others (`micro-on-behalf-of`, `remote`) is dropped, and headers are counted. With an `exchange`, user services
    get tokens that the platform does not take.
    """

    def __init__(
        self,
        name: str,
        own: Dispatcher,
        *,
        guard: Guard,
        routes: Resolver,
        forwarder: Forwarder,
        edge: bool,
        exchange: Exchange | None = None,
        header_bytes: int = limits.METADATA_EDGE,
    ) -> None:
        self._name = name
        self._own = own
        self._guard = guard
        self._routes = routes
        self._forwarder = forwarder
        self._edge = edge
        self._header_bytes = header_bytes
        self._exchange = exchange
        self._balance = Balance()
        self._plans: dict[bytes, Plan] = {}
        self._special = _NOTED | _DROPPED | ({*_DROPPED_AT_EDGE} if edge else {_REMOTE})
        self._waiting: set[asyncio.Task[None]] = set()

    async def run(self, call: ServerCall) -> None:
        await self._own.run(call)  # only the process's own are ever left to it

    def open(self, call: ServerCall) -> int:
        plan = self._plans.get(call.path) or self._read(call)
        if plan is None:
            return TAKEN
        if plan.local:
            return self._own.open(call)
        try:
            passage = self._passage(call, plan)
            try:
                self._admit(passage)
                targets = self._routes.known(plan.service, passage.namespace)
                if not targets:
                    raise NotReadyError
                self._send(passage, targets)
            except NotReadyError:
                self._later(passage)
        except ServiceError as err:
            refuse(call, err, plan.service)
        return TAKEN

    def words(self, call: ServerCall, code: int, text: str) -> tuple[int, str, bytes]:
        plan = self._plans.get(call.path)
        if plan is not None and plan.local:
            return self._own.words(call, code, text)
        return to_wire(from_grpc(code, text), self._name)

    async def close(self) -> None:
        """Give up the calls that wait for something to be decided."""
        for task in self._waiting:
            task.cancel()
        await asyncio.gather(*self._waiting, return_exceptions=True)

    def _read(self, call: ServerCall) -> Plan | None:
        path = call.path
        plan = read(path, self._name)
        if plan is None:
            if nameless(path):
                refuse(call, InvalidArgument("service name is blank", id=PROXY), PROXY)
            else:
                call.finish(Code.INVALID_ARGUMENT, malformed(path))
            return None
        if len(self._plans) >= _PATHS:
            self._plans.clear()
        self._plans[path] = plan
        return plan

    def _passage(self, call: ServerCall, plan: Plan) -> _Passage:
        """Read a call's headers, and gather those that go on."""
        passage = _Passage(call, plan)
        special = self._special
        onward = passage.headers
        size = traced = 0
        for pair in call.headers:
            key, value = pair
            size += len(key) + len(value) + 32
            if key not in special:
                onward.append(pair)
                traced |= _TRACED.get(key, 0)
            elif key == incoming.AUTHORIZATION:
                passage.authorization = passage.authorization or value
            elif key == incoming.NAMESPACE:
                passage.named = passage.named or value
            elif key == incoming.TIMEOUT and value.isdigit() and len(value) < 19:
                call.shorten(time.monotonic() + int(value) / 1e9)
            elif key == _REMOTE:
                passage.remote = value
        if traced != _WHOLE_TRACE:
            passage.headers = _traced(call, onward)
        if self._edge:
            if size > self._header_bytes:
                raise ResourceExhausted(f"headers are {size} bytes, the limit is {self._header_bytes}", id=self._name)
            passage.remote = b""
        return passage

    def _admit(self, passage: _Passage) -> None:
        """Find out who calls in which namespace, and whether they may; NotReadyError while that cannot be told."""
        plan = passage.plan
        account: Account | None = None
        if passage.authorization and not plan.public:
            account = self._guard.identify(passage.authorization)
        if passage.named:
            passage.namespace = incoming.namespace_of(passage.named)
        elif account is not None:
            passage.namespace = account.issuer
        if not plan.public:
            self._guard.check(account, passage.namespace, plan.service, plan.endpoint)

    def _send(self, passage: _Passage, targets: Sequence[Target]) -> None:
        """Hand the call to the forwarder; NotReadyError while its token is not exchanged."""
        call, headers = passage.call, passage.headers
        authorization = passage.authorization
        if authorization:
            if self._exchange is not None and not passage.plan.core:
                authorization = self._exchange.known(authorization)
            headers.append((incoming.AUTHORIZATION, authorization))
        headers.append((incoming.NAMESPACE, passage.named or passage.namespace.encode()))
        headers.append((_REMOTE, passage.remote or call.peer.encode()))
        load = self._balance.pick(targets)
        elsewhere = None if len(targets) == 1 else _Others(self._balance, targets, load.address).another
        self._forwarder.forward(call, load.address, headers, done=load.done, elsewhere=elsewhere)

    # waiting

    def _later(self, passage: _Passage) -> None:
        task = asyncio.get_running_loop().create_task(self._prepared(passage))
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    async def _prepared(self, passage: _Passage) -> None:
        """Look up what is missing, then send the call on or answer it."""
        call, service = passage.call, passage.plan.service
        try:
            async with asyncio.timeout(PATIENCE):
                await self._admitted(passage)
                targets = await self._targets(service, passage.namespace)
                await self._exchanged(passage)
            if not call.cancelled:
                self._send(passage, targets)
        except ServiceError as err:
            refuse(call, err, service)
        except TimeoutError:
            refuse(call, Unavailable(f"service {service}: cannot be asked for now"), self._name)
        except Exception:  # a bug must not leave the call without an answer
            log.exception("a call to %s failed before it went on", service)
            refuse(call, Internal("internal error"), self._name)

    async def _admitted(self, passage: _Passage) -> None:
        for _ in range(3):  # keys first, then rules
            try:
                self._admit(passage)
            except NotReadyError:
                await self._guard.prepare(passage.authorization or None, passage.namespace)
            else:
                return
        raise Unavailable("who calls and what they may cannot be checked now")

    async def _exchanged(self, passage: _Passage) -> None:
        if self._exchange is None or not passage.authorization or passage.plan.core:
            return
        try:
            self._exchange.known(passage.authorization)
        except NotReadyError:
            await self._exchange.fetch(passage.authorization)

    async def _targets(self, service: str, namespace: str) -> Sequence[Target]:
        try:
            return self._routes.known(service, namespace) or await self._routes.find(service, namespace)
        except NotFound as err:
            raise Internal(err.detail, id=CLIENT) from err


class _Passage:
    """One call on its way: what its headers said, and those that go on."""

    __slots__ = ("authorization", "call", "headers", "named", "namespace", "plan", "remote")

    def __init__(self, call: ServerCall, plan: Plan) -> None:
        self.call = call
        self.plan = plan
        self.headers: list[tuple[bytes, bytes]] = []
        self.authorization = b""
        self.named = b""  # the namespace, as the call names it
        self.namespace = CORE_NAMESPACE
        self.remote = b""


class _Others:
    """Where else a call can go that nobody has seen yet."""

    __slots__ = ("_balance", "_targets", "_tried")

    def __init__(self, balance: Balance, targets: Sequence[Target], tried: str) -> None:
        self._balance = balance
        self._targets = targets
        self._tried = [tried]

    def another(self) -> tuple[str, Callable[[int], None]] | None:
        """Give the next node, and who hears how it ended there."""
        tried = self._tried
        left = [each for each in self._targets if each.address not in tried]
        if not left or len(tried) == TRIES:
            return None
        load = self._balance.pick(left)
        tried.append(load.address)
        return load.address, load.done


def _traced(call: ServerCall, onward: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Put a call that says nothing of a trace, or only in W3C's form, into one that every peer can read."""
    found = incoming.trace_headers(call.header)
    said = {name for name, _ in found}
    return [pair for pair in onward if pair[0] not in said] + found


def refuse(call: ServerCall, error: ServiceError, speaker: str) -> None:
    """Answer a call with an error; `speaker` is the id of one that has none."""
    call.finish(*to_wire(error, speaker))
