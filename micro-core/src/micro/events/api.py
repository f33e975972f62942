"""Events as users know them: values out and in, settled by how a loop's body ends, over any driver."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, overload

from micro import limits, names
from micro.context import CORE_NAMESPACE
from micro.durations import seconds
from micro.errors import InvalidArgument, NotFound, ResourceExhausted
from micro.events.consumption import Consumption, Delivered
from micro.events.driver import DEAD, Delivery, Event, EventsDriver, Group, NewEvent, Receipt, Start
from micro.plugin.portable import Portable
from micro.schema.typed import encode_value

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    from micro.durations import Duration

    P = TypeVar("P", default=bytes)  # what a payload is: as it came, where no type is asked for

MAX_TOPIC = names.MAX_TOPIC - len(DEAD)  # bytes; a topic's dead letters have a name too


def topic_name(topic: str) -> str:
    """Check a topic of events."""
    names.topic(topic)
    if len(topic.encode()) > MAX_TOPIC and not topic.endswith(DEAD):
        raise InvalidArgument(f"topic is longer than {MAX_TOPIC} bytes")
    return topic


class Events(Portable[EventsDriver]):
    """The events of one namespace: an ordered log for each topic, delivered at least once to each group."""

    primitive = "events"

    def __init__(self, driver: EventsDriver, *, plugin: str = "", namespace: str = CORE_NAMESPACE) -> None:
        super().__init__(driver, plugin=plugin)
        self.namespace = names.namespace(namespace)

    async def publish(
        self,
        topic: str,
        payload: object,
        *,
        key: str = "",
        id: str = "",
        metadata: Mapping[str, str] | None = None,
        timestamp: datetime | None = None,
    ) -> Receipt:
        """Append an event; on return it is kept, as durably as the driver claims.

        `bytes` and `str` go as they are, everything else as JSON. Publishing the same `id` again publishes once, so a
        publish with an id may be repeated. `key` orders events of one group that consumes `keyed`. ResourceExhausted when
        the topic is full and drops nothing.
        """
        event = self._event(payload, key, id, metadata, timestamp)
        return (await self._call("publish", self.driver.publish(self.namespace, topic_name(topic), [event])))[0]

    async def publish_many(self, topic: str, payloads: Sequence[object]) -> list[Receipt]:
        """Append events in order, up to limits.BATCH of them, all or none; a `NewEvent` brings its own id and key."""
        if len(payloads) > limits.BATCH:
            raise ResourceExhausted(f"{len(payloads)} events at once, the limit is {limits.BATCH}")
        events = [p if isinstance(p, NewEvent) else self._event(p, "", "", None, None) for p in payloads]
        return await self._call("publish_many", self.driver.publish(self.namespace, topic_name(topic), events))

    @overload
    def consume(
        self,
        topic: str,
        type_: type[P] = ...,
        *,
        group: str = ...,
        start: Start | datetime = ...,
        ack_wait: Duration = ...,
        max_deliveries: int | None = ...,
        window: int = ...,
        keyed: bool = ...,
        manual: bool = ...,
    ) -> Consumption[P]: ...
    @overload
    def consume(
        self,
        topic: str,
        type_: Any,
        *,
        group: str = ...,
        start: Start | datetime = ...,
        ack_wait: Duration = ...,
        max_deliveries: int | None = ...,
        window: int = ...,
        keyed: bool = ...,
        manual: bool = ...,
    ) -> Consumption[Any]: ...
    def consume(
        self,
        topic: str,
        type_: Any = None,
        *,
        group: str = "",
        start: Start | datetime = Start.NEW,
        ack_wait: Duration = 30.0,
        max_deliveries: int | None = 5,
        window: int = 256,
        keyed: bool = False,
        manual: bool = False,
    ) -> Consumption[Any]:
        """Join a group and iterate its deliveries; enter it first so that what is published from then on will come.

        Asking for the next delivery acks the one before; leaving an `async with` acks the last, but by an exception gives
        it back. The loop does not wait for acks to be kept: they are by the time an `async with` is left. What was fetched ahead and not given to the loop counts as no delivery, however the loop is left. With
        `manual` nothing is settled but by hand. `start` counts for a group that is new: `Start.NEW`,
        `Start.OLDEST`, `Start(sequence=…)`, or an instant; `group=""` is a cursor of this loop's own. After a lost connection it joins again; a cursor of its own goes on where it was.
        """
        if group:
            names.group(group)
        wait = seconds(ack_wait, "ack_wait")
        if wait <= 0:
            raise InvalidArgument(f"ack_wait is {wait:g} seconds, it must be above 0")
        if keyed:
            self._require("keyed", "consume")
        options = {"ack_wait": wait, "max_deliveries": max_deliveries, "window": window, "keyed": keyed}
        begin = _start(start)
        return Consumption(self, topic_name(topic), type_, group=group, start=begin, options=options, manual=manual)

    @overload
    async def read(
        self,
        topic: str,
        type_: type[P] = ...,
        *,
        after: int = ...,
        since: datetime | None = ...,
        limit: int = ...,
        descending: bool = ...,
    ) -> list[Delivered[P]]: ...
    @overload
    async def read(
        self,
        topic: str,
        type_: Any,
        *,
        after: int = ...,
        since: datetime | None = ...,
        limit: int = ...,
        descending: bool = ...,
    ) -> list[Delivered[Any]]: ...
    async def read(
        self,
        topic: str,
        type_: Any = None,
        *,
        after: int = 0,
        since: datetime | None = None,
        limit: int = 250,
        descending: bool = False,
    ) -> list[Delivered[Any]]:
        """Read history, oldest first: events above the sequence `after`, of or after the instant `since`.

        With `descending` newest first, and `after` is what to go on below; 0 is from the end.
        """
        if since is not None:
            _instant(since, "since")
        self._require("replay", "read")
        work = self.driver.read(
            self.namespace, topic_name(topic), after=after, since=since, limit=limit, descending=descending
        )
        return [Delivered(None, Delivery(event, 0), type_) for event in await self._call("read", work)]

    async def groups(self, topic: str) -> list[Group]:
        """Say how far each group of a topic is."""
        return await self._call("groups", self.driver.groups(self.namespace, topic_name(topic)))

    async def seek(self, topic: str, group: str, start: Start | datetime | None) -> None:
        """Move a group, or with None forget it."""
        begin = None if start is None else _start(start)
        await self._call("seek", self.driver.seek(self.namespace, topic_name(topic), names.group(group), begin))

    async def replay(self, topic: str, ids: Sequence[str]) -> list[Receipt]:
        """Publish dead letters of a topic again, by their ids or those of the events they were."""
        wanted = set(ids)
        found: dict[str, Event] = {}
        after = 0
        while len(found) < len(wanted):
            page = await self._call("replay", self.driver.read(self.namespace, topic + DEAD, after=after))
            if not page:
                missing = sorted(wanted - found.keys())
                raise NotFound(f"no dead letter of topic {topic!r} has the id {missing[0]!r}")
            for event in page:
                for id in {event.id, event.metadata.get("dead-id", "")} & wanted:
                    found[id] = event
            after = page[-1].sequence
        again = [self._alive(found[id]) for id in ids]
        return await self._call("replay", self.driver.publish(self.namespace, topic_name(topic), again))

    @staticmethod
    def _alive(letter: Event) -> NewEvent:
        metadata = {name: text for name, text in letter.metadata.items() if not name.startswith("dead-")}
        return NewEvent(letter.payload, "", letter.key, metadata, letter.timestamp)

    @staticmethod
    def _event(
        payload: object, key: str, id: str, metadata: Mapping[str, str] | None, timestamp: datetime | None
    ) -> NewEvent:
        data = encode_value(payload)
        if len(data) > limits.VALUE:
            raise ResourceExhausted(f"the event has {len(data)} bytes, the limit is {limits.VALUE}")
        if timestamp is not None:
            _instant(timestamp, "timestamp")
        for value, what in ((key, "key"), (id, "id")):
            if len(value.encode()) > names.MAX_TOPIC:
                raise InvalidArgument(f"{what} is longer than {names.MAX_TOPIC} bytes")
        return NewEvent(data, id, key, dict(metadata or {}), timestamp)


def _start(start: Any) -> Start:
    """Read where to begin: an instant says itself; a number would not say whether it is the first one wanted."""
    if isinstance(start, datetime):
        return Start(since=_instant(start, "start"))
    if not isinstance(start, Start):
        wanted = "Start.NEW, Start.OLDEST, Start(sequence=…) or a datetime"
        raise InvalidArgument(f"start is {type(start).__name__} {start!r:.40}, wanted {wanted}")
    sequence: Any = start.sequence
    if sequence is not None and (not isinstance(sequence, int) or sequence < 0):
        raise InvalidArgument(f"start is at the sequence {sequence!r:.40}, wanted a number, 0 or more")
    if start.since is not None:
        _instant(start.since, "start")
    return start


def _instant(value: Any, what: str) -> datetime:
    if not isinstance(value, datetime):
        raise InvalidArgument(f"{what} is {type(value).__name__} {value!r:.40}, wanted a datetime")
    if value.tzinfo is None:
        raise InvalidArgument(f"{what} has no time zone")
    return value
