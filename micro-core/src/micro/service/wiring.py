"""How a process of a user's calls: which transport, which way, as whom."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Any

from micro.auth.driver import Credentials
from micro.errors import LOCAL, Unavailable
from micro.plugin import discovery
from micro.registry.api import Registry
from micro.registry.cache import Cache
from micro.registry.driver import ServiceRecord
from micro.registry.remote import RemoteRegistry
from micro.rpc.caller import Caller
from micro.rpc.client import RpcCaller
from micro.rpc.credentials import FixedToken, TokenSource
from micro.rpc.driver import Transport
from micro.rpc.resolve import AddressBook, ByRegistry, Directory, Resolver, ViaProxy
from micro.service.login import Login, UserLogin
from micro.service.surroundings import Surroundings

PATIENCE = 5.0  # seconds for the registry to tell what there is


def transport(name: str = "") -> Transport:
    """Make the transport that is asked for, by argument or `MICRO_TRANSPORT`, else the default one."""
    name = name or os.environ.get("MICRO_TRANSPORT", "")
    if not name:
        try:
            from micro.rpc.nghttp2 import Nghttp2Transport

            return Nghttp2Transport()
        except ImportError:  # no wheel of the binding for this machine
            from micro.rpc.grpcio import GrpcioTransport

            return GrpcioTransport()
    cls: Any = discovery.load("transport", name)
    made: Transport = cls()
    return made


def caller(around: Surroundings, carrier: Transport, *, token: str = "") -> RpcCaller:
    """Call as the process's own account, directly inside the platform, through the proxy outside."""
    credentials = _credentials(around, carrier, token)
    made: list[Caller] = []
    if not around.registry:

        async def ask(domain: str, service: str) -> Sequence[ServiceRecord]:
            return await RemoteRegistry(caller=made[0]).get(domain, service)

        resolver: Resolver = ViaProxy(around.proxy, hint=around.hint, ask=ask)
        outside = RpcCaller(transport=carrier, resolver=resolver, credentials=credentials, namespace=around.namespace)
        made.append(outside)
        return outside

    async def follow(domain: str, service: str) -> Directory:
        cache = Cache(Registry(RemoteRegistry(caller=made[0]), plugin="remote", domain=domain), service)
        try:
            await cache.open(timeout=PATIENCE)
        except TimeoutError as err:
            await cache.close()
            raise Unavailable(f"the registry at {around.registry} does not answer", id=LOCAL) from err
        except BaseException:
            await cache.close()
            raise
        return cache

    resolver = AddressBook({"registry": around.registry}, rest=ByRegistry(follow))
    inside = RpcCaller(transport=carrier, resolver=resolver, credentials=credentials, namespace=around.namespace)
    made.append(inside)
    return inside


def _credentials(around: Surroundings, carrier: Transport, token: str) -> TokenSource:
    if token or not (around.id or around.login):
        return FixedToken(token, namespace=around.namespace)
    # who has no token yet cannot ask the registry, so logging in goes through the proxy wherever we are
    asking = RpcCaller(transport=carrier, resolver=ViaProxy(around.proxy, hint=around.hint))
    account = Credentials(around.id, around.secret) if around.id else None
    if around.login is not None:
        return UserLogin(asking, around.login, otherwise=account, file=around.file)
    assert account is not None
    return Login(asking, account, namespace=around.namespace, file=around.file)


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Give the loop that runs in this thread."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
