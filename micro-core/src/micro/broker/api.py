"""The broker as users know it: values out and in, over any driver."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, overload

from micro import limits, names
from micro.broker.driver import BrokerDriver, Gap, Message
from micro.context import CORE_NAMESPACE
from micro.errors import InvalidArgument, ResourceExhausted, Unavailable
from micro.plugin.portable import Portable
from micro.schema.typed import decode_as, encode_value

if TYPE_CHECKING:
    from typing_extensions import TypeVar as Defaulted

    P = Defaulted("P", default=bytes)  # what a payload is: as it came, where no type is asked for

T = TypeVar("T")

CONTENT_TYPE = "Content-Type"


class Received(Generic[T]):
    """A message that came: `payload` as the type asked for (bytes without one), `headers`, the raw `body`.

    `lost` is how many messages were lost just before it, -1 when that is unknown.
    """

    __slots__ = ("body", "headers", "lost", "payload")

    def __init__(self, payload: T, message: Message, lost: int) -> None:
        self.payload = payload
        self.headers = message.headers
        self.body = message.body
        self.lost = lost

    def __repr__(self) -> str:
        return f"Received({len(self.body)} bytes, headers={sorted(self.headers)})"


class Broker(Portable[BrokerDriver]):
    """Messages of one namespace. At most once: who does not listen, or is slow, misses them."""

    primitive = "broker"

    def __init__(self, driver: BrokerDriver, *, plugin: str = "", namespace: str = CORE_NAMESPACE) -> None:
        super().__init__(driver, plugin=plugin)
        self.namespace = names.namespace(namespace)

    async def publish(self, topic: str, message: object, *, headers: Mapping[str, str] | None = None) -> None:
        """Send a message to whoever listens now.

        `bytes` and `str` go as they are, everything else as JSON (and says so in `Content-Type`). Raises
        ResourceExhausted beyond limits.VALUE bytes.
        """
        body = encode_value(message)
        if len(body) > limits.VALUE:
            raise ResourceExhausted(f"the message has {len(body)} bytes, the limit is {limits.VALUE}")
        sent = dict(headers or {})
        if not isinstance(message, bytes | bytearray | memoryview | str):
            sent.setdefault(CONTENT_TYPE, "application/json")
        await self._call("publish", self.driver.publish(self.namespace, names.topic(topic), Message(sent, body)))

    @overload
    def subscribe(self, topic: str, type_: type[P] = ..., *, queue: str = ...) -> Subscription[P]: ...
    @overload
    def subscribe(self, topic: str, type_: Any, *, queue: str = ...) -> Subscription[Any]: ...
    def subscribe(self, topic: str, type_: Any = None, *, queue: str = "") -> Subscription[Any]:
        """Listen to a topic: iterate it, or enter it first so that what is published from then on is seen.

        Members of one `queue` share its messages. A message that does not fit `type_` raises InvalidArgument naming
        the field. A lost connection is made again; what was published meanwhile is lost.
        """
        if queue:
            names.group(queue)
            self._require("queues", "subscribe")
        return Subscription(self, names.topic(topic), type_, queue)


class Subscription(Generic[T]):
    """A topic being listened to; ends when left, or with its iteration."""

    def __init__(self, broker: Broker, topic: str, type_: type[T] | None, queue: str) -> None:
        self._broker = broker
        self._topic = topic
        self._type = type_
        self._queue = queue
        self._messages: AsyncIterator[Message | Gap] | None = None
        self._context: AbstractAsyncContextManager[AsyncIterator[Message | Gap]] | None = None

    async def __aenter__(self) -> Self:
        broker = self._broker
        self._context = broker.driver.subscribe(broker.namespace, self._topic, queue=self._queue)
        self._messages = await broker._call("subscribe", self._context.__aenter__())
        return self

    async def __aexit__(self, *exc: object) -> None:
        context, self._context, self._messages = self._context, None, None
        if context is not None:
            await context.__aexit__(None, None, None)

    async def __aiter__(self) -> AsyncGenerator[Received[T], None]:
        entered = self._messages is not None
        wait = 0.05
        lost = 0
        try:
            while True:
                try:
                    if self._messages is None:
                        await self.__aenter__()
                    assert self._messages is not None
                    async for item in self._broker._iterate("subscribe", self._messages):
                        wait = 0.05
                        if isinstance(item, Gap):
                            lost = -1 if item.lost is None or lost < 0 else lost + item.lost
                            continue
                        yield self._received(item, lost)
                        lost = 0
                    return
                except Unavailable:
                    if not entered and self._messages is None:
                        raise
                    await self.__aexit__()
                    entered, lost = True, -1
                    await asyncio.sleep(wait * random.uniform(0.5, 1.0))
                    wait = min(wait * 2, 5.0)
        finally:
            await self.__aexit__()

    def _received(self, message: Message, lost: int) -> Received[T]:
        payload: Any = message.body
        if self._type is not None:
            try:
                payload = decode_as(self._type, message.body)
            except InvalidArgument as err:
                raise InvalidArgument(f"message on topic {self._topic!r}: {err}") from err
        return Received(payload, message, lost)
