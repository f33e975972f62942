"""A user's code over every face, as checkers read it: test_types.py has them check it, nobody runs it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, assert_type

import pytest

import micro
from micro import (
    Account,
    Client,
    Context,
    Service,
    auth,
    blobs,
    blocking,
    broker,
    config,
    endpoint,
    events,
    network,
    registry,
    runtime,
    store,
)
from micro.auth import Rule
from micro.blobs import Blob
from micro.broker import Received
from micro.errors import InvalidArgument, ServiceError, Unavailable
from micro.events import Delivered, Receipt, Start
from micro.store import Record
from micro.testing import MemoryPlatform


@dataclass
class Order:
    """What is ordered."""

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
        return order

    def total(self, order: Order, context: Context) -> float:
        """Run on a thread."""
        assert_type(context.account, Account | None)
        return order.total

    @auth.require("admin")
    async def forget(self, customer: str) -> None:
        """Forget a customer."""

    async def watch(self, customer: str) -> AsyncIterator[Order]:
        """Stream a customer's orders."""
        yield Order("1", customer)


service = Service("orders", handlers=[Orders()], version="v1", metadata={"team": "shop"})


@service.endpoint
async def ping(name: str) -> str:
    return name


@service.consumer("orders", group="shipping")
async def ship(order: Order) -> None:
    assert_type(order.id, str)


@service.subscriber("lobby", queue="one")
async def hear(words: str) -> None:
    assert_type(words, str)


@service.on_start
async def begin() -> None:
    pass


@service.on_stop
def end() -> None:
    pass


async def stored() -> None:
    assert_type(await store.write("a", Order("1"), ttl=timedelta(hours=1), metadata={"n": 1}, if_version=0), int)
    record = await store.read("a")
    assert_type(record, Record)
    assert_type(record.decode(Order), Order)
    assert_type(await store.get("a", Order), Order)
    assert_type(await store.get("a", Order, None), Order | None)
    assert_type(await store.list("a", limit=3, order="desc"), list[str])
    async for each in store.scan("a", values=False):
        assert_type(each, Record)
    await store.update("a", lambda order: order or Order("2"), Order)
    async with store.batch() as batch:
        batch.write("b", b"1")
        batch.delete("a")
    async for event in store.watch("a"):
        assert_type(event.version, int)
    other = store.table("shared")
    assert_type(await other.get("a", int), int)
    people = store.collection(Order, indexes=["customer"])
    assert_type(await people.find(customer="ann"), list[Order])
    assert_type(await people.get("1"), Order)
    await people.save(Order("1"))


async def kept() -> None:
    assert_type(await blobs.write("a", Path("a.bin"), content_type="image/png", public=True), Blob)
    assert_type(await blobs.read("a", start=1), bytes)
    async with blobs.open("a") as chunks:
        async for chunk in chunks:
            assert_type(chunk, bytes)
    assert_type(await blobs.list("a"), list[Blob])
    assert_type(await blobs.download("a", "a.bin"), Blob)
    assert_type(await blobs.url("a", expires=60), str)


async def configured() -> None:
    assert_type(await config.get("shop.limit", int), int)
    assert_type(await config.get("shop.limit", int, None), int | None)
    assert_type(await config.set("shop", Order("1"), if_version=0), int)
    async for limit in config.watch("shop.limit", int):
        assert_type(limit, int | None)
    for entry in await config.history("shop"):
        assert_type(entry.version, int)
    assert_type(await config.rollback("shop", 3), int)


async def delivered() -> None:
    assert_type(await events.publish("orders", Order("1"), key="ann"), Receipt)
    assert_type(await events.publish_many("orders", [Order("1"), b"raw"]), list[Receipt])
    async with events.consume("orders", Order, group="g", start=Start.OLDEST, keyed=True) as deliveries:
        async for delivery in deliveries:
            assert_type(delivery, Delivered[Order])
            assert_type(delivery.payload, Order)
            assert_type(await delivery.ack(), bool)
    async for raw in events.consume("orders"):
        assert_type(raw.payload, bytes)
    for old in await events.read("orders", Order, since=datetime.now(UTC), descending=True):
        assert_type(old.payload, Order)
    await events.seek("orders", "g", Start(sequence=17))
    await events.replay("orders.dlq", ["id"])


