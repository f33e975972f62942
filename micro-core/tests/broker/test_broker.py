"""The embedded broker, the same through the wire, and what the service adds: tenants, headers, texts."""

from collections.abc import AsyncIterator

import pytest

from micro.broker.api import Broker
from micro.broker.driver import BrokerDriver, Gap
from micro.broker.memory import MemoryBroker, MemoryBrokerSettings
from micro.broker.remote import RemoteBroker
from micro.broker.service import BrokerHandler, _Served, title
from micro.context import Account
from micro.errors import InvalidArgument, Unauthenticated
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
