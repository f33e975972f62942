"""The runtimes are runtimes: over processes, in memory, and through the wire."""

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import pytest

from micro.runtime.api import Runtime
from micro.runtime.memory import Host, MemoryRuntime
from micro.runtime.remote import RemoteRuntime
from micro.runtime.service import RuntimeHandler, SourceHandler
from micro.store import Store
from micro.store.memory import MemoryStore
from micro.testing.runtime import RuntimeSuite
from micro.testing.served import PLATFORM, Served

from .local import Local

HOG = "hog 200; echo survived; sleep 600"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("micro.runtime.keeper.SETTLED", 0.2)
    monkeypatch.setattr("micro.runtime.reconciler.DWELL", 0.5)
    monkeypatch.setattr("micro.runtime.memory.GRACE", 1.0)


class InMemory(RuntimeSuite):
    """What waits for this loop alone waits no real time."""

    hurried = True
    hog = HOG
    watched, starts = 60.0, 8

    def now(self, driver):
        return datetime.fromtimestamp(clock(), UTC)

    async def test_what_ran_long_is_forgiven_what_was_before(self, runtime):
        await runtime.create(self.spec("greeter", "echo up; sleep 601; exit 1"))
        await self.says(runtime, "greeter", "up")
        for count in (2, 3, 4):
            await asyncio.sleep(602)  # it was started again at once, each time
            await self.says(runtime, "greeter", *["up"] * count)
            assert "again in" not in (await self.state(runtime, "greeter"))[1]


def clock():
    return 1_000_000_000 + asyncio.get_running_loop().time()


class TestMemoryRuntime(InMemory):
    @pytest.fixture
    def make(self):
        host = Host(clock=clock)
        return lambda: MemoryRuntime(host=host)


class TestProcessRuntime(RuntimeSuite):
    second = 0.05

    @pytest.fixture
    def make(self, tmp_path):
        store = Store(MemoryStore()).table("runtime")
        return lambda: Local(store, tmp_path / "data", grace=1.0)


class Behind(RemoteRuntime, interface=1):
    """The wire, with all that is behind it."""

    def __init__(self, host):
        self._behind = MemoryRuntime(host=host)
        self._open = AsyncExitStack()
        super().__init__(caller=None)

    async def open(self):
        runtime = await self._open.enter_async_context(Runtime(self._behind, plugin="memory"))
        served = await self._open.enter_async_context(Served())
        await served.serve("runtime", [("Runtime", RuntimeHandler(runtime)), ("Source", SourceHandler(runtime))])
        self._caller = served.caller(PLATFORM)
        self.capabilities = self._behind.capabilities

    async def end(self):
        await self._behind.end()

    async def close(self):
        await super().close()
        await self._open.aclose()


class TestRemoteRuntime(InMemory):
    @pytest.fixture
    def make(self):
        host = Host(clock=clock)
        return lambda: Behind(host)
