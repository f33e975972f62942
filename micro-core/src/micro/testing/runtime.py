"""What every runtime does, shown through the portable class."""

from __future__ import annotations

import asyncio
import io
import tarfile
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from micro.errors import FailedPrecondition, InvalidArgument, NotFound, Unimplemented
from micro.plugin.driver import Change, Synced
from micro.runtime.api import Runtime
from micro.runtime.driver import ERROR, RUNNING, Event, Limits, RuntimeDriver, Spec, Status
from micro.testing.engine import IDLE, PATIENCE, STUBBORN, UP, until
from micro.testing.suite import Suite, needs

SCRIPT = "run.sh"
GOES_ON = "the version before goes on"


def ticking(word: str) -> str:
    """Give a script that says a word again and again."""
    return f"while :; do echo {word}; sleep 0.1; done"


class RuntimeSuite(Suite):
    """A runtime's behaviour.

    A subclass gives the fixture `make`: each driver that this makes takes up where the one before was closed, as that of a
    process does which is started again. Services are `sh -c SCRIPT`, of the words that micro/runtime/programs.py names; `spec` says it
    otherwise, `source` what a script is as a source. `hog` takes 200 MiB and says `survived`, `forks` starts 12
    processes and does. `watched` is how many seconds a service that keeps failing is looked at, in which it may be
    started `starts` times; `second` how many until its times can be told apart;
    `ends` whether services end with the platform.
    """

    hog = "x=$(head -c 200000000 /dev/zero | tr '\\0' x); echo survived; sleep 600"
    forks = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 5 & done; echo survived; sleep 600"
    watched = 2.5
    starts = 4
    second = 1.1
    ends = True

    @pytest.fixture
    def make(self) -> Callable[[], RuntimeDriver]:
        """Give what makes drivers."""
        raise NotImplementedError

    @pytest.fixture
    async def driver(self, make: Callable[[], RuntimeDriver]) -> AsyncIterator[RuntimeDriver]:
        """Give an open driver."""
        async with make() as driver:
            yield driver

    @pytest.fixture
    async def runtime(self, driver: RuntimeDriver, make: Callable[[], RuntimeDriver]) -> AsyncIterator[Runtime]:
        """Give the runtime of a namespace where nothing runs; what does in the end is killed."""
        async for runtime in self._runtime(driver, make):
            yield runtime

    @pytest.fixture
    async def elsewhere(self, driver: RuntimeDriver, make: Callable[[], RuntimeDriver]) -> AsyncIterator[Runtime]:
        """Give the same of another namespace."""
        async for runtime in self._runtime(driver, make):
            yield runtime

    async def _runtime(self, driver: RuntimeDriver, make: Callable[[], RuntimeDriver]) -> AsyncIterator[Runtime]:
        runtime = Runtime(driver, plugin="suite", namespace=f"n-{uuid.uuid4().hex}")
        yield runtime
        try:
            await self._end(runtime)
        except FailedPrecondition:  # the test closed it
            async with make() as later:
                await self._end(Runtime(later, plugin="suite", namespace=runtime.namespace))

    @staticmethod
    async def _end(runtime: Runtime) -> None:
        found = await runtime.status()
        kills = [runtime.kill(status.spec.name, status.spec.version) for status in found]
        problems = await asyncio.gather(*kills, return_exceptions=True)
        for problem in problems:
            if isinstance(problem, BaseException) and not isinstance(problem, NotFound):
                raise problem

    # what a subclass may say otherwise

    def spec(self, name: str, script: str, **fields: Any) -> Spec:
        """Give a service that plays a script."""
        return Spec(name, command=["sh", "-c", script], **fields)

    def source(self, script: str) -> bytes:
        """Give a source, as a tar, of a service that plays a script when it is started with `sh run.sh`."""
        data, file = script.encode(), io.BytesIO()
        with tarfile.open(fileobj=file, mode="w") as tar:
            member = tarfile.TarInfo(SCRIPT)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        return file.getvalue()

    def now(self, driver: RuntimeDriver) -> datetime:
        """Give the time as the driver has it."""
        return datetime.now(UTC)

    # what the tests do

    async def upload(self, runtime: Runtime, name: str, script: str) -> str:
        """Upload a source; gives its id."""
        archive = self.source(script)

        async def chunks() -> AsyncIterator[bytes]:
            yield archive[:1000]
            yield archive[1000:]

        return await runtime.driver.upload(runtime.namespace, name, "latest", chunks())

    async def run(self, runtime: Runtime, name: str, script: str, **fields: Any) -> Status:
        """Run a service and wait until it does."""
        await runtime.create(self.spec(name, script, **fields))
        return await runtime.running(name, fields.get("version", "latest"), PATIENCE)

    async def run_source(self, runtime: Runtime, name: str, script: str, **fields: Any) -> Status:
        """Run a service from a source and wait until it does."""
        source = await self.upload(runtime, name, script)
        await runtime.create(Spec(name, source=source, command=["sh", SCRIPT], **fields))
        return await runtime.running(name, wait=PATIENCE)

    async def update(self, runtime: Runtime, name: str, script: str) -> None:
        """Replace a service that was run from a source."""
        await runtime.replace(Spec(name, source=await self.upload(runtime, name, script), command=["sh", SCRIPT]))

    async def said(self, runtime: Runtime, name: str, **options: Any) -> list[str]:
        """Give the lines that a service wrote."""
        return [line.message async for line in runtime.logs(name, **options)]

    async def says(self, runtime: Runtime, name: str, *lines: str, version: str = "latest") -> None:
        """Wait until a service has written just these lines."""

        async def done() -> bool:
            return await self.said(runtime, name, version=version) == list(lines)

        await until(done, f"{name} says {lines}")

    async def state(self, runtime: Runtime, name: str) -> tuple[int, str]:
        """Give what a service is doing, and its error."""
        (status,) = await runtime.status(name)
        return status.status, status.error

    async def goes_on(self, runtime: Runtime, name: str, word: str) -> None:
        """Wait until a service has said a word again, twice: what it said before is not enough."""
        before = (await self.said(runtime, name)).count(word)

        async def again() -> bool:
            return (await self.said(runtime, name)).count(word) >= before + 2

        await until(again, f"{name} goes on saying {word!r}")

    async def is_silent(self, runtime: Runtime, name: str, word: str) -> None:
        """Look whether nobody says a word any more under a service's name."""
        before = (await self.said(runtime, name)).count(word)
        await asyncio.sleep(0.4)
        assert (await self.said(runtime, name)).count(word) == before

    async def fails(self, runtime: Runtime, name: str, error: str) -> None:
        """Wait until a service is known to have failed so."""

        async def done() -> bool:
            status, said = await self.state(runtime, name)
            return status == ERROR and error in said

        await until(done, f"{name} fails by {error!r}")

    # what runs

    async def test_what_is_run_runs_and_says_so(self, runtime: Runtime) -> None:
        status = await self.run(runtime, "greeter", UP, metadata={"colour": "blue"})
        assert (status.spec.name, status.spec.version, status.status, status.error) == (
            "greeter",
            "latest",
            RUNNING,
            "",
        )
        assert (status.metadata["status"], status.metadata["colour"]) == ("running", "blue")
        assert "error" not in status.metadata
        assert status.started is not None
        assert abs((self.now(runtime.driver) - status.started).total_seconds()) < 2 * PATIENCE
        await self.says(runtime, "greeter", "up")

    async def test_services_are_listed_by_name_and_version(self, runtime: Runtime) -> None:
        for name, version in (("b", "2"), ("a", "1"), ("b", "1")):
            await runtime.create(self.spec(name, UP, version=version))
        for found, names in (
            (await runtime.status(), ["a1", "b1", "b2"]),
            (await runtime.status("b"), ["b1", "b2"]),
            (await runtime.status("b", "2"), ["b2"]),
            (await runtime.status(version="1"), ["a1", "b1"]),
            (await runtime.status("c"), []),
        ):
            assert [status.spec.name + status.spec.version for status in found] == names

    async def test_namespaces_are_apart(self, runtime: Runtime, elsewhere: Runtime) -> None:
        await self.run(runtime, "greeter", ticking("here"))
        await self.run(elsewhere, "greeter", ticking("there"))
        await self.run(elsewhere, "other", UP)
        assert [status.spec.name for status in await runtime.status()] == ["greeter"]
        assert set(await self.said(runtime, "greeter")) == {"here"}
        assert set(await self.said(elsewhere, "greeter")) == {"there"}
        with pytest.raises(NotFound):
            await runtime.kill("other")
        await runtime.kill("greeter")
        await self.goes_on(elsewhere, "greeter", "there")

    async def test_running_again_changes_nothing_unless_it_is_forced(self, runtime: Runtime) -> None:
        await self.run(runtime, "greeter", ticking("old"))
        await self.run(runtime, "greeter", ticking("new"))
        await self.goes_on(runtime, "greeter", "old")
        await self.is_silent(runtime, "greeter", "new")
        await runtime.create(self.spec("greeter", ticking("new")), force=True)
        await runtime.running("greeter", wait=PATIENCE)
        await self.goes_on(runtime, "greeter", "new")
        await self.is_silent(runtime, "greeter", "old")

    async def test_killing_stops_and_forgets(self, runtime: Runtime) -> None:
        await self.run(runtime, "greeter", ticking("old"))
        await self.run(runtime, "other", ticking("other"))
        await runtime.kill("greeter")
        assert [status.spec.name for status in await runtime.status()] == ["other"]
        await self.run(runtime, "greeter", ticking("new"))
        await self.goes_on(runtime, "greeter", "new")
        await self.is_silent(runtime, "greeter", "old")
        await self.goes_on(runtime, "other", "other")

    async def test_what_does_not_stop_is_made_to(self, runtime: Runtime) -> None:
        await self.run(runtime, "greeter", f"{STUBBORN} & {ticking('old')}")
        await runtime.kill("greeter")
        await self.run(runtime, "greeter", UP)
        await self.is_silent(runtime, "greeter", "old")

    async def test_what_is_unknown_is_not_found(self, runtime: Runtime) -> None:
        await self.run(runtime, "greeter", UP)
        for name, version in (("nobody", "latest"), ("greeter", "2")):
            with pytest.raises(NotFound):
                await runtime.kill(name, version)
            with pytest.raises(NotFound):
                await self.said(runtime, name, version=version)
            with pytest.raises(NotFound):
                await runtime.replace(self.spec(name, UP, version=version))
        await runtime.kill("greeter")
        with pytest.raises(NotFound):
            await self.said(runtime, "greeter")
        with pytest.raises(NotFound):
            await runtime.kill("greeter")

    async def test_instances_run_side_by_side(self, runtime: Runtime) -> None:
        await self.run(runtime, "greeter", UP, instances=3)
        await self.says(runtime, "greeter", "up", "up", "up")
        assert sorted([line.instance async for line in runtime.logs("greeter")]) == ["0", "1", "2"]
        await asyncio.sleep(0.5)
        assert await self.said(runtime, "greeter") == ["up"] * 3

    async def test_versions_run_side_by_side(self, runtime: Runtime) -> None:
        for version in ("1", "2"):
            await self.run(runtime, "greeter", f"echo {version}; {IDLE}", version=version)
        for version in ("1", "2"):
            await self.says(runtime, "greeter", version, version=version)
        await runtime.kill("greeter", "1")
        assert [status.spec.version for status in await runtime.status("greeter")] == ["2"]
        assert (await self.state(runtime, "greeter"))[0] == RUNNING

    async def test_of_many_who_run_one_service_it_runs_once(self, runtime: Runtime) -> None:
        await asyncio.gather(*(runtime.create(self.spec("greeter", UP)) for _ in range(100)))
        await asyncio.gather(*(runtime.create(self.spec(f"s{n}", UP)) for n in range(5)))
        for name in ("greeter", "s0", "s1", "s2", "s3", "s4"):
            await runtime.running(name, wait=PATIENCE)
            await self.says(runtime, name, "up")

    async def test_a_kill_is_done_whole_though_who_asked_has_gone(self, runtime: Runtime) -> None:
        await self.run(runtime, "greeter", f"trap 'sleep 0.5; exit 0' TERM; {ticking('up')}")
        task = asyncio.create_task(runtime.kill("greeter"))
        await asyncio.sleep(0.2)
        task.cancel()
        await asyncio.wait([task])

        async def gone() -> bool:
            return await runtime.status() == []

        await until(gone, "it is gone")

    async def test_who_asks_and_goes_leaves_nothing_by_half(self, runtime: Runtime) -> None:
        for wait in (0.0, 0.0, 0.01):
            task = asyncio.create_task(runtime.create(self.spec("greeter", UP), force=True))
            await asyncio.sleep(wait)
            task.cancel()
            await asyncio.wait([task])
        await runtime.create(self.spec("greeter", ticking("last")), force=True)
        await runtime.running("greeter", wait=PATIENCE)
        await self.goes_on(runtime, "greeter", "last")
        assert len(await runtime.status()) == 1

    # what a service gets

    async def test_the_environment_arrives_whole(self, runtime: Runtime) -> None:
        env = {"PADDED": "a2V5=b==", "LINES_OF": "one\ntwo", "LARGE": "x" * 100 * 1024, "EMPTY": "", "BLANKS": "a b"}
        script = 'echo "<$PADDED>"; echo "$LINES_OF"; echo "${#LARGE}"; echo "<$EMPTY>"; echo "<$BLANKS>"; echo "$TOLD"'
        status = await self.run(runtime, "greeter", f"{script}; {IDLE}", env=env, secrets={"TOLD": "a secret"})
        await self.says(runtime, "greeter", "<a2V5=b==>", "one", "two", "102400", "<>", "<a b>", "a secret")
        assert "a secret" not in str(status.metadata)

    async def test_a_service_is_told_who_it_is_and_cannot_say_otherwise(self, runtime: Runtime) -> None:
        script = 'echo "$MICRO_NAMESPACE"; echo "$MICRO_SERVICE_NAME"; echo "${#MICRO_AUTH_SECRET}"; ' + IDLE
        forged = {"MICRO_NAMESPACE": "micro", "MICRO_AUTH_SECRET": ""}
        await self.run(runtime, "greeter", script, env=forged)
        said = await self.said(runtime, "greeter")
        assert said[:2] == [runtime.namespace, "greeter"]
        assert int(said[2]) > 0

    async def test_arguments_arrive_as_they_are(self, runtime: Runtime) -> None:
        await self.run(runtime, "greeter", f'echo "<$0>" "<$1>"; {IDLE}', args=["a b", "c=d"])
        await self.says(runtime, "greeter", "<a b> <c=d>")

    @pytest.mark.parametrize("name", ["memory", "cpu", "disk", "files", "processes"])
    async def test_a_limit_holds_or_is_refused(self, runtime: Runtime, name: str) -> None:
        scripts = {"files": f"ulimit -n; {IDLE}", "memory": self.hog, "processes": self.forks}
        limits = {"files": Limits(files=64), "memory": Limits(memory=64), "processes": Limits(processes=8)}
        spec = self.spec("greeter", scripts.get(name, UP), limits=limits.get(name, Limits(**{name: 100})))
        if f"limit-{name}" not in runtime.driver.capabilities:
            with pytest.raises(Unimplemented, match="limit-"):
                await runtime.create(spec)
            assert await runtime.status() == []
            return
        await runtime.create(spec)
        if name == "files":
            await self.says(runtime, "greeter", "64")
        elif name in scripts:
            await until(lambda: self._failed(runtime, "greeter"), "what is beyond its limit fails")
            assert "survived" not in await self.said(runtime, "greeter")

    async def _failed(self, runtime: Runtime, name: str) -> bool:
        return (await self.state(runtime, name))[0] == ERROR

    @pytest.mark.parametrize(
        "odd",
        [
            {"name": "../x"},
            {"version": "a/b"},
            {"instances": 0},
            {"instances": 101},
            {"env": {"": "x"}},
            {"env": {"A=B": "x"}},
            {"env": {"A": "x\0y"}},
            {"secrets": {"A\0": "x"}},
            {"limits": Limits(memory=-1)},
            {"command": []},
        ],
    )
    async def test_odd_services_are_refused(self, runtime: Runtime, odd: Mapping[str, Any]) -> None:
        spec = self.spec("greeter", UP)
        for field, value in odd.items():
            setattr(spec, field, value)
        with pytest.raises(InvalidArgument):
            await runtime.create(spec)
        assert await runtime.status() == []

    # sources

    @needs("source", of="driver")
    async def test_a_source_is_run_as_it_was_when_it_was_run(self, runtime: Runtime, driver: RuntimeDriver) -> None:
        await self.run_source(runtime, "greeter", f"echo one; {IDLE}")
        await self.says(runtime, "greeter", "one")
        source = await self.upload(runtime, "greeter", f"echo two; {IDLE}")
        await self.run_source(runtime, "other", UP)
        assert (await runtime.status("greeter"))[0].spec.source == source
        assert (await self.state(runtime, "greeter"))[0] == RUNNING
        assert await self.said(runtime, "greeter") == ["one"]

    @needs("source", of="driver")
    async def test_what_was_not_uploaded_is_not_run(self, runtime: Runtime, driver: RuntimeDriver) -> None:
        async def nothing() -> AsyncIterator[bytes]:
            yield b""

        with pytest.raises(InvalidArgument):
            await driver.upload(runtime.namespace, "greeter", "latest", nothing())
        with pytest.raises(NotFound):
            await runtime.create(Spec("greeter", source="source://greeter:latest"))
        assert await runtime.status() == []

    # what fails

    async def test_what_ends_is_started_again_after_pauses_that_grow(self, runtime: Runtime) -> None:
        for code in (0, 1):
            await runtime.create(self.spec(f"s{code}", f"echo up; exit {code}"))
        for code in (0, 1):
            await self.fails(runtime, f"s{code}", f"it exited with code {code}: up")
        await asyncio.sleep(self.watched)
        for code in (0, 1):
            assert 3 <= len(await self.said(runtime, f"s{code}")) <= self.starts
            status, error = await self.state(runtime, f"s{code}")
            assert status == ERROR
            assert "started" in error

    async def test_what_is_killed_is_started_again(self, runtime: Runtime) -> None:
        await runtime.create(self.spec("greeter", "echo up; sleep 0.2; kill -9 $$"))
        await self.fails(runtime, "greeter", "it was killed by SIGKILL")

        async def again() -> bool:
            return len(await self.said(runtime, "greeter")) >= 2

        await until(again, "it is started again")

    async def test_what_cannot_be_started_says_why(self, runtime: Runtime) -> None:
        spec = self.spec("greeter", UP)
        spec.command = ["no-program-of-that-name"]
        await runtime.create(spec)
        await self.fails(runtime, "greeter", "no-program-of-that-name")
        with pytest.raises(FailedPrecondition, match="no-program-of-that-name"):
            await runtime.running("greeter", wait=PATIENCE)

    async def test_of_several_instances_one_that_fails_is_told(self, runtime: Runtime) -> None:
        script = 'echo "$MICRO_INSTANCE"; sleep 0.1; kill -9 $$'
        await self.run(runtime, "good", UP)
        await runtime.create(self.spec("greeter", script, instances=2))
        await self.fails(runtime, "greeter", "it was killed by SIGKILL")
        assert (await self.state(runtime, "good")) == (RUNNING, "")

    # updates

    @needs("source", of="driver")
    async def test_an_update_replaces_what_runs_without_a_gap(self, runtime: Runtime, driver: RuntimeDriver) -> None:
        await self.run_source(runtime, "greeter", ticking("old"))
        seen, watching = self._seen(runtime)
        await self.update(runtime, "greeter", ticking("new"))
        watching.cancel()
        assert set(seen) == {RUNNING}
        assert (await self.state(runtime, "greeter")) == (RUNNING, "")
        await self.goes_on(runtime, "greeter", "new")
        await self.is_silent(runtime, "greeter", "old")

    @needs("source", of="driver")
    async def test_an_update_that_does_not_start_leaves_the_version_before(
        self, runtime: Runtime, driver: RuntimeDriver
    ) -> None:
        await self.run_source(runtime, "greeter", ticking("old"))
        seen, watching = self._seen(runtime)
        with pytest.raises(FailedPrecondition, match=GOES_ON):
            await self.update(runtime, "greeter", "echo new; sleep 0.3; exit 3")
        watching.cancel()
        assert set(seen) == {RUNNING}
        status, error = await self.state(runtime, "greeter")
        assert status == RUNNING
        assert GOES_ON in error
        assert "it exited with code 3" in error
        await self.goes_on(runtime, "greeter", "old")
        await self.update(runtime, "greeter", ticking("newer"))
        assert (await self.state(runtime, "greeter")) == (RUNNING, "")

    @needs("source", of="driver")
    async def test_an_update_that_is_broken_off_leaves_the_version_before(
        self, runtime: Runtime, driver: RuntimeDriver
    ) -> None:
        await self.run_source(runtime, "greeter", ticking("old"))
        source = await self.upload(runtime, "greeter", ticking("new"))
        task = asyncio.create_task(runtime.replace(Spec("greeter", source=source, command=["sh", SCRIPT])))
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.wait([task])

        async def told() -> bool:
            return "broken off" in (await self.state(runtime, "greeter"))[1]

        await until(told, "it is told")
        await self.goes_on(runtime, "greeter", "old")
        await self.is_silent(runtime, "greeter", "new")

    @needs("source", of="driver")
    async def test_an_update_of_several_instances_replaces_all(self, runtime: Runtime, driver: RuntimeDriver) -> None:
        await self.run_source(runtime, "greeter", ticking("old"), instances=2)
        spec = Spec("greeter", source=await self.upload(runtime, "greeter", ticking("new")), command=["sh", SCRIPT])
        spec.instances = 2
        await runtime.replace(spec)
        await self.is_silent(runtime, "greeter", "old")
        since = self.now(runtime.driver)
        await asyncio.sleep(1.0)
        new = [line.instance async for line in runtime.logs("greeter", since=since) if line.message == "new"]
        assert set(new) == {"0", "1"}

    def _seen(self, runtime: Runtime) -> tuple[list[int], asyncio.Task[None]]:
        """Watch what a service does, and look at it as well."""
        seen: list[int] = []

        async def look() -> None:
            async for event in runtime.watch():
                if isinstance(event, Change) and event.item is not None:
                    seen.append(event.item.status)  # noqa: PERF401 - others look at it meanwhile

        return seen, asyncio.create_task(look())

    # over restarts

    async def test_what_runs_is_taken_over_as_it_was(self, runtime: Runtime, make: Callable[[], RuntimeDriver]) -> None:
        await self.run(runtime, "greeter", UP, instances=2)
        before = (await runtime.status("greeter"))[0]
        await self.says(runtime, "greeter", "up", "up")
        await asyncio.sleep(self.second)
        await runtime.close()
        await asyncio.sleep(self.second)
        async with make() as driver:
            later = Runtime(driver, plugin="suite", namespace=runtime.namespace)
            after = (await later.status("greeter"))[0]
            assert (after.status, after.started, after.updated) == (RUNNING, before.started, before.updated)
            await asyncio.sleep(0.5)
            assert (await later.status("greeter"))[0] == after
            assert await self.said(later, "greeter") == ["up", "up"]
            await later.kill("greeter")
            assert await later.status() == []

    async def test_what_was_taken_over_is_kept_running(
        self, runtime: Runtime, make: Callable[[], RuntimeDriver]
    ) -> None:
        await runtime.create(self.spec("greeter", "echo up; sleep 2"))
        await self.says(runtime, "greeter", "up")
        await runtime.close()
        async with make() as driver:
            later = Runtime(driver, plugin="suite", namespace=runtime.namespace)
            assert len(await self.said(later, "greeter")) == 1
            await self.says(later, "greeter", "up", "up")

    async def test_what_ended_while_nobody_looked_is_started_again(
        self, runtime: Runtime, make: Callable[[], RuntimeDriver]
    ) -> None:
        await runtime.create(self.spec("greeter", "echo up; sleep 0.5"))
        await self.says(runtime, "greeter", "up")
        await runtime.close()
        await asyncio.sleep(1.0)
        async with make() as driver:
            later = Runtime(driver, plugin="suite", namespace=runtime.namespace)
            await self.says(later, "greeter", "up", "up")

    async def test_what_is_wanted_survives_the_end_of_the_platform(
        self, runtime: Runtime, make: Callable[[], RuntimeDriver]
    ) -> None:
        await self.run(runtime, "greeter", ticking("up"), env={"A": "b"}, instances=2, metadata={"colour": "blue"})
        await self.run(runtime, "gone", UP)
        await runtime.kill("gone")
        await runtime.driver.end()
        if self.ends:
            await self.is_silent(runtime, "greeter", "up")
        await runtime.close()
        async with make() as driver:
            later = Runtime(driver, plugin="suite", namespace=runtime.namespace)
            status = await later.running("greeter", wait=PATIENCE)
            assert status.metadata["colour"] == "blue"
            assert [one.spec.name for one in await later.status()] == ["greeter"]
            await self.goes_on(later, "greeter", "up")

    async def test_what_was_killed_stays_killed(self, runtime: Runtime, make: Callable[[], RuntimeDriver]) -> None:
        await self.run(runtime, "greeter", UP)
        await runtime.kill("greeter")
        await runtime.close()
        async with make() as driver:
            assert await Runtime(driver, plugin="suite", namespace=runtime.namespace).status() == []

    # what is seen

    async def test_logs_are_the_last_lines_in_order_and_know_when(self, runtime: Runtime) -> None:
        script = "; ".join(f"echo {number}" for number in range(50))
        await self.run(runtime, "greeter", f"{script}; {IDLE}")
        wanted = [str(number) for number in range(50)]
        await self.says(runtime, "greeter", *wanted)
        assert await self.said(runtime, "greeter", count=3) == wanted[-3:]
        assert await self.said(runtime, "greeter", count=1000) == wanted
        lines = [line async for line in runtime.logs("greeter")]
        times = [line.when for line in lines if line.when is not None]
        assert len(times) == 50
        assert times == sorted(times)
        assert abs((self.now(runtime.driver) - times[-1]).total_seconds()) < 2 * PATIENCE

    async def test_logs_since_an_instant_leave_out_what_was_before(self, runtime: Runtime) -> None:
        await runtime.create(self.spec("greeter", f"echo one; sleep 2; echo two; {IDLE}"))
        await self.says(runtime, "greeter", "one")
        await asyncio.sleep(0.8)
        between = self.now(runtime.driver)
        await self.says(runtime, "greeter", "one", "two")
        assert await self.said(runtime, "greeter", since=between) == ["two"]
        assert await self.said(runtime, "greeter", since=between - timedelta(hours=1)) == ["one", "two"]
        assert await self.said(runtime, "greeter", since=between + timedelta(hours=1)) == []
        assert await self.said(runtime, "greeter", since=between - timedelta(hours=1), count=1) == ["two"]

    async def test_following_logs_gives_what_was_and_what_comes(self, runtime: Runtime) -> None:
        await runtime.create(
            self.spec("greeter", f"echo one; echo two; sleep 1; echo three; sleep 0.3; echo four; {IDLE}")
        )
        await self.says(runtime, "greeter", "one", "two")
        found = []
        async with asyncio.timeout(PATIENCE), aclosing(runtime.logs("greeter", count=1, follow=True)) as lines:
            async for line in lines:
                found.append(line.message)
                if line.message == "four":
                    break
        assert found == ["two", "three", "four"]

    async def test_following_goes_on_over_a_restart_of_the_service(self, runtime: Runtime) -> None:
        await runtime.create(self.spec("greeter", "echo up; sleep 0.3; exit 1"))
        found = []
        async with asyncio.timeout(PATIENCE), aclosing(runtime.logs("greeter", follow=True)) as lines:
            async for line in lines:
                found.append(line.message)
                if len(found) == 3:
                    break
        assert found == ["up"] * 3

    async def test_a_watch_gives_what_exists_then_what_changes(self, runtime: Runtime, elsewhere: Runtime) -> None:
        await self.run(runtime, "a", UP)
        async with asyncio.timeout(PATIENCE), aclosing(runtime.watch()) as events:
            first = await anext(events)
            assert isinstance(first, Change)
            assert (first.kind, first.key, first.item is not None) == ("put", "a:latest", True)
            assert first.item is not None
            assert first.item.status == RUNNING
            assert isinstance(await anext(events), Synced)
            await elsewhere.create(self.spec("x", UP))
            await runtime.create(self.spec("b", UP))
            running = await self._until(events, "b:latest", RUNNING)
            await runtime.kill("b")
            gone = await self._until(events, "b:latest", None)
            assert gone.kind == "delete"
            assert gone.version > running.version > first.version
        async with asyncio.timeout(PATIENCE), aclosing(runtime.watch(after=running.version)) as events:
            assert (await self._until(events, "b:latest", None)).version == gone.version

    async def _until(self, events: AsyncIterator[Event], key: str, status: int | None) -> Change[Status]:
        """Read a watch until a service is so, or gone; nothing else may be told."""
        async for event in events:
            assert isinstance(event, Change)
            assert event.key == key
            if (event.item and event.item.status) == status:
                return event
        raise AssertionError("the watch ended")

    # the end

    async def test_closing_twice_is_closing_once_and_nothing_works_after(self, runtime: Runtime) -> None:
        await self.run(runtime, "greeter", UP)
        await runtime.close()
        await runtime.close()
        with pytest.raises(FailedPrecondition):
            await runtime.status()
        with pytest.raises(FailedPrecondition):
            await runtime.create(self.spec("other", UP))
        with pytest.raises(FailedPrecondition):
            await runtime.kill("greeter")
        with pytest.raises(FailedPrecondition):
            await self.said(runtime, "greeter")
