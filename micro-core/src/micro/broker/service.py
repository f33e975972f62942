"""The core service `broker`: a portable Broker behind the wire, topics apart by the account's issuer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from micro import limits, names
from micro.broker.driver import BrokerDriver, Gap, Message
from micro.context import current
from micro.errors import InvalidArgument, ResourceExhausted, Unauthenticated
from micro.plugin.portable import Portable
from micro.proto import broker_pb2 as pb
from micro.service.core import Core

if TYPE_CHECKING:
    from micro.service.core import Host

# Of the call's metadata a message takes over what tells how to read it and where it came from; never a credential.
_PRIVATE = frozenset({"micro-on-behalf-of"})


async def build(host: Host) -> Core:
    """Open the profile's broker and serve it."""
    driver, plugin = host.driver("broker")
    broker: _Served = _Served(driver, plugin=plugin)  # type: ignore[arg-type] # `micro.broker` holds BrokerDrivers
    await broker.open()
    return Core(
        [("Broker", BrokerHandler(broker))],
        close=broker.close,
        capabilities=lambda: broker.driver.capabilities,
        plugin=plugin,
    )


class _Served(Portable[BrokerDriver]):
    """The driver with errors wrapped; one for all namespaces."""

    primitive = "broker"

    async def publish(self, namespace: str, topic: str, message: Message) -> None:
        await self._call("publish", self.driver.publish(namespace, topic, message))


class BrokerHandler:
    """Messages to whoever listens now."""

    def __init__(self, broker: _Served) -> None:
        self._broker = broker

    async def publish(self, request: pb.PublishRequest) -> pb.Empty:
        """Send a message to the topic's subscribers."""
        namespace = _tenant()
        if not request.HasField("message"):
            raise InvalidArgument("Missing message")
        if not request.topic:
            return pb.Empty()  # accepted, as ever; nobody can listen to it
        if len(request.message.body) > limits.VALUE:
            raise ResourceExhausted(f"the message has {len(request.message.body)} bytes, the limit is {limits.VALUE}")
        headers = {title(key): value for key, value in current().metadata.items() if _taken(key)}
        headers.update(request.message.header)
        message = Message(headers, request.message.body)
        await self._broker.publish(namespace, names.topic(request.topic), message)
        return pb.Empty()

    async def subscribe(self, request: pb.SubscribeRequest) -> AsyncIterator[pb.Message | None]:
        """Stream a topic's messages until the caller leaves."""
        namespace = _tenant()
        if not request.topic:
            raise InvalidArgument("Missing topic")
        queue = names.group(request.queue) if request.queue else ""
        async with self._broker.driver.subscribe(namespace, names.topic(request.topic), queue=queue) as messages:
            yield None  # headers now: the caller may publish and will see it
            async for item in messages:
                if not isinstance(item, Gap):
                    yield pb.Message(header=item.headers, body=item.body)
                elif request.gaps:
                    yield pb.Message(lost=item.lost or 0)


def _tenant() -> str:
    account = current().account
    if account is None:
        raise Unauthenticated("access denied to namespace")
    return account.issuer


def _taken(key: str) -> bool:
    return key == "content-type" or (key.startswith("micro-") and key not in _PRIVATE)


def title(key: str) -> str:
    """Give a metadata key as the original compares it: upper case at the start and after what is no letter or digit."""
    out = []
    upper = True
    for char in key:
        out.append(char.upper() if upper else char.lower())
        upper = not (char.isalnum() or char == "_")
    return "".join(out)
