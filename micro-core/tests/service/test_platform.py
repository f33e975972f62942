"""Services as their authors test them: the whole library over building blocks in memory."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from micro import Client, Context, Service, auth, blobs, broker, config, current, endpoint, events, store, testing
from micro.errors import DataLoss, Internal, InvalidArgument, NotFound, PermissionDenied, ResourceExhausted, Unavailable


@dataclass
class Order:
    id: str
    customer: str = ""
    total: float = 0.0


class Orders:
    """Takes orders."""

    @endpoint(idempotent=True)
    async def place(self, order: Order) -> Order:
        """Take one order."""
        if order.total < 0:
            raise InvalidArgument("total is negative")
        await store.write(f"order/{order.id}", order, ttl=30)
        await events.publish("orders", order, key=order.customer)
        return order

    async def watch(self, customer: str) -> AsyncIterator[Order]:
        async for delivery in events.consume("orders", Order, start=events.Start.OLDEST):
            if delivery.payload.customer == customer:
                yield delivery.payload

    async def total(self, orders: AsyncIterator[Order]) -> float:
        return sum([order.total async for order in orders])

    async def chat(self, orders: AsyncIterator[Order]) -> AsyncIterator[str]:
        async for order in orders:
            yield order.id * 2

    async def who(self, context: Context) -> str:
        assert current() is context
        return context.account.id if context.account else "nobody"

    @auth.require("admin")
    async def clear(self) -> int:
        keys = await store.list("order/")
        for key in keys:
            await store.delete(key)
        return len(keys)

    async def motd(self) -> str:
        return await config.get("motd", str, "hello")

    async def broken(self) -> None:
        raise RuntimeError("a secret")


async def test_a_service_keeps_records_and_publishes(micro):
    async with micro.service(Orders()) as orders:
        assert await orders.place(Order("1", "ann", 9.5)) == Order("1", "ann", 9.5)
        assert (await micro.store.get("order/1", Order)).customer == "ann"
        assert [order.id for order in await micro.published("orders", Order)] == ["1"]


async def test_time_passes_when_the_test_says_so(micro):
    async with micro.service(Orders()) as orders:
        await orders.place(Order("1", "ann"))
        await micro.clock.advance(60)
        with pytest.raises(NotFound):
            await micro.store.read("order/1")


async def test_errors_are_the_ones_that_were_raised(micro):
    async with micro.service(Orders()) as orders:
        with pytest.raises(InvalidArgument, match="total is negative"):
            await orders.place(Order("1", total=-1))
        with pytest.raises(Internal) as caught:
            await orders.broken()
        assert "secret" not in str(caught.value)


async def test_a_building_block_can_be_made_to_fail(micro):
    async with micro.service(Orders()) as orders:
        micro.fail("store.write", ResourceExhausted)
        with pytest.raises(ResourceExhausted, match=r"store\.write: made to fail"):
            await orders.place(Order("1"))
        await orders.place(Order("1"))


async def test_what_streams_can_be_made_to_fail(micro):
    async with micro.service(Orders()) as orders:
        await orders.place(Order("1"))
        micro.fail("blobs.read", DataLoss)
        await micro.blobs.write("a", b"1")
        with pytest.raises(DataLoss, match=r"blobs\.read: made to fail"):
            await micro.blobs.read("a")
        micro.fail("config.watch", PermissionDenied)
        with pytest.raises(PermissionDenied, match=r"config\.watch: made to fail"):
            await anext(micro.config.watch("motd"))


async def test_what_was_made_to_fail_and_never_called_is_told():
    platform = testing.MemoryPlatform()
    async with platform.service(Orders()) as orders:
        platform.fail("store.wirte", Unavailable)
        await orders.place(Order("1"))
    with pytest.raises(AssertionError, match=r"never called: store\.wirte; was: events\.publish, .*store\.write"):
        platform.met()


async def test_all_that_a_service_uses_the_test_sees(micro):
    async with micro.service(Orders()):
        assert "orders" not in [record.name for record in await micro.registry.services()]  # the test calls it directly
        async with micro.broker.subscribe("lobby", Order) as messages:
            await micro.broker.publish("lobby", Order("1"))
            assert (await anext(aiter(messages))).payload == Order("1")


async def test_what_may_be_repeated_is_repeated(micro):
    async with micro.service(Orders()) as orders:
        micro.fail("store.write", Unavailable, times=2)
        await orders.place(Order("1"))
        micro.fail("store.write", Unavailable, times=1)
        with pytest.raises(Unavailable):
            await orders.place(Order("1"), retries=0)


async def test_one_calls_as_somebody(micro):
    async with micro.service(Orders()) as orders:
        await orders.place(Order("1"))
        with micro.account("ann", scopes=["admin"]):
            assert await orders.who() == "ann"
            assert await orders.clear() == 1
        with micro.account("bob"), pytest.raises(PermissionDenied):
            await orders.clear()


async def test_streams_go_both_ways(micro):
    async with micro.service(Orders()) as orders:
        await orders.place(Order("1", "ann"))
        async for order in orders.watch("ann"):
            assert order == Order("1", "ann")
            break

        async def some():
            yield Order("1", total=1)
            yield Order("2", total=2)

        assert await orders.total(some()) == 3.0
        assert [answer async for answer in orders.chat(some())] == ["11", "22"]


async def test_a_conversation_is_entered(micro):
    async with micro.service(Orders()), Client("orders").stream("Orders.Chat", response=str) as chat:
        for id in ("a", "b"):
            await chat.send(Order(id))
            assert await chat.receive() == id * 2
        chat.end()
        assert [line async for line in chat] == []


async def test_a_client_speaks_dicts_and_types(micro):
    async with micro.service(Orders()):
        client = Client("orders")
        assert await client.call("Orders.Place", {"id": "7"}) == {"id": "7", "customer": "", "total": 0.0}
        assert await client.call("Orders.Place", Order("7"), Order) == Order("7")
        assert await client.call("Orders.Motd", None, str) == "hello"
        await micro.config.set("motd", "good day")
        assert await client.call("Orders.Motd", response=str) == "good day"


async def test_what_an_iterable_raises_reaches_who_gave_it(micro):
    async with micro.service(Orders()):

        async def failing():
            yield Order("1")
            raise LookupError("mine")

        with pytest.raises(LookupError, match="mine"):
            _ = [line async for line in Client("orders").stream("Orders.Chat", failing(), str)]


async def test_events_and_messages_call_functions(micro):
    service = Service("listener")
    seen = asyncio.Queue()
    failed = asyncio.Event()

    @service.endpoint
    async def ping() -> str:
        return "pong"

    @service.consumer("orders")
    async def taken(order: Order) -> None:
        if not failed.is_set():
            failed.set()
            raise RuntimeError("not yet")
        seen.put_nowait(("event", order.id))

    @service.subscriber("lobby")
    def heard(message: str) -> None:
        seen.put_nowait(("message", message))

    async with micro.service(service) as listener:
        assert await listener.call("Listener.Ping", None, str) == "pong"
        await events.publish("orders", Order("1"))
        assert await asyncio.wait_for(seen.get(), 5) == ("event", "1")
        await broker.publish("lobby", "hello")
        assert await asyncio.wait_for(seen.get(), 5) == ("message", "hello")


async def test_a_service_starts_and_stops_in_order(micro):
    service = Service("orders", handlers=[Orders()])
    told = []

    @service.on_start
    async def begin() -> None:
        await store.write("begun", "yes")
        told.append("start")

    @service.on_stop
    def end() -> None:
        told.append("stop")

    async with micro.service(service):
        assert await micro.store.get("begun", str) == "yes"
    assert told == ["start", "stop"]


async def test_a_handler_is_served_without_the_fixture():
    async with testing.service(Orders()) as orders:
        assert await orders.place(Order("1")) == Order("1")


async def test_files_are_kept(micro):
    class Files:
        async def keep(self, text: str) -> int:
            await blobs.write("a.txt", text.encode())
            return len(await blobs.read("a.txt"))

    async with micro.service(Files()) as files:
        assert await files.keep("hello") == 5
