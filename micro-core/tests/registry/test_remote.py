"""RemoteRegistry is a registry, through a real server; and the service keeps to the original's wire and rights."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from micro.context import Account
from micro.errors import InvalidArgument, NotFound, PermissionDenied, Unauthenticated, Unavailable
from micro.plugin.driver import Change, Reset, Synced
from micro.proto import broker_pb2
from micro.proto import registry_pb2 as pb
from micro.registry import wire
from micro.registry.announce import Announcer
from micro.registry.api import Registry
from micro.registry.driver import ALL, Endpoint, Node, ServiceRecord
from micro.registry.memory import MemoryRegistry
from micro.registry.remote import RemoteRegistry
from micro.registry.service import RegistryHandler
from micro.rpc.caller import Caller
from micro.testing.registry import ADDRESS, RegistrySuite, following, node_ids, record, until_synced
from micro.testing.served import PLATFORM, Served, core

MINE = Account("svc-1", issuer="suite", type="service", scopes=("service",))
OTHER = Account("svc-2", issuer="suite", type="service", scopes=("service",))
ANN = Account("ann", issuer="suite", scopes=("admin",))
BOB = Account("bob", issuer="suite")
EVE = Account("eve", issuer="other", scopes=("admin",))


class Clock:
    """Seconds that pass when told to."""

    now = 1_000_000_000.0

    def __call__(self) -> float:
        return self.now


class World(Served):
    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.memory = MemoryRegistry(clock=self.clock)

    async def begin(self) -> None:
        await self.memory.open()
        self.announcer = Announcer(self.caller(core("registry")), self.addresses)
        registry = Registry(self.memory, plugin="memory", domain=ALL)
        await self.serve("registry", [("Registry", RegistryHandler(registry, self.announcer))])

    def registry(self, account: Account | None, domain: str = "suite") -> Registry:
        return Registry(RemoteRegistry(caller=self.caller(account)), plugin="remote", domain=domain)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as world:
        await world.begin()
        yield world
        await world.announcer.close()
        await world.memory.close()


class TestRemoteRegistry(RegistrySuite):
    @pytest.fixture
    async def driver(self, world: World) -> AsyncIterator[RemoteRegistry]:
        self.world = world
        driver = RemoteRegistry(caller=world.caller(MINE))
        yield driver
        await driver.close()

    @pytest.fixture
    def domain(self) -> str:
        return "suite"

    @pytest.fixture
    def stranger(self, world: World) -> Registry:
        return world.registry(OTHER)

    @pytest.fixture
    def elsewhere(self, world: World) -> Registry:
        return world.registry(EVE, "other")

    async def pass_time(self, driver: RemoteRegistry, seconds: float) -> None:
        self.world.clock.now += seconds


class TestRights:
    async def test_reading_takes_a_member(self, world: World) -> None:
        await world.registry(MINE).register(record())
        for account in (MINE, ANN, BOB, PLATFORM):
            assert node_ids(await world.registry(account).services()) == ["n1"]
            assert node_ids(await world.registry(account).get("greeter")) == ["n1"]
            async with aclosing(world.registry(account).watch("greeter", resume=False)) as events:
                assert len(await until_synced(events)) == 1
        for account, error in ((None, Unauthenticated), (EVE, PermissionDenied)):
            with pytest.raises(error):
                await world.registry(account).services()
            with pytest.raises(error):
                await world.registry(account).get("greeter")
            with pytest.raises(error):
                async with aclosing(world.registry(account).watch("greeter", resume=False)) as events:
                    await anext(events)

    async def test_registering_takes_an_admin(self, world: World) -> None:
        for n, account in enumerate((MINE, ANN, PLATFORM)):
            await world.registry(account).register(record(node=f"n{n}"))
        for account, error in ((None, Unauthenticated), (BOB, Unauthenticated), (EVE, PermissionDenied)):
            with pytest.raises(error):
                await world.registry(account).register(record(node="n9"))
            with pytest.raises(error):
                await world.registry(account).renew(["n0"])
            with pytest.raises(error):
                await world.registry(account).deregister(record(node="n0"))

    async def test_an_admin_removes_anybodys_node_and_a_service_its_own_alone(self, world: World) -> None:
        await world.registry(MINE).register(record())
        with pytest.raises(PermissionDenied):
            await world.registry(OTHER).deregister(record())
        await world.registry(ANN).deregister(record())
        await world.registry(MINE).register(record())
        await world.registry(core("runtime")).deregister(record())
        with pytest.raises(NotFound):
            await world.registry(MINE).get("greeter")

    async def test_all_domains_are_the_platforms_alone(self, world: World) -> None:
        await world.registry(MINE).register(record())
        found = await world.registry(PLATFORM, ALL).services()
        assert [(one.name, one.domain) for one in found] == [("greeter", "suite")]
        with pytest.raises(PermissionDenied):
            await world.registry(ANN, ALL).services()
        with pytest.raises(InvalidArgument):
            await world.registry(PLATFORM, ALL).register(record())

    async def test_core_names_are_registered_by_their_services_alone(self, world: World) -> None:
        await world.registry(core("store"), "micro").register(record("store"))
        for account, domain in ((core("broker"), "micro"), (PLATFORM, "micro"), (MINE, "suite"), (ANN, "suite")):
            with pytest.raises(PermissionDenied):
                await world.registry(account, domain).register(record("store", node="n2"))
        await world.registry(PLATFORM, "micro").deregister(record("store"))

    async def test_any_account_finds_the_core_and_nothing_else_of_its_domain(self, world: World) -> None:
        await world.registry(core("store"), "micro").register(record("store"))
        await world.registry(PLATFORM, "micro").register(record("secret", node="n2"))
        registry = world.registry(BOB, "micro")
        assert node_ids(await registry.get("store")) == ["n1"]
        async with aclosing(registry.watch("store", resume=False)) as events:
            assert len(await until_synced(events)) == 1
        for refused in (registry.get("secret"), registry.services()):
            with pytest.raises(PermissionDenied):
                await refused
        for name in (None, "secret"):
            with pytest.raises(PermissionDenied):
                async with aclosing(registry.watch(name, resume=False)) as events:
                    await anext(events)
        with pytest.raises(Unauthenticated):
            await world.registry(None, "micro").get("store")


class TestWire:
    """What peers that are not ours see."""

    async def call(self, world: World, method: str, request: object, response: type = pb.EmptyResponse) -> object:
        return await world.caller(PLATFORM).call("registry", f"Registry.{method}", request, response)

    async def results(self, world: World, request: pb.WatchRequest) -> "Results":
        stream = await world.caller(PLATFORM).stream("registry", "Registry.Watch", pb.WatchRequest, pb.Result)
        await stream.send(request)
        await stream.started()
        return Results(stream)

    async def test_the_domain_is_micro_by_default_and_told_on_reading(self, world: World) -> None:
        service = pb.Service(name="greeter", nodes=[pb.Node(id="n", address=ADDRESS)], options=pb.Options(ttl=90))
        await self.call(world, "Register", service)
        found = await self.call(world, "GetService", pb.GetRequest(service="greeter"), pb.GetResponse)
        assert found.services[0].version == "latest"
        assert found.services[0].metadata["domain"] == "micro"
        world.clock.now += 89
        assert len((await self.call(world, "ListServices", pb.ListRequest(), pb.ListResponse)).services) == 1
        world.clock.now += 1
        assert len((await self.call(world, "ListServices", pb.ListRequest(), pb.ListResponse)).services) == 0

    async def test_no_ttl_is_for_ever(self, world: World) -> None:
        await self.call(world, "Register", pb.Service(name="greeter", nodes=[pb.Node(id="n", address=ADDRESS)]))
        world.clock.now += 1e9
        assert len((await self.call(world, "ListServices", pb.ListRequest(), pb.ListResponse)).services) == 1

    async def test_an_unknown_service_has_the_originals_words(self, world: World) -> None:
        with pytest.raises(NotFound, match=r"^service not found$") as caught:
            await self.call(world, "GetService", pb.GetRequest(service="nobody"), pb.GetResponse)
        assert (caught.value.http, caught.value.id) == (404, "registry.Registry.GetService")

    async def test_a_plain_watch_tells_creates_updates_and_deletes_and_no_marks(self, world: World) -> None:
        registry = world.registry(PLATFORM, "micro")
        await registry.register(record(node="n1"))
        await registry.register(record(node="n2"))
        await registry.register(record("other", node="o1"))
        results = await self.results(world, pb.WatchRequest())
        assert await results.next() == ("create", "greeter", {"n1": ADDRESS, "n2": ADDRESS})
        assert await results.next() == ("create", "other", {"o1": ADDRESS})
        await registry.register(record(node="n3"))
        assert await results.next() == ("update", "greeter", {"n3": ADDRESS})
        await registry.deregister(record(node="n1"))
        assert await results.next() == ("delete", "greeter", {"n1": ADDRESS})
        await registry.deregister(record("other", node="o1"))
        assert await results.next() == ("delete", "other", {"o1": ADDRESS})
        await registry.register(record("other", node="o2"), ttl=5)
        assert await results.next() == ("create", "other", {"o2": ADDRESS})
        world.clock.now += 6
        assert await results.next() == ("delete", "other", {"o2": ADDRESS})
        assert results.last.timestamp > 1_600_000_000
        results.close()

    async def test_a_changed_endpoint_is_an_update(self, world: World) -> None:
        registry = world.registry(PLATFORM, "micro")
        await registry.register(record())
        results = await self.results(world, pb.WatchRequest(service="greeter"))
        await results.next()
        await registry.register(ServiceRecord("greeter", endpoints=[Endpoint("A.B")], nodes=[Node("n1", ADDRESS)]))
        assert await results.next() == ("update", "greeter", {"n1": ADDRESS})
        assert [one.name for one in results.last.service.endpoints] == ["A.B"]
        results.close()

    async def test_a_watch_that_knows_marks_gets_them_with_a_service(self, world: World) -> None:
        results = await self.results(world, pb.WatchRequest(snapshot=True))
        assert await results.next() == ("", "", {})
        assert results.last.synced
        assert results.last.HasField("service")
        results.close()
        results = await self.results(world, pb.WatchRequest(after=1))
        await results.next()
        assert results.last.reset
        assert results.last.HasField("service")
        results.close()

    async def test_a_heartbeat_tells_nothing(self, world: World) -> None:
        registry = world.registry(PLATFORM, "micro")
        await registry.register(record())
        results = await self.results(world, pb.WatchRequest())
        await results.next()
        await registry.register(record())
        await registry.renew(["n1"])
        await registry.register(record(node="n2"))
        assert await results.next() == ("update", "greeter", {"n2": ADDRESS})
        results.close()

    async def test_a_record_survives_the_wire(self) -> None:
        service = ServiceRecord("a", "v1", {"k": "v"}, [Endpoint("A.B", None, None, {"x": "y"})], [Node("n", ADDRESS)])
        assert wire.record_in(pb.Service.FromString(wire.record_out(service).SerializeToString())) == service

    async def test_registrations_are_told_on_the_broker(self, world: World) -> None:
        published: asyncio.Queue[broker_pb2.PublishRequest] = asyncio.Queue()

        class Broker:
            async def publish(self, request: broker_pb2.PublishRequest) -> broker_pb2.Empty:
                await published.put(request)
                return broker_pb2.Empty()

        await world.serve("broker", [("Broker", Broker())])
        registry = world.registry(PLATFORM, "micro")
        await registry.register(record())
        await registry.deregister(record())
        for kind in (pb.Create, pb.Delete):
            request = await asyncio.wait_for(published.get(), 5)
            event = pb.Event.FromString(request.message.body)
            assert (request.topic, event.type, event.service.name) == ("registry.events", kind, "greeter")
            assert event.service.nodes[0].id == "n1"

    async def test_a_broker_that_is_away_holds_nobody_back(self, world: World) -> None:
        world.addresses["broker"] = "127.0.0.1:1"
        for n in range(3):
            await asyncio.wait_for(world.registry(PLATFORM, "micro").register(record(node=f"n{n}")), 2)


class Results:
    """A watch as a peer reads it."""

    def __init__(self, stream: object) -> None:
        self._stream = stream
        self.last = pb.Result()

    async def next(self) -> tuple[str, str, dict[str, str]]:
        result = await asyncio.wait_for(self._stream.receive(), 5)
        assert result is not None
        self.last = result
        service = result.service
        return result.action, service.name, {node.id: node.address for node in service.nodes}

    def close(self) -> None:
        self._stream.cancel()


class Broken(RemoteRegistry):
    """Its watches can be cut, and the registry be away."""

    def __init__(self, *, caller: Caller) -> None:
        super().__init__(caller=caller)
        self.away = False
        self.cut = asyncio.Event()

    async def watch(self, domain: str, *, name: str = "", after: int | None = None):
        if self.away:
            raise Unavailable("away")
        events = super().watch(domain, name=name, after=after)
        try:
            while True:
                following = asyncio.ensure_future(anext(events))
                cut = asyncio.ensure_future(self.cut.wait())
                done, _ = await asyncio.wait({following, cut}, return_when=asyncio.FIRST_COMPLETED)
                cut.cancel()
                if following not in done:
                    following.cancel()
                    raise Unavailable("cut")
                yield following.result()
        finally:
            await events.aclose()


async def test_a_watch_goes_on_over_a_lost_connection(world: World) -> None:
    driver = Broken(caller=world.caller(MINE))
    registry = Registry(driver, plugin="remote", domain="suite")
    behind = world.registry(MINE)
    await behind.register(record(node="n1"))
    async with aclosing(registry.watch()) as events:
        await until_synced(events)
        driver.away = True
        driver.cut.set()
        await behind.register(record(node="n2"))
        await behind.deregister(record(node="n1"))
        reading = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0.1)
        driver.cut.clear()
        driver.away = False
        first = await asyncio.wait_for(reading, 5)
        assert isinstance(first, Change)
        assert first.item is not None
        assert not (await following(events)).item


async def test_a_watch_whose_first_part_broke_tells_to_forget_it(world: World) -> None:
    behind = world.registry(MINE)
    await behind.register(record(node="n1"))

    class Torn(RemoteRegistry):
        torn = False

        async def watch(self, domain: str, *, name: str = "", after: int | None = None):
            async with aclosing(super().watch(domain, name=name, after=after)) as events:
                async for event in events:
                    yield event
                    if not self.torn:
                        self.torn = True
                        raise Unavailable("torn")

    registry = Registry(Torn(caller=world.caller(MINE)), plugin="remote", domain="suite")
    async with aclosing(registry.watch()) as events:
        kinds = [type(await asyncio.wait_for(anext(events), 5)) for _ in range(4)]
    assert kinds == [Change, Reset, Change, Synced]
