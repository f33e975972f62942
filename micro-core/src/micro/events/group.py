"""A group of consumers of one topic: what is out, what comes again and when, what is settled."""

from __future__ import annotations

import asyncio
import heapq
import json
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from micro.errors import FailedPrecondition
from micro.events.driver import BACK_OFF, DEAD, Ack, Delivery, Event, Extend, Group, Nack
from micro.events.log import Log
from micro.events.member import Member, Open

PAGE = 256  # events fetched at once
RETRY = 0.5  # seconds until the store is asked again after an error
SETTLED = 10_000  # settled events above the position that a group remembers

_log = logging.getLogger(__name__)


class Rules(NamedTuple):
    """What the first consumer of a group fixes."""

    ack_wait: float
    max_deliveries: int | None
    keyed: bool


class Members:
    """The state of a group, and the pump that feeds its members. `bury` keeps a dead letter; `save` the state."""

    def __init__(
        self,
        log: Log,
        name: str,
        rules: Rules | None,
        position: int,
        *,
        bury: Callable[[Event, str, int, str], Awaitable[None]],
        save: Callable[[str, bytes], Awaitable[None]] | None,
    ) -> None:
        self.log = log
        self.name = name
        self.rules = rules
        self.position = position  # all up to here is settled
        self._bury = bury
        self._save = save
        self._next = position  # all up to here was taken from the log
        self._ahead: deque[Event] = deque()
        self._open: dict[int, Open] = {}  # taken and not settled
        self._order: list[int] = []  # a heap of the open ones, settled ones passed over
        self._again: list[tuple[float, int, int]] = []  # a heap: when, sequence, stamp
        self._settled: set[int] = set()  # above the position
        self._counts: dict[int, int] = {}  # deliveries of those that were begun and not settled
        self._keys: dict[str, int] = {}  # key → the sequence that is out
        self._parked: dict[str, deque[int]] = {}
        self._members: list[Member] = []
        self._wake = asyncio.Event()
        self._pump: asyncio.Task[None] | None = None
        self._saving: asyncio.Task[None] | None = None
        self._version = self._saved = 0  # of the state: as it is, and as it was written

    # -- state

    def state(self) -> bytes:
        """Give what must outlive the process."""
        rules = self.rules._asdict() if self.rules else None
        counts = {str(s): n for s, n in self._counts.items()}
        return json.dumps(
            {"position": self.position, "settled": sorted(self._settled), "counts": counts, "rules": rules}
        ).encode()

    def restore(self, state: Any) -> None:
        """Take up a saved state."""
        self.position = self._next = state["position"]
        self._settled = set(state["settled"])
        self._counts = {int(s): n for s, n in state["counts"].items()}
        self.rules = Rules(**state["rules"]) if state["rules"] else None

    def describe(self) -> Group:
        """Say how far the group is; the lag counts sequences, gaps included."""
        pending = sum(1 for item in self._open.values() if item.member is not None)
        waiting = len(self._open) - pending + len(self._ahead)
        return Group(self.name, self.position, pending, waiting + max(0, self.log.last - self._next))

    def agree(self, rules: Rules, *, adopt: bool) -> Rules:
        """Take a new consumer's rules, or refuse them where the group has others."""
        if self.rules is None:
            self.rules = rules
        elif rules != self.rules and not adopt:
            raise FailedPrecondition(f"group {self.name!r} has {self._shown(self.rules)}, wanted {self._shown(rules)}")
        return self.rules

    @staticmethod
    def _shown(rules: Rules) -> str:
        return f"ack_wait={rules.ack_wait:g}, max_deliveries={rules.max_deliveries}, keyed={rules.keyed}"

    def wake(self) -> None:
        """Look again: something was appended, settled, or is due."""
        self._wake.set()

    async def save(self) -> None:
        """Make the state durable; settlings that come while one is being written share the next."""
        if self._save is None:
            return
        self._version += 1
        wanted = self._version
        while self._saved < wanted:
            if self._saving is None:
                self._saving = asyncio.create_task(self._write(self._save))
            await asyncio.shield(self._saving)

    async def _write(self, save: Callable[[str, bytes], Awaitable[None]]) -> None:
        version = self._version
        try:
            await save(self.name, self.state())
            self._saved = version
        finally:
            self._saving = None

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
        self._arm(delivery.event.sequence, item)
        delivery.deadline = time.monotonic() + self.rules.ack_wait
        return True

    def _out(self, member: Member, delivery: Delivery) -> Open | None:
        item = self._open.get(delivery.event.sequence)
        return item if item is not None and item.member is member and item.number == delivery.number else None

    async def settle(self, member: Member, delivery: Delivery, how: Ack | Nack | Extend) -> bool:
        """Settle a delivery; False when it is out no more, or to somebody else, or for another time."""
        if isinstance(how, Extend):
            return self.begin(member, delivery)
        item = self._out(member, delivery)
        if item is None:
            return False
        sequence = delivery.event.sequence
        member.outstanding -= 1
        item.begun, member.late = True, False
        if isinstance(how, Nack):
            pause = BACK_OFF[min(item.number, len(BACK_OFF)) - 1] if how.delay is None else how.delay
            self._return(sequence, item, pause)
        else:
            self._finish(sequence, item)
        self.wake()
        await self.save()
        return True

    def _finish(self, sequence: int, item: Open) -> None:
        item.disarm()
        del self._open[sequence]
        self._counts.pop(sequence, None)
        self._settled.add(sequence)
        self._free_key(item.event, sequence)
        while self._order and self._order[0] not in self._open:
            heapq.heappop(self._order)
        if self._order:
            self.position = max(self.position, self._order[0] - 1)
        elif not self._ahead:
            self.position = max(self.position, self._next)
        else:
            self.position = max(self.position, self._ahead[0].sequence - 1)
        self._settled = {s for s in self._settled if s > self.position} if self._settled else self._settled

    def _return(self, sequence: int, item: Open, pause: float) -> None:
        """Take a delivery back; it comes again after a pause. It counts if a handler had it."""
        item.disarm()
        item.member = None
        if item.begun:
            self._counts[sequence] = item.number
        item.stamp += 1
        heapq.heappush(self._again, (time.monotonic() + pause, sequence, item.stamp))

    def _arm(self, sequence: int, item: Open) -> None:
        assert self.rules is not None
        item.disarm()
        item.timer = asyncio.get_running_loop().call_later(self.rules.ack_wait, self._expire, sequence, item)

    def _expire(self, sequence: int, item: Open) -> None:
        if item.member is None:
            return
        item.member.outstanding -= 1
        item.member.late = True
        self._return(sequence, item, 0.0)
        self.wake()

    def _free_key(self, event: Event, sequence: int) -> None:
        if self._keys.get(event.key) != sequence:
            return
        del self._keys[event.key]
        parked = self._parked.get(event.key)
        if parked:
            freed = parked.popleft()
            if not parked:
                del self._parked[event.key]
            self._keys[event.key] = freed
            item = self._open[freed]
            item.stamp += 1
            heapq.heappush(self._again, (0.0, freed, item.stamp))

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
        member = min((m for m in self._members if m.room), key=lambda m: (m.late, m.outstanding), default=None)
        if member is None or self.rules is None:
            return False
        sequence = self._due()
        if sequence is None:
            sequence = await self._take()
            if sequence is None:
                return False
            if not member.room:  # it left, or filled up, while the log was read
                item = self._open[sequence]
                heapq.heappush(self._again, (0.0, sequence, item.stamp))
                return True
        item = self._open[sequence]
        number = self._counts.get(sequence, 0) + 1
        limit = self.rules.max_deliveries
        if limit is not None and number > limit and not self.log.topic.endswith(DEAD):
            await self._bury(item.event, self.name, number - 1, f"delivered {number - 1} times without being settled")
            self._finish(sequence, item)
            await self.save()
            return True
        item.number, item.member, item.begun = number, member, False
        self._arm(sequence, item)
        member.push(Delivery(item.event, number, time.monotonic() + self.rules.ack_wait))
        return True

    def _due(self) -> int | None:
        """Give the next that comes again now; entries of an older stamp are passed over."""
        while self._again:
            when, sequence, stamp = self._again[0]
            item = self._open.get(sequence)
            if item is None or item.stamp != stamp or item.member is not None:
                heapq.heappop(self._again)
            elif when <= time.monotonic():
                heapq.heappop(self._again)
                return sequence
            else:
                return None
        return None

    async def _take(self) -> int | None:
        """Take the next event of the log that nobody has had; None when there is none, or it waits for its key."""
        assert self.rules is not None
        while True:
            if not self._ahead:
                if len(self._settled) > SETTLED:
                    return None  # one event that never settles: wait rather than remember all above it
                found = await self.log.read(self._next, PAGE)
                if not found:
                    return None
                self._next = found[-1].sequence
                self._ahead.extend(event for event in found if event.sequence not in self._settled)
                continue
            event = self._ahead.popleft()
            self._open[event.sequence] = Open(event)
            heapq.heappush(self._order, event.sequence)
            if not self.rules.keyed or not event.key:
                return event.sequence
            if event.key not in self._keys:
                self._keys[event.key] = event.sequence
                return event.sequence
            self._parked.setdefault(event.key, deque()).append(event.sequence)
            if len(self._open) > 4 * PAGE:
                return None  # one busy key: wait rather than hold the whole log
