"""What starts instances may be away: nothing is given up, nothing is lost, and it goes on when that is back."""

import asyncio

import pytest

from micro.errors import DeadlineExceeded, Unavailable
from micro.runtime.api import Runtime
from micro.runtime.driver import ERROR, RUNNING, Spec
from micro.runtime.memory import Host, MemoryRuntime

from .local import until
from .test_runtimes import clock

UP = ["sh", "-c", "echo up; sleep 600"]


class Away(MemoryRuntime, interface=1):
    """A runtime whose engine and builder can be away."""

    def __init__(self, host):
        super().__init__(host=host)
        self.away = {}
        self.engine.start, self._start = self._started, self.engine.start
        self.engine.stop, self._stop = self._stopped, self.engine.stop

    async def build(self, service):
        self._asked("build")
        return await super().build(service)

    async def _started(self, instance):
        self._asked("start")
        return await self._start(instance)

    async def _stopped(self, handle, *, grace):
        self._asked("stop")
        return await self._stop(handle, grace=grace)

    def _asked(self, what):
        if what in self.away:
            raise self.away[what](f"connection for {what} refused")


class TestAway:
    hurried = True

    @pytest.fixture
    async def runtime(self):
        async with Runtime(Away(Host(clock=clock)), plugin="suite") as runtime:
            yield runtime

    async def runs_soon(self, runtime):
        """See that it runs within five seconds, and what it takes to count as running."""
        for _ in range(80):
            (status,) = await runtime.status("greeter")
            if (status.status, status.error) == (RUNNING, ""):
                return
            await asyncio.sleep(0.1)
        raise AssertionError(status.error)

    @pytest.mark.parametrize("what", ["build", "start"])
    @pytest.mark.parametrize("error", [Unavailable, DeadlineExceeded])
    async def test_what_is_wanted_meanwhile_says_so_and_runs_soon_after(self, runtime, what, error):
        runtime.driver.away[what] = error
        await runtime.create(Spec("greeter", command=UP))

        async def told():
            (status,) = await runtime.status("greeter")
            return status.status == ERROR and f"connection for {what} refused" in status.error

        await until(told, 60)
        for _ in range(30):  # a while that would have doubled the pauses of what fails by itself to minutes
            await until(told, 60)
            await asyncio.sleep(10)
        runtime.driver.away.clear()
        await self.runs_soon(runtime)

    async def test_what_ends_meanwhile_is_started_again_soon_after(self, runtime):
        await runtime.create(Spec("greeter", command=["sh", "-c", "echo up; sleep 30; exit 1"]))
        await runtime.running("greeter", wait=60)
        runtime.driver.away["start"] = Unavailable
        await asyncio.sleep(600)
        runtime.driver.away.clear()
        await self.runs_soon(runtime)

    async def test_a_kill_that_cannot_be_done_can_be_asked_again(self, runtime):
        await runtime.create(Spec("greeter", command=UP))
        await runtime.running("greeter", wait=60)
        runtime.driver.away["stop"] = Unavailable
        for _ in range(2):
            with pytest.raises(Unavailable):
                await runtime.kill("greeter")
            assert [one.spec.name for one in await runtime.status()] == ["greeter"]
            assert len(runtime.driver.engine.host.programs) == 1
        runtime.driver.away.clear()
        await runtime.kill("greeter")
        assert await runtime.status() == []
        assert not runtime.driver.engine.host.programs
