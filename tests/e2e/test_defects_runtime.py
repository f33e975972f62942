"""What the forerunner's runtime and registry got wrong, by the numbers of the same list: the same action, a safe outcome."""

import asyncio
import io
import json
import os
import signal
import stat
import subprocess
import sys
import tarfile
import time
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest

import micro
from micro.errors import InvalidArgument, NotFound, ResourceExhausted
from micro.proto import registry_pb2, runtime_pb2
from micro.testing.platform import alive, until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
GRACE = 2.0  # seconds, of the platform of one test
LEASE = 15.0  # seconds of a registration of ours
SERVICE = """
import os

from micro import Service

print(os.getpid(), flush=True)


class Here:
    async def call(self) -> None:
        pass


Service("{name}", handlers=[Here()]).run()
"""
FAILING = "import sys, time\nprint(time.time(), flush=True)\nsys.exit({code})\n"
STUBBORN = """
import os, signal, subprocess, sys, time

signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], preexec_fn=os.setpgrp)
print(os.getpid(), child.pid, flush=True)
time.sleep(600)
"""


def folder(tmp_path, name, text):
    path = tmp_path / name
    path.mkdir()
    (path / "main.py").write_text(text)
    return path


def lines(platform, name):
    return platform.micro("logs", name, "-n", "0").splitlines()


def as_admin(platform):
    admin = json.loads((platform.data / "admin.json").read_text())
    return micro.connect(platform.address("proxy"), id=admin["id"], secret=admin["secret"])


async def nodes(process, name):
    """Give the addresses of a service's nodes, by their ids."""
    request = registry_pb2.GetRequest(service=name)
    try:
        found = await process.caller.call("registry", "Registry.GetService", request, registry_pb2.GetResponse)
    except NotFound:
        return {}
    return {node.id: node.address for service in found.services for node in service.nodes}


@pytest.fixture(scope="module")
def killed(platform, tmp_path_factory):
    """Start a service by hand, and kill it when it is there; gives when it was killed, for the last test to look."""
    script = folder(tmp_path_factory.mktemp("by-hand"), "gone", SERVICE.replace("{name}", "gone")) / "main.py"
    process = subprocess.Popen([sys.executable, str(script)], env=platform.env, stderr=subprocess.DEVNULL)
    try:
        until(lambda: "gone" in platform.micro("services"), what="the service registered")
    finally:
        process.kill()
        process.wait()
    return time.monotonic()


