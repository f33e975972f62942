"""Where services are, for the inside door: the network's own routes, followed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from micro.errors import ServiceError
from micro.network.api import Network
from micro.network.driver import Identity, Query, Route
from micro.plugin.driver import Change, Reset
from micro.proxy.routes import Routes
from micro.rpc.balance import Target
from micro.rpc.driver import node_keepalive

RETRY = 1.0  # seconds until a watch that was refused is tried again


class NetworkRoutes(Routes):
    """Targets from a watch over all networks; of several ways those of the lowest metric."""

    def __init__(self, network: Network, addresses: Mapping[str, str]) -> None:
        super().__init__(addresses)
        self._network = network.at("")
        self._routes: dict[tuple[str, str], dict[str, Route]] = {}  # by network and service, then identity
        self._fresh: set[str] | None = None  # what was told since a Reset
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        self._task = asyncio.create_task(self._follow())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def _told(self, service: str, namespace: str) -> Sequence[Target]:
        return _targets(self._routes.get((namespace, service), {}).values())

    async def _ask(self, service: str, namespace: str) -> Sequence[Target]:
        return _targets(await self._network.at(namespace).lookup(Query(service)))

    async def _follow(self) -> None:
        while True:
            try:
                async for event in self._network.watch():
                    if isinstance(event, Change):
                        self._take(event)
                    elif isinstance(event, Reset):
                        self._fresh = set()
                    elif self._fresh is not None:  # Synced
                        self._drop_but(self._fresh)
                        self._fresh = None
            except ServiceError:
                await asyncio.sleep(RETRY)

    def _take(self, change: Change[Route]) -> None:
        identity = Identity(*change.key.split("\n"))
        ways = self._routes.setdefault((identity.network, identity.service), {})
        ways.pop(change.key, None)
        if change.item is not None:
            ways[change.key] = change.item
            if self._fresh is not None:
                self._fresh.add(change.key)
        elif not ways:
            del self._routes[identity.network, identity.service]
        self.changed(identity.service, identity.network)

    def _drop_but(self, fresh: set[str]) -> None:
        for at, ways in list(self._routes.items()):
            self._routes[at] = kept = {key: route for key, route in ways.items() if key in fresh}
            if not kept:
                del self._routes[at]
        self.changed()


def _targets(routes: Iterable[Route]) -> list[Target]:
    usable = [route for route in routes if route.metadata.get("protocol", "grpc") == "grpc"]
    least = min((route.metric for route in usable), default=0)
    found: dict[str, Target] = {}
    for route in usable:
        if route.metric == least:
            address = route.gateway or route.address
            found[address] = Target(address, "interface" in route.metadata, node_keepalive(route.metadata))
    return list(found.values())
