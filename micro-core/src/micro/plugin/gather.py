"""Calls that are made at once go to a server together, and those that come meanwhile when it has answered.

For drivers whose client takes longer to send a command than the server to do it. At one call at a time nothing waits.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")
FEW = 500  # places kept that nobody asks any more


class Call(Generic[T]):
    """What is asked, of which keys, how many bytes it weighs, and who waits for the answer."""

    __slots__ = ("answer", "asked", "keys", "weight")

    def __init__(self, asked: T, keys: Sequence[str], weight: int, answer: asyncio.Future[Any]) -> None:
        self.asked = asked
        self.keys = keys
        self.weight = weight
        self.answer = answer


class Gatherer(Generic[K, T]):
    """Gathers calls by place (a table, say), and has up to `lanes` groups of each place's at work.

    `run(place, calls)` sets the calls' answers; an exception of it is that of all that have none. Up to `most` keys and
    `heaviest` bytes are a group; one call alone may be more. With `distinct` a key is in a group once. When a group fails with
    one of `away`, those that wait behind it fail with ConnectionError: they would wait as long for the same. Who is cancelled
    leaves at once, and the group goes on.
    """

    def __init__(
        self,
        run: Callable[[K, list[Call[T]]], Awaitable[None]],
        *,
        closed: Callable[[], Exception],
        away: tuple[type[Exception], ...],
        lanes: int,
        most: int,
        heaviest: int,
        distinct: bool = False,
    ) -> None:
        self.run = run
        self.closed = closed
        self.away = away
        self.lanes = lanes
        self.most = most
        self.heaviest = heaviest
        self.distinct = distinct
        self._places: dict[K, _Place[K, T]] = {}
        self._ended = False

    def ask(self, place: K, asked: T, keys: Sequence[str], weight: int = 0) -> asyncio.Future[Any]:
        """Give what the answer will be in."""
        if self._ended:
            raise self.closed()
        at = self._places.get(place)
        if at is None:
            if len(self._places) >= FEW:
                self._places = {name: each for name, each in self._places.items() if not each.idle}
            at = self._places[place] = _Place(self, place)
        return at.ask(asked, keys, weight)

    async def close(self) -> None:
        """Refuse who waits, and end what is at work."""
        self._ended = True
        await asyncio.gather(*(each.close() for each in self._places.values()))


class _Place(Generic[K, T]):
    def __init__(self, of: Gatherer[K, T], place: K) -> None:
        self._of = of
        self._place = place
        self._waiting: deque[Call[T]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._scheduled = False
        self._loop = asyncio.get_running_loop()

    @property
    def idle(self) -> bool:
        return not self._waiting and not self._tasks

    def ask(self, asked: T, keys: Sequence[str], weight: int) -> asyncio.Future[Any]:
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._waiting.append(Call(asked, keys, weight, answer))
        if not self._scheduled and len(self._tasks) < self._of.lanes:
            self._scheduled = True
            self._loop.call_soon(self._begin)  # when all that is ready to run now has asked
        return answer

    async def close(self) -> None:
        self._refuse(self._of.closed)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self) -> None:
        self._scheduled = False
        while self._waiting and len(self._tasks) < self._of.lanes and (calls := self._take()):
            task = self._loop.create_task(self._work(calls))
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
            full = count > self._of.most or weight > self._of.heaviest
            if calls and (full or (self._of.distinct and not keys.isdisjoint(call.keys))):
                break
            keys.update(call.keys)
            calls.append(self._waiting.popleft())
        return calls

    async def _work(self, calls: list[Call[T]]) -> None:
        try:
            await self._of.run(self._place, calls)
        except Exception as exc:
            failure, text = exc, f"nothing was asked: {exc}"
            _fail(calls, lambda: failure)
            if isinstance(exc, self._of.away):
                self._refuse(lambda: ConnectionError(text))
        finally:
            _fail(calls, self._of.closed)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._begin()

    def _refuse(self, why: Callable[[], Exception]) -> None:
        _fail(self._waiting, why)
        self._waiting.clear()


def _fail(calls: Sequence[Call[Any]] | deque[Call[Any]], why: Callable[[], Exception]) -> None:
    for call in calls:
        if not call.answer.done():
            call.answer.set_exception(why())
