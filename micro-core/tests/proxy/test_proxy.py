"""A proxy before real services: what passes through it is as if it had gone there."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from micro.context import Account, current
from micro.errors import Code, InvalidArgument, NotFound, Unavailable
from micro.network.local import LocalNetwork
from micro.network.service import build as build_network
from micro.proto import auth_pb2
from micro.proxy.grpc import GrpcProxy
from micro.proxy.service import build as build_proxy
from micro.registry.announce import Announcer
from micro.registry.api import Registry
from micro.registry.driver import ALL, Node, ServiceRecord
from micro.registry.memory import MemoryRegistry
from micro.registry.service import RegistryHandler
from micro.rpc.client import RpcCaller
from micro.rpc.credentials import FixedToken
from micro.rpc.driver import JSON, Status, Transport
from micro.rpc.endpoint import endpoint
from micro.rpc.resolve import ViaProxy
from micro.rpc.server import Server
from micro.rpc.stats import Stats
from micro.service.client import Client
from micro.service.core import Core, Host
from micro.service.process import Process
from micro.service.record import endpoints_of
from micro.service.surroundings import Surroundings
from micro.testing.served import Served, core

ANN = Account("ann", issuer="shop", scopes=("admin",))


@dataclass
class Text:
    value: str


class Orders:
    """A user's service."""

    async def call(self, request: Text) -> Text:
        if request.value == "bad":
            raise InvalidArgument("50% wrong")
        account = current().account
        return Text(f"{request.value} {account.id if account else '-'} {current().namespace}")

    async def count(self, request: Text) -> AsyncIterator[Text]:
        for n in range(int(request.value)):
            yield Text(str(n))

    async def gather(self, requests: AsyncIterator[Text]) -> Text:
        return Text("".join([one.value async for one in requests]))

    async def chat(self, requests: AsyncIterator[Text]) -> AsyncIterator[Text]:
        async for one in requests:
            yield Text(one.value.upper())


class Table(Host):
    """A core service's process, as far as the doors ask."""

    def __init__(self, world: "World", name: str) -> None:
        self.name = name
        self.profile = "test"
        self.table: Mapping[str, Any] = {"address": "127.0.0.1:0"}
        self.data = Path("/nonexistent")
        self.addresses = world.addresses
        self.transport = world.transport
        self.caller = world.caller(core(name))
        self.guard = world.guard

    def driver(self, primitive: str, **parts: Any) -> tuple[Any, str]:
        if primitive == "network":
            return LocalNetwork(caller=self.caller), "local"
        return GrpcProxy(), "grpc"

    def store(self, table: str) -> Any:
        raise NotImplementedError

    def setting(self, primitive: str, key: str, default: Any) -> Any:
        return default


class World(Served):
    """A registry, a door, and services behind it."""

    def __init__(self, transport: Transport) -> None:
        super().__init__(transport)
        self.registry = Registry(MemoryRegistry(), plugin="memory", domain=ALL, owner="a")
        self._cores: list[Core] = []

    async def begin(self) -> None:
        await self.registry.open()
        handler = RegistryHandler(self.registry, Announcer(self.caller(core("registry")), {}))
        await self.serve("registry", [("Registry", handler)])
        await self.serve("auth", [("Auth", Auth())])

    async def door(self, name: str) -> str:
        """Open the proxy or the network as its process would."""
        host = Table(self, name)
        built = await (build_proxy if name == "proxy" else build_network)(host)
        self._cores.append(built)
        server = await self.serve(name, built.handlers or [("Proxy", Nothing())], options={"wrap": built.wrap})
        assert server
        if built.ready is not None:
            await built.ready()
        return built.addresses.get(name, self.addresses[name])

    async def orders(self, *, node: str = "o1") -> Server:
        server = Server("orders", transport=self.transport, guard=self.guard, namespace="shop", stats=Stats())
        server.add(Orders())
        self._servers.append(server)
        address = await server.start("127.0.0.1:0")
        await self.registry.domain("shop").register(ServiceRecord("orders", nodes=[Node(node, address)]))
        return server

    def through(self, address: str, account: Account | None = ANN) -> RpcCaller:
        token = self.guard.token(account) if account else ""
        credentials = FixedToken(token, namespace="shop")
        caller = RpcCaller(transport=self.transport, resolver=ViaProxy(address), credentials=credentials, stats=Stats())
        self._callers.append(caller)
        return caller

    async def end(self) -> None:
        for built in self._cores:
            if built.drain is not None:
                await built.drain()
        for built in self._cores:
            await built.close()
        await self.registry.close()


class Auth:
    """Exchanges every token for itself."""

    async def exchange(self, request: auth_pb2.ExchangeRequest) -> auth_pb2.ExchangeResponse:
        token = auth_pb2.Token(access_token=request.token, expiry=int(time.time() + 600))
        return auth_pb2.ExchangeResponse(token=token)


