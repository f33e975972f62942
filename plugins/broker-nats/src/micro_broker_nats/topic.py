"""One topic: a stream of its own, what is published to it and what is read of it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from micro import limits
from micro.errors import ResourceExhausted
from micro.events.driver import Event, NewEvent, Receipt
from micro.plugin.gather import Call
from micro_broker_nats.connection import token
from micro_broker_nats.requests import JetStreamError, NobodyError, Requests, told
from micro_broker_nats.settings import NatsEventsSettings

EVENT = "Micro-Event"  # [id, key, metadata, microseconds since 1970] as JSON: the client trims values, and refuses names that are ours
ID = "Nats-Msg-Id"
AHEAD = "ahead"  # the last token of the subject of what is dated in the future: the one thing a look by time misses
SKEW = 30.0  # seconds that clocks may differ
WINDOW = 120.0  # seconds an id is known for
NS = 1_000_000_000
PAGE = 250
PAGE_BYTES = 8 * limits.MIB
LONG = 120  # characters of a name above which its end is a digest
EXISTS, DUPLICATE, NO_STREAM, FULL = 10058, 10201, 10059, 10077


def short(name: str) -> str:
    """Write any name as one token that is no longer than streams and consumers may be."""
    whole = token(name)
    if len(whole) <= LONG:
        return whole
    return f"{whole[:80]}=H{hashlib.sha256(whole.encode()).hexdigest()[:32]}"  # no escape begins with =H


class Topic:
    """The stream of a topic. It is made when it is published to or consumed, and takes up the settings then."""

    def __init__(self, requests: Requests, settings: NatsEventsSettings, namespace: str, topic: str) -> None:
        self.topic = topic
        self.stream = f"micro-e~{short(namespace)}~{short(topic)}"
        self.requests = requests
        self._settings = settings
        self._subject = f"micro.e.{token(namespace)}.{token(topic)}"
        self._made: asyncio.Task[bool] | None = None

    # -- the stream

    async def ensure(self) -> bool:
        """Have the stream made, once; gives whether it takes batches."""
        if self._made is None or (self._made.done() and (self._made.cancelled() or self._made.exception() is not None)):
            self._made = asyncio.create_task(self._make())
        return await asyncio.shield(self._made)

    def forget(self) -> None:
        """Have it made anew when it is next wanted: somebody deleted it."""
        self._made = None

    async def _make(self) -> bool:
        config = self._config()
        try:
            made = await self.requests.api(f"STREAM.CREATE.{self.stream}", config)
        except JetStreamError as err:
            if err.err != EXISTS:
                raise
            made = await self.requests.api(f"STREAM.UPDATE.{self.stream}", config)
        return bool(made["config"].get("allow_atomic"))

    def _config(self) -> dict[str, Any]:
        given = self._settings
        window = min(WINDOW, given.retention or WINDOW)
        return {
            "name": self.stream,
            "subjects": [self._subject, f"{self._subject}.{AHEAD}"],
            "retention": "limits",
            "storage": "file",
            "num_replicas": given.replicas,
            "max_age": int(given.retention * NS),
            "max_msgs": given.max_events or -1,
            "max_bytes": given.max_bytes or -1,
            "discard": given.discard,
            "duplicate_window": int(window * NS),
            "allow_direct": True,
            "allow_atomic": True,
            "metadata": {"micro": "events"},
        }

    async def state(self) -> tuple[int, int] | None:
        """Give the sequences of the oldest and the newest event; None where there is no stream."""
        try:
            found = (await self.requests.api(f"STREAM.INFO.{self.stream}"))["state"]
        except JetStreamError as err:
            if err.err == NO_STREAM:
                return None
            raise
        return max(1, found["first_seq"]), found["last_seq"]

    # -- publishing

    async def publish(self, calls: Sequence[Call[Sequence[NewEvent]]]) -> None:
        """Append what is asked, and set the calls' answers: together where the server can, or else one after the other."""
        batches = await self.ensure()
        events = [event for call in calls for event in call.asked]
        if len(events) == 1 or not batches:
            for call in calls:
                await self._answer(call, self._singly(call.asked))
            return
        try:
            receipts = await self._batch(events)
        except (JetStreamError, ResourceExhausted) as err:
            if getattr(err, "err", FULL) == DUPLICATE:
                for call in calls:
                    await self._answer(call, self._singly(call.asked))
            elif len(calls) == 1:
                raise
            else:  # what another asked for did not fit
                for call in calls:
                    await self._answer(call, self._batch(call.asked))
            return
        for call in calls:
            mine, receipts = receipts[: len(call.asked)], receipts[len(call.asked) :]
            if not call.answer.done():
                call.answer.set_result(mine)

    @staticmethod
    async def _answer(call: Call[Sequence[NewEvent]], work: Any) -> None:
        try:
            receipts = await work
        except Exception as exc:  # it is the caller's, whatever it is
            if not call.answer.done():
                call.answer.set_exception(exc)
        else:
            if not call.answer.done():
                call.answer.set_result(receipts)

    async def _singly(self, events: Sequence[NewEvent]) -> list[Receipt]:
        named = [self._named(event) for event in events]
        answers = [await self._send(event, headers) for event, headers in named]
        done = await asyncio.gather(*answers, return_exceptions=True)
        receipts = []
        for (event, _), answer in zip(named, done, strict=True):
            kept = self._kept(answer)
            receipts.append(Receipt(event.id, kept["seq"], bool(kept.get("duplicate"))))
        return receipts

    async def _batch(self, events: Sequence[NewEvent]) -> list[Receipt]:
        """Append all or none; a known id refuses all."""
        if len(events) == 1:
            return await self._singly(events)
        named = [self._named(event) for event in events]
        batch = uuid4().hex
        client = self.requests.client
        for number, (event, headers) in enumerate(named[:-1], 1):
            headers |= {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)}
            await client.publish(self._to(event), event.payload, headers=headers)
        event, headers = named[-1]
        headers |= {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(len(named)), "Nats-Batch-Commit": "1"}
        last = self._kept(await (await self._send(event, headers)))["seq"]
        return [Receipt(event.id, last - len(named) + n) for n, (event, _) in enumerate(named, 1)]

    @staticmethod
    def _named(new: NewEvent) -> tuple[NewEvent, dict[str, str]]:
        id, when = new.id or uuid4().hex, new.timestamp or datetime.now(UTC)
        said = json.dumps([id, new.key, dict(new.metadata), round(when.timestamp() * 1e6)])
        headers = {EVENT: said, ID: token(new.id)} if new.id else {EVENT: said}
        return NewEvent(new.payload, id, new.key, new.metadata, when), headers

    def _to(self, event: NewEvent) -> str:
        assert event.timestamp is not None
        ahead = event.timestamp.timestamp() > time.time() + SKEW
        return f"{self._subject}.{AHEAD}" if ahead else self._subject

    async def _send(self, event: NewEvent, headers: dict[str, str]) -> asyncio.Future[Any]:
        return await self.requests.ask(self._to(event), event.payload, headers)

    def _kept(self, answer: Any) -> dict[str, Any]:
        if isinstance(answer, NobodyError):
            self.forget()
        if isinstance(answer, BaseException):
            raise answer
        try:
            return told(answer.data)
        except JetStreamError as err:
            if err.err == FULL:
                raise ResourceExhausted(f"topic {self.topic!r} is full: {err}") from err
            raise

    # -- reading

    async def page(self, **where: Any) -> list[Event]:
        """Give up to PAGE events, and PAGE_BYTES, as the direct interface is asked: from `seq`, or `start_time`."""
        body = json.dumps({"batch": PAGE, "max_bytes": PAGE_BYTES} | where).encode()
        try:
            found, _ = await (await self.requests.ask(f"$JS.API.DIRECT.GET.{self.stream}", body, many=True))
        except NobodyError:
            if await self.state() is None:
                return []
            raise
        return [self.event(each, int(each.headers["Nats-Sequence"])) for each in found]

    def event(self, message: Any, sequence: int) -> Event:
        """Read a message; one that others published, without what we say of ours, has its number for an id."""
        said = (message.headers or {}).get(EVENT)
        if said is None:
            return Event(
                self.topic, sequence, f"nats-{sequence}", message.data, timestamp=datetime.fromtimestamp(0, UTC)
            )
        id, key, metadata, when = json.loads(said)
        return Event(self.topic, sequence, id, message.data, key, metadata, datetime.fromtimestamp(when / 1e6, UTC))

    async def read(self, after: int, limit: int) -> list[Event]:
        """Give events above a sequence."""
        found: list[Event] = []
        while len(found) < limit and (page := await self.page(seq=after + 1, batch=min(PAGE, limit - len(found)))):
            found += page
            after = page[-1].sequence
        return found

    async def read_back(self, below: int, above: int, limit: int) -> list[Event]:
        """Give events between two sequences, both exclusive, the newest first; `below` 0 is the end."""
        state = await self.state()
        if state is None:
            return []
        first, last = state
        below, above = min(below or last + 1, last + 1), max(above, first - 1)
        found: list[Event] = []
        while len(found) < limit and below - above > 1:
            start = max(above + 1, below - min(PAGE, limit - len(found)))
            part = [event for event in await self.read(start - 1, below - start) if event.sequence < below]
            found += part[::-1]
            below = start
        return found

    async def first_since(self, since: datetime) -> int | None:
        """Give the sequence of the first event of or after an instant.

        What was published since then is looked through, and what was dated in the future when it was published.
        """
        ahead, after = None, 0
        while ahead is None and (page := await self.page(seq=after + 1, next_by_subj=f"{self._subject}.{AHEAD}")):
            ahead = next((event.sequence for event in page if event.timestamp >= since), None)
            after = page[-1].sequence
        begin = datetime.fromtimestamp(max(0.0, since.timestamp() - 2 * SKEW), UTC).isoformat().replace("+00:00", "Z")
        page = await self.page(start_time=begin)
        while page and (ahead is None or page[0].sequence < ahead):
            for event in page:
                if event.timestamp >= since:
                    return event.sequence if ahead is None else min(ahead, event.sequence)
            page = await self.page(seq=page[-1].sequence + 1)
        return ahead
