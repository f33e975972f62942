"""Calls to services: resolve, balance, identity, trace, deadline, retries, errors. Knows no transport."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from micro.context import CORE_NAMESPACE, Context, Trace, current
from micro.errors import LOCAL, Code, DeadlineExceeded, ServiceError
from micro.rpc import retry
from micro.rpc.attempts import Attempts
from micro.rpc.balance import Balancer, Target
from micro.rpc.caller import Caller, Stream
from micro.rpc.credentials import FixedToken, TokenSource
from micro.rpc.driver import Status, Transport
from micro.rpc.incoming import new_span, new_trace
from micro.rpc.outgoing import Outgoing, Plan, plan_of
from micro.rpc.pool import Pool
from micro.rpc.resolve import Resolver
from micro.rpc.stats import PROCESS, Stats
from micro.rpc.streams import RpcStream, failure, read

R = TypeVar("R")

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
        attempts = Attempts(self, plan, namespace, address, idempotent=idempotent, retries=retries)
        code = Code.UNKNOWN
        try:
            while True:
                target, channel = attempts.known() or await attempts.next(end)
                codec = plan.codec(target)
                encode, decode = plan.forms[codec]
                header = self.credentials.header()
                if header is None or metadata:
                    header = await self._authorization(metadata)
                left = end - time.monotonic()
                sent = self._outgoing.headers(
                    plan,
                    codec,
                    attempts.namespace,
                    header,
                    trace=trace,
                    context=context,
                    metadata=metadata,
                    timeout=left,
                )
                try:
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
        attempts = Attempts(self, plan, namespace, address)
        trace = _trace(context)
        while True:
            target, channel = attempts.known() or await attempts.next(end)
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
            return RpcStream(call, plan, plan.forms[codec], self._stream_failed(plan, target, header))

    def _stream_failed(self, plan: Plan, target: Target, header: bytes | None) -> Callable[[Status], ServiceError]:
        def failed(status: Status) -> ServiceError:
            if status.code == Code.UNAVAILABLE and not status.processed:
                self._balancer.failed(target)
                return self.resolver.unreachable(target, status)
            if status.code == Code.UNAUTHENTICATED and header is not None:
                self.credentials.refused(header)  # so that the next call has another token
            return failure(status, plan)

        return failed

    async def close(self) -> None:
        await self.resolver.close()
        await self.credentials.close()
        await self._pool.close()


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
