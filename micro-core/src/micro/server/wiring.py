"""How a core service's process calls and is called: its caller, its guard, and what every process answers besides."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from micro.auth.guard import AuthGuard
from micro.auth.tokens import load_public
from micro.context import CORE_NAMESPACE
from micro.debug.service import Facts, attach
from micro.rpc.caller import Caller
from micro.rpc.client import RpcCaller
from micro.rpc.credentials import TokenSource
from micro.rpc.driver import Transport
from micro.rpc.resolve import AddressBook
from micro.rpc.server import Server
from micro.service.core import Core

# Their listeners are doors that strangers knock at, so reflection asks for an account there.
EDGE = frozenset({"proxy", "network"})


def caller(transport: Transport, addresses: Mapping[str, str], token: TokenSource) -> RpcCaller:
    """Call the other core services as this one, where the address book says at that moment."""
    return RpcCaller(transport=transport, resolver=AddressBook(addresses), credentials=token)


def guard(name: str, data: Path, caller: Caller) -> AuthGuard:
    """Guard a core service: it knows the folder's public keys from the start, and asks auth for news."""
    return AuthGuard(name, CORE_NAMESPACE, lambda: load_public(f"{data}/keys"), caller=caller, core=True)


def furnish(server: Server, core: Core, interface: int) -> None:
    """Let a server answer Debug, health and reflection."""

    def facts(handler: str) -> Facts:
        other = core.others.get(handler)
        if other is not None:
            driver = other.driver
            return Facts(plugin=other.plugin, interface=driver.interface, capabilities=driver.capabilities)
        return Facts(plugin=core.plugin, interface=interface, capabilities=core.capabilities())

    attach(server, facts=facts, reflection_needs_account=server.name in EDGE)
