"""The embedded driver: a route to every registered node, and those that were advertised here."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Sequence

from micro.errors import FailedPrecondition, NotFound, Unimplemented
from micro.network.driver import Event, Identity, NetworkDriver, Peer, Query, Route
from micro.plugin.driver import Change
from micro.plugin.settings import Settings
from micro.plugin.watch import Feed
from micro.registry.api import Registry
from micro.registry.cache import Cache
from micro.registry.driver import ALL, NodeKey, ServiceRecord
from micro.registry.driver import Event as Registered
from micro.registry.remote import RemoteRegistry
from micro.rpc.caller import Caller

SWEEP = 0.5  # seconds between looks for advertised routes that ran out
EPOCH = 1_000_000  # versions begin at microseconds since 1970, so those of an earlier process are always lower


class LocalNetwork(NetworkDriver, interface=1):
    """One server's routes. It is connected to no other network.

    Works while the registry is away, with what it told last; what the watch has not told yet is asked for.
    """

    settings_type = Settings
    needs = frozenset({"caller"})
    capabilities = frozenset({"watch"})

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        caller: Caller | None = None,
        registry: Registry | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Without a `registry`, at the domain `*`, it is the platform's, by `caller`."""
        if registry is None:
            assert caller is not None
            registry = Registry(RemoteRegistry(caller=caller), plugin="remote", domain=ALL)
        self.clock = clock
        self.router = str(uuid.uuid4())
        self._registry = registry
        self._cache = Cache(registry, told=self._told)
        self._nodes: dict[str, Route] = {}  # by the key of the node's registration
        self._advertised: dict[Identity, tuple[Route, float]] = {}
        self._feed: Feed[Route] = Feed(int(clock() * EPOCH))
        self._sweeper: asyncio.Task[None] | None = None
        self._closed = False

    async def open(self) -> None:
        self._cache.start()
        self._sweeper = asyncio.create_task(self._sweep())

    async def close(self) -> None:
        self._closed = True
        self._feed.end()
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        await self._cache.close()

    async def advertise(self, routes: Sequence[Route], *, ttl: float) -> None:
        self._begin()
        for route in routes:
            known = self._advertised.get(route.identity)
            self._advertised[route.identity] = route, self.clock() + ttl
            if known is None or known[0] != route:
                self._publish("put", route)

    async def withdraw(self, routes: Sequence[Route]) -> None:
        self._begin()
        for route in routes:
            if self._advertised.pop(route.identity, None) is not None:
                self._publish("delete", route)

    async def lookup(self, query: Query) -> list[Route]:
        self._begin()
        found = [route for route in self._routes() if query.matches(route)]
        if not found and query.service and query.network:
            found = [route for route in await self._ask(query.network, query.service) if query.matches(route)]
        return sorted(found, key=lambda route: route.metric)

    async def peers(self) -> list[Peer]:
        self._begin()
        return []

    async def connect(self, address: str) -> None:
        raise Unimplemented("the local network connects to no other")

    def watch(self, query: Query, *, after: int | None = None) -> AsyncIterator[Event]:
        self._begin()

        def wanted(change: Change[Route]) -> bool:
            return query.matches(change.item or Identity(*change.key.split("\n")))

        return self._feed.watch(self._snapshot, after=after, wanted=wanted)

    def _begin(self) -> None:
        if self._closed:
            raise FailedPrecondition("the network is closed")
        self._expire()

    def _routes(self) -> Iterable[Route]:
        advertised = {identity: route for identity, (route, _) in self._advertised.items()}
        # a node that came back is registered twice until its former lease is over: that is one route
        return ({route.identity: route for route in self._nodes.values()} | advertised).values()

    def _snapshot(self) -> list[Change[Route]]:
        version = self._feed.version
        return [Change("put", str(route.identity), version, route) for route in self._routes()]

    def _publish(self, kind: str, route: Route) -> None:
        version = self._feed.version + 1
        self._feed.publish(Change(kind, str(route.identity), version, route if kind == "put" else None))

    # what the registry tells

    def _told(self, event: Registered) -> None:
        if isinstance(event, Change):
            key = NodeKey.parse(event.key)
            # what comes again after a Reset is compared when it is whole
            record = event.item
            self._set(event.key, _route(key.domain, record, self.router) if record is not None else None)
        else:
            self._compare()

    def _compare(self) -> None:
        """Drop the routes of nodes that are gone without a word."""
        there = {
            str(NodeKey(record.domain, record.name, record.version, node.id))
            for record in self._cache.services()
            for node in record.nodes
        }
        for key in self._nodes.keys() - there:
            self._set(key, None)

    def _set(self, key: str, route: Route | None) -> None:
        old = self._nodes.pop(key, None)
        if route is not None:
            self._nodes[key] = route
        if old == route:
            return
        gone = old is not None and (route is None or old.identity != route.identity)
        if old is not None and gone and all(old.identity != other.identity for other in self._nodes.values()):
            self._publish("delete", old)
        if route is not None:
            self._publish("put", route)

    async def _ask(self, network: str, service: str) -> list[Route]:
        try:
            records = await self._registry.domain(network).get(service)
        except NotFound:
            return []
        return [route for record in records for route in _routes(record, self.router)]

    # what was advertised

    def _expire(self) -> None:
        now = self.clock()
        for route, until in list(self._advertised.values()):
            if until <= now:
                del self._advertised[route.identity]
                self._publish("expire", route)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP)
            self._expire()


def _route(domain: str, record: ServiceRecord, router: str) -> Route:
    node = record.nodes[0]
    return Route(record.name, node.address, network=domain, router=router, metadata=node.metadata)


def _routes(record: ServiceRecord, router: str) -> list[Route]:
    return [
        Route(record.name, node.address, network=record.domain, router=router, metadata=node.metadata)
        for node in record.nodes
    ]
