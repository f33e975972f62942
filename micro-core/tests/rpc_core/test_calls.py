"""Calls through server and caller: every kind of handler, every codec, errors, deadlines, identity."""

import asyncio
import json
import logging
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest

from micro.context import Context, current
from micro.errors import (
    Aborted,
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)
from micro.proto import debug_pb2 as pb
from micro.rpc.driver import JSON, PROTO, Status
from micro.rpc.endpoint import endpoint
from micro.rpc.errors import to_wire
from micro.rpc.grpcio import GrpcioTransport
from micro.rpc.memory import MemoryTransport
from micro.rpc.nghttp2 import Nghttp2Transport
from micro.schema import message_of


@dataclass
class Order:
    id: str
    total: float = 0.0


JSON_BESIDE = (b"x-content-type", b"application/json")
TRANSPORTS = {"memory": MemoryTransport, "nghttp2": Nghttp2Transport, "grpcio": GrpcioTransport}


@pytest.fixture(params=TRANSPORTS)
def transport(request):
    """Whatever carries them, calls are the same."""
    return TRANSPORTS[request.param]()


class Items:
    """An iterator that is no generator."""

    def __init__(self, upto):
        self.left = iter(range(upto))

    def __aiter__(self):
        return self

    async def __anext__(self):
        for index in self.left:
            return Order(str(index))
        raise StopAsyncIteration


class Orders:
    """Takes orders."""

    def __init__(self):
        self.cancelled = asyncio.Event()
        self.closed = threading.Event()

    async def place(self, order: Order) -> Order:
        """Take one."""
        return Order(order.id.upper(), order.total + 1)

    def place_slowly(self, order: Order) -> str:
        return f"{order.id} {threading.current_thread().name.startswith('orders-handler')} {current().endpoint}"

    async def nothing(self) -> None:
        pass

    async def who(self, context: Context) -> dict:
        account = context.account
        return {"account": account and account.id, "namespace": context.namespace, "x": context.metadata.get("x-a")}

    async def double(self, number: int, *, context: Context) -> int:
        assert context.endpoint == "Orders.Double"
        return number * 2

    async def count(self, upto: int) -> AsyncIterator[Order]:
        for index in range(upto):
            yield Order(str(index))

    def count_slowly(self, upto: int) -> Iterator[int]:
        try:
            yield from range(upto)
        finally:
            self.closed.set()

    async def count_steadily(self, upto: int) -> AsyncIterator[int]:
        for index in range(upto):
            yield index
            await asyncio.sleep(0.05)

    async def returned(self, upto: int) -> AsyncIterator[Order]:
        return self.count(upto)

    def given(self, upto: int) -> AsyncIterator[Order]:
        return Items(upto)

    async def total(self, orders: AsyncIterator[Order]) -> float:
        return sum([order.total async for order in orders])

    def total_slowly(self, orders: Iterator[Order]) -> float:
        return sum(order.total for order in orders)

    async def chat(self, orders: AsyncIterator[Order]) -> AsyncIterator[str]:
        async for order in orders:
            yield order.id * 2

    async def stats(self, request: pb.StatsRequest) -> pb.StatsResponse:
        return pb.StatsResponse(requests=7)

    async def begins(self, request: pb.LogRequest) -> AsyncIterator[pb.Record | None]:
        yield None
        await asyncio.sleep(30)

    async def fail(self, how: str) -> None:
        if how == "aborted":
            raise Aborted("read again")
        raise ValueError("a secret")

    async def sleep(self, seconds: float) -> None:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    async def wrong(self) -> Order:
        return "text"

    @endpoint(name="Renamed", public=True)
    async def open_to_all(self) -> str:
        account = current().account
        return account.id if account else "nobody"


@pytest.fixture
def orders():
    return Orders()


@pytest.fixture
async def server(world, orders):
    return await world.serve("orders", orders)


@pytest.fixture
def caller(world, server):
    return world.caller()


