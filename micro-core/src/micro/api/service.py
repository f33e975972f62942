"""The core service `api`: the platform's door for HTTP clients, the socket of the command line, and the block list."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from micro import limits
from micro.api.blocklist import TABLE, BlockingGuard, BlockList
from micro.api.call import Onward
from micro.api.routes import GatewayRoutes
from micro.config.api import Config
from micro.config.remote import RemoteConfig
from micro.context import CORE_NAMESPACE
from micro.errors import InvalidArgument
from micro.proto import api_pb2 as pb
from micro.proxy.dispatch import ForwardingDispatcher
from micro.proxy.driver import DataPlane, Listen
from micro.proxy.exchange import Exchange
from micro.registry.api import Registry
from micro.registry.driver import ALL
from micro.registry.remote import RemoteRegistry
from micro.rpc import access
from micro.rpc.driver import Dispatcher
from micro.rpc.endpoint import endpoint
from micro.service.core import Core

if TYPE_CHECKING:
    import ssl

    from micro.api.door import Door
    from micro.api.gateway import Gateway
    from micro.service.core import Host

NAME = "api"
SOCKET = "api.sock"  # in the data folder
GRACE = 10.0  # seconds that requests under way have when the profile's driver does not say
# What goes on with a call: the caller's headers, the URL, and what the dispatcher counts for each of them.
HEADER_BYTES = limits.GATEWAY_HEADERS + 16 * limits.KIB

log = logging.getLogger("micro.api")


async def build(host: Host) -> Core:
    """Make the gateway; its doors open when the process's own is there to answer for it."""
    door = _Doors(host)
    core = Core(
        [("Api", ApiHandler(door.blocked))],
        wrap=door.behind,
        ready=door.open,
        drain=door.drain,
        close=door.close,
        plugin=door.plugin,
    )
    door.addresses = core.addresses
    return core


class ApiHandler:
    """The gateway's own methods, for admins of the platform."""

    def __init__(self, blocked: BlockList) -> None:
        self._blocked = blocked

    @endpoint(idempotent=True)
    async def add_to_block_list(self, request: pb.AddToBlockListRequest) -> pb.AddToBlockListResponse:
        """Let an account in no more."""
        _check(request)
        await self._blocked.add(request.namespace, request.id)
        return pb.AddToBlockListResponse()

    @endpoint(idempotent=True)
    async def remove_from_block_list(self, request: pb.RemoveFromBlockListRequest) -> pb.RemoveFromBlockListResponse:
        """Let an account in again."""
        _check(request)
        await self._blocked.remove(request.namespace, request.id)
        return pb.RemoveFromBlockListResponse()

    @endpoint(idempotent=True)
    async def read_block_list(self, request: pb.ReadBlockListRequest) -> pb.ReadBlockListResponse:
        """Give the accounts that are not let in, each as `<namespace>:<id>`."""
        access.admin(CORE_NAMESPACE)
        return pb.ReadBlockListResponse(ids=await self._blocked.ids())


def _check(request: pb.AddToBlockListRequest | pb.RemoveFromBlockListRequest) -> None:
    access.admin(CORE_NAMESPACE)
    if not request.id:
        raise InvalidArgument("Missing ID field")
    if not request.namespace:
        raise InvalidArgument("Missing Namespace field")


class _Doors:
    """HTTP for everybody, and a socket file for who may open it; one dispatcher decides behind both."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._routes = GatewayRoutes(
            Registry(RemoteRegistry(caller=host.caller), plugin="remote", domain=ALL), host.addresses
        )
        plane, self.plugin = host.driver(NAME, routes=self._routes)
        self._plane = cast("DataPlane", plane)
        config = Config(RemoteConfig(caller=host.caller), plugin="remote", namespace=CORE_NAMESPACE)
        self.blocked = BlockList(host.store(TABLE), config)
        self._exchange = Exchange(host.caller)
        self._own: Dispatcher | None = None
        self._dispatcher: ForwardingDispatcher | None = None
        self._console: Door | None = None
        self._gateway: Gateway | None = None
        self.addresses: dict[str, str] = {}

    def behind(self, own: Dispatcher) -> Dispatcher:
        """Note who answers for the gateway itself."""
        self._own = own
        return own

    async def open(self) -> None:
        """Open them, and tell where."""
        host = self._host
        assert self._own is not None
        await self._plane.open()
        await self._routes.open()
        self.blocked.start()
        guard = BlockingGuard(host.guard, self.blocked)
        self._dispatcher = ForwardingDispatcher(
            NAME,
            self._own,
            guard=guard,
            routes=self._routes,
            forwarder=Onward(),
            edge=True,
            exchange=self._exchange,
            header_bytes=HEADER_BYTES,
        )
        listen = Listen(str(host.table["address"]), host.transport, tls=_tls(host.table.get("tls")))
        self.addresses[NAME] = (await self._plane.start(listen, self._dispatcher))[0]
        await self._open_console(host.data / SOCKET, guard)

    async def _open_console(self, path: Path, guard: BlockingGuard) -> None:
        from micro.api.console import Console
        from micro.api.door import Door
        from micro.api.gateway import Gateway

        assert self._dispatcher is not None
        self._gateway = Gateway(self._dispatcher, self._host.transport, self._routes)
        try:
            bound = _bound(path)
        except OSError as err:  # too long a path, or a file system without sockets: commands go by gRPC then
            log.warning("no socket at %s: %s", path, err)
            return
        console = Console(self._gateway, self._routes, guard)
        self._console = console.door = Door(console)
        await self._console.start_unix(bound)

    async def drain(self) -> None:
        """Let the requests under way finish."""
        grace = getattr(getattr(self._plane, "settings", None), "grace", GRACE)
        if self._console is not None:
            (self._host.data / SOCKET).unlink(missing_ok=True)
            await self._console.drain(grace=grace)
        await self._plane.drain(grace=grace)

    async def close(self) -> None:
        """Close all that was opened; safe after a failed start."""
        if self._console is not None:
            await self._console.close()
        await self._plane.close()
        if self._gateway is not None:
            await self._gateway.close()
        if self._dispatcher is not None:
            await self._dispatcher.close()
        await self._routes.close()
        await self._exchange.close()
        await self.blocked.close()


def _bound(path: Path) -> socket.socket:
    """Bind a socket file that only its owner can open, in place of one that an ended process left."""
    path.unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        made.bind(str(path))
    except OSError:
        made.close()
        raise
    finally:
        os.umask(before)
    return made


def _tls(table: Mapping[str, Any] | None) -> ssl.SSLContext | None:
    if not table:
        return None
    from micro.rpc.tls import server_context

    context = server_context(table["cert"], table["key"], client_ca=table.get("client_ca"))
    context.set_alpn_protocols(["http/1.1"])
    return context
