"""The thread that writes: it commits in groups, and answers when a group is on disk."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

from micro.errors import Aborted, AlreadyExists
from micro.store.driver import Op, Table
from micro.store.writer import Made, Writer, harmless

GROUP = 100  # writes of one commit; with 50, those of 64 callers went 50 and 14, and each commit is a sync
REOPEN = 0.1  # seconds between tries to open a file that failed
LONGEST = 60.0  # seconds the thread sleeps at most, so that a clock set forward is noticed

Request = tuple[Table, Sequence[Op], "asyncio.Future[list[int]]"]  # a write that waits for its commit
Outcome = tuple["asyncio.Future[list[int]]", "list[int] | Exception"]
Deliver = Callable[[list[Outcome], Made, dict[Table, int]], None]


class WriterThread:
    """Takes whatever is waiting, up to 100 writes, commits it as one transaction, and tells the loop.

    It never waits for more to come: the writes that arrive during one commit are the next group. `deliver` is called in
    the loop with each group's outcomes, changes and versions of tables, in the order of the commits. After an I/O error
    nothing is acknowledged until the file could be opened anew: SQLite then reads back what is really there.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float], deliver: Deliver) -> None:
        self._path = path
        self._clock = clock
        self._deliver = deliver
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[Request | None] = SimpleQueue()
        self._put, self._future = self._queue.put, self._loop.create_future  # looked up once: each write calls them
        self._file: Writer | None = Writer(path)
        self._failure: Exception | None = None
        self._failed_at = 0.0
        self.versions = self._file.versions()
        self._thread = Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def write(self, table: Table, ops: Sequence[Op]) -> asyncio.Future[list[int]]:
        """Queue a write; its future is set in the loop."""
        future: asyncio.Future[list[int]] = self._future()
        self._put((table, ops, future))
        return future

    def stop(self) -> None:
        """Commit what is queued, close the file, end the thread. Blocks."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        stopping = False
        while not stopping:
            group, stopping = self._take()
            if self._file is not None or self._reopen():
                self._commit(group)
            else:
                self._answer([(future, self._failed()) for _, _, future in group], [], {})
        if self._file is not None:
            self._file.close()

    def _take(self) -> tuple[list[Request], bool]:
        """Wait for writes, or for a record to expire; gives the writes and whether to stop."""
        queue = self._queue
        try:
            first = queue.get(timeout=self._pause())
        except Empty:
            return [], False
        take = queue.get_nowait  # nobody else takes, so what is counted is there
        items = [first, *[take() for _ in range(min(GROUP - 1, queue.qsize()))]]
        group = [item for item in items if item is not None]
        return group, len(group) < len(items)

    def _pause(self) -> float:
        if self._file is None or self._file.due is None:
            return LONGEST
        return min(LONGEST, max(0.0, self._file.due / 1000 - self._clock()))

    def _commit(self, group: list[Request]) -> None:
        assert self._file is not None
        now = int(self._clock() * 1000)
        made: Made = []
        try:
            self._file.begin()
            self._file.sweep(now, made)
            outcomes = self._applied(self._file.apply, group, now, made)
            versions = self._file.commit()
        except Exception as exc:
            self._undo(exc)
            self._answer([(future, exc) for _, _, future in group], [], {})
            return
        self._answer(outcomes, made, versions)
        try:
            self._file.tidy()
        except Exception as exc:  # what was answered is on disk; only what follows waits for the file
            self._undo(exc)

    @staticmethod
    def _applied(apply: Callable[..., list[int]], group: list[Request], now: int, made: Made) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for table, ops, future in group:
            try:
                outcomes.append((future, apply(table, ops, now, made)))
            except (Aborted, AlreadyExists) as conflict:  # checked before its first change: the others go on
                outcomes.append((future, conflict))
        return outcomes

    def _undo(self, exc: Exception) -> None:
        assert self._file is not None
        if harmless(exc):
            try:
                self._file.rollback()
            except Exception as worse:
                exc = worse
            else:
                return
        self._failure, self._failed_at = exc, time.monotonic()
        with suppress(Exception):  # it is given up; why is in the failure
            self._file.close()
        self._file = None

    def _reopen(self) -> bool:
        if time.monotonic() - self._failed_at < REOPEN:
            return False
        try:
            self._file = Writer(self._path)
        except Exception as exc:
            self._failure, self._failed_at = exc, time.monotonic()
            return False
        self._failure = None
        return True

    def _failed(self) -> Exception:
        assert self._failure is not None
        return self._failure

    def _answer(self, outcomes: list[Outcome], made: Made, versions: dict[Table, int]) -> None:
        if outcomes or made:
            self._loop.call_soon_threadsafe(self._deliver, outcomes, made, versions)
