"""What every engine does: instances start, stop when they are asked or made to, are taken over, and end with a code."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

import pytest

from micro.errors import FailedPrecondition
from micro.runtime.driver import Engine, Exit, Handle, Instance, Limits
from micro.testing.suite import Suite

PATIENCE = 20.0  # seconds anything may take on a loaded machine
POLL = 0.05  # seconds between looks
IDLE = "sleep 600 & wait"
UP = f"echo up; {IDLE}"
STUBBORN = f"trap '' TERM; echo up; {IDLE}"
POLITE = f"trap 'echo bye; exit 5' TERM; echo up; {IDLE}"


class Bench:
    """An engine at work: what it starts here is stopped in the end, and the ends it tells are kept."""

    def __init__(self, suite: EngineSuite, engine: Engine, folder: Path) -> None:
        self.engine = engine
        self.exits: dict[str, list[Exit]] = {}
        self._suite = suite
        self._folder = folder
        self._instances: dict[str, Instance] = {}
        self._task = asyncio.create_task(self._listen())

    async def start(
        self,
        script: str,
        number: int = 0,
        *,
        env: Mapping[str, str] | None = None,
        limits: Limits | None = None,
        command: list[str] | None = None,
    ) -> Handle:
        """Start an instance of a script."""
        instance = self._suite.instance(script, number, self._folder, env or {}, limits or Limits())
        instance.command = command or instance.command
        self._instances[instance.id] = instance
        return await self.engine.start(instance)

    def said(self, handle: Handle) -> list[str]:
        """Give the lines that an instance wrote."""
        return self._suite.said(self.engine, self._instances[handle.id])

    async def says(self, handle: Handle, *lines: str) -> None:
        """Wait until an instance has written just these lines."""
        await until(lambda: _value(self.said(handle) == list(lines)), f"it says {lines}, not {self.said(handle)}")

    async def ended(self, handle: Handle) -> Exit:
        """Wait until an instance's end is told, which it is once."""
        await until(lambda: _value(handle.id in self.exits), "its end is told")
        (told,) = self.exits[handle.id]
        return told

    async def leave(self) -> dict[str, Instance]:
        """Close the engine, as its process does that is to be started again; what it started goes on."""
        self._task.cancel()
        await asyncio.wait([self._task])
        await self.engine.close()
        return self._instances

    async def _listen(self) -> None:
        async for told in self.engine.exits():
            self.exits.setdefault(told.handle.id, []).append(told)


async def until(condition: Callable[[], Awaitable[bool]], what: str, patience: float = PATIENCE) -> None:
    """Wait until a condition holds."""
    loop = asyncio.get_running_loop()
    end = loop.time() + patience
    while not await condition():
        assert loop.time() < end, f"it did not happen that {what}"
        await asyncio.sleep(POLL)


async def _value(value: bool) -> bool:
    return value