async def heard() -> None:
    await broker.publish("lobby", Order("1"), headers={"Kind": "order"})
    async with broker.subscribe("lobby", Order, queue="q") as messages:
        async for message in messages:
            assert_type(message, Received[Order])
            assert_type(message.payload, Order)
    async for raw in broker.subscribe("lobby"):
        assert_type(raw.payload, bytes)


async def known() -> None:
    assert_type(auth.current(), Account | None)
    await auth.verify(auth.current(), "orders")
    token = await auth.login("ann", "secret", ttl=timedelta(minutes=5))
    assert_type(token.access_token, str)
    made = await auth.accounts.create("bob", scopes=["admin"])
    assert_type(made.secret, str)
    await auth.rules.create(Rule("r"))
    assert_type(await auth.rules.list(), list[Rule])


async def around() -> None:
    for record in await registry.services():
        assert_type(record.name, str)
    async for event in registry.watch("orders"):
        assert_type(event.version, int)
    for route in await network.routes("orders"):
        assert_type(route.address, str)
    status = await runtime.run("./orders", name="orders")
    assert_type(status.error, str)
    async for line in runtime.logs("orders", follow=True):
        assert_type(line.message, str)
    await runtime.kill("orders")


async def called() -> None:
    async with Client("orders") as orders:
        assert_type(await orders.call("Orders.Place", Order("1"), Order, timeout=2.5), Order)
        async for order in orders.stream("Orders.Watch", "ann", Order):
            assert_type(order, Order)
        typed = orders.of(Orders)
        assert_type(await typed.place(Order("1")), Order)
    with micro.connect("127.0.0.1:8081", id="ann", secret="secret"):
        try:
            await store.read("a")
        except Unavailable as err:
            assert_type(err.detail, str)
        except ServiceError as err:
            assert_type(err.code, int)


def waited() -> None:
    """Call the blocking twins: the same, and nothing to await."""
    assert_type(blocking.store.write("a", Order("1")), int)
    assert_type(blocking.store.get("a", Order), Order)
    assert_type(blocking.store.list(), list[str])
    for record in blocking.store.scan("a"):
        assert_type(record, Record)
    with blocking.store.batch() as batch:
        batch.write("b", b"1")
    assert_type(blocking.store.table("other").get("a", int), int)
    people = blocking.store.collection(Order)
    assert_type(people.find(customer="ann"), list[Order])
    with blocking.events.consume("orders", Order, group="g") as deliveries:
        for delivery in deliveries:
            assert_type(delivery.payload, Order)
            assert_type(delivery.ack(), bool)
    assert_type(blocking.events.publish("orders", Order("1")), Receipt)
    with blocking.broker.subscribe("lobby", Order) as messages:
        for message in messages:
            assert_type(message.payload, Order)
    with blocking.blobs.open("a") as chunks:
        for chunk in chunks:
            assert_type(chunk, bytes)
    assert_type(blocking.config.get("a", int), int)
    for value in blocking.config.watch("a", int):
        assert_type(value, int | None)
    assert_type(blocking.auth.accounts.create("bob").secret, str)
    assert_type(blocking.auth.rules.list(), list[Rule])
    for service_ in blocking.registry.services():
        assert_type(service_.name, str)
    for line in blocking.runtime.logs("orders", follow=True):
        assert_type(line.message, str)
    for route in blocking.network.routes():
        assert_type(route.address, str)


@pytest.mark.asyncio
async def test_place(micro: MemoryPlatform) -> None:
    micro.fail("store.write", Unavailable, times=2)
    async with micro.service(Orders()) as orders:
        with micro.account("ann", scopes=["admin"]):
            await orders.place(Order("1", "ann"))
        assert_type(await micro.store.get("order/1", Order), Order)
        published: list[Any] = await micro.published("orders", Order)
        assert len(published) == 1
        await micro.clock.advance(60)


if __name__ == "__main__":
    service.run()
