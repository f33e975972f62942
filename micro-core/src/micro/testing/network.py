"""What every network does, shown through the portable class."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from micro.errors import FailedPrecondition, InvalidArgument, PermissionDenied, Unimplemented
from micro.network.api import MAX_ROUTES, Network
from micro.network.driver import Event, NetworkDriver, Query, Route
from micro.plugin.driver import Change, Reset, Synced
from micro.testing.suite import Suite


def route(
    service: str = "greeter", address: str = "127.0.0.1:4000", *, network: str = "suite", metric: int = 1
) -> Route:
    """Make a route that somebody advertises."""
    return Route(service, address, network=network, router="r", link="l", metric=metric)


async def until_synced(events: AsyncIterator[Event]) -> list[Change[Route]]:
    """Read a watch's first part."""
    found: list[Change[Route]] = []
    async for event in events:
        if isinstance(event, Synced):
            return found
        if isinstance(event, Change):
            found.append(event)
    raise AssertionError("the watch ended")


async def following(events: AsyncIterator[Event]) -> Change[Route]:
    """Read the next event, which is a change."""
    event = await asyncio.wait_for(anext(events), 10)
    assert isinstance(event, Change)
    return event


class NetworkSuite(Suite):
    """A network's behaviour. A subclass gives the fixture `driver`, opened, in whose network `suite` is nothing."""

    @pytest.fixture
    async def driver(self) -> AsyncIterator[NetworkDriver]:
        """Give an open driver."""
        raise NotImplementedError  # a subclass gives it, as its docstring says
        yield

    @pytest.fixture
    def network(self, driver: NetworkDriver) -> Network:
        """Give the network of the suite."""
        return Network(driver, plugin="suite", network="suite")

    async def pass_time(self, driver: NetworkDriver, seconds: float) -> None:
        """Let routes run out; a driver with a clock of the test's overrides this."""
        await asyncio.sleep(seconds)

    async def test_what_is_advertised_is_found(self, network: Network) -> None:
        full = Route("greeter", "[::1]:4000", "10.0.0.1:80", "suite", "r", "wan", 7, {"protocol": "grpc"})
        await network.advertise([full])
        assert await network.routes() == [full]
        assert await network.routes("greeter") == [full]
        assert await network.routes("other") == []

    async def test_the_lowest_metric_comes_first(self, network: Network) -> None:
        await network.advertise([route(address=f"127.0.0.1:{1 + n}", metric=n) for n in (3, 1, 2)])
        assert [one.metric for one in await network.routes()] == [1, 2, 3]

    async def test_advertising_again_replaces(self, network: Network) -> None:
        await network.advertise([route(metric=1)])
        await network.advertise([route(metric=5)])
        assert [one.metric for one in await network.routes()] == [5]

    async def test_what_is_withdrawn_is_gone_and_withdrawing_twice_is_fine(self, network: Network) -> None:
        await network.advertise([route(), route("other")])
        for _ in range(2):
            await network.withdraw([route()])
        assert [one.service for one in await network.routes()] == ["other"]

    async def test_ways_to_one_node_are_apart_by_every_part(self, network: Network) -> None:
        ways = [
            route(),
            route("greeter2"),
            route(address="127.0.0.1:4001"),
            Route("greeter", "127.0.0.1:4000", "10.0.0.1:80", "suite", "r", "l"),
            Route("greeter", "127.0.0.1:4000", network="suite", router="r2", link="l"),
            Route("greeter", "127.0.0.1:4000", network="suite", router="r", link="l2"),
        ]
        await network.advertise(ways)
        assert {one.identity for one in await network.routes()} == {one.identity for one in ways}
        assert len(await network.routes("greeter")) == 5
        await network.withdraw([ways[0], ways[4]])
        left = {one.identity for one in await network.routes()}
        assert left == {ways[n].identity for n in (1, 2, 3, 5)}

    async def test_networks_are_apart(self, network: Network) -> None:
        other = network.at("suite2")
        try:
            await other.advertise([route(network="suite2")])
        except PermissionDenied:
            pytest.xfail("the account decides: shown where two accounts call")
        assert await network.routes() == []
        assert [one.network for one in await other.routes()] == ["suite2"]
        assert await network.routes("greeter") == []
        async with aclosing(network.watch()) as events:
            assert await until_synced(events) == []
            await other.advertise([route("b", network="suite2")])
            await network.advertise([route("c")])
            assert (await following(events)).item == route("c")

    async def test_a_route_runs_out_unless_it_is_advertised_again(
        self, network: Network, driver: NetworkDriver
    ) -> None:
        await network.advertise([route(), route("other")], ttl=0.4)
        await self.pass_time(driver, 0.25)
        await network.advertise([route()], ttl=0.4)
        await self.pass_time(driver, 0.25)
        assert [one.service for one in await network.routes()] == ["greeter"]
        await self.pass_time(driver, 0.3)
        assert await network.routes() == []

    @pytest.mark.parametrize(
        ("query", "found"),
        [
            (Query("a"), 2),
            (Query(address="127.0.0.1:1"), 2),
            (Query("a", "127.0.0.1:1"), 1),
            (Query(router="r"), 3),
            (Query(link="l"), 3),
            (Query(link="local"), 0),
            (Query(gateway="127.0.0.1:9"), 0),
        ],
    )
    async def test_a_query_narrows(self, network: Network, query: Query, found: int) -> None:
        await network.advertise([route("a", "127.0.0.1:1"), route("a", "127.0.0.1:2"), route("b", "127.0.0.1:1")])
        assert len(await network.lookup(query)) == found

    async def test_a_watch_gives_what_exists_then_what_changes(self, network: Network, driver: NetworkDriver) -> None:
        await network.advertise([route("a")])
        async with aclosing(network.watch()) as events:
            first = await until_synced(events)
            assert [change.item for change in first] == [route("a")]
            await network.advertise([route("b")], ttl=0.4)
            change = await following(events)
            assert (change.kind, change.key, change.item) == ("put", str(route("b").identity), route("b"))
            await network.withdraw([route("a")])
            change = await following(events)
            assert (change.kind, change.key, change.item) == ("delete", str(route("a").identity), None)
            await self.pass_time(driver, 0.5)
            change = await following(events)
            assert (change.key, change.item) == (str(route("b").identity), None)

    async def test_a_watch_of_a_query_sees_it_alone(self, network: Network) -> None:
        async with aclosing(network.watch(Query("b"))) as events:
            assert await until_synced(events) == []
            await network.advertise([route("a"), route("b")])
            assert (await following(events)).item == route("b")
            await network.withdraw([route("a"), route("b")])
            assert (await following(events)).key == str(route("b").identity)

    async def test_a_watch_tells_of_another_metric(self, network: Network) -> None:
        await network.advertise([route(metric=1)])
        async with aclosing(network.watch()) as events:
            await until_synced(events)
            await network.advertise([route(metric=5)])
            change = await following(events)
            assert (change.key, change.item) == (str(route().identity), route(metric=5))

    async def test_a_watch_resumes_and_begins_anew_where_it_cannot(self, network: Network) -> None:
        await network.advertise([route("a")])
        async with aclosing(network.watch()) as events:
            await until_synced(events)
            await network.advertise([route("b")])
            seen = (await following(events)).version
        await network.advertise([route("c")])
        async with aclosing(network.watch(after=seen)) as events:
            assert [change.item for change in await until_synced(events)] == [route("c")]
        async with aclosing(network.watch(after=1)) as events:
            assert isinstance(await anext(events), Reset)
            assert len(await until_synced(events)) == 3

    async def test_what_is_not_claimed_is_refused(self, network: Network) -> None:
        if "peers" not in network.capabilities:
            with pytest.raises(Unimplemented):
                await network.connect("10.0.0.1:8085")
        assert await network.peers() == []

    @pytest.mark.parametrize(
        "odd",
        [
            route("../x"),
            route(address="x"),
            route(address="169.254.169.254:80"),
            route(network="other"),
            route(network="a/b"),
            Route("a", "127.0.0.1:1", "0.0.0.0:1", "suite"),
            Route("a", "127.0.0.1:1", network="suite", router="a\nb"),
            Route("a", "127.0.0.1:1", network="suite", link="l" * 256),
        ],
    )
    async def test_odd_routes_are_refused(self, network: Network, odd: Route) -> None:
        with pytest.raises(InvalidArgument):
            await network.advertise([odd])
        assert await network.routes() == []

    async def test_a_call_has_its_limits(self, network: Network) -> None:
        with pytest.raises(InvalidArgument):
            await network.advertise([route(address=f"127.0.0.1:{1 + n}") for n in range(MAX_ROUTES + 1)])
        for ttl in (0, -1, 1e9):
            with pytest.raises(InvalidArgument):
                await network.advertise([route()], ttl=ttl)

    async def test_closing_twice_is_closing_once_and_nothing_works_after(
        self, network: Network, driver: NetworkDriver
    ) -> None:
        await driver.close()
        await driver.close()
        with pytest.raises(FailedPrecondition):
            await network.routes()
        with pytest.raises(FailedPrecondition):
            await network.advertise([route()])
