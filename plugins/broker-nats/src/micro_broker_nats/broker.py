"""The driver: a topic is one token of a subject, a queue is a queue group."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from micro.broker.backlog import Backlog
from micro.broker.driver import BrokerDriver, Gap, Message
from micro.errors import FailedPrecondition
from micro_broker_nats.settings import NatsSettings

if TYPE_CHECKING:
    from micro_broker_nats.connection import Connection

HEADER = "Micro-Headers"  # all of ours, as JSON: the client trims values, and refuses names that are ours
PREFIX = "micro.b"


class NatsBroker(BrokerDriver, interface=1):
    """Messages through NATS, at most once.

    A publish returns when the server has the message. What was published while a subscriber's connection was lost is told it as
    a gap of unknown size.
    """

    settings_type = NatsSettings
    imports = ("micro_broker_nats.connection",)
    capabilities = frozenset({"queues", "gaps"})

    def __init__(self, settings: NatsSettings | None = None) -> None:
        self._settings = settings or NatsSettings()
        self._connection: Connection | None = None
        self._subscribers: set[Backlog] = set()

    async def open(self) -> None:
        from micro_broker_nats.connection import Connection

        self._connection = connection = Connection(self._settings, "broker", self._lost)
        await connection.open()

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        for subscriber in self._subscribers:
            subscriber.end()
        if connection is not None:
            await connection.close()

    def error_code(self, exc: Exception) -> int:
        from micro_broker_nats.connection import code_of

        return code_of(exc)

    async def publish(self, namespace: str, topic: str, message: Message) -> None:
        connection = self._opened()
        headers = {HEADER: json.dumps(dict(message.headers))} if message.headers else None
        await connection.client.publish(_subject(namespace, topic), message.body, headers=headers)
        await connection.confirm()

    @asynccontextmanager
    async def subscribe(
        self, namespace: str, topic: str, *, queue: str = ""
    ) -> AsyncIterator[AsyncIterator[Message | Gap]]:
        from micro_broker_nats.connection import token

        connection = self._opened()
        waiting = Backlog(self._settings.backlog, self._settings.backlog_bytes, queue=queue)

        async def take(message: Any) -> None:
            waiting.push(_message(message))

        subscription = await connection.client.subscribe(_subject(namespace, topic), token(queue), cb=take)
        self._subscribers.add(waiting)
        try:
            await connection.confirm()
            yield waiting.messages()
        finally:
            self._subscribers.discard(waiting)
            with suppress(Exception):  # away or closed: then the server has forgotten it, too
                await subscription.unsubscribe()
                await connection.confirm()  # who has left takes nothing more from its queue

    def _opened(self) -> Connection:
        if self._connection is None:
            raise FailedPrecondition("the broker is closed")
        return self._connection

    def _lost(self) -> None:
        """Tell all subscribers that they may miss something from here on."""
        for subscriber in self._subscribers:
            subscriber.gap()


def _subject(namespace: str, topic: str) -> str:
    from micro_broker_nats.connection import token

    return f"{PREFIX}.{token(namespace)}.{token(topic)}"


def _message(message: Any) -> Message:
    said = (message.headers or {}).get(HEADER)
    return Message(json.loads(said) if said else {}, message.data)
