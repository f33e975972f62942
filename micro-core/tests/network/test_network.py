"""LocalNetwork and RemoteNetwork are networks; the local one has a route to every node that is registered."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from micro.context import Account
from micro.errors import PermissionDenied, Unauthenticated, Unimplemented
from micro.network.api import Network
from micro.network.driver import NetworkDriver, Query
from micro.network.local import LocalNetwork
from micro.network.remote import RemoteNetwork
from micro.network.service import NetworkHandler
from micro.network.targets import NetworkRoutes
from micro.proto import network_pb2 as pb
from micro.proxy.routes import RegistryRoutes
from micro.registry.api import Registry
from micro.registry.driver import ALL, Node, ServiceRecord
from micro.registry.memory import MemoryRegistry
from micro.testing.network import NetworkSuite, following, route, until_synced
from micro.testing.served import PLATFORM, Served

ANN = Account("ann", issuer="suite", scopes=("admin",))
BOB = Account("bob", issuer="suite")
EVE = Account("eve", issuer="other", scopes=("admin",))


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1_000_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def registry(clock: Clock) -> AsyncIterator[Registry]:
    async with Registry(MemoryRegistry(clock=clock), plugin="memory", domain=ALL, owner="a") as registry:
        yield registry


@pytest.fixture
async def local(registry: Registry, clock: Clock) -> AsyncIterator[LocalNetwork]:
    async with LocalNetwork(registry=registry, clock=clock) as driver:
        yield driver


class World(Served):
    async def begin(self, local: LocalNetwork) -> None:
        network = Network(local, plugin="local", network="")
        await self.serve("network", [("Network", NetworkHandler(network, self.addresses, ""))])

    def network(self, account: Account | None, network: str = "suite") -> Network:
        return Network(RemoteNetwork(caller=self.caller(account)), plugin="remote", network=network)


@pytest.fixture
async def world(local: LocalNetwork) -> AsyncIterator[World]:
    async with World() as world:
        await world.begin(local)
        yield world


class TestLocalNetwork(NetworkSuite):
    @pytest.fixture
    async def driver(self, local: LocalNetwork) -> LocalNetwork:
        return local

    async def pass_time(self, driver: NetworkDriver, seconds: float) -> None:
        driver.clock.now += seconds


class TestRemoteNetwork(NetworkSuite):
    @pytest.fixture
    async def driver(self, world: World, clock: Clock) -> AsyncIterator[RemoteNetwork]:
        self.clock = clock
        driver = RemoteNetwork(caller=world.caller(ANN))
        yield driver
        await driver.close()

    async def pass_time(self, driver: NetworkDriver, seconds: float) -> None:
        self.clock.now += seconds


def service(name: str = "greeter", *nodes: str, protocol: str = "grpc") -> ServiceRecord:
    return ServiceRecord(name, nodes=[Node(node, f"10.0.0.{node[1:]}:80", {"protocol": protocol}) for node in nodes])


async def settled(what: object, wanted: object) -> None:
    """Wait until a watch has told what it must."""
    async with asyncio.timeout(5):
        while (found := what()) != wanted:
            await asyncio.sleep(0.005)
    assert found == wanted


class TestRoutesOfNodes:
    async def test_a_registered_node_has_a_route(self, registry: Registry, local: LocalNetwork) -> None:
        await registry.domain("shop").register(service("greeter", "n1", "n2"))
        network = Network(local, network="shop")
        found = await network.routes("greeter")
        assert [(one.address, one.network, one.link, one.metric) for one in found] == [
            ("10.0.0.1:80", "shop", "local", 1),
            ("10.0.0.2:80", "shop", "local", 1),
        ]
        assert {one.router for one in found} == {local.router}
        assert found[0].metadata == {"protocol": "grpc"}
        assert await Network(local, network="other").routes("greeter") == []

    async def test_routes_follow_the_registrations(self, registry: Registry, local: LocalNetwork, clock: Clock) -> None:
        shop = registry.domain("shop")
        network = Network(local, network="shop")
        async with aclosing(network.watch()) as events:
            await until_synced(events)
            await shop.register(service("greeter", "n1"), ttl=15)
            change = await following(events)
            assert change.item is not None
            assert change.item.address == "10.0.0.1:80"
            await shop.register(ServiceRecord("greeter", nodes=[Node("n1", "10.0.0.9:80")]), ttl=15)
            gone, come = await following(events), await following(events)
            assert (gone.item, come.item.address) == (None, "10.0.0.9:80")
            clock.now += 16
            assert (await following(events)).item is None
        assert await network.routes() == []

    async def test_one_address_registered_twice_is_one_route(self, registry: Registry, local: LocalNetwork) -> None:
        shop = registry.domain("shop")
        network = Network(local, network="shop")
        await shop.register(ServiceRecord("greeter", nodes=[Node("old", "10.0.0.1:80")]))
        await shop.register(ServiceRecord("greeter", nodes=[Node("new", "10.0.0.1:80")]))
        async with aclosing(network.watch()) as events:
            await settled(lambda: len(local._nodes), 2)
            assert len(await network.routes()) == 1
            await shop.deregister(ServiceRecord("greeter", nodes=[Node("old", "10.0.0.1:80")]))
            await settled(lambda: len(local._nodes), 1)
            assert len(await network.routes()) == 1
            await events.aclose()


class TestRights:
    async def test_routes_are_their_networks_admins_alone(self, world: World) -> None:
        await world.network(ANN).advertise([route()])
        for account in (ANN, PLATFORM):
            assert len(await world.network(account).routes()) == 1
            async with aclosing(world.network(account).watch(resume=False)) as events:
                assert len(await until_synced(events)) == 1
        for account, error in ((None, Unauthenticated), (BOB, Unauthenticated), (EVE, PermissionDenied)):
            network = world.network(account)
            for refused in (network.routes(), network.advertise([route("b")]), network.withdraw([route()])):
                with pytest.raises(error):
                    await refused
            with pytest.raises(error):
                async with aclosing(network.watch(resume=False)) as events:
                    await anext(events)

    async def test_nothing_is_advertised_when_one_of_several_networks_is_not_the_callers(self, world: World) -> None:
        with pytest.raises(PermissionDenied):
            await world.network(ANN, "").advertise([route(), route(network="other")])
        assert await world.network(ANN).routes() == []


class TestWire:
    async def call(self, world: World, account: Account | None, method: str, request: object, response: type) -> object:
        return await world.caller(account).call("network", f"Network.{method}", request, response)

    async def test_routes_of_micro_are_all_routes_without_metadata(self, world: World, registry: Registry) -> None:
        await registry.domain("shop").register(service("greeter", "n1"))
        await registry.domain("suite").register(service("other", "n2"))
        await settled(lambda: len(world_local(world)._nodes), 2)
        request = pb.RoutesRequest(query=pb.Query(network="micro"))
        found = await self.call(world, PLATFORM, "Routes", request, pb.RoutesResponse)
        assert [(one.service, one.network) for one in found.routes] == [("greeter", "shop"), ("other", "suite")]
        assert not any(one.metadata for one in found.routes)
        request = pb.RoutesRequest(query=pb.Query(network="suite"))
        found = await self.call(world, ANN, "Routes", request, pb.RoutesResponse)
        assert [one.service for one in found.routes] == ["other"]

    async def test_services_are_named_once_and_for_the_platform(self, world: World, registry: Registry) -> None:
        await registry.domain("shop").register(service("b", "n1", "n2"))
        await registry.domain("suite").register(service("a", "n3"))
        await settled(lambda: len(world_local(world)._nodes), 3)
        found = await self.call(world, PLATFORM, "Services", pb.ServicesRequest(), pb.ServicesResponse)
        assert list(found.services) == ["a", "b"]
        with pytest.raises(PermissionDenied):
            await self.call(world, ANN, "Services", pb.ServicesRequest(), pb.ServicesResponse)

    async def test_graph_nodes_and_status_are_anybodys(self, world: World) -> None:
        graph = await self.call(world, None, "Graph", pb.GraphRequest(depth=9), pb.GraphResponse)
        nodes = await self.call(world, None, "Nodes", pb.NodesRequest(), pb.NodesResponse)
        assert graph.root.node.address == world.addresses["network"]
        assert [(one.id, one.address) for one in nodes.nodes] == [(graph.root.node.id, graph.root.node.address)]
        status = await self.call(world, None, "Status", pb.StatusRequest(), pb.StatusResponse)
        assert status.status.error.count == 0

    async def test_connecting_skips_nodes_without_an_address(self, world: World) -> None:
        await self.call(world, None, "Connect", pb.ConnectRequest(nodes=[pb.Node(id="x")]), pb.ConnectResponse)
        request = pb.ConnectRequest(nodes=[pb.Node(address="10.0.0.1:8085")])
        with pytest.raises(Unimplemented):
            await self.call(world, None, "Connect", request, pb.ConnectResponse)


def world_local(world: World) -> LocalNetwork:
    return next(one for _, one in world_handlers(world))._network.driver


def world_handlers(world: World) -> list:
    return [("Network", endpoint.function.__self__) for endpoint in world._servers[0].endpoints]


class TestDoors:
    """How the doors find nodes: by the registry's own watch, or by the network's."""

    @pytest.fixture(params=["registry", "network"])
    async def routes(self, request, registry: Registry, local: LocalNetwork) -> AsyncIterator:
        book = {"store": "127.0.0.1:8002"}
        if request.param == "registry":
            routes = RegistryRoutes(registry, book)
        else:
            routes = NetworkRoutes(Network(local, network=""), book)
        await routes.open()
        yield routes
        await routes.close()

    def addresses(self, routes, service: str, namespace: str) -> list[str]:
        return sorted(target.address for target in routes.known(service, namespace) or ())

    async def test_they_know_what_is_registered_in_its_namespace_alone(self, routes, registry: Registry) -> None:
        await registry.domain("shop").register(service("greeter", "n1", "n2"))
        await settled(lambda: self.addresses(routes, "greeter", "shop"), ["10.0.0.1:80", "10.0.0.2:80"])
        assert routes.known("greeter", "suite") is None
        await registry.domain("shop").deregister(service("greeter", "n1"))
        await settled(lambda: self.addresses(routes, "greeter", "shop"), ["10.0.0.2:80"])

    async def test_who_registers_and_calls_at_once_is_found(self, routes, registry: Registry) -> None:
        await registry.domain("shop").register(service("greeter", "n1"))
        assert [target.address for target in await routes.find("greeter", "shop")] == ["10.0.0.1:80"]

    async def test_nobody_is_asked_for_twice_at_once(self, routes, registry: Registry, monkeypatch) -> None:
        asked = []
        driver_get = registry.driver.get

        async def get(domain: str, name: str) -> list:
            asked.append((domain, name))
            return await driver_get(domain, name)

        monkeypatch.setattr(registry.driver, "get", get)
        for _ in range(3):
            with pytest.raises(Exception, match="service nobody: route not found"):
                await routes.find("nobody", "shop")
        assert asked == [("shop", "nobody")]
        await registry.domain("shop").register(service("nobody", "n1"))  # and now somebody
        await settled(lambda: self.addresses(routes, "nobody", "shop"), ["10.0.0.1:80"])

    async def test_nodes_that_speak_no_grpc_are_passed_over(self, routes, registry: Registry) -> None:
        await registry.domain("shop").register(service("web", "n1", protocol="http"))
        await registry.domain("shop").register(service("greeter", "n2"))
        await settled(lambda: self.addresses(routes, "greeter", "shop"), ["10.0.0.2:80"])
        assert routes.known("web", "shop") is None

    async def test_the_core_is_known_before_it_is_registered(self, routes, registry: Registry) -> None:
        assert self.addresses(routes, "store", "micro") == ["127.0.0.1:8002"]
        assert routes.known("store", "shop") is None
        await registry.domain("micro").register(service("store", "n1"))
        await settled(lambda: self.addresses(routes, "store", "micro"), ["10.0.0.1:80"])


async def test_the_door_takes_advertised_ways_of_the_lowest_metric(registry: Registry, local: LocalNetwork) -> None:
    network = Network(local, network="")
    routes = NetworkRoutes(network, {})
    await routes.open()
    far = [route("far", f"10.0.0.{n}:80", metric=n) for n in (2, 1)]
    far[1].gateway = "10.9.9.9:80"
    await network.advertise(far)
    await settled(lambda: [one.address for one in routes.known("far", "suite") or ()], ["10.9.9.9:80"])
    await network.withdraw(far[1:])
    await settled(lambda: [one.address for one in routes.known("far", "suite") or ()], ["10.0.0.2:80"])
    assert len(await network.at("suite").lookup(Query("far"))) == 1
    await routes.close()
