"""Watching, once for all primitives: a feed of changes for drivers, and resuming for portable classes.

The order every watch keeps: first what exists (as `put`), then `Synced(version)`, then changes; `after=v` resumes
without the first part; when v is too old, `Reset` and from the start. No gap, perhaps a double, order per key.
"""

from __future__ import annotations

import asyncio
import inspect
import random
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from typing import Generic, TypeVar

from micro.errors import ResourceExhausted, ServiceError, Unavailable
from micro.plugin.driver import Change, Reset, Synced

T = TypeVar("T")
Event = Change[T] | Synced | Reset

KEPT = 10_000  # changes a feed remembers for those who resume
BACKLOG = 10_000  # changes a watcher may be behind before it is ended
BUDGET = 16 * 1024 * 1024  # bytes, by `weigh`, that a feed remembers, and that a watcher may be behind


class Feed(Generic[T]):
    """The changes of one table, namespace or domain, in one loop.

    A driver calls `publish` after a change is visible to reads. `version` is that of the newest change. `weigh` gives
    the bytes that a change holds; without it only their number counts.
    """

    def __init__(
        self,
        version: int = 0,
        *,
        kept: int = KEPT,
        backlog: int = BACKLOG,
        weigh: Callable[[Change[T]], int] = lambda _: 0,
        budget: int = BUDGET,
    ) -> None:
        self.version = version
        self._floor = version  # changes after this one are all in `_past`
        self._past: deque[Change[T]] = deque()
        self._weight = 0  # of `_past`
        self._kept = kept
        self._backlog = backlog
        self._weigh = weigh
        self._budget = budget
        self._watchers: set[_Watcher[T]] = set()

    def publish(self, change: Change[T]) -> None:
        """Remember a change and hand it to the watchers; versions must rise."""
        self.version = change.version
        weight = self._weigh(change)
        self._past.append(change)
        self._weight += weight
        while len(self._past) > self._kept or (self._weight > self._budget and len(self._past) > 1):
            oldest = self._past.popleft()
            self._floor = oldest.version
            self._weight -= self._weigh(oldest)
        for watcher in self._watchers:
            watcher.push(change, weight)

    def fail(self, failure: Exception) -> None:
        """End all watchers with an error, once they have taken what they were handed: changes may be missing now."""
        for watcher in self._watchers:
            watcher.fail(failure)

    def end(self) -> None:
        """End all watchers, for their driver is closed: they may go on where another one has taken its place."""
        self.fail(Unavailable("what is watched was closed"))

    async def watch(
        self,
        snapshot: Callable[[], Iterable[Change[T]] | Awaitable[tuple[int, Iterable[Change[T]]]]],
        *,
        after: int | None = None,
        wanted: Callable[[Change[T]], bool] = lambda _: True,
    ) -> AsyncIterator[Event[T]]:
        """Give the order above. `snapshot` gives what exists now as `put` changes.

        One that must wait gives the version that its changes are of as well: what was published meanwhile and is in
        it already is not given again.
        """
        watcher: _Watcher[T] = _Watcher(self._backlog, self._budget, wanted)
        self._watchers.add(watcher)  # before the snapshot, so that no change falls between
        try:
            version = self.version
            if after is not None and not self._floor <= after <= version:
                yield Reset(version)
                after = None
            first: Iterable[Change[T]]
            taken: Iterable[Change[T]] | Awaitable[tuple[int, Iterable[Change[T]]]] = ()
            if after is not None:
                first = [c for c in self._past if c.version > after]
            else:
                taken = snapshot()
                if inspect.isawaitable(taken):
                    version, first = await taken
                else:
                    first = list(taken)
            for change in first:
                if wanted(change):
                    yield change
            first = taken = ()  # a watcher lasts, what it began with need not
            yield Synced(version)
            async for change in watcher:
                if change.version > version:
                    yield change
        finally:
            self._watchers.discard(watcher)


class _Watcher(Generic[T]):
    def __init__(self, backlog: int, budget: int, wanted: Callable[[Change[T]], bool]) -> None:
        self._queue: deque[tuple[Change[T], int]] = deque()
        self._weight = 0  # of `_queue`
        self._backlog = backlog
        self._budget = budget
        self._wanted = wanted
        self._wake = asyncio.Event()
        self._lost = False
        self._failure: Exception | None = None

    def fail(self, failure: Exception) -> None:
        self._failure = failure
        self._wake.set()

    def push(self, change: Change[T], weight: int) -> None:
        if self._lost or self._failure is not None or not self._wanted(change):
            return
        if len(self._queue) >= self._backlog or (self._queue and self._weight + weight > self._budget):
            self._lost = True  # for good: a later change that fits would leave a gap
        else:
            self._queue.append((change, weight))
            self._weight += weight
        self._wake.set()

    async def __aiter__(self) -> AsyncIterator[Change[T]]:
        while True:
            while self._queue:
                change, weight = self._queue.popleft()
                self._weight -= weight
                yield change
            if self._failure is not None:
                raise self._failure
            if self._lost:
                raise ResourceExhausted("the watcher is too far behind")
            self._wake.clear()
            await self._wake.wait()


async def resuming(
    open_: Callable[[int | None], AsyncIterator[Event[T]]], *, after: int | None = None, longest: float = 5.0
) -> AsyncGenerator[Event[T], None]:
    """Keep a driver's watch going over its breaks, for ever: waits 0.05 s doubling to `longest`, jittered.

    `open_(after)` starts the driver's watch. Resumes from the last version seen *after* `Synced`; a watch broken
    within its first part begins anew, with a Reset, for what it told may be gone. An error other than Unavailable,
    Aborted-by-lag or a lost connection passes.
    """
    wait = 0.05
    partial = False
    while True:
        if partial:
            yield Reset(0)
        synced = after is not None
        events = open_(after)
        try:
            async for event in events:
                wait = 0.05
                if isinstance(event, Synced):
                    synced = True
                elif isinstance(event, Reset):
                    synced, after = False, None
                if synced:
                    after = event.version
                partial = not synced
                yield event
        except (Unavailable, ResourceExhausted, ConnectionError):
            pass
        except ServiceError:
            raise
        finally:
            await finish(events)
        await asyncio.sleep(wait * random.uniform(0.5, 1.0))
        wait = min(wait * 2, longest)


async def finish(events: AsyncIterator[T]) -> None:
    """Close an iterator now, if it can be: a generator left to the collector gives its connection back late."""
    if isinstance(events, AsyncGenerator):
        await events.aclose()
