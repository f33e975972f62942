"""Who calls, in which namespace, and whether they may: the headers and the guard, before a handler begins."""

from __future__ import annotations

from micro.context import Account
from micro.errors import Unauthenticated, Unavailable
from micro.rpc import incoming
from micro.rpc.driver import ServerCall
from micro.rpc.guard import Guard, NotReadyError
from micro.rpc.incoming import CallContext
from micro.rpc.route import Route


class Admission:
    """Decides for one service. Without a guard nobody is known and everybody may pass."""

    def __init__(self, guard: Guard | None, *, service: str, namespace: str, core: bool) -> None:
        self._guard = guard
        self._service = service
        self._namespace = namespace
        self._audience = "micro" if core else "services"

    def admit(self, route: Route, context: CallContext, call: ServerCall) -> bool:
        """Fill in who calls in which namespace; raises when they may not. False when `prepare` must look things up."""
        guard = self._guard
        if guard is not None:
            try:
                self._identify(guard, route, context, call)
            except NotReadyError:
                return False
        account = context.account
        raw = call.header(incoming.NAMESPACE)
        if raw:
            context.namespace = incoming.namespace_of(raw)
        else:
            context.namespace = account.issuer if account is not None else self._namespace
        return True

    async def prepare(self, route: Route, context: CallContext, call: ServerCall) -> None:
        """Let the guard look up what it lacks: keys, then rules, perhaps for two tokens; then admit."""
        guard = self._guard
        assert guard is not None
        behalf = call.header(incoming.ON_BEHALF_OF)
        for _ in range(3):
            await guard.prepare(call.header(incoming.AUTHORIZATION), self._namespace)
            if behalf:
                await guard.prepare(behalf, self._namespace)
            if self.admit(route, context, call):
                return
        raise Unavailable("who calls and what they may cannot be checked now")

    def _identify(self, guard: Guard, route: Route, context: CallContext, call: ServerCall) -> None:
        authorization = call.header(incoming.AUTHORIZATION)
        account: Account | None = None
        if authorization:
            try:
                account = guard.identify(authorization, audience=self._audience)
            except (Unauthenticated, NotReadyError):
                if not route.public:
                    raise
        context.account = account
        if route.public:
            return
        guard.check(account, self._namespace, self._service, route.name)
        behalf = call.header(incoming.ON_BEHALF_OF)
        if behalf:
            context.caller = guard.identify(behalf, audience="services")
