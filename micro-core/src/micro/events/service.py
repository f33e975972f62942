"""The core service `events`: a driver behind the wire, topics apart by the account's issuer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from micro import limits, names
from micro.errors import InvalidArgument, ResourceExhausted, Unimplemented
from micro.events import wire
from micro.events.api import Events, topic_name
from micro.events.driver import Ack, Consumer, Delivery, Event, EventsDriver, Nack, NewEvent, Start
from micro.events.session import BATCH, WINDOW, Session
from micro.plugin.portable import Portable
from micro.proto import events_pb2 as pb
from micro.rpc import access
from micro.service.core import Core

if TYPE_CHECKING:
    from micro.service.core import Host

READ = 250  # events of a read that names no limit; the original's


async def build(host: Host) -> Core:
    """Open the profile's events and serve them."""
    driver, plugin = host.driver("events")
    served = _Served(driver, plugin=plugin)  # type: ignore[arg-type] # the group `micro.events` holds EventsDrivers
    await served.open()
    return Core(
        [("Stream", StreamHandler(served)), ("Store", HistoryHandler(served))],
        close=served.close,
        capabilities=lambda: served.driver.capabilities,
        plugin=plugin,
    )


class _Served(Portable[EventsDriver]):
    """The driver; one for all namespaces."""

    primitive = "events"

    def of(self, namespace: str) -> Events:
        """Give the portable class at a namespace."""
        return Events(self.driver, plugin=self.plugin, namespace=namespace)


def _topic(topic: str) -> str:
    if not topic:
        raise InvalidArgument("Missing topic")
    return topic_name(topic)


def _namespace() -> str:
    """Events are the account's own namespace's; its admins and services may use them."""
    issuer = access.account().issuer
    access.admin(issuer)
    return issuer


def _checked(request: pb.PublishRequest) -> NewEvent:
    if len(request.payload) > limits.VALUE:
        raise ResourceExhausted(f"the event has {len(request.payload)} bytes, the limit is {limits.VALUE}")
    return wire.new_in(request)


class StreamHandler:
    """Publishing and consuming."""

    def __init__(self, served: _Served) -> None:
        self._served = served

    async def publish(self, request: pb.PublishRequest) -> pb.PublishResponse:
        """Append an event; answered once it is kept."""
        namespace, topic = _namespace(), _topic(request.topic)
        work = self._served.driver.publish(namespace, topic, [_checked(request)])
        return wire.receipt_out((await self._served._call("publish", work))[0])

    async def publish_many(self, request: pb.PublishManyRequest) -> pb.PublishManyResponse:
        """Append events in order."""
        namespace, topic = _namespace(), _topic(request.topic)
        if len(request.events) > limits.BATCH:
            raise ResourceExhausted(f"{len(request.events)} events at once, the limit is {limits.BATCH}")
        work = self._served.driver.publish(namespace, topic, [_checked(event) for event in request.events])
        receipts = await self._served._call("publish_many", work)
        return pb.PublishManyResponse(receipts=[wire.receipt_out(receipt) for receipt in receipts])

    async def consume(self, requests: AsyncIterator[pb.ConsumeRequest]) -> AsyncIterator[pb.Event | None]:
        """Consume as the original does: the first message says what, each later one is an AckRequest."""
        first = await anext(aiter(requests), None)
        if first is None:
            raise InvalidArgument("Missing topic")
        namespace, topic = _namespace(), _topic(first.topic)
        consumer = self._served.driver.consume(
            namespace,
            topic,
            group=names.group(first.group) if first.group else "",
            start=Start(since=wire.instant(0, first.offset)),
            ack_wait=first.ack_wait / 1e9 if first.ack_wait > 0 else 30.0,
            max_deliveries=None if first.retry_limit < 0 or first.auto_ack else first.retry_limit + 1,
            adopt=True,
        )
        async with consumer as member:
            yield None  # headers now: what is published from here on will come
            out: dict[str, Delivery] = {}
            settling = asyncio.create_task(_settle_originals(requests, member, out))
            try:
                async for delivery in _until(member, settling):
                    if first.auto_ack:
                        await member.settle(delivery, Ack())
                    else:
                        out.pop(delivery.event.id, None)  # one that comes again comes last
                        out[delivery.event.id] = delivery
                        await _begin_oldest(member, out)
                    number, lost = delivery.number, delivery.lost
                    yield wire.event_out(delivery.event, delivery=number, group=first.group, lost=lost)
            finally:
                settling.cancel()

    async def subscribe(self, requests: AsyncIterator[pb.Upstream]) -> AsyncIterator[pb.EventBatch | None]:
        """Consume: the first message subscribes, later ones settle; each settlement is answered."""
        first = await anext(aiter(requests), None)
        if first is None or first.WhichOneof("kind") != "subscribe":
            raise InvalidArgument("Missing topic")
        asked = first.subscribe
        consumer = self._served.driver.consume(
            _namespace(),
            _topic(asked.topic),
            group=names.group(asked.group) if asked.group else "",
            start=wire.start_of(
                asked.start_sequence if asked.HasField("start_sequence") else None, asked.since_ms, asked.offset
            ),
            ack_wait=asked.ack_wait / 1e9 if asked.ack_wait > 0 else 30.0,
            max_deliveries=asked.max_deliveries or None,
            window=min(asked.window or 256, WINDOW),
            keyed=asked.keyed,
        )
        async with consumer as member:
            yield None  # headers now: what is published from here on will come
            async for batch in Session(member, asked).run(requests):
                yield batch

    async def groups(self, request: pb.GroupsRequest) -> pb.GroupsResponse:
        """Say how far each group of a topic is."""
        found = await self._served.of(_namespace()).groups(_topic(request.topic))
        return pb.GroupsResponse(
            groups=[
                pb.Group(name=g.name, position=g.position, pending=g.pending, lag=g.lag, lost=g.lost) for g in found
            ]
        )

    async def seek(self, request: pb.SeekRequest) -> pb.SeekResponse:
        """Move a group, or forget it."""
        sequence = request.start_sequence if request.HasField("start_sequence") else None
        start = None if request.forget else wire.start_of(sequence, request.since_ms, 0)
        await self._served.of(_namespace()).seek(_topic(request.topic), request.group, start)
        return pb.SeekResponse()

    async def replay(self, request: pb.ReplayRequest) -> pb.ReplayResponse:
        """Publish dead letters of a topic again."""
        receipts = await self._served.of(_namespace()).replay(_topic(request.topic), list(request.ids))
        return pb.ReplayResponse(receipts=[wire.receipt_out(receipt) for receipt in receipts])


