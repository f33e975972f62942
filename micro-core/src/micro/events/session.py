"""One Subscribe stream of the core service: deliveries, and the answers to settlements, in batches."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from micro import limits
from micro.events import wire
from micro.events.driver import Ack, Consumer, Delivery
from micro.proto import events_pb2 as pb

BATCH = 64  # events in one answer
BATCH_BYTES = limits.MIB
ANSWERS = 1000  # settlements answered and not yet sent at which no more are read
WINDOW = 10_000  # the most that are out to one subscriber
OUT = 2 * WINDOW  # deliveries of one subscriber at which those of the past are looked for

_Key = tuple[str, int]


class Session:
    """What is out to one subscriber, and what is on its way to it."""

    def __init__(self, member: Consumer, asked: pb.SubscribeRequest) -> None:
        self._member = member
        self._group = asked.group
        self._auto = asked.auto_ack
        self._begins = asked.begins
        self._batch = min(asked.batch or BATCH, BATCH)
        self._out: dict[_Key, Delivery] = {}
        self._settling: dict[asyncio.Future[bool], list[_Key]] = {}  # what is answered once this is done
        self._pending = pb.EventBatch()
        self._size = 0
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    async def run(self, requests: AsyncIterator[pb.Upstream]) -> AsyncIterator[pb.EventBatch]:
        """Give what to send, until the subscriber half-closes and all that it settled is answered."""
        reading = asyncio.create_task(self._read(requests))
        tasks = [asyncio.create_task(self._deliver()), reading]
        for task in tasks:
            task.add_done_callback(lambda _: self._wake.set())
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                if self._pending.events or self._pending.settled:
                    batch, self._pending, self._size = self._pending, pb.EventBatch(), 0
                    self._room.set()
                    yield batch
                for task in tasks:
                    if task.done() and (task is not reading or not (self._settling or self._pending.settled)):
                        task.result()
                        return
        finally:
            for task in tasks:
                task.cancel()

    async def _deliver(self) -> None:
        async for delivery in self._member:
            if self._auto:
                await self._member.settle(delivery, Ack())
            else:
                self._keep(delivery)
                if not self._begins:
                    await self._member.begin(delivery)
            event, number = delivery.event, delivery.number
            wire.add_event(self._pending.events, event, delivery=number, group=self._group, lost=delivery.lost)
            self._size += len(event.payload)
            self._wake.set()
            if len(self._pending.events) >= self._batch or self._size >= BATCH_BYTES:
                self._room.clear()
                await self._room.wait()

    def _keep(self, delivery: Delivery) -> None:
        if len(self._out) > OUT:  # what was not settled in time is another's by now, and never asked for again
            now = time.monotonic()
            self._out = {key: one for key, one in self._out.items() if one.deadline > now}
        self._out[delivery.event.id, delivery.number] = delivery

    async def _read(self, requests: AsyncIterator[pb.Upstream]) -> None:
        async for message in requests:
            for settle in message.acks.acks:
                key = (settle.id, settle.delivery)
                how = settle.how
                if how == pb.Settle.BEGIN:
                    if (begun := self._out.get(key)) is not None:
                        await self._member.begin(begun)
                    continue
                delivery = self._out.get(key) if how == pb.Settle.EXTEND else self._out.pop(key, None)
                if delivery is None:
                    self._answer(key, ok=False)
                    continue
                settled = self._member.settle_soon(delivery, wire.settle_in(settle))
                together = self._settling.get(settled)
                if together is None:
                    self._settling[settled] = [key]
                    settled.add_done_callback(self._settled)
                else:
                    together.append(key)
            if len(self._pending.settled) >= ANSWERS:
                self._room.clear()
                await self._room.wait()

    def _settled(self, settled: asyncio.Future[bool]) -> None:
        # what could not be kept comes again
        ok = not settled.cancelled() and settled.exception() is None and settled.result()
        for key in self._settling.pop(settled):
            self._answer(key, ok=ok)

    def _answer(self, key: _Key, *, ok: bool) -> None:
        self._pending.settled.add(id=key[0], delivery=key[1], ok=ok)
        self._wake.set()
