"""What a driver makes of a server that refuses, hangs, breaks off in mid-call and comes back: the same for each primitive.

class TestRedisBackend(BackendSuite):
    patience = 2.0

    @pytest.fixture
    def target(self, redis_server):
        return f"127.0.0.1:{redis_server.port}"

    @pytest.fixture
    def make(self, door):
        return lambda: RedisStore(RedisSettings(url=f"redis://{door.address}/0", timeout=0.5))
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import pytest

from micro.errors import DeadlineExceeded, ResourceExhausted, ServiceError, Unavailable
from micro.plugin.driver import Change, Synced
from micro.plugin.portable import Portable
from micro.testing import uses
from micro.testing.door import Door
from micro.testing.lifecycle import CheckedSuite, Make

AWAY = (Unavailable, DeadlineExceeded)  # what a call may fail with while the server is away or silent
BUSY = (*AWAY, ResourceExhausted)  # and many of them
MARGIN = 2.0  # seconds that a busy machine may add to any wait


class BackendSuite(CheckedSuite):
    """A driver with a server behind it. A subclass gives the fixtures `target` and `make`, which connects to `door`.

    `patience` is how long the made driver waits for an answer, by its settings, and a little: keep it short.
    """

    refusal: ClassVar[tuple[type[Exception], ...]] = AWAY
    through: ClassVar[
        tuple[str, ...]
    ] = ()  # methods that ask the server, where those that only ask are answered without

    @pytest.fixture
    async def target(self) -> str:
        """Give where the real server is, as `host:port`, or `unix:///path`."""
        raise NotImplementedError  # a subclass gives it, as its docstring says

    @pytest.fixture
    async def door(self, target: str) -> AsyncIterator[Door]:
        """Give the way there."""
        async with Door(target) as door:
            yield door

    @pytest.fixture
    async def unopenable(self, door: Door, make: Make) -> Make:
        """Give a driver whose server refuses it."""
        await door.shut()
        return make

    @pytest.fixture
    async def opened(self, make: Make) -> AsyncIterator[Portable[Any]]:
        """Give the portable class over an open driver."""
        async with uses.portable_of(make()) as portable:
            yield portable

    # away from the start

    async def test_one_that_refuses_is_told_at_once(self, door: Door, make: Make) -> None:
        await door.shut()
        async with within(self.patience):
            with pytest.raises(Unavailable):
                await uses.portable_of(make()).open()

    async def test_one_that_says_nothing_is_given_up(self, door: Door, make: Make) -> None:
        door.stall()
        async with within(self.patience):
            with pytest.raises(AWAY):
                await uses.portable_of(make()).open()

    async def test_one_that_was_away_can_be_opened_when_it_is_back(self, door: Door, make: Make) -> None:
        await door.shut()
        with pytest.raises(AWAY):
            await uses.portable_of(make()).open()
        await door.open()
        async with uses.portable_of(make()) as portable:
            await self._back(portable)

    # away while it is used

    async def test_calls_of_one_that_went_are_unavailable_and_work_when_it_is_back(
        self, door: Door, opened: Portable[Any]
    ) -> None:
        await self._back(opened)
        await door.shut()
        for method in self._asked(opened):
            async with within(self.patience):
                assert isinstance(await self._failure(opened, method), AWAY), method
        await door.open()
        await self._back(opened)

    async def test_a_call_that_is_not_answered_ends_in_time(self, door: Door, opened: Portable[Any]) -> None:
        await self._back(opened)
        door.stall()
        async with within(self.patience):
            assert isinstance(await self._failure(opened, self._asked(opened)[0]), AWAY)
        await door.open()
        await self._back(opened)

    @pytest.mark.parametrize("after", [1, 5, 20])
    async def test_a_call_broken_off_in_mid_answer_is_no_answer(
        self, door: Door, opened: Portable[Any], after: int
    ) -> None:
        await self._back(opened)
        await door.cut(after=after)
        async with within(2 * self.patience):
            failure = await self._failure(opened, self._asked(opened)[0])
        assert failure is None or isinstance(failure, AWAY)  # it may have been asked again
        await door.open()
        await self._back(opened)

    async def test_connections_that_were_cut_at_rest_are_made_anew(self, door: Door, opened: Portable[Any]) -> None:
        await asyncio.gather(*(self._back(opened) for _ in range(8)))
        for _ in range(3):
            await door.cut()
            await self._back(opened)

    async def test_a_hundred_calls_through_cuts_each_end_and_none_is_unknown(
        self, door: Door, opened: Portable[Any]
    ) -> None:
        await self._back(opened)
        method = self._asked(opened)[0]
        calls = [asyncio.ensure_future(self._failure(opened, method)) for _ in range(100)]
        for _ in range(4):
            await asyncio.sleep(0.005)
            await door.cut()
        async with within(4 * self.patience):
            failures = await asyncio.gather(*calls)
        assert [repr(each) for each in failures if each is not None and not isinstance(each, BUSY)] == []
        await self._back(opened)

    async def test_cancelled_calls_end_at_once_and_leave_no_answers_to_others(
        self, door: Door, opened: Portable[Any]
    ) -> None:
        await self._back(opened)
        door.stall()
        calls = [asyncio.ensure_future(self._failure(opened, self._asked(opened)[0])) for _ in range(10)]
        await asyncio.sleep(0.05)
        unfinished = [call for call in calls if call.cancel()]  # on a busy machine some have given up by now
        async with within(0):
            assert all(isinstance(each, asyncio.CancelledError) for each in await self._ended(unfinished))
        await door.open()
        await self._back(opened)

    async def test_one_that_hangs_can_be_closed(self, door: Door, opened: Portable[Any]) -> None:
        await self._back(opened)
        door.stall()
        call = asyncio.ensure_future(self._failure(opened, self._asked(opened)[0]))
        await asyncio.sleep(0.05)
        async with within(self.patience):
            await opened.close()
            await self._ended([call])

    # what they use

    def _asked(self, portable: Portable[Any]) -> Sequence[str]:
        return self.through or uses.asked(portable.driver)

    async def _failure(self, portable: Portable[Any], method: str) -> ServiceError | None:
        """Call once; give the error that users would be given. What the server itself says is an answer."""
        try:
            await portable._call(method, uses.use(portable.driver, method))
        except BUSY as err:
            return err
        except ServiceError as err:
            return err if type(err).__name__ in {"Unknown", "Internal"} else None
        return None

    async def _back(self, portable: Portable[Any]) -> None:
        """Ask until it answers, within the patience: a driver may find out by one call that its connection is gone."""
        end = time.monotonic() + self.patience + MARGIN
        while True:
            failure = await self._failure(portable, self._asked(portable)[0])
            if failure is None:
                return
            assert isinstance(failure, BUSY), repr(failure)
            assert time.monotonic() < end, f"it did not come back: {failure!r}"
            await asyncio.sleep(0.02)

    async def _ended(self, calls: Sequence[asyncio.Future[Any]]) -> list[Any]:
        return await asyncio.gather(*calls, return_exceptions=True)


class WatchedBackendSuite(BackendSuite):
    """The same for a driver that can be watched."""

    async def test_a_watch_goes_on_over_cuts(self, door: Door, opened: Portable[Any]) -> None:
        watch, change = uses.WATCHES[opened.primitive]
        events = watch(opened)
        try:
            async with asyncio.timeout(self.patience + MARGIN):
                while not isinstance(await anext(events), Synced):
                    pass
            for _ in range(3):
                await door.cut()
                await self._back(opened)
                await change(opened)
                async with asyncio.timeout(2 * self.patience + MARGIN):
                    while not isinstance(await anext(events), Change):
                        pass
        finally:
            await events.aclose()


@asynccontextmanager
async def within(seconds: float) -> AsyncIterator[None]:
    """Fail what takes longer, and a margin, and say how long it may take."""
    timer = asyncio.timeout(seconds + MARGIN)
    try:
        async with timer:
            yield
    except TimeoutError:
        assert not timer.expired(), f"it took longer than {seconds + MARGIN:g} s"
        raise
