"""Routes and peers as protobuf messages and back; for both ends of the wire."""

from __future__ import annotations

from micro.network.driver import Identity, Peer, Query, Route
from micro.plugin.driver import Change
from micro.proto import network_pb2 as pb
from micro.proto import router_pb2

_KINDS = {"put": pb.Change.PUT, "delete": pb.Change.DELETE, "expire": pb.Change.EXPIRE}
_NAMES = {number: name for name, number in _KINDS.items()}


def route_out(route: Route, *, metadata: bool = True) -> router_pb2.Route:
    """Write a route."""
    return router_pb2.Route(
        **route.identity._asdict(), metric=route.metric, metadata=route.metadata if metadata else None
    )


def route_in(route: router_pb2.Route) -> Route:
    """Read a route."""
    return Route(
        route.service,
        route.address,
        route.gateway,
        route.network or "micro",
        route.router,
        route.link or "local",
        route.metric,
        dict(route.metadata),
    )


def query_out(query: Query) -> router_pb2.LookupRequest:
    """Write a look-up."""
    options = router_pb2.LookupOptions(
        address=query.address, gateway=query.gateway, network=query.network, router=query.router, link=query.link
    )
    return router_pb2.LookupRequest(service=query.service, options=options)


def query_in(request: router_pb2.LookupRequest, network: str) -> Query:
    """Read a look-up, held to a network that the caller may see; empty is all."""
    asked = request.options
    return Query(request.service, asked.address, asked.gateway, network, asked.router, asked.link)


def peer_out(peer: Peer, depth: int) -> pb.Peer:
    """Write a peer with those behind it, `depth` levels of them."""
    behind = [peer_out(one, depth - 1) for one in peer.peers] if depth > 0 else []
    return pb.Peer(
        node=pb.Node(id=peer.id, address=peer.address, network=peer.network, metadata=peer.metadata), peers=behind
    )


def peer_in(peer: pb.Peer) -> Peer:
    """Read a peer."""
    node = peer.node
    return Peer(node.id, node.address, node.network, dict(node.metadata), [peer_in(one) for one in peer.peers])


def change_out(change: Change[Route]) -> pb.Change:
    """Write a change; of a route that is gone its identity."""
    if change.item is not None:
        route = route_out(change.item)
    else:
        route = router_pb2.Route(**Identity(*change.key.split("\n"))._asdict())
    return pb.Change(kind=_KINDS[change.kind], route=route, version=change.version)


def change_in(change: pb.Change) -> Change[Route]:
    """Read a change."""
    route = route_in(change.route)
    item = route if change.kind == pb.Change.PUT else None
    return Change(_NAMES.get(change.kind, "put"), str(route.identity), change.version, item)
