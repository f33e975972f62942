"""Watching, once for all primitives: a feed of changes for drivers, and resuming for portable classes.

The order every watch keeps: first what exists (as `put`), then `Synced(version)`, then changes; `after=v` resumes
without the first part; when v is too old, `Reset` and from the start. No gap, perhaps a double, order per key.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Generic, TypeVar

from micro.errors import ResourceExhausted, ServiceError, Unavailable
from micro.plugin.driver import Change, Reset, Synced

T = TypeVar("T")
Event = Change[T] | Synced | Reset

KEPT = 10_000  # changes a feed remembers for those who resume
BACKLOG = 10_000  # changes a watcher may be behind before it is ended


class Feed(Generic[T]):
    """The changes of one table, namespace or domain, in one loop.

    A driver calls `publish` after a change is visible to reads. `version` is that of the newest change.
    """

    def __init__(self, version: int = 0, *, kept: int = KEPT, backlog: int = BACKLOG) -> None:
        self.version = version
        self._floor = version  # changes after this one are all in `_past`
        self._past: deque[Change[T]] = deque()
        self._kept = kept
        self._backlog = backlog
        self._watchers: set[_Watcher[T]] = set()

    def publish(self, change: Change[T]) -> None:
        """Remember a change and hand it to the watchers; versions must rise."""
        self.version = change.version
        self._past.append(change)
        if len(self._past) > self._kept:
            self._floor = self._past.popleft().version
        for watcher in self._watchers:
            watcher.push(change)

    async def watch(
        self,
        snapshot: Callable[[], Iterable[Change[T]]],
        *,
        after: int | None = None,
        wanted: Callable[[Change[T]], bool] = lambda _: True,
    ) -> AsyncIterator[Event[T]]:
        """Give the order above. `snapshot` gives what exists now as `put` changes, synchronously."""
        watcher: _Watcher[T] = _Watcher(self._backlog, wanted)
        self._watchers.add(watcher)  # before the snapshot: a change in between comes twice rather than never
        try:
            version = self.version
            if after is not None and not self._floor <= after <= version:
                yield Reset(version)
                after = None
            first = snapshot() if after is None else [c for c in self._past if c.version > after]
            for change in list(first):
                if wanted(change):
                    yield change
            yield Synced(version)
            async for change in watcher:
                yield change
        finally:
            self._watchers.discard(watcher)


class _Watcher(Generic[T]):
    def __init__(self, backlog: int, wanted: Callable[[Change[T]], bool]) -> None:
        self._queue: deque[Change[T]] = deque()
        self._backlog = backlog
        self._wanted = wanted
        self._wake = asyncio.Event()
        self._lost = False

    def push(self, change: Change[T]) -> None:
        if not self._wanted(change):
            return
        if len(self._queue) >= self._backlog:
            self._lost = True
        else:
            self._queue.append(change)
        self._wake.set()

    async def __aiter__(self) -> AsyncIterator[Change[T]]:
        while True:
            while self._queue:
                yield self._queue.popleft()
            if self._lost:
                raise ResourceExhausted(f"the watcher is more than {self._backlog} changes behind")
            self._wake.clear()
            await self._wake.wait()


async def resuming(
    open_: Callable[[int | None], AsyncIterator[Event[T]]], *, after: int | None = None, longest: float = 5.0
) -> AsyncIterator[Event[T]]:
    """Keep a driver's watch going over its breaks, for ever: waits 0.05 s doubling to `longest`, jittered.

    `open_(after)` starts the driver's watch. Resumes from the last version seen *after* `Synced`; a watch broken
    within its first part begins anew. An error other than Unavailable, Aborted-by-lag or a lost connection passes.
    """
    wait = 0.05
    while True:
        synced = after is not None
        try:
            async for event in open_(after):
                wait = 0.05
                if isinstance(event, Synced):
                    synced = True
                elif isinstance(event, Reset):
                    synced, after = False, None
                if synced:
                    after = event.version
                yield event
        except (Unavailable, ResourceExhausted, ConnectionError):
            pass
        except ServiceError:
            raise
        await asyncio.sleep(wait * random.uniform(0.5, 1.0))
        wait = min(wait * 2, longest)
