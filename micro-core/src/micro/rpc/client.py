"""Calls to services: resolve, balance, identity, trace, deadline, retries, errors. Knows no transport."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, TypeVar

from micro.context import CORE_NAMESPACE, CORE_SERVICES, Context, Trace, current
from micro.errors import LOCAL, Code, DeadlineExceeded, Internal, ServiceError, Unavailable
from micro.rpc import errors, retry
from micro.rpc.balance import Balancer, Target
from micro.rpc.caller import Caller, Stream
from micro.rpc.codec import Decode
from micro.rpc.credentials import FixedToken, TokenSource
from micro.rpc.driver import Channel, ClientCall, Status, Transport
from micro.rpc.incoming import new_span, new_trace
from micro.rpc.outgoing import Outgoing, Plan, plan_of
from micro.rpc.pool import Pool
from micro.rpc.resolve import Resolver, missing
from micro.rpc.stats import PROCESS, Stats

R = TypeVar("R")

GO_CLIENT = "go.micro.client"  # the id under which a proxy reports what kept it from calling
TIMEOUT = 5.0  # seconds of a unary call for which nobody said another


class RpcCaller(Caller):
    """Calls as one account. Belongs to one loop; channels are made when first used.

    `namespace` is whose services are meant where a call says nothing, the account's own by default.
    """

    def __init__(
        self,
        *,
        transport: Transport,
        resolver: Resolver,
        credentials: TokenSource | None = None,
        namespace: str = "",
        stats: Stats | None = None,
    ) -> None:
        self.resolver = resolver
        self.credentials = credentials or FixedToken()
        self.stats = stats or PROCESS
        self._namespace = namespace
        self._pool = Pool(transport)
        self._balancer = Balancer(self._pool)
        self._outgoing = Outgoing()
        self._budgets: dict[str, retry.Budget] = {}

    @property
    def namespace(self) -> str:
        """Whose services are called unless a call says otherwise."""
        return self._namespace or self.credentials.namespace or CORE_NAMESPACE

    async def call(
        self,
        service: str,
        endpoint: str,
        request: Any,
        response: type[R] | Any,
        *,
        timeout: float | None = None,
        metadata: Mapping[str, str] | None = None,
        namespace: str | None = None,
        address: str | None = None,
        idempotent: bool = False,
        retries: int | None = None,
    ) -> R | Any:
        """Call an endpoint: see Caller. `retries` at most, instead of two, where repeating is safe."""
        return await self.invoke(
            plan_of(service, endpoint, type(request), response),
            request,
            timeout=timeout,
            metadata=metadata,
            namespace=namespace,
            address=address,
            idempotent=idempotent,
            retries=retries,
        )

    async def invoke(
        self,
        plan: Plan,
        request: Any,
        *,
        timeout: float | None = None,
        metadata: Mapping[str, str] | None = None,
        namespace: str | None = None,
        address: str | None = None,
        idempotent: bool = False,
        retries: int | None = None,
    ) -> Any:
        """Make a unary call whose messages are planned already."""
        context = current()
        began = time.monotonic_ns()
        end = _end(context, began / 1e9, TIMEOUT if timeout is None else timeout, plan)
        trace = _trace(context)
        attempts = _Attempts(self, plan, namespace, address, idempotent=idempotent, retries=retries)
        code = Code.UNKNOWN
        try:
            while True:
                target, channel = await attempts.next()
                codec = plan.codec(target)
                encode, decode = plan.forms[codec]
                header = await self._authorization(metadata)
                sent = self._outgoing.headers(
                    plan,
                    codec,
                    attempts.namespace,
                    header,
                    trace=trace,
                    context=context,
                    metadata=metadata,
                    timeout=end - time.monotonic(),
                )
                try:
                    left = end - time.monotonic()
                    if left <= 0:
                        raise Status(Code.DEADLINE_EXCEEDED, processed=False)
                    reply = await channel.unary(
                        plan.path, encode(request), sent, content_type=codec.content_type, timeout=left
                    )
                    code = Code.OK
                    self._balancer.reached(target)
                    return read(plan, decode, reply.message)
                except Status as status:
                    code = status.code
                    await attempts.failed(status, header, end)
        finally:
            self.stats.outbound(plan.name, trace, began, code)

    async def _authorization(self, metadata: Mapping[str, str] | None) -> bytes | None:
        if metadata and "authorization" in metadata:
            return None
        header = self.credentials.header()
        if header is None:
            await self.credentials.prepare()
            header = self.credentials.header()
        return header

    async def stream(
        self,
        service: str,
        endpoint: str,
        request: type[Any] | Any,
        response: type[R] | Any,
        *,
        timeout: float | None = None,
        metadata: Mapping[str, str] | None = None,
        namespace: str | None = None,
        address: str | None = None,
    ) -> Stream[Any, Any]:
        return await self.open(
            plan_of(service, endpoint, request, response),
            timeout=timeout,
            metadata=metadata,
            namespace=namespace,
            address=address,
        )

    async def open(
        self,
        plan: Plan,
        *,
        timeout: float | None = None,
        metadata: Mapping[str, str] | None = None,
        namespace: str | None = None,
        address: str | None = None,
    ) -> RpcStream:
        """Open a stream whose messages are planned already."""
        context = current()
        end = _end(context, time.monotonic(), timeout, plan)
        attempts = _Attempts(self, plan, namespace, address)
        trace = _trace(context)
        while True:
            target, channel = await attempts.next()
            codec = plan.codec(target)
            header = await self._authorization(metadata)
            left = None if end is None else end - time.monotonic()
            sent = self._outgoing.headers(
                plan, codec, attempts.namespace, header, trace=trace, context=context, metadata=metadata
            )
            try:
                call = await channel.open(plan.path, sent, content_type=codec.content_type, timeout=left)
            except Status as status:
                await attempts.failed(status, header, end)
                continue
            return RpcStream(call, plan, *plan.forms[codec], target=target, resolver=self.resolver)

    async def close(self) -> None:
        await self.resolver.close()
        await self.credentials.close()
        await self._pool.close()


class _Attempts:
    """One call's way through targets until one takes it, or none may be tried any more."""

    def __init__(
        self,
        caller: RpcCaller,
        plan: Plan,
        namespace: str | None,
        address: str | None,
        *,
        idempotent: bool = False,
        retries: int | None = None,
    ) -> None:
        self.namespace = namespace or (CORE_NAMESPACE if plan.service in CORE_SERVICES else caller.namespace)
        self._caller = caller
        self._plan = plan
        self._given: Sequence[Target] | None = (Target(address),) if address else None
        self._idempotent = idempotent
        self._left = retry.ATTEMPTS - 1 if retries is None else retries
        self._count = 1
        self._renewed = False
        self._tried: list[str] = []
        self._targets: Sequence[Target] = ()
        self._target: Target
        budget = caller._budgets.get(plan.service)
        if budget is None:
            budget = caller._budgets[plan.service] = retry.Budget()
        self._budget = budget
        budget.called()

    async def next(self) -> tuple[Target, Channel]:
        """Give the next target and its channel."""
        caller, service = self._caller, self._plan.service
        targets = self._given or caller.resolver.known(service, self.namespace)
        if targets is None:
            targets = await caller.resolver.find(service, self.namespace)
        self._targets = targets
        self._target, channel = caller._balancer.pick(targets, self._tried)
        return self._target, channel

    async def failed(self, status: Status, header: bytes | None, end: float | None) -> None:
        """Wait until the next attempt; raises the call's error when there is none."""
        caller, target = self._caller, self._target
        unreached = status.code == Code.UNAVAILABLE and not status.processed
        if unreached:
            caller._balancer.failed(target)
            self._tried.append(target.address)
        error = failure(status, self._plan)
        if status.code == Code.UNAUTHENTICATED and header is not None and not self._renewed:
            self._renewed = True
            if caller.credentials.refused(header):
                await caller.credentials.prepare()
                return
        if not self._may_repeat(status):
            raise self._last(error, status, unreached=unreached) from status
        self._left -= 1
        self._count += 1
        untried = any(each.address not in self._tried for each in self._targets)
        if unreached and untried:
            return
        pause = retry.wait(self._count)
        if end is not None and time.monotonic() + pause >= end:
            raise self._last(error, status, unreached=unreached) from status
        await asyncio.sleep(pause)

    def _may_repeat(self, status: Status) -> bool:
        if self._left <= 0:
            return False
        if status.processed:
            again = status.code in {Code.UNAVAILABLE, Code.CANCELLED} and self._is_idempotent()
        else:
            again = status.code == Code.UNAVAILABLE and (self._caller.resolver.patient or len(self._targets) > 1)
        return again and self._budget.spend()

    def _is_idempotent(self) -> bool:
        plan = self._plan
        return self._idempotent or self._caller.resolver.idempotent(plan.service, self.namespace, plan.endpoint)

    def _last(self, error: ServiceError, status: Status, *, unreached: bool) -> ServiceError:
        if not unreached:
            return error
        if self._given is not None:
            return Unavailable(status.message or f"{self._target.address} cannot be reached", id=LOCAL)
        return self._caller.resolver.unreachable(self._target, status)