async def test_a_dataclass_goes_and_comes(caller):
    assert await caller.call("orders", "Orders.Place", Order("a", 1.5), Order) == Order("A", 2.5)


async def test_a_dict_goes_and_comes(caller):
    assert await caller.call("orders", "Orders.Place", {"id": "a"}, dict) == {"id": "A", "total": 1.0}


async def test_a_plain_function_runs_on_a_thread_with_the_calls_context(caller):
    assert await caller.call("orders", "Orders.PlaceSlowly", Order("a"), str) == "a True Orders.PlaceSlowly"


async def test_nothing_is_a_message_too(caller):
    assert await caller.call("orders", "Orders.Nothing", None, type(None)) is None


async def test_scalars_are_messages(caller):
    assert await caller.call("orders", "Orders.Double", 21, int) == 42


async def test_protobuf_messages_go_as_protobuf(caller):
    assert (await caller.call("orders", "Orders.Stats", pb.StatsRequest(), pb.StatsResponse)).requests == 7


@pytest.mark.parametrize("name", ["Count", "Returned", "Given"])
async def test_a_stream_of_answers(caller, name):
    stream = caller.serve_stream("orders", f"Orders.{name}", 3, Order)
    assert [order.id async for order in stream] == ["0", "1", "2"]


async def test_a_plain_generator_streams(caller, orders):
    assert [each async for each in caller.serve_stream("orders", "Orders.CountSlowly", 3, int)] == [0, 1, 2]
    assert await asyncio.to_thread(orders.closed.wait, 5)


async def test_a_plain_generator_is_closed_when_its_caller_leaves(caller, orders):
    async with await caller.stream("orders", "Orders.CountSlowly", int, int) as stream:
        await stream.send(1_000_000)
        assert await stream.receive() == 0
    assert await asyncio.to_thread(orders.closed.wait, 5)


@pytest.mark.parametrize("name", ["Total", "TotalSlowly"])
async def test_a_stream_of_requests(caller, name):
    async with await caller.stream("orders", f"Orders.{name}", Order, float) as stream:
        for total in (1.0, 2.0):
            await stream.send(Order("x", total))
        stream.end()
        assert await stream.receive() == 3.0
        assert await stream.receive() is None


async def test_a_conversation(caller):
    async with await caller.stream("orders", "Orders.Chat", Order, str) as stream:
        for text in ("a", "b"):
            await stream.send(Order(text))
            assert await stream.receive() == text * 2


async def test_none_in_a_stream_of_messages_sends_the_headers(caller):
    async with await caller.stream("orders", "Orders.Begins", pb.LogRequest, pb.Record) as stream:
        await stream.send(pb.LogRequest())
        await asyncio.wait_for(stream.started(), 5)


async def test_an_error_is_the_same_class_on_the_other_side(caller):
    with pytest.raises(Aborted, match=r"^read again$") as caught:
        await caller.call("orders", "Orders.Fail", "aborted", type(None))
    assert caught.value.id == "orders"
    assert caught.value.http == 409


async def test_any_other_exception_is_internal_with_a_number_that_the_log_has(caller, caplog):
    with caplog.at_level(logging.ERROR, "micro.rpc"), pytest.raises(Internal) as caught:
        await caller.call("orders", "Orders.Fail", "value", type(None))
    assert "secret" not in caught.value.detail
    number = caught.value.detail.rpartition(" ")[2]
    assert number in caplog.text
    assert "ValueError: a secret" in caplog.text


async def test_an_answer_of_the_wrong_type_is_the_handlers_fault(caller, caplog):
    with pytest.raises(Internal):
        await caller.call("orders", "Orders.Wrong", None, Order)
    assert "Orders.Wrong gave what its annotation does not allow" in caplog.text


async def test_a_request_that_does_not_fit_names_the_field(caller):
    with pytest.raises(InvalidArgument, match="total"):
        await caller.call("orders", "Orders.Place", {"id": "a", "total": []}, dict)