class Nothing:
    async def nothing(self, request: Text) -> Text:
        return request


def transports() -> list[str]:
    return ["nghttp2", "grpcio"]


@pytest.fixture(params=transports())
async def world(request) -> AsyncIterator[World]:
    if request.param == "grpcio":
        from micro.rpc.grpcio import GrpcioTransport as Chosen
    else:
        from micro.rpc.nghttp2 import Nghttp2Transport as Chosen
    world = World(Chosen())
    async with world:
        await world.begin()
        yield world
        await world.end()


@pytest.fixture(params=["proxy", "network"])
async def door(request, world: World) -> str:
    return await world.door(request.param)


class TestPassing:
    async def test_all_four_kinds_pass(self, world: World, door: str) -> None:
        await world.orders()
        caller = world.through(door)
        assert await caller.call("orders", "Orders.Call", Text("hello"), Text) == Text("hello ann shop")
        async with aclosing(caller.serve_stream("orders", "Orders.Count", Text("50"), Text)) as answers:
            assert [one.value async for one in answers] == [str(n) for n in range(50)]
        async with await caller.stream("orders", "Orders.Gather", Text, Text) as stream:
            for letter in "abc":
                await stream.send(Text(letter))
            stream.end()
            assert await stream.receive() == Text("abc")
        async with await caller.stream("orders", "Orders.Chat", Text, Text) as stream:
            for letter in "abc":
                await stream.send(Text(letter))
                assert await stream.receive() == Text(letter.upper())

    async def test_an_error_keeps_its_code_text_and_details(self, world: World, door: str) -> None:
        await world.orders()
        channel = world.transport.channel(door)
        headers = [
            (b"authorization", f"Bearer {world.guard.token(ANN)}".encode()),
            (b"x-content-type", b"application/json"),
        ]
        with pytest.raises(Status) as caught:
            await channel.unary(b"/orders.Orders/Call", b'{"value":"bad"}', headers, content_type=JSON, timeout=5)
        status = caught.value
        assert status.code == Code.INVALID_ARGUMENT
        assert json.loads(status.message)["detail"] == "50% wrong"
        assert b"errors.Error" in status.details
        await channel.close()

    async def test_an_unknown_service_has_the_originals_words(self, world: World, door: str) -> None:
        channel = world.transport.channel(door)
        with pytest.raises(Status) as caught:
            await channel.unary(b"/nobody.A/B", b"", timeout=5)
        assert caught.value.code == Code.INTERNAL
        error = {"id": "go.micro.client", "code": 500, "detail": "service nobody: route not found"}
        assert json.loads(caught.value.message).items() >= error.items()
        await channel.close()
        with pytest.raises(NotFound, match="service nobody: route not found"):  # as our own clients read it
            await world.through(door).call("nobody", "A.B", Text("x"), Text, timeout=5)

    async def test_a_door_answers_for_itself(self, world: World, door: str) -> None:
        name = "network" if door == world.addresses.get("network") else "proxy"
        with pytest.raises(Exception, match="unknown service Nope"):
            await world.through(door).call(name, "Nope.Nope", Text("x"), Text)

    async def test_the_platforms_own_are_reached(self, world: World, door: str) -> None:
        from micro.proto import registry_pb2 as pb

        request = pb.GetRequest(service="nobody", options=pb.Options(domain="shop"))
        with pytest.raises(NotFound, match="service not found"):
            await world.through(door).call(
                "registry", "Registry.GetService", request, pb.GetResponse, namespace="micro"
            )

    async def test_a_watch_passes_with_its_headers_at_once(self, world: World, door: str) -> None:
        from micro.proto import registry_pb2 as pb

        caller = world.through(door)
        async with await caller.stream(
            "registry", "Registry.Watch", pb.WatchRequest, pb.Result, namespace="micro"
        ) as stream:
            await stream.send(pb.WatchRequest(options=pb.Options(domain="shop")))
            await asyncio.wait_for(stream.started(), 5)
            await world.orders()
            result = await asyncio.wait_for(stream.receive(), 5)
            assert (result.action, result.service.name) == ("create", "orders")

    async def test_a_node_that_went_costs_no_call_while_another_answers(
        self, world: World, door: str, monkeypatch
    ) -> None:
        monkeypatch.setattr("micro.proxy.balance.REST", 0.05)  # so that it is tried again and again
        first = await world.orders(node="o1")
        await world.orders(node="o2")
        caller = world.through(door)
        for _ in range(4):
            await caller.call("orders", "Orders.Call", Text("x"), Text)
        await first.stop(grace=0)
        await asyncio.sleep(0.1)  # the door has seen its connection end
        for _ in range(40):
            await caller.call("orders", "Orders.Call", Text("x"), Text, timeout=5)
            assert await caller.call("orders", "Orders.Call", {"value": "x"}, dict, timeout=5) == {
                "value": "x ann shop"
            }
            async with aclosing(caller.serve_stream("orders", "Orders.Count", Text("2"), Text)) as answers:
                assert len([one async for one in answers]) == 2
            await asyncio.sleep(0.02)

    async def test_a_node_that_takes_connections_and_says_nothing_fails_no_call(self, world: World, door: str) -> None:
        if world.transport.name == "grpcio":
            pytest.skip("grpc dials for twenty seconds, and tells nobody")
        await world.orders(node="o1")
        with socket.create_server(("127.0.0.1", 0)) as deaf:  # its system accepts, and it never does
            node = Node("o2", f"127.0.0.1:{deaf.getsockname()[1]}")
            await world.registry.domain("shop").register(ServiceRecord("orders", nodes=[node]))
            caller = world.through(door)
            for _ in range(4):
                await caller.call("orders", "Orders.Call", Text("x"), Text, timeout=3)

    async def test_a_hundred_calls_at_once_pass(self, world: World, door: str) -> None:
        await world.orders()
        caller = world.through(door)
        calls = [caller.call("orders", "Orders.Call", Text(str(n)), Text) for n in range(100)]
        assert [one.value for one in await asyncio.gather(*calls)] == [f"{n} ann shop" for n in range(100)]


