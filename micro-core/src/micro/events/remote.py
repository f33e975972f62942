"""The driver over gRPC: the events of the platform around this process."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from itertools import chain

from micro.errors import FailedPrecondition, ServiceError
from micro.events import wire
from micro.events.driver import (
    Ack,
    Consumer,
    Delivery,
    Event,
    EventsDriver,
    Extend,
    Group,
    Nack,
    NewEvent,
    Receipt,
    Start,
)
from micro.plugin.settings import Settings
from micro.proto import debug_pb2
from micro.proto import events_pb2 as pb
from micro.rpc.caller import Caller, Stream

SERVICE = "events"
LEAVING = 1.0  # seconds that the service has to end a call


class RemoteEvents(EventsDriver, interface=1):
    """Calls the service `events` as the caller's account, whose issuer is the namespace whatever the argument says."""

    settings_type = Settings
    needs = frozenset({"caller"})
    capabilities = frozenset({"durable", "dedupe", "keyed", "replay", "delay", "begin"})

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

    async def publish(self, namespace: str, topic: str, events: Sequence[NewEvent]) -> list[Receipt]:
        self._check()
        once = all(event.id for event in events)  # then a repeated publish is one
        if len(events) == 1:
            request = wire.new_out(topic, events[0])
            answer = await self._caller.call(SERVICE, "Stream.Publish", request, pb.PublishResponse, idempotent=once)
            return [wire.receipt_in(answer)]
        many = pb.PublishManyRequest(topic=topic, events=[wire.new_out("", event) for event in events])
        answers = await self._caller.call(SERVICE, "Stream.PublishMany", many, pb.PublishManyResponse, idempotent=once)
        return [wire.receipt_in(receipt) for receipt in answers.receipts]

    @asynccontextmanager
    async def consume(
        self,
        namespace: str,
        topic: str,
        *,
        group: str = "",
        start: Start = Start.NEW,
        ack_wait: float = 30.0,
        max_deliveries: int | None = 5,
        window: int = 256,
        keyed: bool = False,
        adopt: bool = False,
    ) -> AsyncIterator[Consumer]:
        self._check()
        request = pb.SubscribeRequest(
            group=group,
            topic=topic,
            ack_wait=round(ack_wait * 1e9),
            window=window,
            keyed=keyed,
            max_deliveries=max_deliveries or 0,
            start_sequence=start.sequence,
            since_ms=wire.millis(start.since) if start.since else 0,
            begins="begin" in self.capabilities,
        )
        stream = await self._caller.stream(SERVICE, "Stream.Subscribe", pb.Upstream, pb.EventBatch)
        async with stream:
            await stream.send(pb.Upstream(subscribe=request))
            await stream.started()  # the service sends its headers once it has joined
            consumer = _Remote(stream, ack_wait, begins=request.begins)
            try:
                yield consumer
            finally:
                await consumer.close()

    async def read(
        self,
        namespace: str,
        topic: str,
        *,
        after: int = 0,
        since: datetime | None = None,
        limit: int = 250,
        descending: bool = False,
    ) -> list[Event]:
        self._check()
        since_ms = wire.millis(since) if since else 0
        request = pb.HistoryRequest(topic=topic, after=after, since=since_ms, limit=limit, descending=descending)
        pages = self._caller.serve_stream(SERVICE, "Store.History", request, pb.HistoryPage)
        return [wire.event_in(item) async for page in pages for item in page.events]

    async def groups(self, namespace: str, topic: str) -> list[Group]:
        self._check()
        request = pb.GroupsRequest(topic=topic)
        answer = await self._caller.call(SERVICE, "Stream.Groups", request, pb.GroupsResponse, idempotent=True)
        return [Group(g.name, g.position, g.pending, g.lag, g.lost) for g in answer.groups]

    async def seek(self, namespace: str, topic: str, group: str, start: Start | None) -> None:
        self._check()
        request = pb.SeekRequest(topic=topic, group=group, forget=start is None)
        if start is not None and start.sequence is not None:
            request.start_sequence = start.sequence
        elif start is not None and start.since is not None:
            request.since_ms = wire.millis(start.since)
        await self._caller.call(SERVICE, "Stream.Seek", request, pb.SeekResponse)

    def _check(self) -> None:
        if self._closed:
            raise FailedPrecondition("the events are closed")


