"""The reference driver: subscribers in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from micro.broker.backlog import Backlog
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
        self._topics: dict[tuple[str, str], list[Backlog]] = {}
        self._closed = False

    async def close(self) -> None:
        self._closed = True
        for subscribers in self._topics.values():
            for subscriber in subscribers:
                subscriber.end()
        self._topics.clear()

    async def publish(self, namespace: str, topic: str, message: Message) -> None:
        self._check()
        queues: dict[str, Backlog] = {}
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
        subscriber = Backlog(self._settings.backlog, self._settings.backlog_bytes, queue=queue)
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
