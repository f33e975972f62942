"""Services as processes: run once each, restarted, stopped whole, adopted, with true status and their words kept."""

import asyncio
import os
import shutil
import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from micro.errors import FailedPrecondition, InvalidArgument, NotFound
from micro.runtime.accounts import account_id
from micro.runtime.api import Runtime
from micro.runtime.driver import ERROR, RUNNING
from micro.runtime.launcher import session
from micro.runtime.process import born
from micro.store import Store
from micro.store.memory import MemoryStore

from .local import SLEEPER, Local, folder, lines, pids, until


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("micro.runtime.keeper.SETTLED", 0.2)
    monkeypatch.setattr("micro.runtime.reconciler.DWELL", 0.2)


@pytest.fixture
def store():
    return Store(MemoryStore())


@pytest.fixture
async def runtime(store, tmp_path):
    local = Local(store.table("runtime"), tmp_path / "data")
    async with Runtime(local) as runtime:
        yield runtime
        for status in await runtime.status():
            await runtime.kill(status.spec.name, status.spec.version)


async def test_an_archive_of_a_folder_runs_as_the_folder_does(runtime, tmp_path):
    made = shutil.make_archive(str(tmp_path / "packed"), "zip", folder(tmp_path).parent, "hello")
    status = await runtime.run(made, wait=timedelta(seconds=30))
    assert (status.spec.name, status.status, status.metadata["source"]) == ("packed", RUNNING, made)
    with pytest.raises(InvalidArgument, match="there is no folder or archive"):
        await runtime.run(tmp_path / "hello" / "main.py")


async def test_a_folder_runs_in_its_own_environment_with_its_own_account(runtime, tmp_path):
    source = folder(
        tmp_path,
        text="import os, sys, json, micro\n"
        "keys = [k for k in os.environ if k.startswith('MICRO_')]\n"
        "print(json.dumps({k: os.environ[k] for k in sorted(keys)}), flush=True)\n"
        "print(sys.prefix, os.getcwd(), os.environ['COLOUR'], flush=True)\n"
        "import time; time.sleep(600)\n",
    )
    status = await runtime.run(source, wait=30, env={"COLOUR": "a=b", "MICRO_NAMESPACE": "other"})
    assert status.status == RUNNING
    assert status.metadata["source"] == str(source)
    first, second = await lines(runtime, "hello")
    assert '"MICRO_AUTH_ID": "hello-latest"' in first
    assert '"MICRO_AUTH_SECRET": "secret of hello-latest"' in first
    assert '"MICRO_NAMESPACE": "micro"' in first
    assert '"MICRO_PROXY": "127.0.0.1:1"' in first
    assert "/venv" in second
    assert second.endswith("a=b")
    assert oct((tmp_path / "data").joinpath("logs", "micro", "hello@latest.0.log").stat().st_mode)[-3:] == "600"


async def test_a_service_that_was_killed_leaves_its_logs_alone(runtime, tmp_path):
    await runtime.run(folder(tmp_path), wait=30)
    await runtime.run(folder(tmp_path, "other"), wait=30)
    await runtime.kill("hello")
    data = tmp_path / "data"
    assert not list((data / "runtime").rglob("*hello*"))
    assert len(list((data / "runtime").rglob("*.tar"))) == 2  # the other's, as it was sent and as it was kept: one file
    assert list((data / "logs").rglob("hello*"))
    await runtime.kill("other")
    assert not list((data / "runtime").rglob("*.tar"))


async def test_running_twice_is_running_once_unless_forced(runtime, tmp_path):
    source = folder(tmp_path)
    await runtime.run(source, wait=30)
    (first,) = pids(runtime)
    await runtime.run(source, wait=30)
    assert pids(runtime) == [first]
    await runtime.run(source, wait=30, force=True)
    (second,) = pids(runtime)
    assert second != first
    assert not born(first)


