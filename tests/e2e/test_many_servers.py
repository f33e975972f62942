"""Servers that share their backends are one platform; one of them may die, and a backend may go and come back."""

import concurrent.futures
import json
import os
import signal
import threading
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
