"""The driver over gRPC: the broker of the platform around this process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from micro.broker.driver import BrokerDriver, Gap, Message
from micro.errors import FailedPrecondition, Unavailable
from micro.plugin.settings import Settings
from micro.proto import broker_pb2 as pb
from micro.proto import debug_pb2
from micro.rpc.caller import Caller

SERVICE = "broker"


class RemoteBroker(BrokerDriver, interface=1):
    """Calls the service `broker` as the caller's account.

    Works without `open`, which only asks the service whether it is there and what its driver can.
    The service separates topics by the account's issuer and takes no namespace: the namespace argument is the
    caller's own, or the call goes elsewhere than it says.
    """

    settings_type = Settings
    needs = frozenset({"caller"})
    capabilities = frozenset({"queues", "gaps"})

    def __init__(self, settings: Settings | None = None, *, caller: Caller) -> None:
        self._caller = caller
        self._closed = False

    async def open(self) -> None:
        info = await self._caller.call(
            SERVICE, "Debug.Info", debug_pb2.InfoRequest(), debug_pb2.InfoResponse, idempotent=True
        )
        self.capabilities = frozenset(info.capabilities)

    async def close(self) -> None:
        self._closed = True  # the caller is whose it was

    async def publish(self, namespace: str, topic: str, message: Message) -> None:
        self._check()
        request = pb.PublishRequest(topic=topic, message=pb.Message(header=message.headers, body=message.body))
        await self._caller.call(SERVICE, "Broker.Publish", request, pb.Empty)

    @asynccontextmanager
    async def subscribe(
        self, namespace: str, topic: str, *, queue: str = ""
    ) -> AsyncIterator[AsyncIterator[Message | Gap]]:
        self._check()
        stream = await self._caller.stream(SERVICE, "Broker.Subscribe", pb.SubscribeRequest, pb.Message)
        async with stream:
            await stream.send(pb.SubscribeRequest(topic=topic, queue=queue, gaps=True))
            await stream.started()  # the service sends its headers once it listens

            async def messages() -> AsyncIterator[Message | Gap]:
                async for item in stream:
                    if item.HasField("lost"):
                        yield Gap(item.lost or None)
                    else:
                        yield Message(dict(item.header), item.body)
                if not self._closed:  # a subscription has no end of its own: what follows is elsewhere
                    raise Unavailable("the broker ended the subscription")

            yield messages()

    def _check(self) -> None:
        if self._closed:
            raise FailedPrecondition("the broker is closed")
