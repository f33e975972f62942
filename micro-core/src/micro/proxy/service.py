"""The core service `proxy`: the platform's door for gRPC clients outside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from micro.proxy.dispatch import ForwardingDispatcher
from micro.proxy.driver import DataPlane, Listen
from micro.proxy.exchange import Exchange
from micro.proxy.routes import RegistryRoutes
from micro.registry.api import Registry
from micro.registry.driver import ALL
from micro.registry.remote import RemoteRegistry
from micro.rpc.driver import Dispatcher, edge
from micro.service.core import Core

if TYPE_CHECKING:
    import ssl

    from micro.service.core import Host

NAME = "proxy"
GRACE = 10.0  # seconds that calls under way have when the profile's driver does not say


async def build(host: Host) -> Core:
    """Make the proxy; its door opens when the process's own is there to answer for it."""
    plane, plugin = host.driver(NAME)
    door = _Door(host, cast("DataPlane", plane))
    core = Core(wrap=door.behind, ready=door.open, drain=door.drain, close=door.close, plugin=plugin)
    door.addresses = core.addresses
    return core


class _Door:
    """The door for strangers, beside the process's own, on which the platform sees its health."""

    def __init__(self, host: Host, plane: DataPlane) -> None:
        self._host = host
        self._plane = plane
        self._own: Dispatcher | None = None
        self._registry = Registry(RemoteRegistry(caller=host.caller), plugin="remote", domain=ALL)
        self._routes = RegistryRoutes(self._registry, host.addresses)
        self._exchange = Exchange(host.caller)
        self._forwarder = host.transport.forwarder()
        self._dispatcher: ForwardingDispatcher | None = None
        self.addresses: dict[str, str] = {}

    def behind(self, own: Dispatcher) -> Dispatcher:
        """Note who answers for the proxy itself."""
        self._own = own
        return own

    async def open(self) -> None:
        """Open it, and tell where."""
        assert self._own is not None
        await self._plane.open()
        await self._routes.open()
        self._dispatcher = ForwardingDispatcher(
            NAME,
            self._own,
            guard=self._host.guard,
            routes=self._routes,
            forwarder=self._forwarder,
            edge=True,
            exchange=self._exchange,
        )
        table = self._host.table
        listen = Listen(str(table["address"]), self._host.transport, edge(), _tls(table.get("tls")))
        self.addresses[NAME] = (await self._plane.start(listen, self._dispatcher))[0]

    async def drain(self) -> None:
        """Let the calls under way finish."""
        settings = getattr(self._plane, "settings", None)
        await self._plane.drain(grace=getattr(settings, "grace", GRACE))

    async def close(self) -> None:
        """Close all that was opened; safe after a failed start."""
        await self._plane.close()
        if self._dispatcher is not None:
            await self._dispatcher.close()
        await self._routes.close()
        await self._exchange.close()
        await self._forwarder.close()


def _tls(table: Mapping[str, Any] | None) -> ssl.SSLContext | None:
    if not table:
        return None
    from micro.rpc.tls import server_context

    return server_context(table["cert"], table["key"], client_ca=table.get("client_ca"))
