"""What the platform survives: each core service killed, the supervisor killed, a second server, taken ports."""

import json
import os
import signal
import socket
import threading
import time
import urllib.request
from pathlib import Path

import pytest

from micro.context import CORE_SERVICES
from micro.testing.platform import Platform, alive, until

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]
HELLO = Path(__file__).parents[2] / "examples" / "helloworld"
LIMIT = 5.0  # seconds until everything works again after a kill


SLOW = """
import asyncio

from micro import Service


class Slow:
    async def call(self) -> None:
        pass


service = Service("slow", handlers=[Slow()])


@service.on_stop
async def finish() -> None:
    await asyncio.sleep(1.5)
    print("finished", flush=True)


service.run()
"""


class Load:
    """What goes on at 10 Hz while services die: a call each way, and a store write that is remembered once acknowledged."""

    def __init__(self, platform):
        self.platform = platform
        self.admin = json.loads((platform.data / "admin.json").read_text())
        self.last = {}  # kind → monotonic time of the latest success
        self.errors = {}
        self.acknowledged = []
        self.published = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._http), threading.Thread(target=self._library)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc):
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def good_since(self, when):
        """Whether each kind has succeeded since an instant."""
        return all(self.last.get(kind, 0) > when for kind in ("gateway", "proxy", "library", "store", "events"))

    def _http(self):
        while not self._stop.wait(0.1):
            begun = time.monotonic()
            try:
                address = self.platform.address("api")
                with urllib.request.urlopen(f"http://{address}/helloworld?name=x", timeout=2) as answer:
                    assert json.loads(answer.read()) == {"msg": "Hello x"}
                self.last["gateway"] = begun
            except Exception as exc:
                self.errors["gateway"] = exc

    def _library(self):
        import asyncio

        asyncio.run(self._calls())

    async def _calls(self):
        import asyncio

        import micro
        from micro.service.process import Process
        from micro.service.surroundings import Surroundings

        state = self.platform.state["services"]
        outside = micro.connect(state["proxy"]["address"], id=self.admin["id"], secret=self.admin["secret"])
        inside = Process(
            Surroundings(
                registry=state["registry"]["address"],
                proxy=state["network"]["address"],
                id=self.admin["id"],
                secret=self.admin["secret"],
            )
        )
        number = 0

        async def attempt(kind, work):
            begun = time.monotonic()
            try:
                async with asyncio.timeout(2):
                    await work
                self.last[kind] = begun
            except Exception as exc:
                self.errors[kind] = exc
                return False
            return True

        async with outside, inside:
            while not self._stop.is_set():
                number += 1
                hello = {"name": str(number)}
                at = number
                await asyncio.gather(
                    attempt("proxy", outside.caller.call("helloworld", "Helloworld.Call", hello, dict)),
                    attempt("library", inside.caller.call("helloworld", "Helloworld.Call", hello, dict)),
                    self._write(attempt, inside, at),
                    self._publish(attempt, inside, at),
                    asyncio.sleep(0.1),
                )

    async def _write(self, attempt, process, number):
        if await attempt("store", process.store.write(f"load/{number}", str(number))):
            self.acknowledged.append(number)

    async def _publish(self, attempt, process, number):
        if await attempt("events", process.events.publish("load", str(number), id=f"load-{number}")):
            self.published.append(number)


def test_any_core_service_may_be_killed_and_nothing_acknowledged_is_lost(own_platform):
    platform = own_platform.start()
    platform.run(HELLO)
    times = {}
    with Load(platform) as load:
        until(lambda: load.good_since(0), 30, f"the load's start ({load.errors})")
        for name in CORE_SERVICES:
            pid = platform.pids()[name]
            killed = time.monotonic()
            os.kill(pid, signal.SIGKILL)
            until(lambda pid=pid: not alive(pid), 5, "the kill")
            died = time.monotonic()
            until(lambda died=died: load.good_since(died), LIMIT, f"recovery from {name} ({load.errors})")
            times[name] = round(time.monotonic() - killed, 2)
            until(lambda name=name, pid=pid: platform.pids().get(name) not in {None, pid}, 5, f"a new {name}")
    print("seconds to recovery:", times)
    import asyncio

    import micro

    async def check():
        async with micro.connect(
            platform.address("proxy"), id=load.admin["id"], secret=load.admin["secret"]
        ) as process:
            store = process.store
            kept = {int(record.value) async for record in store.scan("load/")}
            history, after = [], 0
            while page := await process.events.read("load", after=after):
                history += [int(event.payload) for event in page]
                after = page[-1].event.sequence
            return kept, history

    kept, history = asyncio.run(check())
    assert set(load.acknowledged) <= kept
    assert set(load.published) <= set(history)
    assert len(history) == len(set(history))
    assert platform.stop() == 0


def test_an_orderly_stop_leaves_no_process_and_a_start_runs_what_ran(own_platform, tmp_path):
    platform = own_platform.start()
    source = tmp_path / "slow"
    source.mkdir()
    (source / "main.py").write_text(SLOW)
    platform.run(source)
    left = _processes(platform)
    assert len(left) >= 12
    assert platform.stop() == 0
    assert not [pid for pid in left if alive(pid)]
    assert "finished" in (platform.data / "logs" / "micro" / "slow@latest.0.log").read_text()
    again = Platform(tmp_path)
    again.start()
    try:
        until(lambda: " running " in again.micro("status", "slow"), what="the service's return")
        assert again.micro("call", "slow", "Slow.Call", "-o", "raw") == "{}\n"
    finally:
        again.end()


def test_killing_the_supervisor_leaves_no_process(own_platform, tmp_path):
    platform = own_platform.start()
    platform.run(HELLO)
    services = list(platform.pids().values())
    session = _processes(platform)
    assert len(session) >= 12  # the launcher and the service too
    platform.process.kill()
    platform.process.wait()
    until(lambda: not any(alive(pid) for pid in services), 3, "the core services' end")
    until(lambda: not any(alive(pid) for pid in session), 6, "the end of what they started")
    again = Platform(tmp_path)
    again.start()
    try:
        until(lambda: " running " in again.micro("status", "helloworld"), what="the service's return")
        assert again.micro("status").count("helloworld") >= 1
    finally:
        again.end()


def test_a_second_server_on_the_same_data_is_refused_and_disturbs_nobody(platform):
    import subprocess

    before = platform.pids()
    done = subprocess.run(platform.command(), env=platform.env, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert str(platform.process.pid) in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert platform.pids() == before


def test_taken_ports_are_all_named_before_anything_starts(own_platform):
    import subprocess

    with socket.socket() as one, socket.socket() as two:
        for sock in (one, two):
            sock.bind(("127.0.0.1", 0))
            sock.listen()
        ports = [f"127.0.0.1:{sock.getsockname()[1]}" for sock in (one, two)]
        command = own_platform.command("--set", f"api.address={ports[0]}", "--set", f"store.address={ports[1]}")
        done = subprocess.run(command, env=own_platform.env, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    for port in ports:
        assert port in done.stderr
    assert not own_platform.state


def _processes(platform):
    """All processes that have this platform's data folder in their environment or command."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            text = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if str(platform.data).encode() in text and int(entry.name) != platform.process.pid:
            found.append(int(entry.name))
    return found