class HistoryHandler:
    """What was published."""

    def __init__(self, served: _Served) -> None:
        self._served = served

    async def read(self, request: pb.ReadRequest) -> pb.ReadResponse:
        """Read a topic from its oldest event, `offset` of them passed over."""
        namespace, topic = _namespace(), _topic(request.topic)
        limit = request.limit or READ
        work = self._served.driver.read(namespace, topic, limit=min(limit + request.offset, 100_000))
        found = (await self._served._call("read", work))[request.offset :]
        if sum(len(event.payload) for event in found) > limits.MESSAGE - limits.MIB:
            raise ResourceExhausted("the events are more than one message holds; read with a limit, or Store.History")
        return pb.ReadResponse(events=[wire.event_out(event) for event in found])

    async def write(self, request: pb.WriteRequest) -> pb.WriteResponse:
        """Refused, as ever: events come by publishing."""
        raise Unimplemented("Writing to the store directly is not supported")

    async def history(self, request: pb.HistoryRequest) -> AsyncIterator[pb.HistoryPage]:
        """Read a topic in pages."""
        namespace, topic = _namespace(), _topic(request.topic)
        wanted, after, oldest = request.limit or READ, request.after, 0
        since = wire.instant(request.since, 0)
        if since is not None:  # looked for once: it goes through the topic
            first = await self._page(namespace, topic, since=since, limit=1)
            if not first:
                return
            oldest = first[0].sequence
        if not request.descending:
            after = max(after, oldest - 1)
        while wanted:
            limit = min(wanted, BATCH)
            page = await self._page(namespace, topic, after=after, limit=limit, descending=request.descending)
            page = [event for event in page if event.sequence >= oldest]
            if not page:
                return
            wanted, after = wanted - len(page), page[-1].sequence
            yield pb.HistoryPage(events=[wire.event_out(event) for event in page], more=not wanted)

    async def _page(self, namespace: str, topic: str, **options: Any) -> list[Event]:
        return await self._served._call("read", self._served.driver.read(namespace, topic, **options))


async def _begin_oldest(member: Consumer, out: dict[str, Delivery]) -> None:
    """Count what an original consumer works on: it does not say, but takes them in turn."""
    while out:
        oldest = next(iter(out.values()))
        if await member.begin(oldest):
            return
        del out[oldest.event.id]  # taken back meanwhile


async def _settle_originals(
    requests: AsyncIterator[pb.ConsumeRequest], member: Consumer, out: dict[str, Delivery]
) -> None:
    """Settle by an original client's answers, until it half-closes; unknown ids are passed over."""
    async for message in requests:
        # read as the stream's one declared type, an AckRequest's fields are all still there
        ack = pb.AckRequest.FromString(message.SerializeToString())
        delivery = out.get(ack.id)
        if delivery is None or (ack.delivery and ack.delivery != delivery.number):
            continue
        del out[ack.id]
        # an original client that nacks wants it again at once
        delay = ack.delay_ms / 1000 if ack.HasField("delay_ms") else 0.0
        await member.settle(delivery, Ack() if ack.success else Nack(delay))
        await _begin_oldest(member, out)


async def _until(member: Consumer, other: asyncio.Task[None]) -> AsyncIterator[Delivery]:
    """Give deliveries until the member ends, or the other task does."""
    while True:
        following = asyncio.ensure_future(anext(member))
        try:
            await asyncio.wait([following, other], return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not following.done():
                following.cancel()
        if not following.done():
            return
        try:
            yield following.result()
        except StopAsyncIteration:
            return
