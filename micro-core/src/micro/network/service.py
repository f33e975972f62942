"""The core service `network`: routes behind the wire, and the door through which traffic inside can go."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import TYPE_CHECKING

from micro.context import CORE_NAMESPACE, current
from micro.network import wire
from micro.network.api import Network
from micro.network.driver import Peer, Query, Route
from micro.network.targets import NetworkRoutes
from micro.plugin.driver import Reset, Synced
from micro.plugin.watch import finish
from micro.proto import network_pb2 as pb
from micro.proto import router_pb2
from micro.proxy.dispatch import ForwardingDispatcher
from micro.proxy.exchange import Exchange
from micro.rpc import access
from micro.rpc.driver import Dispatcher
from micro.service.core import Core

if TYPE_CHECKING:
    from micro.service.core import Host

NAME = "network"
DEPTH = 3  # levels of a graph at most; the original's


async def build(host: Host) -> Core:
    """Open the profile's network, serve it, and pass on what is for others."""
    driver, plugin = host.driver(NAME)
    network = Network(driver, plugin=plugin, network="")  # type: ignore[arg-type] # `micro.network` holds them
    await network.open()
    door = _Door(host, network)
    await door.open()

    async def close() -> None:
        await door.close()
        await network.close()

    address = str(host.table.get("advertise") or host.table.get("address", ""))
    return Core(
        [("Network", NetworkHandler(network, host.addresses, address))],
        wrap=door.before,
        close=close,
        capabilities=lambda: network.capabilities,
        plugin=plugin,
    )


class _Door:
    """What stands before the process's own dispatcher."""

    def __init__(self, host: Host, network: Network) -> None:
        self._host = host
        self._routes = NetworkRoutes(network, host.addresses)
        self._exchange = Exchange(host.caller)
        self._forwarder = host.transport.forwarder()
        self._dispatcher: ForwardingDispatcher | None = None

    async def open(self) -> None:
        await self._routes.open()

    def before(self, own: Dispatcher) -> Dispatcher:
        self._dispatcher = ForwardingDispatcher(
            NAME,
            own,
            guard=self._host.guard,
            routes=self._routes,
            forwarder=self._forwarder,
            edge=False,
            exchange=self._exchange,
        )
        return self._dispatcher

    async def close(self) -> None:
        if self._dispatcher is not None:
            await self._dispatcher.close()
        await self._routes.close()
        await self._exchange.close()
        await self._forwarder.close()


class NetworkHandler:
    """Routes and peers. A namespace is a network; its admins see and advertise its routes."""

    def __init__(self, network: Network, addresses: Mapping[str, str], address: str) -> None:
        self._network = network
        self._addresses = addresses
        self._address = address
        self._id = str(uuid.uuid4())

    async def connect(self, request: pb.ConnectRequest) -> pb.ConnectResponse:
        """Connect to other networks."""
        for node in request.nodes:
            if node.address:
                await self._network.connect(node.address)
        return pb.ConnectResponse()

    async def graph(self, request: pb.GraphRequest) -> pb.GraphResponse:
        """Give this network and those it is connected to."""
        depth = request.depth if 0 < request.depth <= DEPTH else DEPTH
        return pb.GraphResponse(root=wire.peer_out(await self._root(), depth))

    async def nodes(self, request: pb.NodesRequest) -> pb.NodesResponse:
        """Give the same as a list, by id and address."""
        depth = request.depth if 0 < request.depth <= DEPTH else DEPTH
        answer = pb.NodesResponse()
        level: list[Peer] = [await self._root()]
        seen: set[str] = set()
        for _ in range(depth + 1):
            fresh = [peer for peer in level if peer.id not in seen]
            seen.update(peer.id for peer in fresh)
            answer.nodes.extend(pb.Node(id=peer.id, address=peer.address) for peer in fresh)
            level = [behind for peer in fresh for behind in peer.peers]
        return answer

    async def routes(self, request: pb.RoutesRequest) -> pb.RoutesResponse:
        """Give a network's routes; `micro` has all."""
        asked = request.query
        network = _admin(asked.network)
        where = "" if network == CORE_NAMESPACE else network
        query = Query(asked.service, asked.address, asked.gateway, where, asked.router)
        found = await self._network.at(where).lookup(query)
        return pb.RoutesResponse(routes=[wire.route_out(route, metadata=False) for route in found])

    async def services(self, request: pb.ServicesRequest) -> pb.ServicesResponse:
        """Give the names of all services that can be reached."""
        access.admin(CORE_NAMESPACE)
        return pb.ServicesResponse(services=sorted({route.service for route in await self._network.routes()} - {"*"}))

    async def status(self, request: pb.StatusRequest) -> pb.StatusResponse:
        """Say what is wrong: nothing, for who can answer."""
        return pb.StatusResponse(status=pb.Status(error=pb.Error()))

    async def advertise(self, request: pb.AdvertiseRequest) -> pb.AdvertiseResponse:
        """Offer routes for a time."""
        await self._network.advertise(_own(request.routes), ttl=request.ttl_ms / 1000)
        return pb.AdvertiseResponse()

    async def withdraw(self, request: pb.WithdrawRequest) -> pb.WithdrawResponse:
        """Take routes back."""
        await self._network.withdraw(_own(request.routes))
        return pb.WithdrawResponse()

    async def lookup(self, request: router_pb2.LookupRequest) -> router_pb2.LookupResponse:
        """Give the routes that match."""
        network = _admin(request.options.network)
        found = await self._network.at(network).lookup(wire.query_in(request, network))
        return router_pb2.LookupResponse(routes=[wire.route_out(route) for route in found])

    async def watch(self, request: pb.WatchRequest) -> AsyncIterator[pb.WatchResponse | None]:
        """Follow the routes that match: what exists, `synced`, then changes."""
        network = _admin(request.query.options.network)
        query = wire.query_in(request.query, network)
        after = request.after if request.HasField("after") else None
        routes = self._network.at(network)
        yield None  # headers now: what changes from here on will be told
        events = routes.watch(query, after=after, resume=False)
        try:
            async for event in events:
                if isinstance(event, Synced | Reset):
                    synced = isinstance(event, Synced)
                    yield pb.WatchResponse(synced=synced, reset=not synced, version=event.version)
                else:
                    yield pb.WatchResponse(changes=[wire.change_out(event)])
        finally:
            await finish(events)

    async def _root(self) -> Peer:
        address = self._addresses.get(NAME) or self._address
        return Peer(self._id, address, CORE_NAMESPACE, {}, await self._network.peers())


def _admin(network: str) -> str:
    """Give the network that is meant, which the caller must administer: the one named, else the call's namespace."""
    meant = network or current().namespace
    access.admin(meant)
    return meant


def _own(routes: Iterable[router_pb2.Route]) -> list[Route]:
    """Read routes of networks that the caller administers, each of them, before anything changes."""
    found = [wire.route_in(route) for route in routes]
    for network in {route.network for route in found}:
        access.admin(network)
    return found
