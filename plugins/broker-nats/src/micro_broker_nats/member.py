"""One member of a group: it has as much out as its window has room for, and settles what came.

What was fetched ahead is held for as long as its handlers go on; when they seem stuck it is given back, and does not count.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from micro.errors import FailedPrecondition, Unavailable
from micro.events.driver import BACK_OFF, DEAD, Ack, Consumer, Delivery, Event, Extend, Nack
from micro_broker_nats.connection import AwayError
from micro_broker_nats.groups import Notes, Place
from micro_broker_nats.pull import DEAF, Pull
from micro_broker_nats.requests import JetStreamError, NobodyError, Requests
from micro_broker_nats.topic import NS, Topic

STUCK = 0.7  # of ack_wait: nothing was begun or settled for so long
REBURY = 5.0  # seconds until a dead letter that could not be kept is tried again
Bury = Callable[[Event, str, int], Awaitable[None]]
_log = logging.getLogger(__name__)


class Open:
    """A delivery that is not settled."""

    __slots__ = ("ack", "begun", "deadline", "event", "excess", "number")

    def __init__(self, event: Event, ack: str, number: int, excess: int, deadline: float) -> None:
        self.event = event
        self.ack = ack
        self.number = number
        self.excess = excess
        self.deadline = deadline
        self.begun = False


class Member(Consumer):
    """A member of the consumer at `place`. `bury` keeps a dead letter."""

    def __init__(self, topic: Topic, place: Place, group: str, *, window: int, notes: Notes, bury: Bury) -> None:
        self._topic = topic
        self._requests: Requests = topic.requests
        self._place = place
        self._rules = place.rules
        self._group = group
        self._window = window
        self._notes = notes
        self._bury = bury
        ordered = place.rules.keyed and bool(group)
        self._pull = Pull(self._requests, topic.stream, place.name, self, ordered=ordered)
        self._out: dict[int, Open] = {}
        self._queue: deque[Delivery] = deque()
        self._keys: dict[str, int] = {}  # key → the sequence that is out
        self._parked: dict[str, deque[Open]] = {}
        self._seen = (place.stream_seq, place.consumer_seq, place.lost)
        self._active = time.monotonic()
        self._late = self._ended = False
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._tick = min(place.rules.ack_wait, DEAF) / 4
        self._keeper = asyncio.create_task(self._keep())

    # -- receiving

    async def __anext__(self) -> Delivery:
        self._active = time.monotonic()
        while not self._queue:
            if self._ended:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        return self._queue.popleft()

    async def ask(self) -> None:
        """Ask for what there is room for; not for a few while many are on their way, and not while it is stuck."""
        credit = self._pull.credit
        want = self._window - len(self._out) - credit
        if want > 0 and not (self._ended or self._late or (credit and want < self._window // 2)):
            await self._pull.ask(want)

    def back(self) -> None:
        """Ask anew: the connection was lost, and with it what was asked."""
        self._pull.credit = 0
        self._later(self.ask())

    async def taken(self, message: Any) -> None:
        """Take an event: hand it on, or bury it."""
        fields = message.reply.split(".")
        count, sequence, place = (int(each) for each in (fields[4:] if len(fields) == 9 else fields[6:])[:3])
        deadline = time.monotonic() + self._rules.ack_wait
        event = self._topic.event(message, sequence)
        excess = 0
        if count > 1 and self._group:
            try:
                excess = await self._notes.read(self._topic.stream, self._place.name, sequence)
            except (AwayError, TimeoutError):
                return  # it comes again
        item = Open(event, message.reply, max(1, count - excess), excess, deadline)
        lost = self._lost_before(sequence, place) if count == 1 else 0
        self._out[sequence] = item
        if self._ended:
            return  # `leave` gives it back
        limit = self._rules.max_deliveries
        if limit is not None and item.number > limit and not self._topic.topic.endswith(DEAD):
            self._later(self._end(item, limit))
            return
        self._hand(item, lost)

    def _lost_before(self, sequence: int, place: int) -> int:
        """Say how many events went before this one was delivered: the numbers of deliveries have no gap there."""
        stream_seq, consumer_seq, lost = self._seen
        self._seen = (sequence, place, 0)
        return lost + max(0, (sequence - stream_seq) - (place - consumer_seq) - lost) if place > consumer_seq else 0

    def _hand(self, item: Open, lost: int = 0) -> None:
        key = item.event.key if self._rules.keyed else ""
        if key:
            holder = self._keys.setdefault(key, item.event.sequence)
            if holder != item.event.sequence:
                self._parked.setdefault(key, deque()).append(item)
                return
        self._queue.append(Delivery(item.event, item.number, item.deadline, lost))
        self._wake.set()

    # -- settling

    async def begin(self, delivery: Delivery) -> bool:
        item = self._held(delivery)
        if item is None:
            return False
        self._alive()
        item.begun = True
        now = time.monotonic()
        if item.deadline - now < 0.9 * self._rules.ack_wait:
            with suppress(AwayError):  # then its handler has less time
                await self._hold([item], now)
        delivery.deadline = item.deadline
        return True

    async def settle(self, delivery: Delivery, how: Ack | Nack | Extend) -> bool:
        return await asyncio.shield(self.settle_soon(delivery, how))

    def settle_soon(self, delivery: Delivery, how: Ack | Nack | Extend) -> asyncio.Future[bool]:
        return asyncio.ensure_future(self._settle(delivery, self._held(delivery), how))

    async def _settle(self, delivery: Delivery, item: Open | None, how: Ack | Nack | Extend) -> bool:
        if item is None or self._out.get(item.event.sequence) is not item:
            return False
        self._alive()
        if isinstance(how, Extend):
            return await self._extend(delivery, item)
        del self._out[item.event.sequence]
        pause = None
        if isinstance(how, Nack):
            pause = BACK_OFF[min(item.number, len(BACK_OFF)) - 1] if how.delay is None else how.delay
        else:
            self._free(item)
        try:
            answer = await self._requests.ask(item.ack, b"+ACK" if pause is None else _nak(pause))
            await self.ask()
            await answer
        except NobodyError:
            return False  # the group was moved
        except (AwayError, TimeoutError, OSError) as err:
            raise Unavailable(f"it is not known whether event {item.event.sequence} is settled: {err}") from err
        return True

    async def _extend(self, delivery: Delivery, item: Open) -> bool:
        item.begun = True
        try:
            await self._hold([item], time.monotonic())
        except AwayError as err:
            raise Unavailable(f"event {item.event.sequence} has no more time: {err}") from err
        delivery.deadline = item.deadline
        return True

    def _held(self, delivery: Delivery) -> Open | None:
        item = self._out.get(delivery.event.sequence)
        if self._ended or item is None or item.number != delivery.number or item.deadline <= time.monotonic():
            return None
        return item

    def _free(self, item: Open) -> None:
        key = item.event.key
        if self._keys.get(key) != item.event.sequence:
            return
        del self._keys[key]
        parked = self._parked.get(key)
        if parked:
            following = parked.popleft()
            if not parked:
                del self._parked[key]
            self._hand(following)

    async def _end(self, item: Open, deliveries: int) -> None:
        """Give an event to the dead letters; while they cannot take it, it comes again."""
        try:
            await self._bury(item.event, self._group, deliveries)
            answer = await self._requests.ask(item.ack, b"+TERM")
            await answer
        except Exception as exc:  # whatever publishing raised: a full topic, or a connection that is gone
            _log.warning(
                "a dead letter of group %r of topic %r is not kept yet: %s", self._group, self._topic.topic, exc
            )
            with suppress(Exception):  # away: then it comes again by itself
                await self._requests.ask(item.ack, _nak(REBURY))
        else:
            self._free(item)
        self._out.pop(item.event.sequence, None)
        await self.ask()

    # -- holding

    def _alive(self) -> None:
        self._active = time.monotonic()
        self._late = False

    async def _keep(self) -> None:
        """Look at what is out: hold it, or give it back in time."""
        while not self._ended:
            await asyncio.sleep(self._tick)
            try:
                await self._look()
            except (AwayError, TimeoutError, OSError, JetStreamError) as err:
                _log.info("group %r of topic %r: %s", self._group, self._topic.topic, err)

    async def _look(self) -> None:
        now, wait = time.monotonic(), self._rules.ack_wait
        for item in [item for item in self._out.values() if item.deadline <= now]:
            self._drop(item)  # the server gives it to another
            self._late = True
        if self._out and now - self._active > STUCK * wait:
            self._late = True
            if self._pull.credit:
                await self._pull.withdraw()
            await self._give_back([item for item in self._out.values() if not item.begun])
        else:
            ahead = [item for item in self._out.values() if not item.begun]
            await self._hold([item for item in ahead if item.deadline - now < wait / 2], now)
        if self._late and now - self._active > (STUCK + 0.5) * wait:
            self._late = False  # others had their turn
        self._pull.look()
        await self.ask()

    async def _hold(self, items: list[Open], now: float) -> None:
        """Let the wait of these begin anew."""
        client = self._requests.client
        for item in items:
            await client.publish(item.ack, b"+WPI")
            item.deadline = now + self._rules.ack_wait

    def _drop(self, item: Open) -> None:
        self._out.pop(item.event.sequence, None)
        self._queue = deque(each for each in self._queue if each.event.sequence != item.event.sequence)

    async def _give_back(self, items: list[Open]) -> None:
        """Give back what is not settled; what no handler had does not count."""
        items.sort(key=lambda item: item.event.sequence)
        for item in items:
            self._drop(item)
        kept = {item.event.sequence for item in self._out.values()}
        self._keys = {key: sequence for key, sequence in self._keys.items() if sequence in kept}
        self._parked.clear()
        counts = {item.event.sequence: item.excess + 1 for item in items if not item.begun}
        if not items:
            return
        if counts and self._group:
            await self._notes.write(self._topic.stream, self._place.name, counts)
        answers = [await self._requests.ask(item.ack, b"-NAK") for item in items]
        await asyncio.gather(*answers, return_exceptions=True)  # of a consumer that has gone nobody answers

    # -- the end

    def finish(self) -> None:
        """End its iteration."""
        self._ended = True
        self._queue.clear()
        self._wake.set()

    async def leave(self) -> None:
        """End; what it had comes again at once, to another."""
        self.finish()
        self._keeper.cancel()
        await asyncio.gather(self._keeper, return_exceptions=True)
        # away: what it had comes again after its wait; a consumer that has gone has nothing
        with suppress(AwayError, TimeoutError, OSError, JetStreamError, FailedPrecondition):
            await self._pull.withdraw()
            await self._give_back(list(self._out.values()))
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _later(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _nak(pause: float) -> bytes:
    return b"-NAK" if pause <= 0 else b'-NAK {"delay": %d}' % int(pause * NS)
