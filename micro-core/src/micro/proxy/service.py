"""The core service `proxy`: the platform's door for gRPC clients outside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from micro import limits
from micro.api.call import Onward
from micro.api.routes import GatewayRoutes
from micro.proxy.dispatch import ForwardingDispatcher
from micro.proxy.driver import DataPlane, Listen
from micro.proxy.exchange import Exchange
from micro.proxy.http1 import Http1
from micro.registry.api import Registry
from micro.registry.driver import ALL
from micro.registry.remote import RemoteRegistry
from micro.rpc.driver import Dispatcher, Forwarder, edge
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
        registry = Registry(RemoteRegistry(caller=host.caller), plugin="remote", domain=ALL)
        self._routes = GatewayRoutes(registry, host.addresses)
        self._exchange = Exchange(host.caller)
        self._forwarder = host.transport.forwarder()
        self._dispatchers: list[ForwardingDispatcher] = []
        self._http1: Http1 | None = None
        self.addresses: dict[str, str] = {}

    def behind(self, own: Dispatcher) -> Dispatcher:
        """Note who answers for the proxy itself."""
        self._own = own
        return own

    async def open(self) -> None:
        """Open it, and tell where."""
        host = self._host
        await self._plane.open()
        await self._routes.open()
        if "http1" in host.transport.capabilities:
            dispatcher = self._dispatcher(Onward(), header_bytes=limits.GATEWAY_HEADERS + 16 * limits.KIB)
            self._http1 = Http1(dispatcher, host.transport, self._routes)
        tls = _tls(host.table.get("tls"))
        listen = Listen(str(host.table["address"]), host.transport, edge(), tls, self._http1)
        self.addresses[NAME] = (await self._plane.start(listen, self._dispatcher(self._forwarder)))[0]

    def _dispatcher(self, forwarder: Forwarder, *, header_bytes: int = limits.METADATA_EDGE) -> ForwardingDispatcher:
        assert self._own is not None
        made = ForwardingDispatcher(
            NAME,
            self._own,
            guard=self._host.guard,
            routes=self._routes,
            forwarder=forwarder,
            edge=True,
            exchange=self._exchange,
            header_bytes=header_bytes,
        )
        self._dispatchers.append(made)
        return made

    async def drain(self) -> None:
        """Let the calls under way finish."""
        settings = getattr(self._plane, "settings", None)
        await self._plane.drain(grace=getattr(settings, "grace", GRACE))

    async def close(self) -> None:
        """Close all that was opened; safe after a failed start."""
        await self._plane.close()
        if self._http1 is not None:
            await self._http1.close()
        for dispatcher in self._dispatchers:
            await dispatcher.close()
        await self._routes.close()
        await self._exchange.close()
        await self._forwarder.close()


def _tls(table: Mapping[str, Any] | None) -> ssl.SSLContext | None:
    if not table:
        return None
    from micro.rpc.tls import server_context

    return server_context(table["cert"], table["key"], client_ca=table.get("client_ca"))