async def test_a_deadline_ends_the_wait_and_cancels_the_handler(caller, orders):
    begun = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        await caller.call("orders", "Orders.Sleep", 30.0, type(None), timeout=0.1)
    assert time.monotonic() - begun < 2
    await asyncio.wait_for(orders.cancelled.wait(), 5)


async def test_the_timeout_key_alone_is_a_deadline(world, server, orders):
    with pytest.raises(Status) as caught:
        await world.channel("orders").unary(
            b"/orders.Orders/Sleep", b'{"value": 30}', [(b"timeout", b"100000000")], content_type=JSON, timeout=None
        )
    assert caught.value.code == 4


async def test_leaving_cancels_the_handler(caller, orders):
    task = asyncio.ensure_future(caller.call("orders", "Orders.Sleep", 30.0, type(None)))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(orders.cancelled.wait(), 5)


async def test_unknown_things_are_named_in_the_wires_words(caller):
    with pytest.raises(Unimplemented, match=r"^unknown service Nope$"):
        await caller.call("orders", "Nope.Place", None, dict)
    with pytest.raises(Unimplemented, match=r"^unknown service Orders\.Nope$"):
        await caller.call("orders", "Orders.Nope", None, dict)
    with pytest.raises(InvalidArgument, match=r'^malformed method name: "BadName"$'):
        await caller.call("orders", "BadName", None, dict)
    with pytest.raises(NotFound, match=r"^service nobody: route not found$"):
        await caller.call("nobody", "Orders.Place", None, dict)


@pytest.mark.parametrize("path", [b"/Orders/Double", b"/zzz.y.Orders/Double", b"/orders.Orders/Double"])
async def test_what_stands_before_the_handler_is_ignored(world, server, path):
    reply = await world.channel("orders").unary(path, b'{"value": 2}', content_type=JSON, timeout=5)
    assert reply.message == b'{"value":4}'


@pytest.mark.parametrize("transport", ["memory"], indirect=True)
async def test_a_path_without_a_slash_may_be_handler_and_method(world, server):
    reply = await world.channel("orders").unary(b"Orders.Double", b'{"value": 2}', content_type=JSON, timeout=5)
    assert reply.message == b'{"value":4}'


@pytest.mark.parametrize("transport", ["memory"], indirect=True)
@pytest.mark.parametrize("path", [b"A.B.C", b"/Orders", b"//Double", b"/a/b/c", b"", b"/", b"Orders/Double", b"\xff"])
async def test_a_path_of_no_known_form_is_malformed(world, server, path):
    with pytest.raises(Status) as caught:
        await world.channel("orders").unary(path, b"{}", content_type=JSON, timeout=5)
    shown = path.decode("utf-8", "replace")
    assert (caught.value.code, caught.value.message) == (3, f'malformed method name: "{shown}"')


@pytest.mark.parametrize("transport", ["memory", "nghttp2"], indirect=True)
async def test_the_codec_is_the_wires_content_type_or_what_was_asked_for_beside_a_bare_one(world, server):
    channel = world.channel("orders")
    double = message_of(int)
    for content_type, asked, encode, decode in [
        (JSON, b"", double.to_json, double.from_json),
        (PROTO, b"application/json", double.to_proto, double.from_proto),
        (b"application/grpc", b"", double.to_proto, double.from_proto),
        (b"application/grpc", b"application/json", double.to_json, double.from_json),
        (b"application/grpc", b"multipart/form-data", double.to_json, double.from_json),
        (b"application/grpc+json; charset=utf-8", b"", double.to_json, double.from_json),
    ]:
        reply = await channel.unary(
            b"/Orders/Double", encode(4), [(b"x-content-type", asked)], content_type=content_type, timeout=5
        )
        assert decode(reply.message) == 8


