"""An update that fails, on a server as users start it: the version before serves, also when the server starts again."""

import os
import signal
import subprocess

import pytest

from micro.testing.platform import alive, until

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]

SERVICE = """
from dataclasses import dataclass

from micro import Service


@dataclass
class Request:
    pass


@dataclass
class Response:
    msg: str


class Roll:
    async def call(self, request: Request) -> Response:
        return Response(msg="{word}")


service = Service("roll", handlers=[Roll()])
service.run()
"""
FAILED = "the last update failed, the version before goes on"


def serves(platform, word):
    """Wait until the service answers so; gives what status says of it."""
    until(lambda: " running " in platform.micro("status", "roll"), what="roll running")
    until(lambda: f'"msg": "{word}"' in platform.micro("call", "roll", "Roll.Call"), what=word)
    return platform.micro("status", "roll")


def started_again(platform, *, killed):
    if killed:
        pids = platform.pids()
        platform.process.kill()
        platform.process.wait()
        until(lambda: not any(alive(pid) for pid in pids.values()), what="the end of the core services")
    else:
        platform.micro("shutdown")
        platform.process.wait(60)
    platform.start()


def test_an_update_that_fails_leaves_the_version_before_serving_over_restarts(own_platform, tmp_path):
    platform = own_platform.start()
    good, broken = tmp_path / "good", tmp_path / "broken"
    for source, text in ((good, SERVICE.replace("{word}", "one")), (broken, "raise RuntimeError\n")):
        source.mkdir()
        (source / "main.py").write_text(text)
    platform.run(good, "--name", "roll")
    assert "the version before goes on" in platform.micro("update", str(broken), "--name", "roll", "-i", "3", code=127)
    for killed in (None, False, True):
        if killed is not None:
            started_again(platform, killed=killed)
        status = serves(platform, "one")
        assert FAILED in status
        assert str(good) in status
        assert str(broken) not in status.partition(FAILED)[0]
    # the runtime is killed while the new version proves itself
    (good / "main.py").write_text(SERVICE.replace("{word}", "two"))
    update = subprocess.Popen(
        [platform.launcher, "update", str(good), "--name", "roll"], env=platform.env, stderr=subprocess.DEVNULL
    )
    builds = platform.data / "runtime" / "micro" / "roll@latest"
    until(lambda: len(list(builds.glob("*/venv/ready"))) == 2, what="the new version's build")
    os.kill(platform.pids()["runtime"], signal.SIGKILL)
    assert update.wait(60) != 0
    until(lambda: len(list(builds.iterdir())) == 1, what="the end of what was tried")
    assert FAILED in serves(platform, "one")
    platform.micro("update", str(good), "--name", "roll")
    assert FAILED not in serves(platform, "two")
