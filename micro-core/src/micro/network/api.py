"""The network as users know it: the routes of one namespace, on any driver."""

from __future__ import annotations

import builtins
from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING

from micro import names
from micro.context import CORE_NAMESPACE
from micro.errors import InvalidArgument
from micro.network.driver import Event, NetworkDriver, Peer, Query, Route
from micro.plugin.portable import Portable
from micro.plugin.watch import resuming
from micro.registry import checks

if TYPE_CHECKING:
    from micro.durations import Duration

TTL = 90.0  # seconds of an advertised route
MAX_ROUTES = 1_000  # of one call


class Network(Portable[NetworkDriver]):
    """Routes of one network, which is a namespace: `network.at("shop")` is another one, over the same driver.

    Beyond what each method names, all raise InvalidArgument, PermissionDenied, Unavailable and DeadlineExceeded.
    """

    primitive = "network"

    def __init__(self, driver: NetworkDriver, *, plugin: str = "", network: str = CORE_NAMESPACE) -> None:
        """An empty `network` reads all."""
        super().__init__(driver, plugin=plugin)
        self.where = names.namespace(network) if network else ""

    @property
    def capabilities(self) -> frozenset[str]:
        """What the driver can: see NetworkDriver."""
        return self.driver.capabilities

    def at(self, network: str) -> Network:
        """Give the same at another namespace. Costs nothing; closing one closes the driver of both."""
        return type(self)(self.driver, plugin=self.plugin, network=network)

    async def routes(self, service: str | None = None) -> builtins.list[Route]:
        """Give the routes there are, or those to one service, the lowest metric first; none is an empty list."""
        return await self.lookup(Query(names.service(service) if service else ""))

    async def lookup(self, query: Query) -> builtins.list[Route]:
        """Give the routes that match, the lowest metric first; the network is this one's, whatever the query says."""
        return await self._call("lookup", self.driver.lookup(self._here(query)))

    async def advertise(self, routes: Sequence[Route], *, ttl: Duration = TTL) -> None:
        """Offer routes of this network for `ttl` seconds; again before that is over."""
        self._check(routes)
        lasting = checks.ttl(ttl)
        if lasting == 0:
            raise InvalidArgument("an advertised route has an end: ttl is more than 0 seconds")
        await self._call("advertise", self.driver.advertise(routes, ttl=lasting))

    async def withdraw(self, routes: Sequence[Route]) -> None:
        """Take back what was advertised."""
        self._check(routes)
        await self._call("withdraw", self.driver.withdraw(routes))

    async def peers(self) -> builtins.list[Peer]:
        """Give the networks this one is connected to."""
        return await self._call("peers", self.driver.peers())

    async def connect(self, address: str) -> None:
        """Connect to another network; idempotent."""
        self._require("peers", "connect")
        await self._call("connect", self.driver.connect(checks.address(address)))

    def watch(
        self, query: Query | None = None, *, after: int | None = None, resume: bool = True
    ) -> AsyncGenerator[Event, None]:
        """Follow the routes that match: what exists, `Synced`, then changes; over breaks for ever if `resume`."""
        self._require("watch", "watch")
        wanted = self._here(query or Query())

        def start(since: int | None) -> AsyncGenerator[Event, None]:
            return self._iterate("watch", self.driver.watch(wanted, after=since))

        return resuming(start, after=after) if resume else start(after)

    def _here(self, query: Query) -> Query:
        return Query(query.service, query.address, query.gateway, self.where, query.router, query.link)

    def _check(self, routes: Sequence[Route]) -> None:
        if len(routes) > MAX_ROUTES:
            raise InvalidArgument(f"{len(routes)} routes in one call, at most {MAX_ROUTES}")
        for route in routes:
            names.service(route.service)
            names.namespace(route.network)
            checks.address(route.address)
            if route.gateway:
                checks.address(route.gateway)
            for text in (route.router, route.link):
                if len(text) > names.MAX_TOPIC or not text.isprintable():
                    raise InvalidArgument("a route's router or link is too long, or not printable")
            if self.where and route.network != self.where:
                raise InvalidArgument(f"a route of network {route.network!r}, wanted {self.where!r}")