@pytest.mark.parametrize("transport", ["memory", "nghttp2"], indirect=True)
async def test_an_unknown_subtype_is_refused(world, server):
    with pytest.raises(Status) as caught:
        await world.channel("orders").unary(b"/Orders/Double", b"", content_type=b"application/grpc+xml", timeout=5)
    assert caught.value.message == (
        '{"id":"orders","code":400,"detail":"Unsupported Content-Type: application/grpc+xml","status":"Bad Request"}'
    )


async def test_null_and_nothing_are_the_empty_message(world, server):
    for body in (b"null", b""):
        reply = await world.channel("orders").unary(b"/Orders/Nothing", body, content_type=JSON, timeout=5)
        assert reply.message == b"{}"


async def test_who_calls_is_in_the_context(world, orders, tokens):
    await world.serve("orders", orders, guard=tokens)
    answer = await world.caller("ann").call("orders", "Orders.Who", None, dict, metadata={"X-A": "1"})
    assert answer == {"account": "ann", "namespace": "shop", "x": "1"}
    assert await world.caller().call("orders", "Orders.Who", None, dict, namespace="other") == {
        "account": None,
        "namespace": "other",
        "x": None,
    }
    assert tokens.asked == [("ann", "shop", "orders", "Orders.Who"), (None, "shop", "orders", "Orders.Who")]


async def test_a_bad_token_is_refused_but_where_all_are_welcome(world, orders, tokens):
    await world.serve("orders", orders, guard=tokens)
    with pytest.raises(Unauthenticated):
        await world.caller("bad").call("orders", "Orders.Who", None, dict)
    assert await world.caller("bad").call("orders", "Orders.Renamed", None, str) == "nobody"
    assert await world.caller("ann").call("orders", "Orders.Renamed", None, str) == "ann"


async def test_rules_are_asked(world, orders, tokens):
    await world.serve("orders", orders, guard=tokens)
    tokens.denied.add("Orders.Who")
    with pytest.raises(PermissionDenied):
        await world.caller("ann").call("orders", "Orders.Who", None, dict)


async def test_a_guard_that_lacks_something_is_let_look_it_up(world, orders, tokens):
    tokens.ready = False
    await world.serve("orders", orders, guard=tokens)
    assert (await world.caller("ann").call("orders", "Orders.Who", None, dict))["account"] == "ann"
    assert tokens.prepared == [(b"Bearer ann", "shop")]


class Relay:
    """Calls on, as itself."""

    def __init__(self):
        self.caller = None

    async def who(self) -> dict:
        inner = await self.caller.call("last", "Last.Who", None, dict)
        return inner | {"relay_trace": current().trace.trace}


class Last:
    async def who(self, context: Context) -> dict:
        return {
            "account": context.account.id,
            "caller": context.caller and context.caller.id,
            "trace": context.trace.trace,
            "left": context.remaining(),
        }


async def test_the_first_caller_the_trace_and_the_deadline_travel_along(world, tokens):
    relay = Relay()
    await world.serve("relay", relay, guard=tokens)
    await world.serve("last", Last(), guard=tokens)
    relay.caller = world.caller("relay-account")
    answer = await world.caller("ann").call("relay", "Relay.Who", None, dict, timeout=2)
    assert answer["account"] == "relay-account"
    assert answer["caller"] == "ann"
    assert answer["trace"] == answer["relay_trace"]
    assert 0 < answer["left"] <= 2


TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Tracing:
    """Tells what a call says of its trace, and what a call on of it says."""

    def __init__(self):
        self.caller = None

    async def here(self, context: Context) -> dict:
        return {key: context.metadata[key] for key in ("micro-trace-id", "micro-span-id", "traceparent")}

    async def there(self) -> dict:
        return await self.caller.call("far", "Tracing.Here", None, dict)

    async def flow(self, _: dict, context: Context) -> AsyncIterator[dict]:
        yield await self.here(context)
        async for each in self.caller.serve_stream("far", "Tracing.Last", {}, dict):
            yield each

    async def last(self, _: dict, context: Context) -> AsyncIterator[dict]:
        yield await self.here(context)