async def test_killing_ends_the_whole_session_and_forgets_the_service(runtime, tmp_path):
    source = folder(
        tmp_path,
        text="import subprocess, sys, time, signal\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "subprocess.Popen([sys.executable, '-c', 'import os, time; os.setpgid(0, 0); time.sleep(600)'])\n"
        "print('up', flush=True)\ntime.sleep(600)\n",
    )
    await runtime.run(source, wait=30)
    await until(lambda: lines(runtime, "hello"))
    (pid,) = pids(runtime)
    await until(lambda: asyncio.sleep(0, len(session(pid)) >= 3))
    begun = time.monotonic()
    await runtime.kill("hello")
    assert time.monotonic() - begun < 2.0 + 1.0
    assert not session(pid)
    assert await runtime.status() == []
    with pytest.raises(NotFound):
        await runtime.kill("hello")
    assert not runtime.driver.accounts.there


async def test_a_service_that_dies_is_started_again_and_says_so(runtime, tmp_path):
    source = folder(tmp_path)
    await runtime.run(source, wait=30)
    (first,) = pids(runtime)
    os.kill(session(first)[0] if session(first)[0] != first else session(first)[1], signal.SIGKILL)

    async def again():
        found = pids(runtime)
        return found and found != [first] and (await runtime.status())[0].status == RUNNING

    await until(again)


async def test_a_source_that_does_not_start_says_why_in_status_and_logs(runtime, tmp_path):
    source = folder(tmp_path, text="import nothing_of_that_name\n")
    with pytest.raises(FailedPrecondition, match="nothing_of_that_name"):
        await runtime.run(source, wait=30)
    status = (await runtime.status("hello"))[0]
    assert status.status == ERROR
    assert "it exited with code 1" in status.error
    assert "ModuleNotFoundError" in status.metadata["error"]
    assert any("nothing_of_that_name" in line for line in await lines(runtime, "hello"))


async def test_a_crash_loop_backs_off(runtime, tmp_path):
    source = folder(tmp_path, text="print('x')\n")
    await runtime.run(source)
    await until(
        lambda: asyncio.sleep(0, "started 2 times" in runtime.driver._services["micro"]["hello:latest"].status().error)
    )
    await asyncio.sleep(0.5)
    assert len(await lines(runtime, "hello")) == 2  # the third start comes a second later


@pytest.mark.parametrize(
    ("files", "text"),
    [({"a.py": "", "b.py": ""}, "no main.py"), ({"requirements.txt": "no such package!!\n"}, "could not be installed")],
)
async def test_a_source_without_anything_to_start_is_an_error_in_words(runtime, tmp_path, files, text):
    path = tmp_path / "odd"
    path.mkdir()
    for name, content in files.items():
        (path / name).write_text(content)
    if "requirements.txt" in files:
        (path / "main.py").write_text("")
    with pytest.raises(FailedPrecondition, match=text):
        await runtime.run(path, wait=60)
    assert text in "\n".join(await lines(runtime, "odd"))


async def test_no_folder_and_a_bad_name_are_refused(runtime, tmp_path):
    with pytest.raises(InvalidArgument, match="there is no folder"):
        await runtime.run(tmp_path / "nowhere")
    with pytest.raises(InvalidArgument, match="not a name"):
        await runtime.run(folder(tmp_path), name="../x")


async def test_instances_run_side_by_side(runtime, tmp_path):
    await runtime.run(folder(tmp_path), instances=3, wait=30)
    assert len(set(pids(runtime))) == 3
    assert sorted(id for _, id in runtime.driver.accounts.there) == ["hello-latest", "hello-latest.1", "hello-latest.2"]
    found = await until(lambda: lines(runtime, "hello"))
    assert sum(line.startswith("pid") for line in found) <= 3


async def test_logs_give_the_last_lines_follow_and_know_their_time(runtime, tmp_path):
    source = folder(
        tmp_path,
        text="import time\nfor i in range(100): print(i, flush=True)\ntime.sleep(1.5)\nprint('late', flush=True)\n"
        "time.sleep(600)\n",
    )
    await runtime.run(source, wait=30)
    assert await lines(runtime, "hello", count=3) == ["97", "98", "99"]
    seen = []
    async with asyncio.timeout(10):
        async for line in runtime.logs("hello", count=1, follow=True):
            seen.append(line.message)
            if line.message == "late":
                break
    assert seen == ["99", "late"]
    since = [line.message async for line in runtime.logs("hello", since=timedelta(seconds=0.9))]
    assert since == ["late"]
    assert len(await lines(runtime, "hello", since=datetime.now(UTC) - timedelta(hours=1))) == 101


