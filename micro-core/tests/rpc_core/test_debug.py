"""What every process serves beside its own endpoints."""

import asyncio
import logging
from dataclasses import dataclass

import pytest

from micro.debug import Facts, attach
from micro.errors import NotFound, Unauthenticated
from micro.proto import debug_pb2, health_pb2
from micro.proto import reflection_pb2 as reflection
from micro.rpc.driver import PROTO
from micro.rpc.endpoint import collect
from micro.rpc.grpcio import GrpcioTransport
from micro.rpc.memory import MemoryTransport
from micro.rpc.nghttp2 import Nghttp2Transport
from micro.rpc.server import Server


@dataclass
class Order:
    """What somebody wants."""

    id: str


class Orders:
    async def place(self, order: Order) -> Order:
        """Take one."""
        return order


@pytest.fixture(params=[MemoryTransport, Nghttp2Transport, GrpcioTransport])
def transport(request):
    return request.param()


@pytest.fixture
async def server(world, tokens):
    server = Server("orders", transport=world.transport, namespace="shop", guard=tokens)
    server.add(Orders())
    attach(server, version="v2", facts=lambda handler: Facts(plugin=f"memory{handler}", capabilities=frozenset({"a"})))
    world.addresses["orders"] = await server.start("127.0.0.1:0")
    yield server
    await server.stop(grace=0)


async def test_health_is_for_anybody_even_with_a_bad_token(world, server):
    for token in ("", "bad"):
        answer = await world.caller(token).call(
            "orders", "Debug.Health", debug_pb2.HealthRequest(), debug_pb2.HealthResponse
        )
        assert answer.status == "ok"


async def test_the_rest_is_for_accounts_of_the_namespace(world, server):
    with pytest.raises(Unauthenticated):
        await world.caller().call("orders", "Debug.Stats", debug_pb2.StatsRequest(), debug_pb2.StatsResponse)


async def test_counts_spans_and_logs_are_there(world, server):
    caller = world.caller("ann")
    logging.getLogger("shop").warning("the till is %s", "open")
    await caller.call("orders", "Orders.Place", Order("1"), Order)
    stats = await caller.call("orders", "Debug.Stats", debug_pb2.StatsRequest(), debug_pb2.StatsResponse)
    assert stats.requests >= 1
    assert stats.memory > 1_000_000
    spans = (await caller.call("orders", "Debug.Trace", debug_pb2.TraceRequest(), debug_pb2.TraceResponse)).spans
    place = next(span for span in reversed(spans) if span.name == "orders.Orders.Place")
    found = await caller.call("orders", "Debug.Trace", debug_pb2.TraceRequest(id=place.trace), debug_pb2.TraceResponse)
    assert {span.name for span in found.spans} == {"orders.Orders.Place"}
    logged = await caller.call("orders", "Debug.Log", debug_pb2.LogRequest(count=1), debug_pb2.LogResponse)
    assert [record.message for record in logged.records] == ["the till is open"]


async def test_info_names_the_schema_and_schema_gives_it(world, server):
    caller = world.caller("ann")
    info = await caller.call("orders", "Debug.Info", debug_pb2.InfoRequest(handler="X"), debug_pb2.InfoResponse)
    assert (info.service, info.version, info.plugin, list(info.capabilities)) == ("orders", "v2", "memoryX", ["a"])
    request = debug_pb2.SchemaRequest(digest=info.schema)
    schema = await caller.call("orders", "Debug.Schema", request, debug_pb2.SchemaResponse)
    assert schema.digest == info.schema
    assert schema.docs["Orders.Place"] == "Take one."
    assert schema.files
    with pytest.raises(NotFound):
        await caller.call("orders", "Debug.Schema", debug_pb2.SchemaRequest(digest="0"), debug_pb2.SchemaResponse)


async def test_grpc_health_says_whether_calls_are_welcome(world, server):
    channel = world.channel("orders")
    path = b"/grpc.health.v1.Health/"
    for name in ("", "orders", "orders.Orders"):
        request = health_pb2.HealthCheckRequest(service=name).SerializeToString()
        reply = await channel.unary(path + b"Check", request, content_type=PROTO, timeout=5)
        assert health_pb2.HealthCheckResponse.FromString(reply.message).status == 1
    call = await channel.open(path + b"Watch", content_type=PROTO, timeout=5)
    await call.write(b"")
    assert health_pb2.HealthCheckResponse.FromString(await call.read()).status == 1
    await server.set_serving(serving=False)
    assert health_pb2.HealthCheckResponse.FromString(await call.read()).status == 2
    call.cancel()


@pytest.mark.parametrize("package", ["grpc.reflection.v1", "grpc.reflection.v1alpha"])
async def test_reflection_describes_what_is_served(world, server, package):
    path = f"/{package}.ServerReflection/ServerReflectionInfo".encode()
    call = await world.channel("orders").open(path, [(b"authorization", b"Bearer ann")], content_type=PROTO, timeout=5)

    async def ask(**request):
        await call.write(reflection.ServerReflectionRequest(**request).SerializeToString())
        return reflection.ServerReflectionResponse.FromString(await call.read())

    names = [each.name for each in (await ask(list_services="")).list_services_response.service]
    assert {"orders.Orders", "debug.Debug", "grpc.health.v1.Health", f"{package}.ServerReflection"} <= set(names)
    for symbol in ("orders.Orders.Place", "orders.Order", f"{package}.ServerReflection"):
        assert (await ask(file_containing_symbol=symbol)).file_descriptor_response.file_descriptor_proto
    assert (await ask(file_by_filename="no.proto")).error_response.error_code == 5
    call.half_close()
    assert await call.read() is None


def test_a_handler_may_not_be_called_debug():
    class Debug:
        async def health(self) -> str:
            return ""

    server = Server("orders", transport=None)
    attach(server)
    with pytest.raises(TypeError, match="every process has a handler Debug of its own"):
        server.add(Debug())


def test_the_hidden_are_not_listed():
    server = Server("orders", transport=None)
    attach(server)
    server.add(Orders())
    assert [one.name for one in server.endpoints] == [one.name for one in collect(Orders())]


async def test_watching_ends_with_its_caller(world, server):
    call = await world.channel("orders").open(b"/grpc.health.v1.Health/Watch", content_type=PROTO, timeout=5)
    await call.write(b"")
    await call.read()
    call.cancel()
    await asyncio.wait_for(server.stop(grace=1), 5)
