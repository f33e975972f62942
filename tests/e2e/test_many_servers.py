"""Servers that share their backends are one platform; one of them may die, and a backend may go and come back."""

import concurrent.futures
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from micro.testing.platform import alive, until
from micro.testing.shared import Backends

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("many servers")]
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "helloworld"
TAKEOVER = 45.0  # seconds: the lease of the runtime, a build, a start, and a busy machine


@pytest.fixture
def backends(tmp_path):
    """Backends of the test's own, which it may stop."""
    made = Backends(tmp_path)
    try:
        made.start()
        yield made
    finally:
        made.stop()


def launchers(*platforms):
    """Count the instances of helloworld that run below servers' folders."""
    found = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command, where = (entry / "cmdline").read_bytes(), str((entry / "cwd").resolve())
            except OSError:
                continue
            ours = any(where.startswith(str(platform.data)) for platform in platforms)
            found += ours and b"launcher" not in command and b"helloworld" in where.encode()
    return found


def greets(server, name):
    """Whether helloworld answers there now: it may be starting, and known to nobody yet."""
    try:
        return json.loads(server.micro("helloworld", f"--name={name}")) == {"msg": f"Hello {name}"}
    except AssertionError:
        return False


STEADY = """
import os

from micro import Service, endpoint


class Steady:
    @endpoint(idempotent=True)
    async def again(self) -> str:
        return str(os.getpid())

    async def once(self) -> str:
        return str(os.getpid())


Service("steady", handlers=[Steady()]).run()
"""


def asked(server, method, token):
    """Call steady by a server's gateway; gives the status, and what was said."""
    connection = http.client.HTTPConnection(server.address("api"), timeout=30)
    try:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        connection.request("POST", f"/steady/Steady/{method}", "{}", headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@contextmanager
def by_hand(server, script):
    """Run a service beside a server, as its author does."""
    process = subprocess.Popen([sys.executable, str(script)], env=server.env, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_server_and_its_instance_die_and_what_may_be_repeated_never_fails(backends, tmp_path, record_property):
    servers = first, second, third = [backends.platform(name).start() for name in ("a", "b", "c")]
    script = tmp_path / "main.py"
    script.write_text(STEADY)
    token = second.micro("user", "token").strip()
    with by_hand(first, script) as dying, by_hand(second, script) as staying:
        pids = {str(process.pid).encode() for process in (dying, staying)}

        def both(server):  # balanced: each of them answers
            said = [asked(server, "Again", token) for _ in range(20)]
            return pids == {pid for status, body in said for pid in pids if status == 200 and pid in body}

        for server in servers:
            until(lambda server=server: both(server), what="an answer of each instance")
        wrong: dict[str, list[object]] = {"Again": [], "Once": []}
        calls = [0]
        stop = threading.Event()

        def load(server, method):
            while not stop.is_set():
                status, body = asked(server, method, token)
                calls[0] += 1
                if status != 200:
                    wrong[method].append((status, body))

        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            loads = [
                pool.submit(load, server, method) for server in (second, third) for method in wrong for _ in range(3)
            ]
            try:
                until(lambda: calls[0] >= 100)
                os.killpg(first.process.pid, signal.SIGKILL)
                dying.kill()
                before = calls[0]
                until(lambda: calls[0] >= before + 1000)
            finally:
                stop.set()
        assert [load.result() for load in loads] == [None] * 12
    print(f"{calls[0]} calls, {len(wrong['Once'])} errors of what may not be repeated")
    record_property("calls", calls[0])
    record_property("errors of what may not be repeated", len(wrong["Once"]))
    assert wrong["Again"] == []
    # at most what was on its way, and those that found out that nobody listens any more
    assert len(wrong["Once"]) <= 20, wrong["Once"]


def test_three_servers_are_one_platform_and_one_may_die(backends):
    first, second, third = (backends.platform(name).start() for name in ("a", "b", "c"))
    first.run(EXAMPLE)

    # what one runs, all see and call, and it runs once
    for server in (first, second, third):
        assert json.loads(server.micro("helloworld", "--name=Alice")) == {"msg": "Hello Alice"}
        assert " running " in server.micro("status", "helloworld")
        assert "helloworld" in server.micro("services")
    assert "listens on" in until(lambda: third.micro("logs", "helloworld"))
    assert launchers(first, second, third) == 1

    # state is shared, whichever server writes it
    second.micro("store", "write", "greeting", "hello")
    assert third.micro("store", "read", "greeting") == "hello\n"
    second.micro("config", "set", "shop.name", "corner", "--secret")
    assert third.micro("config", "get", "shop.name", "--secret").strip().strip('"') == "corner"

    # the first dies under load: what can be repeated never fails
    errors: list[str] = []
    calls = [0]
    stop = threading.Event()

    def load(server):
        while not stop.is_set():
            try:
                assert server.micro("store", "read", "greeting") == "hello\n"
                calls[0] += 1
            except AssertionError as err:
                errors.append(str(err))

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        loads = [pool.submit(load, server) for server in (second, third)]
        try:
            until(lambda: calls[0] >= 4)
            pids = first.pids()
            os.killpg(first.process.pid, signal.SIGKILL)
            before = calls[0]
            until(lambda: not any(alive(pid) for pid in pids.values()), 10)

            # another server runs what the first ran, from the source that it was given
            until(lambda: launchers(second, third) == 1, TAKEOVER, "the takeover")
            until(lambda: greets(third, "Bob"), TAKEOVER, "an answer of the new instance")
            until(lambda: calls[0] >= before + 4)
        finally:
            stop.set()  # the pool waits for them, whatever else went wrong
    assert [load.result() for load in loads] == [None, None]
    assert errors == []

    # and any of the others is told what to do with it
    until(lambda: " running " in second.micro("status", "helloworld"), TAKEOVER)
    second.micro("kill", "helloworld")
    until(lambda: launchers(second, third) == 0)
    assert "helloworld" not in third.micro("status")
