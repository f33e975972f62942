"""Limits of processes: by control groups where some can be made, by the processes' own limits where not."""

from pathlib import Path

import pytest

from micro.runtime import cgroups
from micro.runtime.api import Runtime
from micro.runtime.cgroups import Cgroups
from micro.runtime.driver import Limits, Spec
from micro.runtime.process import ProcessEngine
from micro.store import Store
from micro.store.memory import MemoryStore
from micro.testing.engine import EngineSuite, until

from .local import SUPERVISOR, Local

HERE = Cgroups().controllers
ALL = Limits(memory=64, cpu=250, processes=8)


class TestWithoutControlGroups(EngineSuite):
    """A process is limited by itself, and what needs groups is not claimed."""

    @pytest.fixture
    def make(self, monkeypatch, tmp_path):
        monkeypatch.setattr("micro.runtime.process.Cgroups", lambda: Cgroups(proc=tmp_path))
        return lambda: ProcessEngine(alive=SUPERVISOR[0])

    async def test_what_needs_groups_is_not_claimed(self, bench):
        assert bench.engine.capabilities == {"limit-memory", "limit-files"}


def fake(tmp_path, mounts, mine):
    """Make a /proc/self of a process."""
    proc = tmp_path / "proc"
    proc.mkdir()
    (proc / "mountinfo").write_text("".join(f"3{n} 1 0:2 {line}\n" for n, line in enumerate(mounts)))
    (proc / "cgroup").write_text("".join(f"{line}\n" for line in mine))
    return proc


def written(folder):
    return {path.name: path.read_text() for path in Path(folder).iterdir()}


@pytest.mark.parametrize(("enabled", "inside"), [("", True), ("/ours", False)])
def test_of_version_2_a_group_is_made_where_it_may_be(tmp_path, enabled, inside):
    (tmp_path / "top" / "ours").mkdir(parents=True)
    (tmp_path / f"top{enabled}" / "cgroup.subtree_control").write_text("cpu memory pids\n")
    proc = fake(tmp_path, [f"/ {tmp_path}/top rw shared:1 - cgroup2 cgroup2 rw"], ["0::/ours"])
    groups = Cgroups(proc=proc)
    assert groups.controllers == {"memory", "cpu", "pids"}
    (made,) = groups.make("one", ALL)
    assert made == f"{tmp_path}/top/one" if inside else f"{tmp_path}/top/ours/one"
    assert written(made) == {"memory.max": str(64 << 20), "cpu.max": "25000 100000", "pids.max": "8"}
    assert written(*groups.make("two", Limits(memory=1))) == {"memory.max": str(1 << 20)}
    assert groups.make("three", Limits(files=4)) == []
    assert not cgroups.ran_out([made])
    Path(made, "memory.events").write_text("low 0\noom 1\noom_kill 1\n")
    assert cgroups.ran_out([made])


def test_of_version_1_each_controller_has_its_own(tmp_path):
    mounts = []
    for name in ("memory", "cpu,cpuacct", "pids", "freezer"):
        (tmp_path / name / "ours").mkdir(parents=True)
        mounts.append(f"/box {tmp_path}/{name} rw - cgroup cgroup rw,{name}")
    mine = ["4:memory:/box/ours", "3:cpu,cpuacct:/box/ours", "2:pids:/elsewhere", "1:freezer:/box/ours", "0::/"]
    groups = Cgroups(proc=fake(tmp_path, mounts, mine))
    made = groups.make("one", ALL)
    assert sorted(made) == [f"{tmp_path}/{at}/one" for at in ("cpu,cpuacct/ours", "memory/ours", "pids")]
    texts = [written(folder) for folder in sorted(made)]
    assert texts[0] == {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "25000"}
    assert texts[1:] == [{"memory.limit_in_bytes": str(64 << 20)}, {"pids.max": "8"}]


def test_where_nothing_may_be_made_there_is_nothing(tmp_path):
    (tmp_path / "top").mkdir()
    (tmp_path / "top" / "cgroup.subtree_control").write_text("\n")
    proc = fake(tmp_path, [f"/ {tmp_path}/top rw - cgroup2 cgroup2 rw"], ["0::/"])
    assert Cgroups(proc=proc).controllers == frozenset()
    assert Cgroups(proc=tmp_path / "nowhere").controllers == frozenset()


async def test_what_ends_leaves_no_group_and_says_that_memory_ran_out(tmp_path, monkeypatch):
    if "memory" not in HERE:
        pytest.skip("no control groups for memory can be made here")
    monkeypatch.setattr("micro.runtime.keeper.SETTLED", 0.2)
    async with Runtime(Local(Store(MemoryStore()).table("runtime"), tmp_path, grace=1.0)) as runtime:
        hog = "sleep 1; " + EngineSuite.hog
        await runtime.create(Spec("hog", command=["sh", "-c", hog], limits=Limits(memory=32, processes=20)))
        await runtime.running("hog", wait=20)
        service = runtime.driver._services["micro"]["hog:latest"]
        first = service._keepers[0].handle.state["groups"]
        assert all(Path(folder).is_dir() for folder in first)

        async def told():
            return "out of memory" in (await runtime.status("hog"))[0].error

        await until(told, "it says that memory ran out")
        await runtime.kill("hog")
        assert first
        assert not any(Path(folder).exists() for folder in first)


async def test_a_service_inherits_nothing_but_its_output(tmp_path):
    log = tmp_path / "log"
    async with ProcessEngine(alive=SUPERVISOR[0]) as engine:
        for limits in (Limits(), Limits(files=50)):
            instance = EngineSuite().instance("ls /proc/self/fd; exit 0", 0, tmp_path, {}, limits)
            instance.log = str(log)
            await engine.start(instance)
            async for told in engine.exits():
                assert told.code == 0
                break
            assert log.read_text().split() == ["0", "1", "2", "3"]  # what lists the folder has it open
            log.unlink()
