"""A platform whose services are containers: run, called, killed, updated, taken over and gone, by the command line."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from micro.testing.platform import MICRO, Platform, alive, until
from micro.testing.servers.docker import DockerServer

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240), pytest.mark.xdist_group("contained")]
HELLOWORLD = Path(__file__).parents[3] / "examples" / "helloworld"
PROFILE = """
[profile.contained]
extends = "local"

[profile.contained.runtime]
plugin = "docker"
host = "{host}"
grace = "5s"
"""


class Contained:
    """A platform where the engine's networks are, and what that engine has."""

    def __init__(self, folder: Path, server: DockerServer) -> None:
        launcher = folder / "micro"
        launcher.write_text(f'#!/bin/sh\nexec {" ".join(server.inside(MICRO))} "$@"\n')
        launcher.chmod(0o755)
        config = folder / "micro.toml"
        config.write_text(PROFILE.format(host=server.address))
        self.server = server
        self.platform = Platform(folder, profile="contained", extra=["--config", str(config)], micro=launcher)

    def containers(self, service: str) -> list[dict[str, Any]]:
        found = self.server.ask("GET", "/containers/json?all=1")
        return [each for each in found if each["Labels"].get("micro.service") == service]

    def runs(self, service: str) -> bool:
        return " running " in self.platform.micro("status", service)

    def greets(self) -> bool:
        with contextlib.suppress(AssertionError):  # one that has just moved is found in a moment
            return "Hello Alice" in self.platform.micro("helloworld", "--name=Alice")
        return False


@pytest.fixture(scope="module")
def contained(docker_engine: DockerServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Contained]:
    made = Contained(tmp_path_factory.mktemp("contained"), docker_engine)
    try:
        made.platform.start()
        yield made
    finally:
        made.platform.end()


def test_a_service_is_a_container_from_its_source_to_its_end(contained: Contained) -> None:
    platform = contained.platform
    platform.run(HELLOWORLD)
    until(contained.greets, what="an answer")
    (container,) = contained.containers("helloworld")
    assert "listens on 0.0.0.0:" in platform.micro("logs", "helloworld")
    address = next(iter(container["NetworkSettings"]["Networks"].values()))["IPAddress"]
    assert f"{address}:" in platform.micro("get", "service", "helloworld")

    # what ends is started again, with another account and another address
    contained.server.ask("POST", f"/containers/{container['Id']}/kill?signal=KILL")
    until(lambda: [each for each in contained.containers("helloworld") if each["Id"] != container["Id"]])
    until(contained.greets, what="an answer of the one started again")

    # a runtime that is started again takes it over
    (container,) = contained.containers("helloworld")
    before = platform.pids()["runtime"]
    os.kill(before, signal.SIGKILL)
    until(lambda: platform.pids()["runtime"] != before and contained.runs("helloworld"), what="another runtime")
    assert contained.greets()
    assert [each["Id"] for each in contained.containers("helloworld")] == [container["Id"]]

    platform.micro("kill", "helloworld")
    assert contained.containers("helloworld") == []
    images = [tag for each in contained.server.ask("GET", "/images/json") for tag in each["RepoTags"] or ()]
    assert not [tag for tag in images if tag.startswith("micro-build:")]


def test_a_service_has_few_rights_and_uses_the_platform(contained: Contained, tmp_path: Path) -> None:
    source = tmp_path / "prober"
    source.mkdir()
    (source / "main.py").write_text(PROBER)
    (source / "requirements.txt").write_text("./wanted-1.0-py3-none-any.whl\n")
    wheel(source / "wanted-1.0-py3-none-any.whl")
    contained.platform.run(source)
    said = ""

    def done() -> bool:
        nonlocal said
        said = contained.platform.micro("logs", "prober")
        return "end" in said

    until(done, what=f"its words: {said}")
    assert said.splitlines() == [
        "user 1000", "capabilities 0000000000000000", "privileges 1", "root read-only", "tmp written", "wanted 1.0",
        "store kept", "end",
    ]  # fmt: skip
    contained.platform.micro("kill", "prober")


def test_an_update_moves_to_the_new(contained: Contained, tmp_path: Path) -> None:
    source = tmp_path / "teller"
    source.mkdir()
    main = source / "main.py"
    main.write_text("import time\nprint('one', flush=True)\ntime.sleep(600)\n")
    contained.platform.run(source)
    (old,) = contained.containers("teller")
    main.write_text("import time\nprint('two', flush=True)\ntime.sleep(600)\n")
    contained.platform.micro("update", str(source))
    until(lambda: "two" in contained.platform.micro("logs", "teller"))
    (new,) = contained.containers("teller")
    assert new["Id"] != old["Id"]
    contained.platform.micro("kill", "teller")


def test_what_runs_ends_with_the_platform_and_starts_with_it(docker_engine: DockerServer, tmp_path: Path) -> None:
    own = Contained(tmp_path, docker_engine)
    platform = own.platform
    try:
        platform.start()
        platform.run(HELLOWORLD, "--name", "shortlived")
        assert len(own.containers("shortlived")) == 1
        assert platform.stop() == 0
        assert own.containers("shortlived") == []
        platform.start()
        until(lambda: own.runs("shortlived"), what="it running again")
        assert len(own.containers("shortlived")) == 1

        # a server that is killed cannot stop anything: its containers end all the same
        assert platform.process is not None
        pids = platform.pids()
        platform.process.kill()
        platform.process.wait()
        until(lambda: not any(alive(pid) for pid in pids.values()), what="the end of the core services")
        until(lambda: not own.containers("shortlived"), 10, "the end of the containers")
    finally:
        platform.end()


PROBER = """
import asyncio, os, time
facts = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
print("user", os.getuid(), flush=True)
print("capabilities", facts["CapEff"], flush=True)
print("privileges", facts["NoNewPrivs"], flush=True)
try:
    open("/app/written", "w")
except OSError as err:
    print("root", "read-only" if err.errno == 30 else err, flush=True)
open("/tmp/file", "w").write("x")
print("tmp written", flush=True)
import wanted
print("wanted", wanted.VERSION, flush=True)
from micro import store
async def main():
    await store.write("k", b"kept")
    print("store", (await store.read("k")).value.decode(), flush=True)
asyncio.run(main())
print("end", flush=True)
time.sleep(600)
"""


def wheel(path: Path) -> None:
    """Write a wheel of one module, so that installing it needs no index."""
    import zipfile

    info = "wanted-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("wanted.py", "VERSION = '1.0'\n")
        file.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: wanted\nVersion: 1.0\n")
        file.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr(f"{info}/RECORD", "")
