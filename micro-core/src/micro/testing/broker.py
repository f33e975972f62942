"""What every broker does, shown through the portable class."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from micro import limits
from micro.broker.api import Broker
from micro.broker.driver import BrokerDriver, Message
from micro.errors import FailedPrecondition, InvalidArgument, ResourceExhausted
from micro.testing import hostile
from micro.testing.suite import Suite

PATIENCE = 10.0  # seconds a message may take on a loaded machine
FLOOD = 32  # messages to who does not read, of a quarter of limits.VALUE each: more than is kept on the way


async def received(messages: Any, count: int = 1) -> list[Any]:
    """Receive so many messages' payloads."""
    found = []
    async with asyncio.timeout(PATIENCE):
        async for message in messages:
            found.append(message.payload)
            if len(found) == count:
                break
    return found


class BrokerSuite(Suite):
    """A subclass gives the fixture `driver`. `namespaces` False: the driver's own account decides where topics are."""

    namespaces = True

    @pytest.fixture
    def broker(self, driver: BrokerDriver) -> Broker:
        """The portable class over the driver."""
        return Broker(driver)

    @pytest.fixture
    def topic(self) -> str:
        """A topic nobody else uses."""
        return f"topic-{uuid.uuid4().hex}"

    async def test_what_is_published_once_subscribed_is_seen(self, broker: Broker, topic: str) -> None:
        async with broker.subscribe(topic) as messages:
            await broker.publish(topic, b"\x00\xff")
            assert await received(messages) == [b"\x00\xff"]

    async def test_what_was_published_before_is_not_seen(self, broker: Broker, topic: str) -> None:
        await broker.publish(topic, "early")
        async with broker.subscribe(topic) as messages:
            await broker.publish(topic, "late")
            assert await received(messages) == [b"late"]

    async def test_nobody_listening_is_fine(self, broker: Broker, topic: str) -> None:
        await broker.publish(topic, "into the wind")

    async def test_everybody_without_a_queue_gets_every_message(self, broker: Broker, topic: str) -> None:
        async with broker.subscribe(topic) as one, broker.subscribe(topic) as two:
            for number in range(10):
                await broker.publish(topic, str(number))
            wanted = [str(number).encode() for number in range(10)]
            assert await received(one, 10) == wanted
            assert await received(two, 10) == wanted

    async def test_members_of_a_queue_share_its_messages(self, broker: Broker, topic: str) -> None:
        counts: Counter[bytes] = Counter()
        done = asyncio.Event()

        async def member(messages: Any) -> None:
            async for message in messages:
                counts[message.payload] += 1
                if len(counts) == 20:
                    done.set()

        async with broker.subscribe(topic, queue="q") as one, broker.subscribe(topic, queue="q") as two:
            tasks = [asyncio.create_task(member(one)), asyncio.create_task(member(two))]
            for number in range(20):
                await broker.publish(topic, str(number))
            async with asyncio.timeout(PATIENCE):
                await done.wait()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        assert set(counts.values()) == {1}

    async def test_two_queues_each_get_every_message(self, broker: Broker, topic: str) -> None:
        async with broker.subscribe(topic, queue="a") as one, broker.subscribe(topic, queue="b") as two:
            await broker.publish(topic, "x")
            assert await received(one) == [b"x"]
            assert await received(two) == [b"x"]

    async def test_a_queue_takes_nothing_from_those_without_one(self, broker: Broker, topic: str) -> None:
        async with broker.subscribe(topic, queue="q") as member, broker.subscribe(topic) as other:
            await broker.publish(topic, "x")
            assert await received(member) == [b"x"]
            assert await received(other) == [b"x"]

    async def test_empty_and_equal_messages_are_messages(self, broker: Broker, topic: str) -> None:
        async with broker.subscribe(topic) as messages:
            for body in (b"", b"", b"x", b"x"):
                await broker.publish(topic, body)
            assert await received(messages, 4) == [b"", b"", b"x", b"x"]

    async def test_topics_are_apart_however_they_look(self, broker: Broker, topic: str) -> None:
        async with broker.subscribe(topic) as messages:
            for other in (f"{topic}.x", f"{topic}.*", f"{topic}>", f"{topic}/", topic.upper(), "*", ">"):
                await broker.publish(other, "no")
            await broker.publish(topic, "yes")
            assert await received(messages) == [b"yes"]

    @pytest.mark.parametrize("pattern", ["{}.*", "{}.>", "{}*", "{}.?", "{}/#", "{}/+", "{}.[x]"])
    async def test_a_topic_listened_to_is_no_pattern(self, broker: Broker, topic: str, pattern: str) -> None:
        async with broker.subscribe(pattern.format(topic)) as messages:
            for other in (topic, f"{topic}.x", f"{topic}/x", f"{topic}x"):
                await broker.publish(other, "no")
            await broker.publish(pattern.format(topic), "yes")
            assert await received(messages) == [b"yes"]

    @pytest.mark.parametrize("name", ["*", ">", "a.*", "..", "a/b", "é", "e\u0301", " ", "$JS.x", "%2e", "x" * 255])
    async def test_an_awkward_topic_is_a_topic(self, broker: Broker, name: str) -> None:
        async with broker.subscribe(name) as messages:
            await broker.publish(name, "x")
            assert await received(messages) == [b"x"]

    async def test_values_travel_as_json_and_come_as_the_type_asked_for(self, broker: Broker, topic: str) -> None:
        async with broker.subscribe(topic, dict) as messages:
            await broker.publish(topic, {"n": 1}, headers={"X-Own": "été"})
            async with asyncio.timeout(PATIENCE):
                message = await anext(aiter(messages))
        assert message.payload == {"n": 1}
        assert message.headers["Content-Type"] == "application/json"
        assert message.headers["X-Own"] == "été"

    async def test_order_is_kept(self, broker: Broker, topic: str) -> None:
        async with broker.subscribe(topic) as messages:
            for number in range(200):
                await broker.publish(topic, str(number))
            assert await received(messages, 200) == [str(number).encode() for number in range(200)]

    async def test_a_hundred_at_once_all_arrive(self, broker: Broker, topic: str) -> None:
        async with broker.subscribe(topic) as messages:
            await asyncio.gather(*(broker.publish(topic, str(number)) for number in range(100)))
            assert sorted(await received(messages, 100)) == sorted(str(number).encode() for number in range(100))

    async def test_the_largest_message_passes_and_a_larger_one_is_refused(self, broker: Broker, topic: str) -> None:
        async with broker.subscribe(topic) as messages:
            await broker.publish(topic, b"x" * limits.VALUE)
            assert len((await received(messages))[0]) == limits.VALUE
        with pytest.raises(ResourceExhausted):
            await broker.publish(topic, b"x" * (limits.VALUE + 1))

    @pytest.mark.parametrize("name", ["", "x" * 256, "a\n", "\x00", "\ud800"])
    async def test_what_is_no_topic_is_refused(self, broker: Broker, name: str) -> None:
        with pytest.raises(InvalidArgument):
            await broker.publish(name, "x")
        with pytest.raises(InvalidArgument):
            broker.subscribe(name)

    async def test_who_left_gets_nothing_and_holds_nobody_back(self, broker: Broker, topic: str) -> None:
        async with broker.subscribe(topic) as gone:
            pass
        async with broker.subscribe(topic) as messages:
            await broker.publish(topic, "x")
            assert await received(messages) == [b"x"]
        assert gone is not None

    async def test_who_left_takes_nothing_from_its_queue_and_ends_nobody(self, broker: Broker, topic: str) -> None:
        async with broker.subscribe(topic, queue="q") as stays, broker.subscribe(topic) as other:
            async with broker.subscribe(topic, queue="q"):
                pass
            for number in range(4):
                await broker.publish(topic, str(number))
            assert await received(stays, 4) == [b"0", b"1", b"2", b"3"]
            assert await received(other, 4) == [b"0", b"1", b"2", b"3"]

    async def test_a_slow_subscriber_holds_nobody_up_and_is_told_what_it_lost(
        self, broker: Broker, driver: BrokerDriver, topic: str
    ) -> None:
        filler = b"." * (limits.VALUE // 4)
        seen: list[int] = []
        lost: list[int] = []

        async def end() -> None:
            while True:  # over again: the end may be what is lost
                await broker.publish(topic, b"end")
                await asyncio.sleep(0.05)

        async with broker.subscribe(topic) as messages:
            async with asyncio.timeout(PATIENCE):
                for number in range(FLOOD):
                    await broker.publish(topic, b"%03d" % number + filler)
            ending = asyncio.create_task(end())
            async with asyncio.timeout(PATIENCE):
                async for message in messages:
                    lost.append(message.lost)
                    if message.payload == b"end":
                        break
                    seen.append(int(message.payload[:3]))
            ending.cancel()
            await asyncio.gather(ending, return_exceptions=True)
        assert seen == sorted(set(seen))
        if "gaps" in driver.capabilities:
            assert -1 in lost or sum(lost) >= FLOOD - len(seen)

    @hostile.pairs
    async def test_hostile_names_are_apart(self, driver: BrokerDriver, pair: tuple[str, str]) -> None:
        heard: dict[hostile.Place, AsyncIterator[Any]] = {}
        async with AsyncExitStack() as stack:

            async def put(place: hostile.Place, _: bytes) -> None:
                heard[place] = await stack.enter_async_context(driver.subscribe(*place))

            found = await hostile.places(pair, put, only=not self.namespaces)
            for place, value in found.items():
                await driver.publish(*place, Message({}, value))
            for place, value in found.items():
                await driver.publish(*place, Message({}, b"end"))
                async with asyncio.timeout(PATIENCE):
                    assert [(await anext(heard[place])).body for _ in range(2)] == [value, b"end"]

    async def test_namespaces_are_apart(self, driver: BrokerDriver, topic: str) -> None:
        if not self.namespaces:
            pytest.xfail("the account decides: shown where two accounts call")
        one, two = Broker(driver, namespace="a"), Broker(driver, namespace="ab")
        async with two.subscribe(topic) as messages:
            await one.publish(topic, "no")
            await two.publish(topic, "yes")
            assert await received(messages) == [b"yes"]

    async def test_closing_twice_is_closing_once_and_then_it_is_refused(self, driver: BrokerDriver, topic: str) -> None:
        broker = Broker(driver)
        await broker.close()
        await broker.close()
        with pytest.raises(FailedPrecondition):
            await broker.publish(topic, "x")
