"""Reads of single records, done together: waking a thread, and the loop again, takes longer than a read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor

from micro.errors import FailedPrecondition
from micro.store.driver import Record, Table

Found = list[Record | None]
Asked = tuple[Table, Sequence[str], asyncio.Future[Found]]


class Reads:
    """What is asked while all threads are reading is the next group, of which one thread reads all.

    `work` reads one request, in a thread of `pool`, which may have `limit` groups at once. Belongs to one loop.
    """

    def __init__(self, pool: Executor, limit: int, work: Callable[[Table, Sequence[str]], Found]) -> None:
        self._pool = pool
        self._limit = limit
        self._work = work
        self._loop = asyncio.get_running_loop()
        self._waiting: list[Asked] = []
        self._begun = 0  # groups
        self._soon = False

    async def read(self, table: Table, keys: Sequence[str]) -> Found:
        """Read these keys as of one moment."""
        future: asyncio.Future[Found] = self._loop.create_future()
        self._waiting.append((table, keys, future))
        if not self._soon and self._begun < self._limit:
            self._soon = True
            self._loop.call_soon(self._begin)  # once all who ask in this turn of the loop have
        return await future

    def _begin(self) -> None:
        self._soon = False
        group, self._waiting = self._waiting, []
        try:
            self._pool.submit(self._run, group)
        except RuntimeError:  # it was shut down meanwhile
            self._answer(group, [FailedPrecondition("the store is closed")] * len(group))
            return
        self._begun += 1

    def _run(self, group: list[Asked]) -> None:
        """Be a thread's work."""
        found: list[Found | Exception] = []
        for table, keys, _ in group:
            try:
                found.append(self._work(table, keys))
            except Exception as exc:  # one's own fault, or the file's: whoever asked has it
                found.append(exc)
        self._loop.call_soon_threadsafe(self._done, group, found)

    def _done(self, group: list[Asked], found: Sequence[Found | Exception]) -> None:
        self._begun -= 1
        if self._waiting and not self._soon:
            self._begin()
        self._answer(group, found)

    @staticmethod
    def _answer(group: list[Asked], found: Sequence[Found | Exception]) -> None:
        for (_, _, future), result in zip(group, found, strict=True):
            if future.done():  # its caller has gone
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