async def test_a_new_runtime_adopts_what_runs_and_starts_nothing_twice(store, tmp_path):
    table = store.table("runtime")
    first = Local(table, tmp_path / "data")
    async with Runtime(first) as runtime:
        await runtime.run(folder(tmp_path), wait=30)
        (pid,) = pids(runtime)
        place = born(pid)
        known = (await runtime.status("hello"))[0]
    assert born(pid) == place
    second = Local(table, tmp_path / "data")
    async with Runtime(second) as runtime:
        assert (await runtime.status("hello"))[0] == known  # since when it runs, too
        assert pids(runtime) == [pid]
        await until(lambda: asyncio.sleep(0, runtime.driver._services["micro"]["hello:latest"]._built.done()))
        assert (await runtime.status("hello"))[0] == known
        for member in session(pid):
            if member != pid:
                os.kill(member, signal.SIGKILL)

        async def again():
            found = pids(runtime)
            return found and found != [pid]

        await until(again)
        await runtime.kill("hello")


async def test_services_end_with_the_supervisor(store, tmp_path):
    read, write = os.pipe()
    local = Local(store.table("runtime"), tmp_path / "data", alive=read)
    async with Runtime(local) as runtime:
        await runtime.run(folder(tmp_path), wait=30)
        (pid,) = pids(runtime)
        await runtime.driver.close()
        os.close(write)
        await until(lambda: asyncio.sleep(0, not session(pid) and not born(pid)))
    os.close(read)


STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('up', flush=True)
time.sleep(600)
"""


async def test_what_ends_with_a_supervisor_that_is_gone_is_not_adopted_but_started_anew(store, tmp_path):
    """It may take its time to end: taken for alive, it would be told as running, and calls would go there."""
    read, write = os.pipe()
    old = Local(store.table("runtime"), tmp_path / "data", alive=read)
    async with Runtime(old) as runtime:
        await runtime.run(folder(tmp_path, text=STUBBORN), wait=30)
        await until(lambda: lines(runtime, "hello"))
        (pid,) = pids(runtime)
        await runtime.driver.close()
        os.close(write)
    os.close(read)
    assert born(pid)
    async with Runtime(Local(store.table("runtime"), tmp_path / "data")) as runtime:
        assert not born(pid)
        await runtime.running("hello")
        assert pids(runtime) != [pid]
        await runtime.kill("hello")


async def test_at_the_end_of_the_whole_server_services_end_first_and_are_wanted_still(store, tmp_path):
    local = Local(store.table("runtime"), tmp_path / "data")
    async with Runtime(local) as runtime:
        await runtime.run(folder(tmp_path), wait=30)
        (pid,) = pids(runtime)
        await runtime.driver.end()
        assert not born(pid)
        assert not session(pid)
    async with Runtime(Local(store.table("runtime"), tmp_path / "data")) as runtime:
        await runtime.running("hello")
        await runtime.kill("hello")


async def test_without_a_supervisor_services_end_with_the_runtime_which_waits_for_them(store, tmp_path):
    text = "import signal, sys, time\n"
    text += "def stop(*_):\n    print('stopping', flush=True)\n    time.sleep(0.3)\n    print('done', flush=True)\n    sys.exit()\n"
    text += "signal.signal(signal.SIGTERM, stop)\nprint('up', flush=True)\ntime.sleep(600)\n"
    local = Local(store.table("runtime"), tmp_path / "data", alive=-1)
    async with Runtime(local) as runtime:
        await runtime.run(folder(tmp_path, text=text), wait=30)
        await until(lambda: lines(runtime, "hello"))
        (pid,) = pids(runtime)
    assert not born(pid)
    assert not session(pid)
    assert (tmp_path / "data" / "logs" / "micro" / "hello@latest.0.log").read_text() == "up\nstopping\ndone\n"
    async with Runtime(Local(store.table("runtime"), tmp_path / "data", alive=-1)) as runtime:
        await runtime.running("hello")  # it was not unwanted


async def test_an_update_that_does_not_start_leaves_the_old_one_serving(runtime, tmp_path):
    source = folder(tmp_path)
    await runtime.run(source, wait=30)
    (pid,) = pids(runtime)
    folder(tmp_path, text="raise SystemExit(3)\n")
    with pytest.raises(FailedPrecondition, match="the version before goes on"):
        await runtime.update(source)
    assert pids(runtime) == [pid]
    folder(tmp_path, text="print('new', flush=True)\nimport time; time.sleep(600)\n")
    await runtime.update(source)
    assert pids(runtime) != [pid]
    assert not born(pid)
    assert "new" in await lines(runtime, "hello")


async def test_an_update_that_does_not_start_is_forgotten_also_by_the_next_runtime(store, tmp_path):
    table, source = store.table("runtime"), folder(tmp_path, text="print('old', flush=True)\n" + SLEEPER)
    async with Runtime(Local(table, tmp_path / "data")) as runtime:
        await runtime.run(source, wait=30)
        folder(tmp_path, text="raise SystemExit(3)\n")
        with pytest.raises(FailedPrecondition):
            await runtime.update(source)
        (pid,) = pids(runtime)
    for member in session(pid):  # as all that a killed server ran
        os.kill(member, signal.SIGKILL)
    await until(lambda: asyncio.sleep(0, not session(pid) and not born(pid)))
    async with Runtime(Local(table, tmp_path / "data")) as runtime:
        status = await runtime.running("hello")
        assert status.status == RUNNING
        assert (await lines(runtime, "hello")).count("old") == 2
        folder(tmp_path, text="print('new', flush=True)\n" + SLEEPER)
        await runtime.update(source)
    async with Runtime(Local(table, tmp_path / "data")) as runtime:
        await runtime.running("hello")
        assert "new" in await lines(runtime, "hello")
        sources = tmp_path / "data" / "runtime" / "micro" / "sources"
        assert len(list(sources.iterdir())) == 1, "what nobody runs is not kept"
        await runtime.kill("hello")
        assert not list(sources.iterdir())


async def test_an_update_that_is_broken_off_leaves_nothing_behind(runtime, tmp_path, monkeypatch):
    source = folder(tmp_path)
    await runtime.run(source, wait=30)
    (old,) = pids(runtime)
    monkeypatch.setattr("micro.runtime.reconciler.DWELL", 60.0)
    folder(tmp_path, text="print('tried', flush=True)\n" + SLEEPER)
    update = asyncio.create_task(runtime.update(source))

    async def tried():
        return [k.handle for s in runtime.driver._proving for k in s._keepers.values() if k.handle]

    (handle,) = await until(tried)
    update.cancel()
    await asyncio.wait([update])
    assert pids(runtime) == [old]
    await until(lambda: asyncio.sleep(0, not born(handle.state["pid"])))


async def test_watching_shows_what_becomes_of_services(runtime, tmp_path):
    words = []

    async def watch():
        async for event in runtime.watch():
            item = getattr(event, "item", None)
            if item is not None:
                words.append(item.status)
            elif getattr(event, "kind", "") == "delete":
                return

    task = asyncio.create_task(watch())
    await asyncio.sleep(0)
    await runtime.run(folder(tmp_path), wait=30)
    await runtime.kill("hello")
    async with asyncio.timeout(10):
        await task
    assert RUNNING in words


def test_account_ids_fit_whatever_the_names():
    assert account_id("a", "latest", 0, 0) == "a-latest"
    long = account_id("a" * 63, "b" * 63, 12, 3)
    assert len(long) <= 63
    assert long != account_id("a" * 63, "b" * 63, 12, 4)


def test_a_pid_that_is_gone_was_never_born():
    assert born(2**22 + 1) == 0
    assert born(os.getpid()) > 0
    assert Path("/proc/self").exists()
