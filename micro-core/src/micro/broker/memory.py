"""The reference driver: subscribers in this process."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from micro.broker.driver import BrokerDriver, Gap, Message
from micro.errors import FailedPrecondition
from micro.plugin.settings import Count, Settings, Size, setting


class MemoryBrokerSettings(Settings):
    """How far behind a subscriber may be."""

    backlog: Count = setting(Count(10_000), "messages kept for a slow subscriber; beyond, the oldest are lost")
    backlog_bytes: Size = setting(4 * 1024 * 1024, "bytes kept for a slow subscriber")


class MemoryBroker(BrokerDriver, interface=1):
    """A list of subscribers for each topic."""

    settings_type = MemoryBrokerSettings
    capabilities = frozenset({"queues", "gaps"})

    def __init__(self, settings: MemoryBrokerSettings | None = None) -> None:
        self._settings = settings or MemoryBrokerSettings()
        self._topics: dict[tuple[str, str], list[_Subscriber]] = {}
        self._closed = False

    async def close(self) -> None:
        self._closed = True
        for subscribers in self._topics.values():
            for subscriber in subscribers:
                subscriber.end()
        self._topics.clear()

    async def publish(self, namespace: str, topic: str, message: Message) -> None:
        self._check()
        queues: dict[str, _Subscriber] = {}
        for subscriber in self._topics.get((namespace, topic), ()):
            if not subscriber.queue:
                subscriber.push(message)
            elif (best := queues.get(subscriber.queue)) is None or subscriber.before(best):
                queues[subscriber.queue] = subscriber
        for subscriber in queues.values():
            subscriber.push(message)

    @asynccontextmanager
    async def subscribe(
        self, namespace: str, topic: str, *, queue: str = ""
    ) -> AsyncIterator[AsyncIterator[Message | Gap]]:
        self._check()
        subscriber = _Subscriber(queue, self._settings)
        subscribers = self._topics.setdefault((namespace, topic), [])
        subscribers.append(subscriber)
        try:
            yield subscriber.messages()
        finally:
            subscribers.remove(subscriber)
            if not subscribers:
                self._topics.pop((namespace, topic), None)

    def _check(self) -> None:
        if self._closed:
            raise FailedPrecondition("the broker is closed")


class _Subscriber:
    def __init__(self, queue: str, settings: MemoryBrokerSettings) -> None:
        self.queue = queue
        self._settings = settings
        self._waiting: deque[Message] = deque()
        self._bytes = 0
        self._lost = 0
        self._served = 0
        self._ended = False
        self._wake = asyncio.Event()

    def before(self, other: _Subscriber) -> bool:
        """Whether this member of a queue should have the next message: the least behind, then the least served."""
        return (len(self._waiting), self._served) < (len(other._waiting), other._served)

    def push(self, message: Message) -> None:
        self._served += 1
        self._waiting.append(message)
        self._bytes += len(message.body)
        while len(self._waiting) > self._settings.backlog or (
            self._bytes > self._settings.backlog_bytes and len(self._waiting) > 1
        ):
            self._bytes -= len(self._waiting.popleft().body)
            self._lost += 1
        self._wake.set()

    def end(self) -> None:
        self._ended = True
        self._wake.set()

    async def messages(self) -> AsyncIterator[Message | Gap]:
        while not self._ended:
            if self._lost:
                lost, self._lost = self._lost, 0
                yield Gap(lost)
            while self._waiting and not self._lost:
                message = self._waiting.popleft()
                self._bytes -= len(message.body)
                yield message
            if not self._waiting and not self._lost:
                self._wake.clear()
                await self._wake.wait()