class EngineSuite(Suite):
    """An engine's behaviour.

    A subclass gives the fixture `make`: each engine that this makes takes up where the one before was closed, as that of
    a process does which is started again. Programs are `sh -c SCRIPT`, of the words that micro/runtime/programs.py names; `instance`
    says it otherwise, `said` where the output is. `hog` takes 200 MiB and says `survived`, `forks` starts 12 processes
    and does, `burn` works for two seconds and says what `times` does.
    """

    late = 5.0  # seconds beyond its grace that a loaded machine may take to end an instance
    hog = "x=$(head -c 200000000 /dev/zero | tr '\\0' x); echo survived"
    forks = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 5 & done; echo survived"
    burn = "timeout 2 sh -c 'while :; do :; done'; times"

    @pytest.fixture
    def make(self) -> Callable[[], Engine]:
        """Give what makes engines."""
        raise NotImplementedError  # a subclass gives it, as its docstring says

    @pytest.fixture
    async def bench(self, make: Callable[[], Engine], tmp_path: Path) -> AsyncIterator[Bench]:
        """Give an engine at work."""
        bench = Bench(self, make(), tmp_path)
        async with bench.engine as engine:
            handles = self._started(engine)
            yield bench
            await asyncio.gather(*(engine.stop(handle, grace=0.1) for handle in handles), return_exceptions=True)

    @staticmethod
    def _started(engine: Engine) -> list[Handle]:
        """Note what an engine starts from here on."""
        handles: list[Handle] = []
        start = engine.start

        async def noted(instance: Instance) -> Handle:
            handle = await start(instance)
            handles.append(handle)
            return handle

        engine.start = noted  # type: ignore[method-assign]
        return handles

    def instance(self, script: str, number: int, folder: Path, env: Mapping[str, str], limits: Limits) -> Instance:
        """Give an instance of a script."""
        variables = {"PATH": "/usr/local/bin:/usr/bin:/bin", **env}
        log = str(folder / f"suite@1.{number}.log")
        return Instance("suite", "suite", "1", number, ["sh", "-c", script], str(folder), variables, log, limits)

    def said(self, engine: Engine, instance: Instance) -> list[str]:
        """Give the lines that an instance wrote."""
        log = Path(instance.log)
        return log.read_text().splitlines() if log.exists() else []

    # ends

    @pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 3", 3), ("sleep 0.1; kill -9 $$", -9)])
    async def test_the_end_of_a_program_is_told_with_its_code(self, bench: Bench, script: str, code: int) -> None:
        handle = await bench.start(f"echo up; {script}")
        assert (await bench.ended(handle)).code == code
        assert bench.said(handle) == ["up"]

    async def test_what_runs_has_not_ended(self, bench: Bench) -> None:
        handle = await bench.start(UP)
        await bench.says(handle, "up")
        await asyncio.sleep(0.3)
        assert not bench.exits

    async def test_who_is_asked_to_stop_may_finish(self, bench: Bench) -> None:
        handle = await bench.start(POLITE)
        await bench.says(handle, "up")
        assert await bench.engine.stop(handle, grace=PATIENCE) == 5
        assert bench.said(handle) == ["up", "bye"]
        assert (await bench.ended(handle)).code == 5

    async def test_who_does_not_stop_is_made_to_after_the_grace(self, bench: Bench) -> None:
        handle = await bench.start(STUBBORN)
        await bench.says(handle, "up")
        loop = asyncio.get_running_loop()
        begun = loop.time()
        assert await bench.engine.stop(handle, grace=0.5) == -9
        assert 0.5 <= loop.time() - begun < 0.5 + self.late
        assert (await bench.ended(handle)).code == -9

    async def test_stopping_what_is_over_is_fine(self, bench: Bench) -> None:
        handle = await bench.start("exit 4")
        await bench.ended(handle)
        for _ in range(2):
            assert await bench.engine.stop(handle, grace=0.1) in {4, None}
        assert len(bench.exits[handle.id]) == 1

    async def test_stopping_one_leaves_the_others(self, bench: Bench) -> None:
        handles = [await bench.start(UP, number) for number in range(3)]
        for handle in handles:
            await bench.says(handle, "up")
        await bench.engine.stop(handles[1], grace=PATIENCE)
        await bench.ended(handles[1])
        await asyncio.sleep(0.2)
        assert list(bench.exits) == [handles[1].id]

    async def test_many_are_started_at_once(self, bench: Bench) -> None:
        handles = await asyncio.gather(*(bench.start(f"exit {number}", number) for number in range(20)))
        assert [(await bench.ended(handle)).code for handle in handles] == list(range(20))

    # what an instance gets

    async def test_the_environment_arrives_whole(self, bench: Bench) -> None:
        env = {"PADDED": "a2V5=b==", "LINES_OF": "one\ntwo", "LARGE": "x" * 100 * 1024, "EMPTY": "", "BLANKS": "a b"}
        handle = await bench.start(
            'echo "<$PADDED>"; echo "$LINES_OF"; echo "${#LARGE}"; echo "<$EMPTY>"; echo "<$BLANKS>"', env=env
        )
        await bench.ended(handle)
        assert bench.said(handle) == ["<a2V5=b==>", "one", "two", "102400", "<>", "<a b>"]

    async def test_arguments_arrive_as_they_are(self, bench: Bench) -> None:
        command = [*self.instance('echo "<$0>" "<$1>"', 0, Path("/"), {}, Limits()).command, "a b", "c=d"]
        handle = await bench.start("", command=command)
        await bench.ended(handle)
        assert bench.said(handle) == ["<a b> <c=d>"]

    async def test_what_is_not_there_is_not_started(self, bench: Bench) -> None:
        with pytest.raises(FailedPrecondition):
            await bench.start("", command=["no-program-of-that-name"])
        await asyncio.sleep(0.1)
        assert not bench.exits

    # taken over

    async def test_what_runs_is_taken_over_and_what_ended_is_not(
        self, bench: Bench, make: Callable[[], Engine], tmp_path: Path
    ) -> None:
        running, brief = await bench.start(POLITE), await bench.start("sleep 0.5", 1)
        await bench.says(running, "up")
        instances = await bench.leave()
        await asyncio.sleep(1.0)
        kept = [Handle(handle.id, json.loads(json.dumps(handle.state))) for handle in (brief, running)]
        async with make() as engine:
            other = Bench(self, engine, tmp_path)
            other._instances = instances
            assert await engine.adopt(kept) == kept[1:]
            assert other.said(running) == ["up"]
            await engine.stop(kept[1], grace=PATIENCE)
            await other.ended(kept[1])
            assert other.said(running) == ["up", "bye"]
            assert list(other.exits) == [running.id]

    async def test_what_was_taken_over_goes_on_and_its_end_is_told(
        self, bench: Bench, make: Callable[[], Engine], tmp_path: Path
    ) -> None:
        handle = await bench.start("echo up; sleep 0.6; echo later; sleep 0.3; exit 0")
        await bench.says(handle, "up")
        instances = await bench.leave()
        async with make() as engine:
            other = Bench(self, engine, tmp_path)
            other._instances = instances
            (taken,) = await engine.adopt([handle])
            assert taken.id == handle.id
            assert (await other.ended(handle)).code in {0, None}  # a process has another parent
            assert other.said(handle) == ["up", "later"]

    # limits

    @pytest.mark.parametrize("name", ["files", "memory", "processes", "cpu"])
    async def test_a_limit_that_is_claimed_holds(self, bench: Bench, name: str) -> None:
        if f"limit-{name}" not in bench.engine.capabilities:
            # an engine is only asked for what it claims: what refuses is Runtime, which RuntimeSuite shows of each limit
            pytest.skip(f"limit-{name} is not claimed")
        script = {"files": "ulimit -n", "memory": self.hog, "processes": self.forks, "cpu": self.burn}[name]
        limits = {"files": Limits(files=64), "memory": Limits(memory=64), "processes": Limits(processes=8)}
        handle = await bench.start(script, limits=limits.get(name, Limits(cpu=100)))
        await bench.ended(handle)
        said = bench.said(handle)
        if name == "files":
            assert said == ["64"]
        elif name == "cpu":
            assert sum(_seconds(word) for word in said[-1].split()) < 1.0
        else:
            assert "survived" not in said

    async def test_without_limits_there_are_none(self, bench: Bench) -> None:
        handle = await bench.start(self.hog)
        await bench.ended(handle)
        assert bench.said(handle) == ["survived"]


def _seconds(word: str) -> float:
    minutes, seconds = word.removesuffix("s").split("m")
    return int(minutes) * 60 + float(seconds)
