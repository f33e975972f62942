"""Brokers that are each wrong in one way: the suite must tell every one of them. Run by test_suite_bites.py."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from fnmatch import fnmatchcase

import pytest
from msgspec.structs import replace

from micro.broker.driver import BrokerDriver, Gap, Message
from micro.broker.memory import MemoryBroker
from micro.testing.bites import suites
from micro.testing.broker import BrokerSuite

Subscribed = AbstractAsyncContextManager[AsyncIterator[Message | Gap]]


class QueueIsEverybody(MemoryBroker, interface=1):
    """A queue's message goes to all its members."""

    def subscribe(self, namespace: str, topic: str, *, queue: str = "") -> Subscribed:
        return super().subscribe(namespace, topic)


class QueuesAreOne(MemoryBroker, interface=1):
    """A message goes to one of all the queues."""

    def subscribe(self, namespace: str, topic: str, *, queue: str = "") -> Subscribed:
        return super().subscribe(namespace, topic, queue="one" if queue else "")


class QueuesHideTheOthers(MemoryBroker, interface=1):
    """Where a queue listens, nobody else hears."""

    async def publish(self, namespace: str, topic: str, message: Message) -> None:
        listening = self._topics.get((namespace, topic), [])
        queued = [subscriber for subscriber in listening if subscriber.queue]
        if queued:
            self._topics[namespace, topic] = queued
        await super().publish(namespace, topic, message)
        if queued:
            self._topics[namespace, topic] = listening


class HeadersDropped(MemoryBroker, interface=1):
    async def publish(self, namespace: str, topic: str, message: Message) -> None:
        await super().publish(namespace, topic, replace(message, headers={}))


class HeadersLowerCased(MemoryBroker, interface=1):
    async def publish(self, namespace: str, topic: str, message: Message) -> None:
        headers = {name.lower(): text for name, text in message.headers.items()}
        await super().publish(namespace, topic, replace(message, headers=headers))


class BodyIsText(MemoryBroker, interface=1):
    async def publish(self, namespace: str, topic: str, message: Message) -> None:
        body = message.body.decode(errors="replace").encode()
        await super().publish(namespace, topic, replace(message, body=body))


class EmptyIsNothing(MemoryBroker, interface=1):
    async def publish(self, namespace: str, topic: str, message: Message) -> None:
        if message.body:
            await super().publish(namespace, topic, message)


class EqualIsTheSame(MemoryBroker, interface=1):
    """Takes a message that is published again for one that it has carried."""

    async def publish(self, namespace: str, topic: str, message: Message) -> None:
        seen = vars(self).setdefault("seen", set())
        if (namespace, topic, message.body) not in seen:
            seen.add((namespace, topic, message.body))
            await super().publish(namespace, topic, message)


class LargeIsCut(MemoryBroker, interface=1):
    async def publish(self, namespace: str, topic: str, message: Message) -> None:
        await super().publish(namespace, topic, replace(message, body=message.body[:65_536]))


class NewestFirst(MemoryBroker, interface=1):
    async def publish(self, namespace: str, topic: str, message: Message) -> None:
        await super().publish(namespace, topic, message)
        for subscriber in self._topics.get((namespace, topic), ()):
            subscriber._waiting.rotate(1)


class LastIsKept(MemoryBroker, interface=1):
    """Who comes is given what was published last."""

    async def publish(self, namespace: str, topic: str, message: Message) -> None:
        vars(self).setdefault("kept", {})[namespace, topic] = message
        await super().publish(namespace, topic, message)

    @asynccontextmanager
    async def subscribe(self, namespace: str, topic: str, *, queue: str = "") -> AsyncIterator[AsyncIterator]:
        async with super().subscribe(namespace, topic, queue=queue) as messages:
            kept = vars(self).get("kept", {}).get((namespace, topic))
            if kept is not None:
                self._topics[namespace, topic][-1].push(kept)
            yield messages


