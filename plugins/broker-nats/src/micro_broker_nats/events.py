"""The driver of events on JetStream: a topic is a stream, a group a durable pull consumer of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from micro import limits
from micro.errors import FailedPrecondition
from micro.events.driver import DEAD, Consumer, Event, EventsDriver, Group, NewEvent, Receipt, Rules, Start, dead_letter
from micro_broker_nats.settings import NatsEventsSettings

if TYPE_CHECKING:
    from micro.plugin.gather import Call
    from micro_broker_nats.groups import Notes
    from micro_broker_nats.member import Member
    from micro_broker_nats.topic import Topic

TOGETHER = 500  # events that go in one batch; the server takes 1,000
TOGETHER_BYTES = 8 * limits.MIB
OFF = frozenset({10039, 10076})  # JetStream is not there, or not for this account
LANES = 2  # batches of a topic on their way


class NatsEvents(EventsDriver, interface=1):
    """Events in JetStream, in files of the server. A group's members may be at any number of Micro's servers."""

    settings_type = NatsEventsSettings
    imports = ("micro_broker_nats.member",)
    capabilities = frozenset({"durable", "dedupe", "keyed", "replay", "delay", "begin"})

    def __init__(self, settings: NatsEventsSettings | None = None) -> None:
        self._settings = settings or NatsEventsSettings()
        self._connection: Any = None
        self._requests: Any = None
        self._gatherer: Any = None
        self._topics: dict[tuple[str, str], Topic] = {}
        self._notes: dict[str, Notes] = {}
        self._members: set[Member] = set()
        self._ended = False

    async def open(self) -> None:
        from micro.plugin.gather import Gatherer
        from micro_broker_nats.connection import AwayError, Connection
        from micro_broker_nats.requests import JetStreamError, NobodyError, Requests

        given = self._settings
        self._connection = Connection(given, "events", self._lost, self._back)
        await self._connection.open()
        self._requests = Requests(self._connection, given.timeout, given.url)
        try:
            await self._requests.open()
            await self._requests.api("INFO")
        except BaseException as err:
            await self.close()
            if isinstance(err, JetStreamError) and (isinstance(err, NobodyError) or err.err in OFF):
                raise FailedPrecondition(f"the NATS at {given.url} keeps no events: start it with -js") from err
            raise
        self._gatherer = Gatherer(
            self._published, closed=_closed, away=(AwayError,),
            lanes=LANES, most=TOGETHER, heaviest=TOGETHER_BYTES, distinct=True,
        )  # fmt: skip
        self._ended = False

    async def close(self) -> None:
        self._ended = True
        await asyncio.gather(*(member.leave() for member in list(self._members)))
        if self._gatherer is not None:
            await self._gatherer.close()
        if self._requests is not None:
            self._requests.close()
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    def error_code(self, exc: Exception) -> int:
        from micro_broker_nats.connection import code_of

        return code_of(exc)

    async def publish(self, namespace: str, topic: str, events: Sequence[NewEvent]) -> list[Receipt]:
        if not events:
            return []
        place = self._topic(namespace, topic)
        keys = [event.id or f"\0{n}{id(events)}" for n, event in enumerate(events)]
        weight = sum(len(event.payload) for event in events)
        receipts: list[Receipt] = await self._gatherer.ask(place, events, keys, weight)
        return receipts

    @staticmethod
    async def _published(place: Topic, calls: list[Call[Sequence[NewEvent]]]) -> None:
        await place.publish(calls)

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
        from micro_broker_nats.groups import Groups, Notes
        from micro_broker_nats.member import Member

        place = self._topic(namespace, topic)
        groups = Groups(place)
        rules = Rules(ack_wait, max_deliveries, keyed)
        found = await (groups.join(group, start, rules, adopt=adopt) if group else groups.private(start, rules))
        if namespace not in self._notes:
            self._notes[namespace] = Notes(self._requests, self._settings, namespace)

        async def bury(event: Event, group: str, deliveries: int) -> None:
            await self.publish(namespace, topic + DEAD, [dead_letter(event, group, deliveries)])

        member = Member(place, found, group, window=window, notes=self._notes[namespace], bury=bury)
        self._members.add(member)
        try:
            await member.ask()
            yield member
        finally:
            self._members.discard(member)
            await asyncio.shield(self._left(member, groups, "" if group else found.name))

    @staticmethod
    async def _left(member: Member, groups: Any, private: str) -> None:
        from micro_broker_nats.connection import AwayError

        await member.leave()
        if private:
            with suppress(AwayError, TimeoutError, FailedPrecondition):  # the server forgets it by itself
                await groups.delete(private)

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
        place = self._topic(namespace, topic)
        above = 0
        if since is not None:
            first = await place.first_since(since)
            if first is None:
                return []
            above = first - 1
        if descending:
            return await place.read_back(after, above, limit)
        return await place.read(max(after, above), limit)

    async def groups(self, namespace: str, topic: str) -> list[Group]:
        from micro_broker_nats.groups import Groups

        return await Groups(self._topic(namespace, topic)).describe()

    async def seek(self, namespace: str, topic: str, group: str, start: Start | None) -> None:
        from micro_broker_nats.groups import Groups

        await Groups(self._topic(namespace, topic)).seek(group, start)

    def _topic(self, namespace: str, topic: str) -> Topic:
        from micro_broker_nats.topic import Topic

        if self._ended or self._requests is None:
            raise _closed()
        place = self._topics.get((namespace, topic))
        if place is None:
            place = self._topics[namespace, topic] = Topic(self._requests, self._settings, namespace, topic)
        return place

    def _lost(self) -> None:
        if self._requests is not None:
            self._requests.lost()

    def _back(self) -> None:
        for member in self._members:
            member.back()


def _closed() -> FailedPrecondition:
    return FailedPrecondition("the events are closed")
