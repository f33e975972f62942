"""Calls from outside on their way to nodes: admitted by the dispatcher, sent by channels, tried again where that is safe."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from micro.api.call import Call, Node
from micro.errors import Code, DeadlineExceeded, NotFound, ServiceError
from micro.proxy.paths import read
from micro.rpc import incoming
from micro.rpc.balance import Target
from micro.rpc.driver import TAKEN, Channel, ClientCall, Dispatcher, Reply, Status, Transport
from micro.rpc.errors import from_status, unasked
from micro.rpc.pool import Pool
from micro.rpc.retry import Budget

CLIENT = "go.micro.client"  # the id that peers expect of errors that no service named itself in
TRIES = 3  # nodes tried for a call that none has seen
PAUSE = 0.1  # seconds before the last try
_SLACK = 0.05  # seconds that a service's own expiry may come before ours


class RefusedError(Exception):
    """The call was not sent: identity, rules or route say no; `error` says why."""

    def __init__(self, error: ServiceError) -> None:
        super().__init__(error.detail)
        self.error = error


class Repeating(Protocol):
    """What of the registrations counts here."""

    def idempotent(self, service: str, namespace: str, endpoint: str) -> bool:
        """Tell whether a service says that an endpoint may be repeated."""


class Gateway:
    """Sends calls on. Belongs to one loop."""

    def __init__(self, dispatcher: Dispatcher, transport: Transport, routes: Repeating | None = None) -> None:
        """`dispatcher` forwards by an Onward; `routes` tell what may be repeated, else nothing is."""
        self._dispatcher = dispatcher
        self._pool = Pool(transport)
        self._routes = routes
        self._budget = Budget()

    async def admit(self, call: Call) -> None:
        """Decide whether a call may go on and where to; raises RefusedError. Costs no waiting when all is known."""
        if self._dispatcher.open(call) != TAKEN:
            call.local = True
            return
        if call.node is None and call.ended is None:
            try:
                await call.settled()
            except asyncio.CancelledError:
                call.give_up()
                raise
        if call.ended is not None:
            raise RefusedError(from_status(call.ended))

    async def unary(self, call: Call, message: bytes) -> Reply:
        """Send one message and give the one answer; raises ServiceError, and RefusedError if it was not admitted yet."""
        self._budget.called()
        for left in range(TRIES - 1, -1, -1):
            if call.node is None and not call.local:
                await self.admit(call)
            if call.local:
                return await self._own(call, message)
            node = _node(call)
            code = Code.CANCELLED
            try:
                reply = await self._channel(node).unary(
                    call.path, message, node.headers, content_type=call.content_type, timeout=_remaining(call)
                )
                code = Code.OK
                return reply
            except Status as status:
                code = status.code
                if not left or call.pinned or not (_unseen(status) or self._may_repeat(call, node, status)):
                    raise error_of(status, call) from status
            finally:
                node.done(code)
                call.node = None
            if left == 1:
                await asyncio.sleep(PAUSE)
        raise AssertionError

    def _may_repeat(self, call: Call, node: Node, status: Status) -> bool:
        """Tell whether a call that may have been carried out can be made again: its endpoint's author says so."""
        if self._routes is None or status.code not in {Code.UNAVAILABLE, Code.CANCELLED}:
            return False
        plan = read(call.path, "")
        namespace = node.header(incoming.NAMESPACE).decode("latin-1")
        may = plan is not None and self._routes.idempotent(plan.service, namespace, plan.endpoint)
        return may and self._budget.spend()

    @asynccontextmanager
    async def stream(self, call: Call) -> AsyncIterator[ClientCall]:
        """Open a call of any kind; what its methods raise is a Status: see `error_of`."""
        opened, node = await self._opened(call)
        code = Code.CANCELLED
        try:
            try:
                yield opened
                code = Code.OK
            finally:
                opened.cancel()
        except Status as status:
            code = status.code
            raise error_of(status, call) from status
        finally:
            node.done(code)
            call.node = None

    async def _opened(self, call: Call) -> tuple[ClientCall, Node]:
        """Open a call at the first node that can be reached."""
        for left in range(TRIES - 1, -1, -1):
            if call.node is None and not call.local:
                await self.admit(call)
            if call.local:
                raise ServiceError("streams of the gateway itself are not served over HTTP", id="api", http=501)
            node = _node(call)
            try:
                opened = await self._channel(node).open(
                    call.path, node.headers, content_type=call.content_type, timeout=_remaining(call)
                )
            except Status as status:
                node.done(status.code)
                call.node = None
                if not left or call.pinned or not _unseen(status):
                    raise error_of(status, call) from status
            else:
                return opened, node
        raise AssertionError

    async def _own(self, call: Call, message: bytes) -> Reply:
        """Let the process itself answer."""
        call.message = message
        try:
            async with asyncio.timeout(_remaining(call)):
                await self._dispatcher.run(call)
        except TimeoutError:
            raise DeadlineExceeded("no answer in time", id="api", http=504) from None
        if call.answer is None:
            raise error_of(call.ended or Status(Code.INTERNAL, "the call was left without an answer"), call)
        return call.answer

    def _channel(self, node: Node) -> Channel:
        return self._pool.channel(Target(node.address))

    async def close(self) -> None:
        """End all calls and connections."""
        await self._pool.close()


def _node(call: Call) -> Node:
    assert call.node is not None
    return call.node


def _remaining(call: Call) -> float | None:
    return None if call.deadline is None else max(0.0, call.deadline - time.monotonic())


def _unseen(status: Status) -> bool:
    return status.code == Code.UNAVAILABLE and not status.processed


def error_of(status: Status, call: Call) -> ServiceError:
    """Make the error of a call's end; our own waiting that ran out is 504, a service's 408 stays."""
    if status.code == Code.DEADLINE_EXCEEDED and call.deadline is not None:
        ours = time.monotonic() >= call.deadline - _SLACK or not status.message.startswith("{")
        if ours:
            return DeadlineExceeded("no answer in time", id="api", http=504)
    if status.code == Code.CANCELLED and not status.message.startswith("{"):
        return unasked(status)
    return from_status(status)


def for_http(error: ServiceError) -> ServiceError:
    """Give an error as HTTP has it: what is not there is 404, whatever gRPC calls it."""
    detail = error.detail
    if error.code == Code.UNIMPLEMENTED and detail.startswith("unknown service "):
        return NotFound(detail, id=error.id or CLIENT)
    if detail.startswith("service ") and detail.endswith(": route not found"):
        return NotFound("service not found", id="api")
    if not error.id:
        error.id = CLIENT
    return error