def packed(*members, size=2):
    """Make a tar of members as they are, each a name or a TarInfo."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for member in members:
            info = member if isinstance(member, tarfile.TarInfo) else tarfile.TarInfo(member)
            info.size = info.size or (0 if info.type != tarfile.REGTYPE else size)
            tar.addfile(info, io.BytesIO(b"#\n") if info.size == size else None)
    return buffer.getvalue()


def link(kind, name, target):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def large(name, size):
    info = tarfile.TarInfo(name)
    info.size = size
    return info


HOSTILE = {
    "above": packed("../evil"),
    "within": packed("a/../../evil"),
    "absolute": packed("/tmp/evil"),
    "a link, then through it": packed(link(tarfile.SYMTYPE, "out", "/tmp"), "out/evil"),
    "a hard link": packed(link(tarfile.LNKTYPE, "evil", "/etc/passwd")),
    "a device": packed(link(tarfile.CHRTYPE, "null", "")),
    "a pipe": packed(link(tarfile.FIFOTYPE, "pipe", "")),
    "more than there may be": packed(large("bomb", 1 << 40)),
    "more members than there may be": packed(*(f"{number}.py" for number in range(10_001))),
    "no tar": b"x" * 2000,
}


@pytest.mark.usefixtures("killed")
@pytest.mark.parametrize("kind", HOSTILE)
async def test_d10_what_an_archive_holds_stays_in_its_folder_and_in_bounds(platform, kind):
    before = {path for path in platform.data.rglob("*") if "evil" in path.name}
    async with as_admin(platform) as process:
        stream = await process.caller.stream(
            "runtime", "Source.Upload", runtime_pb2.UploadRequest, runtime_pb2.UploadResponse, timeout=30
        )
        async with stream:
            service = runtime_pb2.Service(name="hostile", version="1")
            archive = HOSTILE[kind]
            with suppress(InvalidArgument, ResourceExhausted):  # of an early end the answer tells
                for at in range(0, len(archive), 1 << 20):
                    await stream.send(
                        runtime_pb2.UploadRequest(service=None if at else service, data=archive[at : at + (1 << 20)])
                    )
                stream.end()
            with pytest.raises((InvalidArgument, ResourceExhausted)):
                await stream.receive()
    assert not Path("/tmp/evil").exists()
    assert {path for path in platform.data.rglob("*") if "evil" in path.name} == before
    assert not list((platform.data / "runtime").glob("*/uploads/hostile*"))


def test_d10_a_zip_that_leads_outside_is_refused_and_modes_are_the_platforms(platform, tmp_path):
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as file:
        file.writestr("../../evil.py", "x")
    assert "member named" in platform.micro("run", str(tmp_path / "evil.zip"), code=1)
    with zipfile.ZipFile(tmp_path / "loose.zip", "w") as file:
        member = zipfile.ZipInfo("main.py")
        member.external_attr = (stat.S_IFREG | 0o6777) << 16
        file.writestr(member, "import time; time.sleep(600)\n")
    platform.run(tmp_path / "loose.zip", "--name", "loose")
    try:
        (unpacked,) = (platform.data / "runtime").glob("micro/loose@latest/*/source/main.py")
        assert stat.S_IMODE(unpacked.stat().st_mode) in {0o600, 0o700}
    finally:
        platform.micro("kill", "loose")


def test_d14_what_keeps_ending_is_started_ever_more_seldom(platform, tmp_path):
    names = {code: f"failing{code}" for code in (0, 1)}
    for code, name in names.items():
        platform.micro("run", str(folder(tmp_path, name, FAILING.replace("{code}", str(code)))))
    try:
        for code, name in names.items():
            until(lambda name=name: len(lines(platform, name)) >= 4, what="four starts")
            _, second, third, fourth = map(float, lines(platform, name)[:4])
            assert third - second > 0.7
            assert fourth - third > 1.5
            told = platform.micro("status", name)
            assert " error " in told
            assert f"it exited with code {code}" in told
            assert "again in" in told
    finally:
        platform.micro("kill", *names.values())


def test_d15_what_does_not_stop_is_made_to_with_all_that_it_began(own_platform, tmp_path):
    own_platform.extra += ["--set", f"runtime.grace={GRACE:.0f}s"]
    platform = own_platform.start()
    platform.run(folder(tmp_path, "stubborn", STUBBORN))
    until(lambda: lines(platform, "stubborn"), what="its pids")
    pids = [int(pid) for pid in lines(platform, "stubborn")[0].split()]
    assert all(alive(pid) for pid in pids)
    begun = time.monotonic()
    platform.micro("kill", "stubborn")
    taken = time.monotonic() - begun
    assert not any(alive(pid) for pid in pids)
    assert GRACE <= taken < GRACE + 10  # one second, on a machine that has nothing else to do


async def test_d16_nothing_outlives_a_killed_server_and_what_was_wanted_runs_once_with_the_next(own_platform, tmp_path):
    platform = own_platform.start()
    platform.run(folder(tmp_path, "wanted", "import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(600)\n"))
    until(lambda: lines(platform, "wanted"), what="its pid")
    (pid,) = map(int, lines(platform, "wanted"))

    core, known = platform.pids(), await since(platform, "wanted")
    os.kill(core["runtime"], signal.SIGKILL)
    until(lambda: platform.pids()["runtime"] != core["runtime"], what="the runtime again")
    assert await since(platform, "wanted") == known, "it goes on as it was"
    assert alive(pid)

    core = platform.pids()
    platform.process.kill()
    platform.process.wait()
    until(lambda: not any(alive(one) for one in core.values()), 10, "the end of the core services")
    until(lambda: not alive(pid), 20, "the end of what they ran")
    platform.start()
    until(lambda: len(lines(platform, "wanted")) >= 2, what="that it runs again")
    until(lambda: " running " in platform.micro("status", "wanted"), what="it runs")
    said = [int(one) for one in lines(platform, "wanted")]
    assert said[0] == pid
    assert len(said) == 2
    assert alive(said[1])


async def since(platform, name):
    """Give what a service is doing, and since when."""
    async with as_admin(platform) as process:
        (status,) = await process.runtime.status(name)
    return status.metadata["status"], status.metadata["started"], status.metadata["lastStatusUpdate"]


async def test_d19_a_dead_node_that_the_runtime_started_is_gone_at_once(platform, tmp_path):
    platform.run(folder(tmp_path, "mortal", SERVICE.replace("{name}", "mortal")))
    try:
        async with as_admin(platform) as process:
            while not (first := await nodes(process, "mortal")):
                await asyncio.sleep(0.05)
            # under load it may have been started twice, and what it says of itself stand anywhere among the lines
            os.kill(int([line for line in lines(platform, "mortal") if line.isdigit()][-1]), signal.SIGKILL)
            begun = time.monotonic()
            while first.keys() & (await nodes(process, "mortal")).keys():
                assert time.monotonic() - begun < LEASE / 2
                await asyncio.sleep(0.02)
    finally:
        platform.micro("kill", "mortal")


async def test_d19_a_dead_node_is_gone_when_its_lease_is_over(platform, killed):
    async with as_admin(platform) as process:
        while await nodes(process, "gone"):
            assert time.monotonic() - killed < LEASE + 5  # one second, on a machine that has nothing else to do
            await asyncio.sleep(0.1)
