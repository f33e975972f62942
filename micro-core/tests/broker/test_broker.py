"""The embedded broker, the same through the wire, and what the service adds: tenants, headers, texts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from micro.broker.api import Broker
from micro.broker.driver import BrokerDriver, Gap
from micro.broker.memory import MemoryBroker, MemoryBrokerSettings
from micro.broker.remote import RemoteBroker
from micro.broker.service import BrokerHandler, _Served, title
from micro.context import Account
from micro.errors import InvalidArgument, Unauthenticated, Unavailable
from micro.proto import broker_pb2 as pb
from micro.rpc.nghttp2 import Nghttp2Transport
from micro.testing.broker import BrokerSuite, received
from micro.testing.served import PLATFORM, Served


class TestMemoryBroker(BrokerSuite):
    @pytest.fixture
    async def driver(self) -> AsyncIterator[BrokerDriver]:
        async with MemoryBroker() as driver:
            yield driver


@pytest.fixture
async def world() -> AsyncIterator[Served]:
    async with MemoryBroker() as driver, Served() as world:
        await world.serve("broker", [("Broker", BrokerHandler(_Served(driver, plugin="memory")))])
        yield world


class TestRemoteBroker(BrokerSuite):
    namespaces = False

    @pytest.fixture
    async def driver(self, world: Served) -> AsyncIterator[BrokerDriver]:
        driver = RemoteBroker(caller=world.caller(PLATFORM))
        yield driver
        await driver.close()


class TestRemoteBrokerOverHttp2(BrokerSuite):
    namespaces = False

    @pytest.fixture
    async def driver(self) -> AsyncIterator[BrokerDriver]:
        async with MemoryBroker() as served, Served(Nghttp2Transport()) as world:
            await world.serve("broker", [("Broker", BrokerHandler(_Served(served, plugin="memory")))])
            driver = RemoteBroker(caller=world.caller(PLATFORM))
            yield driver
            await driver.close()


async def test_topics_are_apart_by_the_accounts_issuer(world):
    shop = Broker(RemoteBroker(caller=world.caller(Account("ann", issuer="shop"))))
    other = Broker(RemoteBroker(caller=world.caller(Account("ann", issuer="shopping"))))
    async with shop.subscribe("t") as messages:
        await other.publish("t", "no")
        await shop.publish("t", "yes")
        assert await received(messages) == [b"yes"]


async def test_the_service_answers_in_the_originals_words(world):
    nobody, admin = world.caller(None), world.caller(PLATFORM)
    with pytest.raises(Unauthenticated, match="access denied to namespace"):
        await nobody.call("broker", "Broker.Publish", pb.PublishRequest(topic="t", message=pb.Message()), pb.Empty)
    with pytest.raises(InvalidArgument, match="Missing message"):
        await admin.call("broker", "Broker.Publish", pb.PublishRequest(topic="t"), pb.Empty)
    with pytest.raises(InvalidArgument, match="Missing topic"):
        async for _ in admin.serve_stream("broker", "Broker.Subscribe", pb.SubscribeRequest(), pb.Message):
            pass
    await admin.call("broker", "Broker.Publish", pb.PublishRequest(message=pb.Message()), pb.Empty)


async def test_a_message_takes_over_micro_headers_and_never_a_credential(world):
    admin = world.caller(PLATFORM)
    broker = Broker(RemoteBroker(caller=admin))
    async with broker.subscribe("t") as messages:
        request = pb.PublishRequest(topic="t", message=pb.Message(body=b"x", header={"Own": "1"}))
        metadata = {"micro-topic": "t", "cookie": "c", "x-other": "o"}
        await admin.call("broker", "Broker.Publish", request, pb.Empty, metadata=metadata)
        message = await anext(aiter(messages))
    assert message.headers["Micro-Topic"] == "t"
    assert message.headers["Own"] == "1"
    assert not {"Authorization", "Cookie", "User-Agent", "Remote", "X-Other", "Micro-On-Behalf-Of"} & set(
        message.headers
    )


async def test_a_slow_subscriber_loses_the_oldest_and_is_told_how_many():
    async with MemoryBroker(MemoryBrokerSettings(backlog=3)) as driver:
        broker = Broker(driver)
        async with driver.subscribe("micro", "t") as messages:
            for number in range(10):
                await broker.publish("t", str(number))
            first = await anext(messages)
            assert isinstance(first, Gap)
            assert first.lost == 7
            assert [(await anext(messages)).body for _ in range(3)] == [b"7", b"8", b"9"]
        async with broker.subscribe("t") as slow:
            for number in range(10):
                await broker.publish("t", str(number))
            message = await anext(aiter(slow))
            assert (message.payload, message.lost) == (b"7", 7)


def test_header_names_are_title_case_as_the_original_has_them():
    assert title("content-type") == "Content-Type"
    assert title("micro-trace-id") == "Micro-Trace-Id"
    assert title("x_y-z") == "X_y-Z"


async def heard(messages, broker, topic):
    """Publish until a message comes, as one does who does not know when the other is back; gives what came."""

    async def publish():
        while True:
            with suppress(Unavailable):
                await broker.publish(topic, "again")
            await asyncio.sleep(0.02)

    publishing = asyncio.create_task(publish())
    try:
        async with asyncio.timeout(20):
            return await anext(messages)
    finally:
        publishing.cancel()


@pytest.mark.parametrize("manner", ["cut", "stopped", "ended"])
@pytest.mark.parametrize("queue", ["", "q"])
async def test_a_lost_subscription_is_made_again_and_what_was_missed_is_told(manner, queue):
    async with MemoryBroker() as first, MemoryBroker() as second, Served(Nghttp2Transport()) as world:
        server = await world.serve("broker", [("Broker", BrokerHandler(_Served(first, plugin="memory")))])
        broker = Broker(RemoteBroker(caller=world.caller(PLATFORM)))
        async with broker.subscribe("t", queue=queue) as subscription:
            messages = aiter(subscription)
            await broker.publish("t", "before")
            message = await anext(messages)
            assert (message.payload, message.lost) == (b"before", 0)
            if manner == "ended":
                await first.close()
            await world.serve("broker", [("Broker", BrokerHandler(_Served(second, plugin="memory")))])
            await server.stop(grace=0 if manner == "cut" else 5)
            message = await heard(messages, broker, "t")
            assert (message.payload, message.lost) == (b"again", -1)
            await broker.publish("t", "after")
            while (message := await anext(messages)).payload == b"again":
                assert message.lost == 0
            assert (message.payload, message.lost) == (b"after", 0)
            await messages.aclose()


async def test_who_is_cut_takes_nothing_from_its_queue(world):
    broker = Broker(RemoteBroker(caller=world.caller(PLATFORM)))
    async with broker.subscribe("t", queue="q") as stays:
        for _ in range(20):
            stream = await world.caller(PLATFORM).stream("broker", "Broker.Subscribe", pb.SubscribeRequest, pb.Message)
            await stream.send(pb.SubscribeRequest(topic="t", queue="q"))
            await stream.started()
            stream.cancel()
        message = await heard(aiter(stays), broker, "t")
        assert (message.payload, message.lost) == (b"again", 0)


async def test_a_subscriber_that_reads_nothing_costs_the_service_no_more_than_its_backlog():
    settings = MemoryBrokerSettings(backlog_bytes=256 * 1024)
    async with MemoryBroker(settings) as driver, Served(Nghttp2Transport()) as world:
        await world.serve("broker", [("Broker", BrokerHandler(_Served(driver, plugin="memory")))])
        broker = Broker(RemoteBroker(caller=world.caller(PLATFORM)))
        stream = await world.caller(PLATFORM).stream("broker", "Broker.Subscribe", pb.SubscribeRequest, pb.Message)
        async with stream:
            await stream.send(pb.SubscribeRequest(topic="t", gaps=True))
            await stream.started()
            for _ in range(200):
                await broker.publish("t", b"x" * 64 * 1024)
            (subscriber,) = driver._topics["micro", "t"]
            assert subscriber._bytes <= 256 * 1024 + 64 * 1024
            came = lost = 0
            async with asyncio.timeout(20):
                while came + lost < 200:
                    message = await stream.receive()
                    came, lost = (came, lost + message.lost) if message.HasField("lost") else (came + 1, lost)
            assert came + lost == 200
            assert lost > 100