class _Remote(Consumer):
    """A subscription: deliveries come down, settlements go up and are answered."""

    def __init__(self, stream: Stream[pb.Upstream, pb.EventBatch], ack_wait: float, *, begins: bool) -> None:
        self._stream = stream
        self._ack_wait = ack_wait
        self._begins = begins
        self._queue: deque[Delivery] = deque()
        # what waits for an answer, and how much was said to have begun before it was asked
        self._answers: dict[tuple[str, int], deque[tuple[asyncio.Future[bool], int]]] = {}
        self._begun = self._known = 0  # what was said to have begun, and how much of it the service surely knows
        self._unsent = pb.Upstream()  # filled in place: a message is never copied into another
        self._planned = False  # to send what is left of it
        self._sender: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._end: BaseException | None = None
        self._reader = asyncio.create_task(self._read())

    async def __anext__(self) -> Delivery:
        while not self._queue:
            if self._end is not None:
                raise self._end
            self._wake.clear()
            await self._wake.wait()
        return self._queue.popleft()

    async def begin(self, delivery: Delivery) -> bool:
        if not self._begins:
            return True
        now = time.monotonic()
        if self._end is not None or delivery.deadline <= now:
            return False  # the service has taken it back meanwhile
        # not answered, but out of the process before the handler runs: one that ends its process has begun
        wire.add_begin(self._unsent.acks, delivery)
        self._begun += 1
        await self._send()
        await asyncio.sleep(0)  # transports write at the end of the loop's turn
        delivery.deadline = now + self._ack_wait
        return True

    async def settle(self, delivery: Delivery, how: Ack | Nack | Extend) -> bool:
        settled = self.settle_soon(delivery, how)
        await self._send()
        return await settled

    def settle_soon(self, delivery: Delivery, how: Ack | Nack | Extend) -> asyncio.Future[bool]:
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if self._end is not None:
            answer.set_result(False)
            return answer
        self._answers.setdefault((delivery.event.id, delivery.number), deque()).append((answer, self._begun))
        wire.add_settle(self._unsent.acks, delivery, how)
        if not self._planned:
            self._planned = True
            asyncio.get_running_loop().call_soon(self._send_left)
        return answer

    async def _send(self) -> None:
        """Send what is to be said, as one message."""
        if self._end is None and self._unsent.HasField("acks"):
            unsent, self._unsent = self._unsent, pb.Upstream()
            await self._stream.send(unsent)

    def _send_left(self) -> None:
        """Send what nothing else has sent in the meantime."""
        self._planned = False
        if self._sender is None and self._unsent.HasField("acks"):
            self._sender = asyncio.create_task(self._sending())

    async def _sending(self) -> None:
        try:
            await self._send()
        except ServiceError as exc:
            self._finish(exc)
        finally:
            self._sender = None
        self._send_left()  # what came while there was no room

    async def close(self) -> None:
        try:
            if self._end is None and (self._unsent.HasField("acks") or self._known < self._begun):
                # a call that is cut is read no further: let the service end it
                await self._send()
                self._stream.end()
                await asyncio.wait([self._reader], timeout=LEAVING)
        finally:
            self._finish(StopAsyncIteration())
            self._reader.cancel()
            if self._sender is not None:
                self._sender.cancel()

    async def _read(self) -> None:
        try:
            async for batch in self._stream:
                deadline = time.monotonic() + self._ack_wait
                self._queue.extend(wire.delivery_in(item, deadline) for item in batch.events)
                for settled in batch.settled:
                    self._answer((settled.id, settled.delivery), settled.ok)
                self._wake.set()
        except ServiceError as exc:
            self._finish(exc)
        else:
            self._finish(StopAsyncIteration())

    def _answer(self, key: tuple[str, int], ok: bool) -> None:
        asked = self._answers.get(key)
        if asked is None:
            return
        answer, begun = asked.popleft()
        if not asked:
            del self._answers[key]
        self._known = max(self._known, begun)  # the service reads in order
        if not answer.done():
            answer.set_result(ok)

    def _finish(self, end: BaseException) -> None:
        self._end = self._end or end
        for answer, _ in chain.from_iterable(self._answers.values()):
            if not answer.done():
                answer.set_result(False)
        self._answers.clear()
        self._unsent.Clear()
        self._wake.set()
