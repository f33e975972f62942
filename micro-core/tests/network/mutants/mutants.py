"""Networks that are each wrong in one way: the suite must tell every one of them. Run by test_suite_bites.py."""

from collections.abc import AsyncIterator, Sequence

import pytest
from msgspec.structs import replace

from micro.errors import NotFound
from micro.network.driver import Event, Identity, NetworkDriver, Query, Route
from micro.network.local import LocalNetwork
from micro.plugin.driver import Change, Reset, Synced
from micro.registry.api import Registry
from micro.registry.driver import ALL
from micro.registry.memory import MemoryRegistry
from micro.testing.bites import suites
from micro.testing.network import NetworkSuite


class Clock:
    """Seconds that pass when told to."""

    now = 1_000_000_000.0

    def __call__(self) -> float:
        return self.now


class RoutesStay(LocalNetwork, interface=1):
    async def advertise(self, routes: Sequence[Route], *, ttl: float) -> None:
        await super().advertise(routes, ttl=1e9)


class RenewalIgnored(LocalNetwork, interface=1):
    async def advertise(self, routes: Sequence[Route], *, ttl: float) -> None:
        self._begin()
        known = [route for route in routes if self._advertised.get(route.identity, (None,))[0] == route]
        await super().advertise([route for route in routes if route not in known], ttl=ttl)


class RenewalRenewsAll(LocalNetwork, interface=1):
    """One route that is advertised again keeps all the others."""

    async def advertise(self, routes: Sequence[Route], *, ttl: float) -> None:
        await super().advertise([*routes, *(route for route, _ in self._advertised.values())], ttl=ttl)


class OutOfTimeIsFound(LocalNetwork, interface=1):
    """What ran out is found until somebody sweeps."""

    async def lookup(self, query: Query) -> list[Route]:
        expire, self._expire = self._expire, lambda: None
        found = await super().lookup(query)
        self._expire = expire
        return found


class MetricIsIdentity(LocalNetwork, interface=1):
    """A route of another metric is another route."""

    async def advertise(self, routes: Sequence[Route], *, ttl: float) -> None:
        self._begin()
        for route in routes:
            self._advertised[*route.identity, route.metric] = route, self.clock() + ttl
            self._publish("put", route)

    async def withdraw(self, routes: Sequence[Route]) -> None:
        self._begin()
        for route in routes:
            if self._advertised.pop((*route.identity, route.metric), None) is not None:
                self._publish("delete", route)

    def _expire(self) -> None:
        for key, (route, until) in list(self._advertised.items()):
            if until <= self.clock():
                del self._advertised[key]
                self._publish("expire", route)

    def _routes(self) -> list[Route]:
        return [route for route, _ in self._advertised.values()]


class HighestFirst(LocalNetwork, interface=1):
    async def lookup(self, query: Query) -> list[Route]:
        return (await super().lookup(query))[::-1]


class OrderIsOfAdvertising(LocalNetwork, interface=1):
    async def lookup(self, query: Query) -> list[Route]:
        self._begin()
        return [route for route in self._routes() if query.matches(route)]


class BestOnly(LocalNetwork, interface=1):
    async def lookup(self, query: Query) -> list[Route]:
        found = await super().lookup(query)
        return [route for route in found if route.metric == found[0].metric]


class OneOfAnAddress(LocalNetwork, interface=1):
    """Two services at one address are taken for one."""

    async def lookup(self, query: Query) -> list[Route]:
        return list({route.address: route for route in await super().lookup(query)}.values())


class OneWayToANode(LocalNetwork, interface=1):
    """Routes of one service and address by several gateways are taken for one."""

    async def lookup(self, query: Query) -> list[Route]:
        found = await super().lookup(query)
        return list({(route.service, route.address): route for route in found[::-1]}.values())[::-1]


class MetadataLost(LocalNetwork, interface=1):
    async def advertise(self, routes: Sequence[Route], *, ttl: float) -> None:
        await super().advertise([replace(route, metadata={}) for route in routes], ttl=ttl)


class LinkIsLocal(LocalNetwork, interface=1):
    async def advertise(self, routes: Sequence[Route], *, ttl: float) -> None:
        await super().advertise([replace(route, link="local") for route in routes], ttl=ttl)


class GatewayLost(LocalNetwork, interface=1):
    async def advertise(self, routes: Sequence[Route], *, ttl: float) -> None:
        await super().advertise([replace(route, gateway="") for route in routes], ttl=ttl)


class WithdrawingNothingRaises(LocalNetwork, interface=1):
    async def withdraw(self, routes: Sequence[Route]) -> None:
        if any(route.identity not in self._advertised for route in routes):
            raise NotFound("no such route")
        await super().withdraw(routes)


class WithdrawingTheService(LocalNetwork, interface=1):
    """Takes back all routes to a service, whatever the address."""

    async def withdraw(self, routes: Sequence[Route]) -> None:
        names = {route.service for route in routes}
        await super().withdraw([route for route, _ in self._advertised.values() if route.service in names])


class WithdrawingTheFirst(LocalNetwork, interface=1):
    async def withdraw(self, routes: Sequence[Route]) -> None:
        await super().withdraw(routes[:1])


class ServiceIsAPrefix(LocalNetwork, interface=1):
    async def lookup(self, query: Query) -> list[Route]:
        found = await super().lookup(replace(query, service=""))
        return [route for route in found if route.service.startswith(query.service)]


