"""A platform whose backends go away and come back: its processes stay, callers are told, and all is well within seconds."""

import json
import subprocess
import time
from pathlib import Path

import pytest

from micro.testing.platform import alive, until
from micro.testing.shared import Backends

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("many servers")]
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "helloworld"
RETURN = 5.0  # seconds after a backend is back within which all must be well
BUSY = 10.0  # seconds that a busy machine may add
AWAY = 3.0  # seconds that a backend is away
COMMANDS = {
    "redis": (("store", "read", "greeting"), ("config", "get", "color"), ("store", "write", "greeting", "hello")),
    "nats": (("call", "broker", "Broker.Publish", '{"topic": "news", "message": {"body": "eA=="}}'),),
    "etcd": (("services",),),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A server on backends, with a service and some state."""
    backends = Backends(tmp_path_factory.mktemp("away"))
    try:
        backends.start()
        platform = backends.platform("server").start()
        platform.run(EXAMPLE)
        platform.micro("store", "write", "greeting", "hello")
        platform.micro("config", "set", "color", "blue")
        yield backends, platform
    finally:
        backends.stop()


def told(platform, *command):
    """Run a command while its backend is away; gives the words of its failure."""
    begun = time.monotonic()
    done = subprocess.run(
        [platform.launcher, *command],
        env=platform.env,
        input="x",
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert time.monotonic() - begun < 30
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


@pytest.mark.parametrize("how", ["killed", "stalled"])
@pytest.mark.parametrize("name", ["redis", "nats", "etcd"])
def test_one_that_goes_and_comes_back_is_survived(world, name, how):
    backends, platform = world
    server, before = backends.all[name], platform.pids()
    server.kill() if how == "killed" else server.pause()
    gone = time.monotonic()
    try:
        if name != "redis":  # accounts are in the store; else who is running is called on: routes are remembered
            assert json.loads(platform.micro("helloworld", "--name=Alice")) == {"msg": "Hello Alice"}
        for command in COMMANDS[name]:
            code, words = told(platform, *command)
            assert code != 0, command
            assert any(known in words.lower() for known in ("unavailable", "deadline", "no answer", "timed out")), words
        time.sleep(max(0.0, AWAY - (time.monotonic() - gone)))
    finally:
        server.start() if how == "killed" else server.resume()
    back = time.monotonic()

    def well():
        return all(told(platform, *command)[0] == 0 for command in COMMANDS[name])

    until(well, RETURN + BUSY, f"all being well after {name} was {how}")
    assert time.monotonic() - back < RETURN + BUSY
    assert platform.micro("store", "read", "greeting") == "hello\n"
    assert platform.micro("config", "get", "color").strip().strip('"') == "blue"
    assert platform.pids() == before
    assert all(alive(pid) for pid in before.values())
    assert " running " in platform.micro("status", "helloworld")
    assert json.loads(platform.micro("helloworld", "--name=Bob")) == {"msg": "Hello Bob"}