class RpcStream(Stream[Any, Any]):
    """A call of any kind, messages encoded and decoded."""

    def __init__(
        self, call: ClientCall, plan: Plan, encode: Any, decode: Any, *, target: Target, resolver: Resolver
    ) -> None:
        self._call = call
        self._plan = plan
        self._encode = encode
        self._decode = decode
        self._target = target
        self._resolver = resolver

    async def send(self, message: Any) -> None:
        try:
            await self._call.write(self._encode(message))
        except Status as status:
            raise self._error(status) from status

    def end(self) -> None:
        self._call.half_close()

    async def started(self) -> None:
        try:
            await self._call.headers()
        except Status as status:
            raise self._error(status) from status

    async def receive(self) -> Any:
        try:
            message = await self._call.read()
        except Status as status:
            raise self._error(status) from status
        return None if message is None else read(self._plan, self._decode, message)

    async def __aiter__(self) -> AsyncIterator[Any]:
        next_message, plan, decode = self._call.read, self._plan, self._decode
        try:
            while (message := await next_message()) is not None:
                yield read(plan, decode, message)
        except Status as status:
            raise self._error(status) from status

    def cancel(self) -> None:
        self._call.cancel()

    def _error(self, status: Status) -> ServiceError:
        if status.code == Code.UNAVAILABLE and not status.processed:
            return self._resolver.unreachable(self._target, status)
        return failure(status, self._plan)