class Flaky:
    """Fails twice, then answers, each in its own way."""

    def __init__(self) -> None:
        self.calls = 0

    @endpoint(idempotent=True)
    async def again(self) -> int:
        return self._counted()

    async def once(self) -> int:
        return self._counted()

    def _counted(self) -> int:
        self.calls += 1
        if self.calls <= 2:
            raise Unavailable("not now")
        return self.calls


async def test_a_client_outside_repeats_what_a_service_says_may_be_repeated(world: World) -> None:
    door = await world.door("proxy")
    server = Server("flaky", transport=world.transport, guard=world.guard, namespace="shop", stats=Stats())
    flaky = Flaky()
    server.add(flaky)
    world._servers.append(server)
    address = await server.start("127.0.0.1:0")
    await world.registry.domain("shop").register(
        ServiceRecord("flaky", endpoints=endpoints_of(server.endpoints), nodes=[Node("f1", address)])
    )
    around = Surroundings(proxy=door, namespace="shop")
    process = Process(around, transport=world.transport, token=world.guard.token(ANN))
    client = Client("flaky", process=process)
    for retries in (0, 5):
        flaky.calls = 0
        with pytest.raises(Unavailable, match="not now"):
            await client.call("Flaky.Once", {}, retries=retries)
        assert flaky.calls == 1
    flaky.calls = 0
    assert await client.call("Flaky.Again", {}) == {"value": 3}
    flaky.calls = 0
    with pytest.raises(Unavailable, match="not now"):
        await client.call("Flaky.Again", {}, retries=1)
    assert flaky.calls == 2
    await process.close()


async def get(address: str, request: bytes) -> tuple[int, bytes]:
    """Send a plain HTTP request; gives status and body."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


async def test_plain_http_on_the_proxys_port_is_answered_as_the_gateway_does(world: World) -> None:
    if "http1" not in world.transport.capabilities:
        pytest.skip("the transport has no HTTP/1.1 beside HTTP/2")
    door = await world.door("proxy")
    await world.orders()
    head = b"POST /orders/call HTTP/1.1\r\nHost: x\r\nConnection: close\r\nMicro-Namespace: shop\r\n"
    token = f"Authorization: Bearer {world.guard.token(ANN)}\r\n".encode()
    body = b'Content-Type: application/json\r\nContent-Length: 14\r\n\r\n{"value":"hi"}'
    assert await get(door, head + token + body) == (200, b'{"value":"hi ann shop"}')
    bad = b"Authorization: Bearer broken\r\n"
    assert await get(door, head + bad + body) == (401, b"unauthorized request\n")
    status, error = await get(door, head.replace(b"orders", b"nobody") + token + body)
    assert (status, json.loads(error)["detail"]) == (404, "service not found")


async def test_the_proxys_door_is_beside_its_own(world: World) -> None:
    door = await world.door("proxy")
    assert door != world.addresses["proxy"]


async def test_calls_under_way_finish_when_the_proxy_stops(world: World) -> None:
    door = await world.door("proxy")
    await world.orders()
    async with await world.through(door).stream("orders", "Orders.Chat", Text, Text) as stream:
        await stream.send(Text("a"))
        assert await stream.receive() == Text("A")
        draining = asyncio.create_task(world._cores[0].drain())
        await asyncio.sleep(0.2)
        await stream.send(Text("b"))
        assert await asyncio.wait_for(stream.receive(), 5) == Text("B")
        stream.end()
        assert await asyncio.wait_for(stream.receive(), 5) is None
        await asyncio.wait_for(draining, 5)
