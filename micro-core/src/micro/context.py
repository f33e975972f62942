"""Who is calling: identity, namespace, metadata, deadline, trace. One context variable holds it for a call's time."""

from __future__ import annotations

import time
from contextvars import ContextVar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextvars import Token

CORE_NAMESPACE = "micro"
CORE_SERVICES = ("registry", "store", "config", "auth", "broker", "events", "network", "runtime", "proxy", "api")


class Account:
    """Who somebody is, as a verified token says.

    `issuer` is the account's namespace; `type` is `user`, `service` or free text; `scopes` what it may; `audience`
    where its token is good (`micro`: the core too, `services`: only user services); `token` the bearer token itself,
    hidden in `repr`.
    """

    __slots__ = ("audience", "expires", "id", "issuer", "metadata", "name", "scopes", "token", "type")

    def __init__(
        self,
        id: str,
        *,
        issuer: str = CORE_NAMESPACE,
        type: str = "user",
        scopes: tuple[str, ...] = (),
        metadata: Mapping[str, str] | None = None,
        name: str = "",
        audience: tuple[str, ...] = (),
        expires: float = 0.0,
        token: str = "",
    ) -> None:
        self.id = id
        self.issuer = issuer
        self.type = type
        self.scopes = scopes
        self.metadata = dict(metadata or {})
        self.name = name or id
        self.audience = audience
        self.expires = expires
        self.token = token

    @property
    def is_service(self) -> bool:
        """Whether it is a service's account with a service's rights."""
        return self.type == "service" and "service" in self.scopes

    @property
    def is_admin(self) -> bool:
        """Whether it administers its own namespace: a user with scope `admin`, or a service."""
        return self.is_service or (self.type == "user" and "admin" in self.scopes)

    @property
    def is_platform(self) -> bool:
        """Whether it may enter every namespace: an admin, or a service, of the namespace `micro`."""
        return self.issuer == CORE_NAMESPACE and self.is_admin

    @property
    def is_core(self) -> bool:
        """Whether it is one of the ten core services itself."""
        return self.issuer == CORE_NAMESPACE and self.is_service and self.id in CORE_SERVICES

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Account) and (self.id, self.issuer) == (other.id, other.issuer)

    def __hash__(self) -> int:
        return hash((self.id, self.issuer))

    def __repr__(self) -> str:
        return f"Account({self.id!r}, issuer={self.issuer!r}, type={self.type!r}, scopes={list(self.scopes)!r})"


class Trace:
    """Where a call stands in its trace: 32 and 16 hex digits, shared by W3C and the wire's own keys."""

    __slots__ = ("parent", "span", "trace")

    def __init__(self, trace: str, span: str, parent: str = "") -> None:
        self.trace = trace
        self.span = span
        self.parent = parent


class Context:
    """What a handler may ask about the call it answers.

    `account` is who calls, or None; `caller` the account on whose behalf a service calls, or None; `metadata` the
    call's entries with lower-case keys; `deadline` an instant of `time.monotonic()`, or None; `service` and
    `endpoint` (`Orders.Place`) what was called.
    """

    __slots__ = ("_metadata", "account", "caller", "deadline", "endpoint", "namespace", "peer", "service", "trace")

    def __init__(
        self,
        *,
        account: Account | None = None,
        caller: Account | None = None,
        namespace: str = CORE_NAMESPACE,
        metadata: Mapping[str, str] | None = None,
        deadline: float | None = None,
        trace: Trace | None = None,
        service: str = "",
        endpoint: str = "",
        peer: str = "",
    ) -> None:
        self.account = account
        self.caller = caller
        self.namespace = namespace
        self._metadata = metadata
        self.deadline = deadline
        self.trace = trace
        self.service = service
        self.endpoint = endpoint
        self.peer = peer

    @property
    def metadata(self) -> Mapping[str, str]:
        """The call's metadata; empty outside a call."""
        return self._metadata if self._metadata is not None else {}

    def remaining(self) -> float | None:
        """Give the seconds left, never below zero; None without a deadline."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())


_EMPTY = Context()
_current: ContextVar[Context] = ContextVar("micro_context", default=_EMPTY)


def current() -> Context:
    """Give the context of the call being answered; outside of one, an empty context."""
    return _current.get()


def enter(context: Context) -> Token[Context]:
    """Make a context the current one, until `leave`."""
    return _current.set(context)


def leave(token: Token[Context]) -> None:
    """Undo `enter`."""
    _current.reset(token)
