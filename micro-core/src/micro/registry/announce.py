"""Registrations told to whoever listens on the broker, as the original does. Best effort: nothing waits for it."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Mapping

from micro.errors import ServiceError
from micro.proto import broker_pb2
from micro.proto import registry_pb2 as pb
from micro.rpc.caller import Caller

TOPIC = "registry.events"
BACKLOG = 1_000  # events that wait while the broker is slow; later ones are dropped
TIMEOUT = 2.0  # seconds for the broker to take one
_log = logging.getLogger("micro.registry")


class Announcer:
    """Publishes events one after the other, from a task that runs while there are any."""

    def __init__(self, caller: Caller, addresses: Mapping[str, str]) -> None:
        self._caller = caller
        self._addresses = addresses  # live: without a broker in it nothing is kept
        self._id = str(uuid.uuid4())
        self._waiting: asyncio.Queue[pb.Event] = asyncio.Queue(BACKLOG)
        self._task: asyncio.Task[None] | None = None

    def registered(self, service: pb.Service) -> None:
        """Tell of a registration."""
        self._tell(pb.Create, service)

    def deregistered(self, service: pb.Service) -> None:
        """Tell of nodes taken away."""
        self._tell(pb.Delete, service)

    async def close(self) -> None:
        """Drop what waits; idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def _tell(self, kind: pb.EventType, service: pb.Service) -> None:
        if "broker" not in self._addresses or self._waiting.full():
            return
        self._waiting.put_nowait(pb.Event(id=self._id, type=kind, timestamp=time.time_ns(), service=service))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._publish())

    async def _publish(self) -> None:
        while not self._waiting.empty():
            message = broker_pb2.Message(body=self._waiting.get_nowait().SerializeToString())
            request = broker_pb2.PublishRequest(topic=TOPIC, message=message)
            try:
                await self._caller.call("broker", "Broker.Publish", request, broker_pb2.Empty, timeout=TIMEOUT)
            except ServiceError as err:
                _log.debug("an event for %s is lost: %s", TOPIC, err)
