"""Core services served in this process by the real server, and callers with accounts, over any transport."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Self

from micro.context import Account
from micro.errors import Unauthenticated
from micro.rpc.client import RpcCaller
from micro.rpc.credentials import FixedToken
from micro.rpc.driver import Transport
from micro.rpc.memory import MemoryTransport
from micro.rpc.resolve import AddressBook
from micro.rpc.server import Server
from micro.rpc.stats import Stats

if TYPE_CHECKING:
    from micro.service.core import Core

PLATFORM = Account("admin", issuer="micro", scopes=("admin",))


def core(name: str) -> Account:
    """Make the identity of a core service."""
    return Account(name, issuer="micro", type="service", scopes=("service",))


class KnownAccounts:
    """A guard that knows accounts by made-up tokens, and refuses what `denied` names as (service, endpoint)."""

    def __init__(self) -> None:
        self.accounts: dict[bytes, Account] = {}
        self.denied: set[tuple[str, str]] = set()

    def token(self, account: Account) -> str:
        """Make a token for an account."""
        token = f"{account.issuer}.{account.type}.{account.id}.{'+'.join(account.scopes)}"
        self.accounts[f"Bearer {token}".encode()] = account
        return token

    def identify(self, authorization: bytes, *, audience: str = "micro") -> Account:
        """Know an account by its token."""
        found = self.accounts.get(authorization)
        if found is None:
            raise Unauthenticated("invalid token provided")
        return found

    def check(self, account: Account | None, namespace: str, service: str, endpoint: str) -> None:
        """Refuse what is denied, as a rule would."""
        if (service, endpoint) in self.denied:
            raise Unauthenticated("denied")

    def stands(self, account: Account | None, namespace: str, service: str, endpoint: str) -> None:
        """Refuse what is denied by now; nothing is ever revoked."""
        self.check(account, namespace, service, endpoint)

    async def prepare(self, authorization: bytes | None, namespace: str) -> None:
        """Nothing is ever missing."""


class Served:
    """Servers by name and callers to them; closing it closes all."""

    def __init__(self, transport: Transport | None = None) -> None:
        self.transport = transport or MemoryTransport()
        self.guard = KnownAccounts()
        self.addresses: dict[str, str] = {}
        self._servers: list[Server] = []
        self._callers: list[RpcCaller] = []

    async def serve(
        self,
        name: str,
        handlers: Sequence[tuple[str, object]],
        *,
        core: Core | None = None,
        options: Mapping[str, object] | None = None,
    ) -> Server:
        """Serve handlers as a core service on a free address; with their `core`, Debug and health as in a process."""
        server = Server(name, transport=self.transport, guard=self.guard, core=True, stats=Stats())
        if core is not None:
            from micro.server.wiring import furnish  # what a user's own tests need not load

            furnish(server, core, 1)
        for handler, one in handlers:
            server.add(one, handler)
        self._servers.append(server)
        self.addresses[name] = await server.start("127.0.0.1:0", **(options or {}))  # type: ignore[arg-type]
        return server

    def caller(self, account: Account | None) -> RpcCaller:
        """Give a caller as an account, or as nobody."""
        token = self.guard.token(account) if account is not None else ""
        credentials = FixedToken(token, namespace=account.issuer if account is not None else "micro")
        caller = RpcCaller(
            transport=self.transport, resolver=AddressBook(self.addresses), credentials=credentials, stats=Stats()
        )
        self._callers.append(caller)
        return caller

    async def __aenter__(self) -> Self:
        await self.transport.open()
        return self

    async def __aexit__(self, *exc: object) -> None:
        for caller in self._callers:
            await caller.close()
        for server in self._servers:
            await server.stop(grace=0)
        await self.transport.close()