class BeginsWithTheTopic(MemoryBroker, interface=1):
    async def publish(self, namespace: str, topic: str, message: Message) -> None:
        self._check()
        for _, listened in [where for where in self._topics if where[0] == namespace]:
            if topic.startswith(listened):
                await super().publish(namespace, listened, message)


class TopicsAreCaseless(MemoryBroker, interface=1):
    async def publish(self, namespace: str, topic: str, message: Message) -> None:
        await super().publish(namespace, topic.lower(), message)

    def subscribe(self, namespace: str, topic: str, *, queue: str = "") -> Subscribed:
        return super().subscribe(namespace, topic.lower(), queue=queue)


class SubscribedIsAPattern(MemoryBroker, interface=1):
    """Who listens to `a.*` hears `a.x`."""

    async def publish(self, namespace: str, topic: str, message: Message) -> None:
        self._check()
        for _, listened in [where for where in self._topics if where[0] == namespace]:
            if listened == topic or fnmatchcase(topic, listened):
                await super().publish(namespace, listened, message)


class PublishedIsAPattern(MemoryBroker, interface=1):
    async def publish(self, namespace: str, topic: str, message: Message) -> None:
        self._check()
        for _, listened in [where for where in self._topics if where[0] == namespace]:
            if listened == topic or fnmatchcase(listened, topic):
                await super().publish(namespace, listened, message)


class NamespacesMixed(MemoryBroker, interface=1):
    async def publish(self, namespace: str, topic: str, message: Message) -> None:
        await super().publish("", topic, message)

    def subscribe(self, namespace: str, topic: str, *, queue: str = "") -> Subscribed:
        return super().subscribe("", topic, queue=queue)


class WhoLeftIsStillServed(MemoryBroker, interface=1):
    """Leaving takes nobody off the list, so a queue goes on giving to who is gone."""

    @asynccontextmanager
    async def subscribe(self, namespace: str, topic: str, *, queue: str = "") -> AsyncIterator[AsyncIterator]:
        async with super().subscribe(namespace, topic, queue=queue) as messages:
            mine = self._topics[namespace, topic][-1]
            yield messages
            self._topics[namespace, topic].append(mine)


class FirstToLeaveEndsAll(MemoryBroker, interface=1):
    @asynccontextmanager
    async def subscribe(self, namespace: str, topic: str, *, queue: str = "") -> AsyncIterator[AsyncIterator]:
        async with super().subscribe(namespace, topic, queue=queue) as messages:
            yield messages
            for subscriber in self._topics[namespace, topic]:
                subscriber.end()


class SlowHoldsAllUp(MemoryBroker, interface=1):
    """A publisher waits for who does not read."""

    async def publish(self, namespace: str, topic: str, message: Message) -> None:
        while any(subscriber._bytes > 2_000_000 for subscriber in self._topics.get((namespace, topic), ())):
            await asyncio.sleep(0.01)
        await super().publish(namespace, topic, message)


class LossIsSilent(MemoryBroker, interface=1):
    @asynccontextmanager
    async def subscribe(self, namespace: str, topic: str, *, queue: str = "") -> AsyncIterator[AsyncIterator]:
        async with super().subscribe(namespace, topic, queue=queue) as messages:
            yield (item async for item in messages if not isinstance(item, Gap))


class LossIsMiscounted(MemoryBroker, interface=1):
    """Tells of one message, however many were lost."""

    @asynccontextmanager
    async def subscribe(self, namespace: str, topic: str, *, queue: str = "") -> AsyncIterator[AsyncIterator]:
        async with super().subscribe(namespace, topic, queue=queue) as messages:
            yield (Gap(1) if isinstance(item, Gap) else item async for item in messages)


class StaysOpen(MemoryBroker, interface=1):
    async def close(self) -> None:
        pass


class Mutant(BrokerSuite):
    made = MemoryBroker
    hurried = True

    @pytest.fixture
    async def driver(self) -> AsyncIterator[BrokerDriver]:
        async with self.made() as driver:
            yield driver


globals().update(suites(Mutant, MemoryBroker))
