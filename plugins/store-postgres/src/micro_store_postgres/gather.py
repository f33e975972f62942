"""Calls that are made at once go together in one statement, and the next ones while that is answered."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from micro_store_postgres.pool import Busy, closed

T = TypeVar("T")
AWAY = (TimeoutError, ConnectionError, Busy)  # of the server, not of what it was asked


class Call(Generic[T]):
    """What is asked: what it asks of `keys`, how much it weighs in bytes, and who waits for the answer."""

    __slots__ = ("answer", "asked", "keys", "weight")

    def __init__(self, asked: T, keys: Sequence[str], weight: int, answer: asyncio.Future[object]) -> None:
        self.asked = asked
        self.keys = keys
        self.weight = weight
        self.answer = answer


class Gatherer(Generic[T]):
    """Gathers the calls of one table, and has up to `lanes` statements of them at work.

    `run` answers the calls of a statement: it sets the answers, and its failure is that of all that have none. Each key is in a
    statement once where `distinct`. Up to `most` keys and `heaviest` bytes go together; one call alone may be more.
    """

    def __init__(
        self, run: Callable[[list[Call[T]]], Awaitable[None]], *, lanes: int, distinct: bool, most: int, heaviest: int
    ) -> None:
        self._run = run
        self._lanes = lanes
        self._distinct = distinct
        self._most = most
        self._heaviest = heaviest
        self._waiting: deque[Call[T]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._scheduled = False
        self._loop = asyncio.get_running_loop()

    @property
    def idle(self) -> bool:
        """Whether nobody waits for anything."""
        return not self._waiting and not self._tasks

    def ask(self, asked: T, keys: Sequence[str], weight: int) -> asyncio.Future[object]:
        """Give what the answer will be in."""
        answer: asyncio.Future[object] = self._loop.create_future()
        self._waiting.append(Call(asked, keys, weight, answer))
        if not self._scheduled and len(self._tasks) < self._lanes:
            self._scheduled = True
            self._loop.call_soon(self._begin)  # when all that is ready to run now has asked
        return answer

    async def close(self) -> None:
        """Refuse who waits."""
        self._refuse(closed())
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self) -> None:
        self._scheduled = False
        while self._waiting and len(self._tasks) < self._lanes:
            calls = self._take()
            if not calls:
                return
            task = asyncio.create_task(self._work(calls))
            self._tasks.add(task)
            task.add_done_callback(self._end)

    def _take(self) -> list[Call[T]]:
        calls: list[Call[T]] = []
        keys: set[str] = set()
        weight = count = 0
        while self._waiting:
            call = self._waiting[0]
            if call.answer.done():  # cancelled before it was begun
                self._waiting.popleft()
                continue
            weight += call.weight
            count += len(call.keys)
            full = count > self._most or weight > self._heaviest
            if calls and (full or (self._distinct and not keys.isdisjoint(call.keys))):
                break
            keys.update(call.keys)
            calls.append(self._waiting.popleft())
        return calls

    async def _work(self, calls: list[Call[T]]) -> None:
        try:
            await self._run(calls)
        except Exception as exc:
            for call in calls:
                if not call.answer.done():
                    call.answer.set_exception(exc)
            if isinstance(exc, AWAY):  # who comes next would wait as long for the same
                self._refuse(ConnectionError(f"nothing was asked: {exc}"))
        finally:
            for call in calls:
                if not call.answer.done():
                    call.answer.set_exception(closed())

    def _end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._begin()

    def _refuse(self, why: Exception) -> None:
        while self._waiting:
            call = self._waiting.popleft()
            if not call.answer.done():
                call.answer.set_exception(why)
