"""What every registry does, shown through the portable class."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from micro import limits
from micro.errors import FailedPrecondition, InvalidArgument, NotFound, PermissionDenied, ResourceExhausted
from micro.plugin.driver import Change, Reset, Synced
from micro.registry.api import Registry
from micro.registry.cache import Cache
from micro.registry.driver import Endpoint, Event, Node, NodeKey, RegistryDriver, ServiceRecord, Value
from micro.registry.view import View
from micro.testing import hostile
from micro.testing.suite import Suite

ADDRESS = "127.0.0.1:4000"
BAD_ADDRESSES = [
    "", "host", ":80", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:٣",
    "0.0.0.0:80", "[::]:80", "0:80", "127.1:80", "0177.0.0.1:80", "0x7f000001:80", "0x7f.1:80", "2130706433:80",
    "169.254.169.254:80", "[::ffff:169.254.169.254]:80", "[fe80::1]:80", "[fe80::1%eth0]:80", "[fd00:ec2::254]:80",
    "metadata.google.internal:80", "METADATA.google.internal.:80", "224.0.0.1:80", "[ff02::1]:80", "::1:80",
    "host@evil:80", "http://host:80", "unix:/tmp/x:1", "dns:///host:80", "a b:80", "a\r\nb:80", "a/b:80", "-a:80",
    "[127.0.0.1:80", "[host]:80", "a..b:80", f"{'a' * 64}:80", f"{'a.' * 127}a:80",
]  # fmt: skip
GOOD_ADDRESSES = [
    "127.0.0.1:1", "10.0.0.1:65535", "[::1]:80", "[2001:db8::1]:80", "host:80", "a-b.c_d.example.:80", "9a.b:80",
    "[::ffff:10.0.0.1]:80",
]  # fmt: skip


def record(
    name: str = "greeter", node: str = "n1", *, version: str = "latest", address: str = ADDRESS
) -> ServiceRecord:
    """Make a version with one node."""
    return ServiceRecord(name, version, nodes=[Node(node, address)])


def node_ids(records: list[ServiceRecord]) -> list[str]:
    """Give the ids of all nodes of these versions, sorted."""
    return sorted(node.id for one in records for node in one.nodes)


async def until_synced(events: AsyncIterator[Event]) -> list[Change[ServiceRecord]]:
    """Read a watch's first part."""
    found: list[Change[ServiceRecord]] = []
    async for event in events:
        if isinstance(event, Synced):
            return found
        if isinstance(event, Change):
            found.append(event)
    raise AssertionError("the watch ended")


async def following(events: AsyncIterator[Event]) -> Change[ServiceRecord]:
    """Read the next event, which is a change."""
    event = await asyncio.wait_for(anext(events), 10)
    assert isinstance(event, Change)
    return event


def shown(change: Change[ServiceRecord]) -> tuple[bool, str, str]:
    """Tell whether it is there now, which node, and where."""
    key = NodeKey.parse(change.key)
    return change.item is not None, key.node, change.item.nodes[0].address if change.item else ""