def read(plan: Plan, decode: Decode, message: bytes) -> Any:
    """Decode an answer; one that does not fit is no fault of the caller's arguments."""
    try:
        return decode(message)
    except ServiceError as problem:
        raise Internal(f"{plan.name}: the answer does not fit: {problem}", id=LOCAL) from problem


def failure(status: Status, plan: Plan) -> ServiceError:
    """Give the error of a call's end."""
    if not status.message.startswith("{"):
        if status.code == Code.CANCELLED:
            return errors.unasked(status)
        if status.code == Code.DEADLINE_EXCEEDED:
            return DeadlineExceeded(f"{plan.name}: no answer in time", id=LOCAL)
        if status.code == Code.OK:
            return Internal(f"{plan.name}: {status.message}", id=LOCAL)
    error = errors.from_status(status)
    if error.id == GO_CLIENT and error.detail == f"service {plan.service}: route not found":
        return missing(plan.service)  # a proxy says 500, as the original's do; to callers it is what it is
    return error


def _end(context: Context, now: float, timeout: float | None, plan: Plan) -> Any:
    """Give the instant until which to wait: the call's own, never beyond that of the call being answered."""
    end = None if timeout is None else now + timeout
    if context.deadline is not None and (end is None or context.deadline < end):
        end = context.deadline
    if end is not None and end <= now:
        raise DeadlineExceeded(f"{plan.name}: no time was left to call", id=LOCAL)
    return end


def _trace(context: Context) -> Trace:
    around = context.trace
    if around is None:
        return Trace(new_trace(), new_span())
    return Trace(around.trace, new_span(), around.span)
