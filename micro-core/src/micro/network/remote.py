"""The driver over gRPC: the network of the platform around this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from micro.errors import FailedPrecondition
from micro.network import wire
from micro.network.driver import Event, NetworkDriver, Peer, Query, Route
from micro.plugin.driver import Reset, Synced
from micro.plugin.settings import Settings
from micro.plugin.watch import finish
from micro.proto import debug_pb2, router_pb2
from micro.proto import network_pb2 as pb
from micro.rpc.caller import Caller

SERVICE = "network"


class RemoteNetwork(NetworkDriver, interface=1):
    """Calls the service `network` as the caller's account.

    Works without `open`, which only asks the service what its driver can.
    """

    settings_type = Settings
    needs = frozenset({"caller"})
    capabilities = frozenset({"watch", "peers"})

    def __init__(self, settings: Settings | None = None, *, caller: Caller) -> None:
        self._caller = caller
        self._closed = False

    async def open(self) -> None:
        info = await self._caller.call(
            SERVICE, "Debug.Info", debug_pb2.InfoRequest(), debug_pb2.InfoResponse, idempotent=True
        )
        self.capabilities = frozenset(info.capabilities)

    async def close(self) -> None:
        self._closed = True  # the caller is whose it was

    async def advertise(self, routes: Sequence[Route], *, ttl: float) -> None:
        self._check()
        request = pb.AdvertiseRequest(
            routes=[wire.route_out(route) for route in routes], ttl_ms=max(1, round(ttl * 1000))
        )
        await self._caller.call(SERVICE, "Network.Advertise", request, pb.AdvertiseResponse, idempotent=True)

    async def withdraw(self, routes: Sequence[Route]) -> None:
        self._check()
        request = pb.WithdrawRequest(routes=[wire.route_out(route) for route in routes])
        await self._caller.call(SERVICE, "Network.Withdraw", request, pb.WithdrawResponse, idempotent=True)

    async def lookup(self, query: Query) -> list[Route]:
        self._check()
        request = wire.query_out(query)
        answer = await self._caller.call(SERVICE, "Network.Lookup", request, router_pb2.LookupResponse, idempotent=True)
        return [wire.route_in(route) for route in answer.routes]

    async def peers(self) -> list[Peer]:
        self._check()
        answer = await self._caller.call(SERVICE, "Network.Graph", pb.GraphRequest(), pb.GraphResponse, idempotent=True)
        return list(wire.peer_in(answer.root).peers)

    async def connect(self, address: str) -> None:
        self._check()
        request = pb.ConnectRequest(nodes=[pb.Node(address=address)])
        await self._caller.call(SERVICE, "Network.Connect", request, pb.ConnectResponse, idempotent=True)

    async def watch(self, query: Query, *, after: int | None = None) -> AsyncIterator[Event]:
        self._check()
        request = pb.WatchRequest(query=wire.query_out(query), after=after)
        answers = self._caller.serve_stream(SERVICE, "Network.Watch", request, pb.WatchResponse)
        try:
            async for answer in answers:
                if answer.reset:
                    yield Reset(answer.version)
                for change in answer.changes:
                    yield wire.change_in(change)
                if answer.synced:
                    yield Synced(answer.version)
        finally:
            await finish(answers)

    def _check(self) -> None:
        if self._closed:
            raise FailedPrecondition("the network is closed")
