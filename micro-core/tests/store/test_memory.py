"""MemoryStore is a store, on a clock of the test's."""

from collections.abc import AsyncIterator

import pytest

from micro.store.driver import StoreDriver
from micro.store.memory import MemoryStore
from micro.testing.store import StoreSuite


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1_000_000_000.0

    def __call__(self) -> float:
        return self.now


class TestMemoryStore(StoreSuite):
    @pytest.fixture
    async def driver(self) -> AsyncIterator[MemoryStore]:
        async with MemoryStore(clock=Clock()) as driver:
            yield driver

    async def pass_time(self, driver: StoreDriver, seconds: float) -> None:
        clock = driver.clock
        assert isinstance(clock, Clock)
        clock.now += seconds