class Late:
    """Never has an answer in time; one of each kind."""

    async def unary(self, _: dict) -> None:
        await asyncio.sleep(30)

    def thread(self, _: dict) -> None:
        time.sleep(0.3)

    async def answers(self, _: dict) -> AsyncIterator[dict]:
        yield {"n": 1}
        await asyncio.sleep(30)

    async def requests(self, items: AsyncIterator[dict]) -> None:
        async for _ in items:
            pass

    async def stubborn(self, items: AsyncIterator[dict]) -> AsyncIterator[dict]:
        try:
            async for item in items:
                yield item
        except asyncio.CancelledError:
            await asyncio.sleep(0.2)


@pytest.mark.parametrize("method", ["Unary", "Thread", "Answers", "Requests", "Stubborn"])
@pytest.mark.parametrize("core", [True, False])
async def test_a_deadline_that_passes_at_the_server_is_an_error_like_any_other(world, method, core):
    """Code 4, the micro error as JSON, and the details: to a caller that does not count itself."""
    server = await world.serve("late", Late(), core=core)
    channel = world.channel("late")
    headers = [JSON_BESIDE, (b"timeout", b"100000000")]  # nanoseconds
    call = await channel.open(f"/late.Late/{method}".encode(), headers, content_type=JSON, timeout=None)
    await call.write(b"{}")
    if method not in {"Requests", "Stubborn"}:
        call.half_close()
    if method in {"Answers", "Stubborn"}:
        assert await call.read() is not None
    with pytest.raises(Status) as caught:
        await asyncio.wait_for(call.read(), 5)
    speaker = f"late.Late.{method}" if core else "late"
    error = DeadlineExceeded("deadline exceeded", id=speaker)
    assert (caught.value.code, caught.value.message, caught.value.details) == to_wire(error, "")
    assert json.loads(caught.value.message)["code"] == 408
    async with asyncio.timeout(5):
        while not server.stats.spans:
            await asyncio.sleep(0.01)
    assert server.stats.spans[0].code == caught.value.code
    await channel.close()


@pytest.fixture
async def tracing(world):
    """Two services, of which the first calls the second, and a caller of the first."""
    near, far = Tracing(), Tracing()
    await world.serve("near", near)
    await world.serve("far", far)
    near.caller = world.caller()
    return world.caller()


def in_both_forms(said):
    assert said["traceparent"] == f"00-{said['micro-trace-id']}-{said['micro-span-id']}-01"
    return said["micro-trace-id"]


async def test_a_trace_is_told_in_both_forms_and_stays_one_from_hop_to_hop(tracing):
    for endpoint_name in ("Tracing.Here", "Tracing.There"):
        said = await tracing.call("near", endpoint_name, None, dict)
        assert in_both_forms(said) in {span.trace for span in tracing.stats.spans}
    first, second = [each async for each in tracing.serve_stream("near", "Tracing.Flow", {}, dict)]
    assert in_both_forms(first) == in_both_forms(second)
    assert first["micro-span-id"] != second["micro-span-id"]


async def test_a_trace_that_began_elsewhere_goes_on(world, tracing):
    """Told by W3C alone, as others tell it, or by the wire's own keys with the UUIDs of the original."""
    channel = world.channel("near")
    uuid = "0AF76519-16cd-43dd-8448-eb211c80319c"
    for headers, trace, w3c in (
        ([(b"traceparent", TRACEPARENT.encode())], TRACEPARENT[3:35], TRACEPARENT[3:35]),
        ([(b"micro-trace-id", uuid.encode()), (b"micro-span-id", uuid.encode())], uuid, TRACEPARENT[3:35]),
    ):
        reply = await channel.unary(
            b"/near.Tracing/There", b"{}", [*headers, JSON_BESIDE], content_type=JSON, timeout=5
        )
        said = json.loads(reply.message)
        assert said["micro-trace-id"] == trace
        assert said["traceparent"] == f"00-{w3c}-{said['micro-span-id']}-01"
    await channel.close()