class QueryOfTheServiceAlone(LocalNetwork, interface=1):
    async def lookup(self, query: Query) -> list[Route]:
        return await super().lookup(Query(query.service, network=query.network))


class QueryIsAnyOf(LocalNetwork, interface=1):
    """Gives what matches one part of a query rather than all."""

    async def lookup(self, query: Query) -> list[Route]:
        parts = [part for part in ("service", "address", "gateway", "router", "link") if getattr(query, part)]
        found = await super().lookup(Query(network=query.network))
        return [route for route in found if not parts or any(getattr(query, p) == getattr(route, p) for p in parts)]


class NetworksMixed(LocalNetwork, interface=1):
    async def lookup(self, query: Query) -> list[Route]:
        return await super().lookup(replace(query, network=""))


class NetworksMixedInWatches(LocalNetwork, interface=1):
    def watch(self, query: Query, *, after: int | None = None) -> AsyncIterator[Event]:
        return super().watch(replace(query, network=""), after=after)


class _Watched(LocalNetwork):
    async def _seen(self, query: Query, after: int | None) -> AsyncIterator[Event]:
        async for event in super().watch(query, after=after):
            yield event


class WatchOfAll(_Watched, interface=1):
    def watch(self, query: Query, *, after: int | None = None) -> AsyncIterator[Event]:
        return self._seen(Query(network=query.network), after)


class WatchOfAllThatGoes(_Watched, interface=1):
    """A query is for what comes: of what goes all is told."""

    async def watch(self, query: Query, *, after: int | None = None) -> AsyncIterator[Event]:
        async for event in self._seen(Query(network=query.network), after):
            if not isinstance(event, Change) or event.item is None or query.matches(event.item):
                yield event


class WatchWithoutWhatExists(_Watched, interface=1):
    async def watch(self, query: Query, *, after: int | None = None) -> AsyncIterator[Event]:
        synced = False
        async for event in self._seen(query, after):
            synced = synced or isinstance(event, Synced)
            if synced or not isinstance(event, Change):
                yield event


class WatchWithoutWithdrawals(_Watched, interface=1):
    async def watch(self, query: Query, *, after: int | None = None) -> AsyncIterator[Event]:
        async for event in self._seen(query, after):
            if not isinstance(event, Change) or event.kind != "delete":
                yield event


class WatchWithoutExpiries(_Watched, interface=1):
    async def watch(self, query: Query, *, after: int | None = None) -> AsyncIterator[Event]:
        async for event in self._seen(query, after):
            if not isinstance(event, Change) or event.kind != "expire":
                yield event


class WatchNeverSynced(_Watched, interface=1):
    async def watch(self, query: Query, *, after: int | None = None) -> AsyncIterator[Event]:
        async for event in self._seen(query, after):
            if not isinstance(event, Synced):
                yield event


class WatchResumesFromTheStart(_Watched, interface=1):
    def watch(self, query: Query, *, after: int | None = None) -> AsyncIterator[Event]:
        return self._seen(query, None)


class WatchResumesFromNow(_Watched, interface=1):
    async def watch(self, query: Query, *, after: int | None = None) -> AsyncIterator[Event]:
        skipped = after is not None
        async for event in self._seen(query, after):
            skipped = skipped and not isinstance(event, Synced)
            if not skipped or not isinstance(event, Change):
                yield event


class WatchWithoutResets(_Watched, interface=1):
    async def watch(self, query: Query, *, after: int | None = None) -> AsyncIterator[Event]:
        async for event in self._seen(query, after):
            if not isinstance(event, Reset):
                yield event


class WatchWithShortKeys(_Watched, interface=1):
    """Names a change by service and address, so that of two ways to a node nobody knows which is gone."""

    async def watch(self, query: Query, *, after: int | None = None) -> AsyncIterator[Event]:
        async for event in self._seen(query, after):
            if isinstance(event, Change):
                short = Identity(*event.key.split("\n"))._replace(gateway="", router="", link="")
                yield Change(event.kind, str(short), event.version, event.item)
            else:
                yield event


class ChangesOfMetricUntold(LocalNetwork, interface=1):
    async def advertise(self, routes: Sequence[Route], *, ttl: float) -> None:
        known = {identity: route for identity, (route, _) in self._advertised.items()}
        publish = self._publish

        def told(kind: str, route: Route) -> None:
            if route.identity not in known:
                publish(kind, route)

        self._publish = told
        await super().advertise(routes, ttl=ttl)
        self._publish = publish


class StaysOpen(LocalNetwork, interface=1):
    async def close(self) -> None:
        await super().close()
        self._closed = False


class Mutant(NetworkSuite):
    made = LocalNetwork
    hurried = True

    @pytest.fixture
    async def driver(self) -> AsyncIterator[NetworkDriver]:
        clock = Clock()
        registered = MemoryRegistry(clock=clock)
        async with (
            Registry(registered, plugin="memory", domain=ALL, owner="a") as registry,
            self.made(registry=registry, clock=clock) as driver,
        ):
            yield driver

    async def pass_time(self, driver: NetworkDriver, seconds: float) -> None:
        driver.clock.now += seconds


globals().update(suites(Mutant, LocalNetwork))
