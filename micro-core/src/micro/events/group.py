"""A group of consumers of one topic: what is out, what comes again and when, what is settled."""

from __future__ import annotations

import asyncio
import heapq
import json
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from micro.events.cursor import Cursor
from micro.events.deadlines import Deadlines
from micro.events.driver import BACK_OFF, DEAD, Ack, Delivery, Event, Extend, Group, Nack, Rules
from micro.events.log import Log
from micro.events.member import Member, Open
from micro.events.saving import Saver

RETRY = 0.5  # seconds until the store is asked again after an error
PARKED = 1024  # events that wait for others of their key: beyond, all wait, rather than that the whole log is held
REBURY = 5.0  # seconds until a dead letter that could not be kept is tried again

_log = logging.getLogger(__name__)


class Members:
    """The state of a group, and the pump that feeds its members. `bury` keeps a dead letter; `save` the state."""

    def __init__(
        self,
        log: Log,
        name: str,
        rules: Rules | None,
        cursor: Cursor,
        *,
        bury: Callable[[Event, str, int], Awaitable[None]],
        save: Callable[[str, bytes], Awaitable[None]] | None,
    ) -> None:
        self.log = log
        self.name = name
        self.rules = rules
        self.cursor = cursor
        self._open = cursor.open  # taken and not settled
        self._bury = bury
        self._again: list[tuple[float, int, int]] = []  # a heap: when, sequence, stamp
        self._counts: dict[int, int] = {}  # deliveries of those that were begun and not settled
        self._keys: dict[str, int] = {}  # key → the sequence that is out
        self._parked: dict[str, deque[int]] = {}
        self._behind = 0  # how many are parked
        self._deadlines = Deadlines(self._open, self._late)
        self._members: list[Member] = []
        self._wake = asyncio.Event()
        self._pump: asyncio.Task[None] | None = None
        self._saver = Saver(None if save is None else lambda: save(self.name, self.state()))

    # -- state

    def state(self) -> bytes:
        """Give what must outlive the process."""
        rules = msgspec.structs.asdict(self.rules) if self.rules else None
        counts = {str(s): n for s, n in self._counts.items()}
        return json.dumps(self.cursor.state() | {"counts": counts, "rules": rules}).encode()

    def restore(self, state: Any) -> None:
        """Take up a saved state."""
        self.cursor.restore(state)
        self._counts = {int(s): n for s, n in state["counts"].items()}
        self.rules = Rules(**state["rules"]) if state["rules"] else None

    async def describe(self) -> Group:
        """Say how far the group is."""
        lag, lost = await self.cursor.measure()
        pending = sum(1 for item in self._open.values() if item.member is not None)
        return Group(self.name, self.cursor.position, pending, lag, lost)

    def agree(self, rules: Rules, *, adopt: bool) -> Rules:
        """Take a new consumer's rules, or refuse them where the group has others."""
        if self.rules is None:
            self.rules = rules
        self.rules.agree(rules, self.name, adopt=adopt)
        return self.rules

    def wake(self) -> None:
        """Look again: something was appended, settled, or is due."""
        self._wake.set()

    def save(self) -> asyncio.Future[bool]:
        """Make the state durable; gives True once it is."""
        return self._saver.save()

    # -- members

    def join(self, window: int) -> Member:
        """Add a member."""
        member = Member(self, window)
        self._members.append(member)
        if self._pump is None or self._pump.done():
            self._pump = asyncio.create_task(self._feed())
        self.wake()
        return member

    def leave(self, member: Member) -> None:
        """Remove a member; what it had comes again at once, to another."""
        member.end()
        if member in self._members:
            self._members.remove(member)
        for sequence, item in list(self._open.items()):
            if item.member is member:
                self._return(sequence, item, 0.0)
        if not self._members and self._pump is not None:
            self._pump.cancel()
            self._pump = None
            self._deadlines.stop()
        self.wake()

    @property
    def empty(self) -> bool:
        """Whether nobody consumes."""
        return not self._members

    def end(self) -> None:
        """End all members: the group is forgotten, moved or closed."""
        for member in list(self._members):
            self.leave(member)

    # -- settling

    def begin(self, member: Member, delivery: Delivery) -> bool:
        """Count a delivery, and let its wait begin; False when it is not this member's any more."""
        item = self._out(member, delivery)
        if item is None or self.rules is None:
            return False
        item.begun, member.late = True, False
        delivery.deadline = item.deadline = time.monotonic() + self.rules.ack_wait
        return True

    def _out(self, member: Member, delivery: Delivery) -> Open | None:
        item = self._open.get(delivery.event.sequence)
        return item if item is not None and item.member is member and item.number == delivery.number else None

    def settle(self, member: Member, delivery: Delivery, how: Ack | Nack | Extend) -> asyncio.Future[bool]:
        """Settle a delivery now; gives whether it was out to this member for this time, once that is kept."""
        item = self._out(member, delivery)
        if item is None or isinstance(how, Extend):
            told: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            told.set_result(item is not None and self.begin(member, delivery))
            return told
        member.outstanding -= 1
        item.begun, member.late = True, False
        if isinstance(how, Nack):
            pause = BACK_OFF[min(item.number, len(BACK_OFF)) - 1] if how.delay is None else how.delay
            self._return(delivery.event.sequence, item, pause)
        else:
            self._finish(item)
        self.wake()
        return self.save()

    def _finish(self, item: Open) -> None:
        item.member = None
        self._counts.pop(item.event.sequence, None)
        self.cursor.finish(item)
        if item.event.key:
            self._free_key(item.event.key, item.event.sequence)

    def _return(self, sequence: int, item: Open, pause: float) -> None:
        """Take a delivery back; it comes again after a pause. It counts if a handler had it."""
        item.member = None
        if item.begun:
            self._counts[sequence] = item.number
        self._later(item, time.monotonic() + pause)

    def _later(self, item: Open, when: float) -> None:
        item.stamp += 1
        heapq.heappush(self._again, (when, item.event.sequence, item.stamp))

    def _late(self, item: Open, member: Member) -> None:
        """Take back what was not settled in time."""
        member.outstanding -= 1
        member.late = True
        self._return(item.event.sequence, item, 0.0)
        self.wake()

    def _free_key(self, key: str, sequence: int) -> None:
        if self._keys.get(key) != sequence:
            return
        del self._keys[key]
        parked = self._parked.get(key)
        if parked:
            freed = parked.popleft()
            self._behind -= 1
            if not parked:
                del self._parked[key]
            self._keys[key] = freed
            self._later(self._open[freed], 0.0)

    # -- the pump

    async def _feed(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            pause: float | None = None
            try:
                while await self._deliver_one():
                    pass
            except Exception:  # whatever the store raises: the group would else deliver nothing ever after
                _log.exception("group %r of topic %r waits for its store", self.name, self.log.topic)
                pause = RETRY
            if self._again and pause is None and any(member.room for member in self._members):
                pause = max(0.0, self._again[0][0] - time.monotonic())
            timer = loop.call_later(pause, self._wake.set) if pause is not None else None
            await self._wake.wait()
            if timer is not None:
                timer.cancel()

    async def _deliver_one(self) -> bool:
        member = self._next_member()
        if member is None or self.rules is None:
            return False
        item = self._due()
        if item is None:
            item = await self._take()
            if item is None:
                return False
            if not member.room:  # it left, or filled up, while the log was read
                self._later(item, 0.0)
                return True
        number = self._counts.get(item.event.sequence, 0) + 1
        limit = self.rules.max_deliveries
        if limit is not None and number > limit and not self.log.topic.endswith(DEAD):
            await self._end(item, number - 1)
            return True
        item.number, item.member, item.begun = number, member, False
        item.deadline = time.monotonic() + self.rules.ack_wait
        self._deadlines.watch(item)
        member.push(Delivery(item.event, number, item.deadline, item.lost))
        return True

    def _next_member(self) -> Member | None:
        """Choose who is next of those with room: who settles in time, then who has least."""
        if len(self._members) == 1:
            return self._members[0] if self._members[0].room else None
        return min((m for m in self._members if m.room), key=lambda m: (m.late, m.outstanding), default=None)

    async def _end(self, item: Open, deliveries: int) -> None:
        """Give an event to the dead letters; while they cannot take it, it waits, and holds up nobody but its key."""
        self._later(item, time.monotonic() + REBURY)
        try:
            await self._bury(item.event, self.name, deliveries)
        except Exception:  # whatever the store raises: a full disk, or a full topic
            _log.exception("a dead letter of group %r of topic %r is not kept yet", self.name, self.log.topic)
            return
        if self._open.get(item.event.sequence) is item:
            self._finish(item)
            await asyncio.shield(self.save())

    def _due(self) -> Open | None:
        """Give the next that comes again now; entries of an older stamp are passed over."""
        while self._again:
            when, sequence, stamp = self._again[0]
            item = self._open.get(sequence)
            if item is None or item.stamp != stamp or item.member is not None:
                heapq.heappop(self._again)
            elif when <= time.monotonic():
                heapq.heappop(self._again)
                return item
            else:
                return None
        return None

    async def _take(self) -> Open | None:
        """Take the next event of the log that nobody has had; None when there is none, or it waits for its key."""
        assert self.rules is not None
        while self._behind < PARKED:
            item = await self.cursor.take()
            if item is None or not self.rules.keyed or not item.event.key:
                return item
            key, sequence = item.event.key, item.event.sequence
            if key not in self._keys:
                self._keys[key] = sequence
                return item
            self._parked.setdefault(key, deque()).append(sequence)
            self._behind += 1
        return None