class RegistrySuite(Suite):
    """A registry's behaviour. A subclass gives the fixture `driver`, opened; perhaps `stranger` and `domain` too."""

    lease = 0.3  # seconds of a lease that a test waits to end
    late = 0.1  # seconds that its end may take to show

    @pytest.fixture
    async def driver(self) -> AsyncIterator[RegistryDriver]:
        """Give an open driver."""
        raise NotImplementedError  # a subclass gives it, as its docstring says
        yield

    @pytest.fixture
    def domain(self) -> str:
        """Give a domain in which nothing is registered."""
        return f"d-{uuid.uuid4().hex}"

    @pytest.fixture
    def registry(self, driver: RegistryDriver, domain: str) -> Registry:
        """Give the registry at that domain, for one account."""
        return Registry(driver, plugin="suite", domain=domain, owner="suite/mine")

    @pytest.fixture
    def stranger(self, registry: Registry) -> Registry:
        """Give the same for another account."""
        return registry.domain(registry.where, owner="suite/other")

    @pytest.fixture
    def elsewhere(self, registry: Registry) -> Registry:
        """Give the same at another domain."""
        return registry.domain(f"d-{uuid.uuid4().hex}")

    async def pass_time(self, driver: RegistryDriver, seconds: float) -> None:
        """Let leases run; a driver with a clock of the test's overrides this."""
        await asyncio.sleep(seconds)

    # registrations

    async def test_what_is_registered_is_found(self, registry: Registry) -> None:
        value = Value("Request", "Request", [Value("name", "string"), Value("deep", "Deep", [Value("n", "int64")])])
        endpoint = Endpoint("Greeter.Hello", value, Value("Response", "Response"), {"stream": "true"})
        node = Node("greeter-1", "[::1]:4000", {"protocol": "grpc", "name": "é 日本"})
        await registry.register(ServiceRecord("greeter", "v1.2", {"schema": "abc"}, [endpoint], [node]))
        found = (await registry.get("greeter"))[0]
        assert (found.name, found.version, found.domain) == ("greeter", "v1.2", registry.where)
        assert found.metadata == {"schema": "abc", "domain": registry.where}
        assert list(found.endpoints) == [endpoint]
        assert list(found.nodes) == [node]

    async def test_what_is_unknown_is_not_found(self, registry: Registry) -> None:
        with pytest.raises(NotFound):
            await registry.get("nobody")
        assert await registry.services() == []

    async def test_nodes_of_a_version_gather(self, registry: Registry) -> None:
        await registry.register(record(node="n1"))
        await registry.register(record(node="n2"))
        found = await registry.get("greeter")
        assert len(found) == 1
        assert node_ids(found) == ["n1", "n2"]

    async def test_versions_stand_apart_in_order(self, registry: Registry) -> None:
        for version in ("v2", "v1", "latest"):
            await registry.register(record(node=version, version=version))
        assert [one.version for one in await registry.get("greeter")] == ["latest", "v1", "v2"]

    async def test_services_are_listed_by_name(self, registry: Registry) -> None:
        for name in ("b", "a", "B", "a.b", "a-b"):
            await registry.register(record(name, node=name))
        assert [one.name for one in await registry.services()] == ["B", "a", "a-b", "a.b", "b"]

    async def test_a_later_registration_replaces_what_a_version_says(self, registry: Registry) -> None:
        await registry.register(ServiceRecord("greeter", metadata={"a": "1"}, nodes=[Node("n1", ADDRESS)]))
        service = ServiceRecord(
            "greeter", metadata={"b": "2"}, endpoints=[Endpoint("A.B")], nodes=[Node("n2", ADDRESS)]
        )
        await registry.register(service)
        found = (await registry.get("greeter"))[0]
        assert found.metadata == {"b": "2", "domain": registry.where}
        assert [one.name for one in found.endpoints] == ["A.B"]
        assert node_ids([found]) == ["n1", "n2"]

    async def test_a_node_that_moves_has_its_new_address(self, registry: Registry) -> None:
        await registry.register(record())
        await registry.register(record(address="127.0.0.1:4001"))
        assert [node.address for node in (await registry.get("greeter"))[0].nodes] == ["127.0.0.1:4001"]

    async def test_a_node_that_serves_something_else_leaves_what_it_served(self, registry: Registry) -> None:
        await registry.register(record())
        await registry.register(record("other"))
        assert node_ids(await registry.get("other")) == ["n1"]
        with pytest.raises(NotFound):
            await registry.get("greeter")

    async def test_domains_are_apart(self, registry: Registry, elsewhere: Registry) -> None:
        async with aclosing(registry.watch()) as events:
            await until_synced(events)
            await elsewhere.register(record(address="127.0.0.1:5000"))
            await elsewhere.register(record(node="n2"))
            with pytest.raises(NotFound):
                await registry.get("greeter")
            assert await registry.services() == []
            await registry.register(record())
            assert shown(await following(events)) == (True, "n1", ADDRESS)
        await registry.deregister(record())
        assert node_ids(await elsewhere.get("greeter")) == ["n1", "n2"]
        assert await registry.renew(["n2"]) == ["n2"]

    async def test_revisions_rise(self, registry: Registry) -> None:
        revisions = [await registry.register(record(node=f"n{n}")) for n in range(5)]
        assert revisions == sorted(set(revisions))
        assert revisions[0] > 0

    # deregistering

    async def test_a_deregistered_node_is_gone_and_the_others_stay(self, registry: Registry) -> None:
        await registry.register(record(node="n1"))
        await registry.register(record(node="n2"))
        await registry.deregister(record(node="n1"))
        assert node_ids(await registry.get("greeter")) == ["n2"]
        await registry.deregister(record(node="n2"))
        with pytest.raises(NotFound):
            await registry.get("greeter")
        assert await registry.services() == []

    async def test_deregistering_twice_is_deregistering_once(self, registry: Registry) -> None:
        await registry.register(record())
        for _ in range(2):
            await registry.deregister(record())

    async def test_deregistering_asks_for_the_right_version(self, registry: Registry) -> None:
        await registry.register(record())
        await registry.deregister(record(version="v1"))
        assert node_ids(await registry.get("greeter")) == ["n1"]

    # owners

    async def test_a_strangers_node_is_not_replaced(self, registry: Registry, stranger: Registry) -> None:
        await registry.register(record())
        with pytest.raises(PermissionDenied):
            await stranger.register(record(address="127.0.0.1:6666"))
        assert [node.address for node in (await registry.get("greeter"))[0].nodes] == [ADDRESS]

    async def test_a_strangers_node_is_not_removed(self, registry: Registry, stranger: Registry) -> None:
        await registry.register(record())
        with pytest.raises(PermissionDenied):
            await stranger.deregister(record())
        assert node_ids(await registry.get("greeter")) == ["n1"]

    async def test_a_strangers_node_is_unknown_to_a_renewal(self, registry: Registry, stranger: Registry) -> None:
        await registry.register(record())
        assert await stranger.renew(["n1"]) == ["n1"]

    async def test_two_accounts_serve_one_name(self, registry: Registry, stranger: Registry) -> None:
        await registry.register(record(node="n1"))
        await stranger.register(record(node="n2"))
        assert node_ids(await registry.get("greeter")) == ["n1", "n2"]

    # leases

    async def test_a_lease_ends(self, registry: Registry, driver: RegistryDriver) -> None:
        await registry.register(record(), ttl=self.lease)
        await self.pass_time(driver, self.lease * 0.5)
        assert node_ids(await registry.services()) == ["n1"]
        await self.pass_time(driver, self.lease * 0.5 + self.late)
        assert await registry.services() == []

    async def test_a_renewed_lease_does_not_end(self, registry: Registry, driver: RegistryDriver) -> None:
        await registry.register(record(), ttl=self.lease)
        for _ in range(3):
            await self.pass_time(driver, self.lease * 0.6)
            assert await registry.renew(["n1"], ttl=self.lease) == []
        assert node_ids(await registry.services()) == ["n1"]
        await self.pass_time(driver, self.lease + self.late)
        assert await registry.services() == []

    async def test_registering_again_renews_and_is_no_change(self, registry: Registry, driver: RegistryDriver) -> None:
        first = await registry.register(record(), ttl=self.lease)
        async with aclosing(registry.watch()) as events:
            await until_synced(events)
            for _ in range(3):
                await self.pass_time(driver, self.lease * 0.6)
                await registry.register(record(), ttl=self.lease)
            assert await registry.register(record(node="n2")) > first
            assert shown(await following(events)) == (True, "n2", ADDRESS)

    async def test_a_lease_can_be_shortened(self, registry: Registry, driver: RegistryDriver) -> None:
        await registry.register(record(), ttl=600)
        await registry.renew(["n1"], ttl=self.lease)
        await self.pass_time(driver, self.lease + self.late)
        assert await registry.services() == []

    async def test_a_lease_of_zero_never_ends(self, registry: Registry, driver: RegistryDriver) -> None:
        await registry.register(record(), ttl=0)
        await registry.register(record(node="n2"), ttl=self.lease)
        await self.pass_time(driver, self.lease + self.late)
        assert node_ids(await registry.services()) == ["n1"]

    async def test_renewing_names_the_unknown(self, registry: Registry) -> None:
        await registry.register(record())
        assert sorted(await registry.renew(["n1", "n2", "n3"])) == ["n2", "n3"]
        assert await registry.renew([]) == []

    async def test_an_expired_node_may_come_back_as_anybodys(
        self, registry: Registry, stranger: Registry, driver: RegistryDriver
    ) -> None:
        await registry.register(record(), ttl=self.lease)
        await self.pass_time(driver, self.lease + self.late)
        await stranger.register(record())
        assert node_ids(await registry.get("greeter")) == ["n1"]

    # watching

    async def test_a_watch_gives_what_exists_then_what_changes(self, registry: Registry) -> None:
        await registry.register(record(node="n1"))
        async with aclosing(registry.watch()) as events:
            first = await until_synced(events)
            assert [shown(change) for change in first] == [(True, "n1", ADDRESS)]
            revision = await registry.register(record(node="n2"))
            change = await following(events)
            assert shown(change) == (True, "n2", ADDRESS)
            assert change.version == revision
            assert NodeKey.parse(change.key) == (registry.where, "greeter", "latest", "n2")
            await registry.deregister(record(node="n1"))
            change = await following(events)
            assert (change.kind, *shown(change)) == ("delete", False, "n1", "")

    async def test_a_watch_of_a_name_sees_it_alone(self, registry: Registry) -> None:
        await registry.register(record("other", node="o1"))
        await registry.register(record("greeter", node="n1"))
        async with aclosing(registry.watch("greeter")) as events:
            assert [shown(change)[1] for change in await until_synced(events)] == ["n1"]
            await registry.register(record("other", node="o2"))
            await registry.register(record("greeter-2", node="o3"))
            await registry.register(record("greeter", node="n2"))
            assert shown(await following(events))[1] == "n2"

    async def test_a_watch_reports_expiry(self, registry: Registry, driver: RegistryDriver) -> None:
        async with aclosing(registry.watch()) as events:
            await until_synced(events)
            await registry.register(record(), ttl=self.lease)
            assert shown(await following(events))[0]
            await self.pass_time(driver, self.lease + self.late)
            assert shown(await following(events)) == (False, "n1", "")

    async def test_a_watch_tells_of_changed_endpoints(self, registry: Registry) -> None:
        await registry.register(record())
        async with aclosing(registry.watch()) as events:
            await until_synced(events)
            await registry.register(ServiceRecord("greeter", endpoints=[Endpoint("A.B")], nodes=[Node("n1", ADDRESS)]))
            change = await following(events)
            assert change.item is not None
            assert [one.name for one in change.item.endpoints] == ["A.B"]

    async def test_a_watch_resumes_after_a_revision(self, registry: Registry) -> None:
        await registry.register(record(node="n1"))
        seen = await registry.register(record(node="n2"))
        async with aclosing(registry.watch()) as events:  # some drivers keep changes from the first watch on
            await until_synced(events)
        await registry.register(record(node="n3"))
        await registry.deregister(record(node="n1"))
        async with aclosing(registry.watch(after=seen)) as events:
            assert [shown(change)[:2] for change in await until_synced(events)] == [(True, "n3"), (False, "n1")]

    async def test_a_watch_from_a_revision_unknown_begins_anew(self, registry: Registry) -> None:
        revision = await registry.register(record())
        for after in (1, revision + 1000):
            async with aclosing(registry.watch(after=after)) as events:
                assert isinstance(await anext(events), Reset)
                assert [shown(change)[1] for change in await until_synced(events)] == ["n1"]

    async def test_a_view_agrees_with_the_registry(self, registry: Registry) -> None:
        view = View()
        async with aclosing(registry.watch()) as events:
            view.apply(await anext(events))
            assert view.synced
            for n in range(6):
                await registry.register(record(f"s{n % 2}", node=f"n{n}", version=f"v{n % 3}"))
            await registry.deregister(record("s0", node="n0", version="v0"))
            for _ in range(7):
                view.apply(await following(events))
        assert node_ids(view.services()) == node_ids(await registry.services()) == ["n1", "n2", "n3", "n4", "n5"]
        assert [one.version for one in view.get("s0")] == ["v1", "v2"]
        assert view.get("nobody") == []

    async def test_a_cache_follows(self, registry: Registry) -> None:
        await registry.register(record(node="n1"))
        async with Cache(registry) as cache:
            assert node_ids(cache.get("greeter")) == ["n1"]
            await registry.register(record(node="n2"))
            async with asyncio.timeout(5):
                while node_ids(cache.services()) != ["n1", "n2"]:  # noqa: ASYNC110 - a cache tells nobody
                    await asyncio.sleep(0.01)

    async def test_a_hundred_register_at_once_and_watchers_miss_nothing(self, registry: Registry) -> None:
        names = {f"n{n}" for n in range(100)}

        async def watch() -> set[str]:
            seen: set[str] = set()
            async with aclosing(registry.watch()) as events:
                async for event in events:
                    if isinstance(event, Change):
                        seen.add(NodeKey.parse(event.key).node)
                    if seen == names:
                        break
            return seen

        watching = [asyncio.create_task(watch()) for _ in range(3)]
        await asyncio.gather(
            *(registry.register(record(f"s{n % 7}", node=name)) for n, name in enumerate(sorted(names)))
        )
        assert await asyncio.wait_for(asyncio.gather(*watching), 20) == [names] * 3
        assert set(node_ids(await registry.services())) == names

    # what is refused

    @pytest.mark.parametrize("name", ["", "a/b", "../a", "a b", "é", "a" * 64, "-a", "a..b", "*"])
    async def test_odd_names_are_refused(self, registry: Registry, name: str) -> None:
        with pytest.raises(InvalidArgument):
            await registry.register(record(name))
        with pytest.raises(InvalidArgument):
            await registry.get(name)
        with pytest.raises(InvalidArgument):
            await registry.register(record(version=name))

    @pytest.mark.parametrize("address", BAD_ADDRESSES)
    async def test_odd_addresses_are_refused(self, registry: Registry, address: str) -> None:
        with pytest.raises(InvalidArgument):
            await registry.register(record(address=address))

    @pytest.mark.parametrize("address", GOOD_ADDRESSES)
    async def test_ordinary_addresses_are_kept(self, registry: Registry, address: str) -> None:
        await registry.register(record(address=address))
        assert (await registry.get("greeter"))[0].nodes[0].address == address

    @hostile.pairs
    async def test_hostile_names_are_apart(self, driver: RegistryDriver, domain: str, pair: tuple[str, str]) -> None:
        async def put(place: hostile.Place, value: bytes) -> None:
            node = Node(value.decode(), "127.0.0.1:1")
            await driver.register(place[0], ServiceRecord(place[1], nodes=[node]), ttl=60, owner="micro/suite")

        # a domain of that name is every domain, where one is looked in
        found = await hostile.places(pair, put, domain, only="*" in pair)
        for place, value in list(found.items()):
            for other, held in found.items():
                assert [node.id for each in await driver.get(*other) for node in each.nodes] == [held.decode()]
            named = {name for domain, name in found if domain == place[0]}
            assert {each.name for each in await driver.list(place[0])} & set(pair) == named
            gone = ServiceRecord(place[1], nodes=[Node(value.decode(), "127.0.0.1:1")])
            await driver.deregister(place[0], gone, owner="micro/suite")
            del found[place]
            assert await driver.get(*place) == []

    async def test_awkward_node_ids_come_back(self, registry: Registry) -> None:
        ids = ["a", "A", "a/b", "a@b", "a@b/c@d", "é", "日本", "a b", "..", "*", "%2f", "n" * 255]
        for one in ids:
            await registry.register(record(node=one))
        async with aclosing(registry.watch()) as events:
            assert sorted(shown(change)[1] for change in await until_synced(events)) == sorted(ids)
        assert node_ids(await registry.get("greeter")) == sorted(ids)
        assert await registry.renew(ids) == []

    @pytest.mark.parametrize("node", ["", "a\nb", "a\0b", "n" * 256])
    async def test_odd_node_ids_are_refused(self, registry: Registry, node: str) -> None:
        with pytest.raises(InvalidArgument):
            await registry.register(record(node=node))

    async def test_a_registration_without_nodes_or_with_one_twice_is_refused(self, registry: Registry) -> None:
        with pytest.raises(InvalidArgument):
            await registry.register(ServiceRecord("greeter"))
        with pytest.raises(InvalidArgument):
            await registry.register(ServiceRecord("greeter", nodes=[Node("n", ADDRESS), Node("n", ADDRESS)]))

    async def test_a_registration_has_a_limit(self, registry: Registry) -> None:
        big = {"k": "v" * limits.REGISTRY_RECORD}
        for service in (
            ServiceRecord("greeter", metadata=big, nodes=[Node("n", ADDRESS)]),
            ServiceRecord("greeter", nodes=[Node("n", ADDRESS, big)]),
            ServiceRecord("greeter", endpoints=[Endpoint("A.B", metadata=big)], nodes=[Node("n", ADDRESS)]),
        ):
            with pytest.raises(ResourceExhausted):
                await registry.register(service)
        ok = {"k": "v" * (limits.REGISTRY_RECORD - 1024)}
        await registry.register(ServiceRecord("greeter", metadata=ok, nodes=[Node("n", ADDRESS)]))

    @pytest.mark.parametrize("ttl", [-1, 1e9, float("nan"), float("inf")])
    async def test_odd_leases_are_refused(self, registry: Registry, ttl: float) -> None:
        with pytest.raises(InvalidArgument):
            await registry.register(record(), ttl=ttl)

    async def test_closing_twice_is_closing_once_and_nothing_works_after(
        self, registry: Registry, driver: RegistryDriver
    ) -> None:
        await driver.close()
        await driver.close()
        with pytest.raises(FailedPrecondition):
            await registry.register(record())
        with pytest.raises(FailedPrecondition):
            await registry.get("greeter")
        with pytest.raises(FailedPrecondition):
            await registry.services()

    async def test_a_cancelled_watch_leaves_the_registry_whole(self, registry: Registry) -> None:
        async def watch() -> None:
            async with aclosing(registry.watch()) as events:
                async for _ in events:
                    pass

        watching = asyncio.create_task(watch())
        await asyncio.sleep(0.05)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await registry.register(record())
        assert node_ids(await registry.services()) == ["n1"]
