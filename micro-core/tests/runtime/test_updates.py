"""Updates, and services replaced by force: whenever the runtime dies, one version runs on, and status says which."""

import asyncio
import contextlib

import pytest

from micro.errors import FailedPrecondition, NotFound, Unavailable
from micro.runtime.api import Runtime
from micro.runtime.driver import RUNNING, Spec
from micro.runtime.process import born
from micro.runtime.running import Running
from micro.store import Store
from micro.store.memory import MemoryStore

from .local import SLEEPER, Local, folder, lines, pids, until

BROKEN = "raise SystemExit(3)\n"
GOES_ON = "the last update failed, the version before goes on: "


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("micro.runtime.keeper.SETTLED", 0.2)
    monkeypatch.setattr("micro.runtime.reconciler.DWELL", 0.2)


@pytest.fixture
def make(tmp_path):
    """Make a runtime: each is the next one's forerunner, with the same store and data."""
    table = Store(MemoryStore()).table("runtime")
    return lambda: Runtime(Local(table, tmp_path / "data"))


def saying(word):
    return f"print({word!r}, flush=True)\n" + SLEEPER


class Died:
    """A step in which the runtime is killed: it is reached, and never left."""

    def __init__(self):
        self.reached = asyncio.Event()

    async def __call__(self, *_args):
        self.reached.set()
        await asyncio.Event().wait()


def tried(runtime):
    return [k.handle.state["pid"] for s in runtime.driver._proving for k in s._keepers.values() if k.handle]


async def killed(runtime, monkeypatch, step, work):
    """Have the runtime die in a step of some work: nothing of what it would do then is done."""
    died = Died()
    with monkeypatch.context() as patch:
        match step:
            case "proving":
                patch.setattr(runtime.driver, "_proves", died)
            case "recording":
                patch.setattr(runtime.driver, "_want", died)
            case "stopping":
                patch.setattr(Running, "stop", died)
        task = asyncio.create_task(work)
        await asyncio.wait_for(died.reached.wait(), 20)
        if step == "proving":
            await until(lambda: asyncio.sleep(0, tried(runtime)))
        there = {*pids(runtime), *tried(runtime)}
        for service in list(runtime.driver._proving):
            await service.release()
        patch.setattr(runtime.driver, "_give_up", Died())
        await runtime.driver.close()
        task.cancel()
        await asyncio.wait([task], timeout=0.05)
    return there


@pytest.mark.parametrize(
    "case",  # where it dies, what is new, what serves in the end, what is said of the update
    [
        ("proving", saying("new"), "old", "it was broken off"),
        ("recording", saying("new"), "old", "it was broken off"),
        ("stopping", saying("new"), "new", ""),
        ("recording", BROKEN, "old", None),  # its instance may have left nothing to know it by
        ("stopping", BROKEN, "old", "it exited with code 3"),
    ],
)
async def test_one_version_runs_on_wherever_the_runtime_dies(make, tmp_path, monkeypatch, case):
    step, text, serving, failed = case
    runtime = make()
    await runtime.open()
    source = folder(tmp_path, text=saying("old"))
    await runtime.run(source, wait=30)
    (old,) = pids(runtime)
    folder(tmp_path, text=text)
    there = await killed(runtime, monkeypatch, step, runtime.update(source))
    async with make() as runtime:
        status = await runtime.running("hello")
        if failed is not None:
            assert failed in status.error
            assert status.error.startswith(GOES_ON) == bool(failed)
        (running,) = pids(runtime)
        assert (running == old) == (serving == "old")
        others = there - {running}
        await until(lambda: asyncio.sleep(0, not any(born(pid) for pid in others)))
        here = tmp_path / "data" / "runtime" / "micro"
        await until(lambda: asyncio.sleep(0, len(list((here / "sources").iterdir())) == 1))
        await until(lambda: asyncio.sleep(0, len(list((here / "hello@latest").iterdir())) == 1))
        folder(tmp_path, text=saying("newer"))
        await runtime.update(source)
        assert (await runtime.running("hello")).error == ""
        await runtime.kill("hello")
        assert not list((here / "sources").iterdir())


