"""One call's way through targets: which next, whether again, and with what error it ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from micro.context import CORE_NAMESPACE
from micro.errors import LOCAL, Code, DeadlineExceeded, ServiceError, Unavailable
from micro.rpc import retry
from micro.rpc.balance import Target
from micro.rpc.driver import Channel, Status
from micro.rpc.outgoing import Plan
from micro.rpc.streams import failure

if TYPE_CHECKING:
    from micro.rpc.client import RpcCaller


class Attempts:
    """One call's way through targets until one takes it, or none may be tried any more."""

    __slots__ = (
        "_budget", "_caller", "_count", "_given", "_idempotent", "_left", "_plan", "_refused", "_renewed", "_target",
        "_targets", "_tried", "namespace",
    )  # fmt: skip

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
        self.namespace = namespace or (CORE_NAMESPACE if plan.to_core else caller.namespace)
        self._caller = caller
        self._plan = plan
        self._given: Sequence[Target] | None = (Target(address),) if address else None
        self._idempotent = idempotent
        self._left = retry.ATTEMPTS - 1 if retries is None else retries
        self._count = 1
        self._refused = False  # unseen, by a peer that is there
        self._renewed = False
        self._tried: tuple[str, ...] = ()
        self._targets: Sequence[Target] = ()
        self._target: Target
        budget = caller._budgets.get(plan.service)
        if budget is None:
            budget = caller._budgets[plan.service] = retry.Budget()
        self._budget = budget
        budget.called()

    def known(self) -> tuple[Target, Channel] | None:
        """Give the next target and its channel; None when they must be looked up, by `next`."""
        targets = self._given or self._caller.resolver.known(self._plan.service, self.namespace)
        return None if targets is None else self._picked(targets)

    async def next(self, end: float | None) -> tuple[Target, Channel]:
        """Look the service up by the instant `end`, and give the next target and its channel."""
        service = self._plan.service
        try:
            async with asyncio.timeout(None if end is None else end - time.monotonic()):
                return self._picked(await self._caller.resolver.find(service, self.namespace))
        except TimeoutError as err:
            raise DeadlineExceeded(f"{self._plan.name}: {service} was not found in time", id=LOCAL) from err

    def _picked(self, targets: Sequence[Target]) -> tuple[Target, Channel]:
        self._targets = targets
        self._target, channel = self._caller._balancer.pick(targets, self._tried)
        return self._target, channel

    async def failed(self, status: Status, header: bytes | None, end: float | None) -> None:
        """Wait until the next attempt; raises the call's error when there is none."""
        caller, target = self._caller, self._target
        unseen = status.code == Code.UNAVAILABLE and not status.processed
        if unseen:
            caller._balancer.failed(target)
            self._tried += (target.address,)
        error = failure(status, self._plan)
        if status.code == Code.UNAUTHENTICATED and header is not None and not self._renewed:
            self._renewed = True
            if caller.credentials.refused(header):
                await caller.credentials.prepare()
                return
        if unseen and self._goes_on(status):
            return  # nobody has seen the call yet: another node's turn is no retry, and adds to no one's load
        if not await self._may_repeat(status, end):
            raise self._last(error, status, unseen=unseen) from status
        self._left -= 1
        if not unseen:
            self._tried += (target.address,)  # one that is dying may take a call more, and lose that too
        self._count += 1
        pause = retry.wait(self._count)
        if end is not None and time.monotonic() + pause >= end:
            raise self._last(error, status, unseen=unseen) from status
        await asyncio.sleep(pause)

    def _goes_on(self, status: Status) -> bool:
        """Tell whether a call that was not seen goes on at once: to another node, or once more to one that refused it.

        Who refused may be a proxy, which has other nodes.
        """
        if any(each.address not in self._tried for each in self._targets):
            return True
        first, self._refused = status.reached and not self._refused, True
        return first

    async def _may_repeat(self, status: Status, end: float | None) -> bool:
        if self._left <= 0:
            return False
        if status.processed:
            again = status.code in {Code.UNAVAILABLE, Code.CANCELLED} and await self._is_idempotent(end)
        else:
            again = status.code == Code.UNAVAILABLE and (self._caller.resolver.patient or len(self._targets) > 1)
        return again and self._budget.spend()

    async def _is_idempotent(self, end: float | None) -> bool:
        if self._idempotent:
            return True
        plan = self._plan
        try:
            async with asyncio.timeout(None if end is None else end - time.monotonic()):
                self._idempotent = await self._caller.resolver.repeatable(plan.service, self.namespace, plan.endpoint)
        except TimeoutError:
            return False  # the call's own error says more than that
        return self._idempotent

    def _last(self, error: ServiceError, status: Status, *, unseen: bool) -> ServiceError:
        if not unseen:
            return error
        if self._given is not None:
            return Unavailable(status.message or f"{self._target.address} cannot be reached", id=LOCAL)
        return self._caller.resolver.unreachable(self._target, status)