async def test_what_another_tracer_says_of_a_call_is_what_is_sent(tracing):
    said = await tracing.call("near", "Tracing.Here", None, dict, metadata={"Traceparent": TRACEPARENT})
    assert said["traceparent"] == TRACEPARENT
    assert len(said["micro-trace-id"]) == 32


async def test_a_callers_token_that_has_ended_is_not_passed_on(world, tokens):
    relay = Relay()
    await world.serve("relay", relay, guard=tokens)
    await world.serve("last", Last(), guard=tokens)
    relay.caller = world.caller("relay-account")
    tokens.expires = time.time() - 1
    assert (await world.caller("ann").call("relay", "Relay.Who", None, dict))["caller"] is None


async def test_calls_are_counted_and_leave_spans(world, server, caller):
    await caller.call("orders", "Orders.Nothing", None, type(None))
    with pytest.raises(Aborted):
        await caller.call("orders", "Orders.Fail", "aborted", type(None))
    assert (server.stats.requests, server.stats.errors) == (2, 1)
    inbound, outbound = server.stats.spans[0], caller.stats.spans[0]
    assert inbound.name == "orders.Orders.Nothing"
    assert (inbound.trace, inbound.parent) == (outbound.trace, outbound.id)
    assert server.stats.latency(0.5) > 0


async def test_interceptors_wrap_the_first_outermost(world, orders):
    seen = []

    def named(name):
        def wrap(one, call_next):
            async def run(request, context):
                seen.append((name, one.name))
                return await call_next(request, context)

            return run if not one.server_streaming else call_next

        return wrap

    await world.serve("orders", orders, interceptors=[named("outer"), named("inner")])
    await world.caller().call("orders", "Orders.Double", 1, int)
    assert seen == [("outer", "Orders.Double"), ("inner", "Orders.Double")]


async def test_a_core_services_errors_name_the_endpoint(world, orders):
    await world.serve("orders", orders, core=True)
    with pytest.raises(Aborted) as caught:
        await world.caller().call("orders", "Orders.Fail", "aborted", type(None))
    assert caught.value.id == "orders.Orders.Fail"


async def test_stopping_lets_calls_finish(world, server, caller):
    call = asyncio.ensure_future(caller.call("orders", "Orders.Sleep", 0.2, type(None)))
    await asyncio.sleep(0.05)
    await server.stop(grace=5)
    assert await call is None


async def test_a_watch_does_not_keep_a_server_from_stopping(world, server, caller):
    async with await caller.stream("orders", "Orders.Begins", pb.LogRequest, pb.Record) as stream:
        await stream.send(pb.LogRequest())
        await stream.started()
        begun = time.monotonic()
        await server.stop(grace=20)
        assert time.monotonic() - begun < 5
        with pytest.raises(Unavailable, match="the service is stopping"):
            await stream.receive()


async def test_a_stream_that_goes_on_is_let_finish(world, server, caller):
    stream = caller.serve_stream("orders", "Orders.CountSteadily", 30, int)
    assert await anext(stream) == 0
    stopping = asyncio.ensure_future(server.stop(grace=20))
    assert [item async for item in stream] == list(range(1, 30))
    await stopping


class Spawning:
    """Leaves a task behind that goes on calling."""

    def __init__(self):
        self.caller = None
        self.task = None

    async def begin(self) -> None:
        self.task = asyncio.create_task(self._later())

    async def _later(self):
        await asyncio.sleep(0.3)
        return await self.caller.call("orders", "Orders.Double", 3, int)


async def test_a_task_that_a_handler_leaves_behind_has_time(world, server):
    spawning = Spawning()
    await world.serve("spawning", spawning)
    caller = spawning.caller = world.caller()
    await caller.call("spawning", "Spawning.Begin", None, type(None), timeout=0.2)
    assert await spawning.task == 6