async def test_status_tells_of_a_failed_update_and_of_what_runs_also_later(make, tmp_path):
    async with make() as runtime:
        await runtime.run(folder(tmp_path, text=saying("old")), wait=30)
        before = (await runtime.status("hello"))[0].spec
        with pytest.raises(FailedPrecondition, match="the version before goes on"):
            await runtime.update(folder(tmp_path, name="other", text=BROKEN), name="hello")
        assert len(list((tmp_path / "data" / "runtime" / "micro" / "hello@latest").iterdir())) == 1, (
            "what failed is not kept"
        )
    async with make() as runtime:
        status = await runtime.running("hello")
        assert (status.status, status.spec) == (RUNNING, before)
        assert status.metadata["error"].startswith(f"{GOES_ON}it exited with code 3")
        await runtime.update(folder(tmp_path, text=saying("new")))
        assert (await runtime.running("hello")).error == ""
        await runtime.kill("hello")


async def test_what_status_gives_may_be_changed_and_is_nobody_elses(make, tmp_path):
    async with make() as runtime:
        await runtime.run(folder(tmp_path), wait=30)
        spec = (await runtime.status("hello"))[0].spec
        spec.instances, spec.source, spec.metadata["source"] = 4, "source://other:1", "elsewhere"
        assert (await runtime.status("hello"))[0].spec != spec
        await runtime.kill("hello")


async def test_a_version_that_cannot_be_recorded_does_not_take_over(make, tmp_path, monkeypatch):
    async with make() as runtime:
        source = folder(tmp_path, text=saying("old"))
        await runtime.run(source, wait=30)
        (old,) = pids(runtime)
        want, count = runtime.driver._want, []

        async def once_away(service):
            count.append(service)
            if len(count) == 1:
                raise Unavailable("the store is away")
            await want(service)

        monkeypatch.setattr(runtime.driver, "_want", once_away)
        folder(tmp_path, text=saying("new"))
        with pytest.raises(Unavailable):
            await runtime.update(source)
        assert pids(runtime) == [old]
        assert "it could not be recorded: the store is away" in (await runtime.running("hello")).error
        await runtime.kill("hello")


async def test_an_update_that_is_broken_off_says_so(make, tmp_path, monkeypatch):
    async with make() as runtime:
        source = folder(tmp_path)
        await runtime.run(source, wait=30)
        monkeypatch.setattr("micro.runtime.reconciler.DWELL", 60.0)
        folder(tmp_path, text=saying("new"))
        update = asyncio.create_task(runtime.update(source))
        (new,) = await until(lambda: asyncio.sleep(0, tried(runtime)))
        update.cancel()
        await asyncio.wait([update])
        assert (await runtime.running("hello")).error == f"{GOES_ON}it was broken off"
        assert not born(new)
        await runtime.kill("hello")


# -- replaced by force


async def test_force_with_a_source_that_is_not_there_replaces_nothing(make, tmp_path):
    async with make() as runtime:
        await runtime.run(folder(tmp_path), wait=30)
        (pid,) = pids(runtime)
        with pytest.raises(NotFound, match="was not uploaded"):
            await runtime.create(Spec("hello", source="source://nowhere:1"), force=True)
        assert pids(runtime) == [pid]
        assert born(pid)
        await runtime.kill("hello")


@pytest.mark.parametrize("case", [("recording", "old"), ("stopping", "new")])
async def test_a_forced_one_runs_alone_wherever_the_runtime_dies(make, tmp_path, monkeypatch, case):
    step, serving = case
    runtime = make()
    await runtime.open()
    source = folder(tmp_path, text=saying("old"))
    await runtime.run(source, wait=30)
    (old,) = pids(runtime)
    folder(tmp_path, text=saying("new"))
    await killed(runtime, monkeypatch, step, runtime.run(source, force=True))
    async with make() as runtime:
        assert (await runtime.running("hello")).error == ""
        await until(lambda: asyncio.sleep(0, bool(born(old)) == (serving == "old")))
        assert len(pids(runtime)) == 1
        assert ("new" in await until(lambda: lines(runtime, "hello"))) == (serving == "new")
        await runtime.kill("hello")


async def test_a_kill_is_done_whole_though_who_asked_for_it_has_gone(make, tmp_path):
    async with make() as runtime:
        await runtime.run(folder(tmp_path), wait=30)
        (pid,) = pids(runtime)
        kill = asyncio.create_task(runtime.kill("hello"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        kill.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await kill
        await until(lambda: asyncio.sleep(0, not runtime.driver._services["micro"]))
        assert not born(pid)
