"""A real Docker engine, in a network namespace of its own: nothing of the machine's network changes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from micro.testing.servers.server import Server, program

READY = 30.0  # seconds; an engine looks through its containers first
INSTALL = "apt-get install --no-install-recommends docker.io iptables iproute2"


class DockerServer(Server):
    """An engine: `address` is its socket's, `inside` makes a command run in its network namespace.

    `live` has containers go on while it restarts.
    """

    def __init__(self, folder: Path, *, live: bool = False, options: Sequence[str] = ()) -> None:
        self.name = f"micro-{os.urandom(4).hex()}"  # of the namespace
        self._docker = program("dockerd", INSTALL)
        self._live = live
        self._options = list(options)
        super().__init__(folder, self._line, self._pings, ready=READY)

    @property
    def socket(self) -> Path:
        """The file of its socket."""
        return self.folder / "docker.sock"

    @property
    def address(self) -> str:
        """Where it answers."""
        return f"unix://{self.socket}"

    def inside(self, *command: str) -> list[str]:
        """Make a command run where the engine's networks are."""
        return ["nsenter", f"--net=/run/netns/{self.name}", *command]

    def start(self) -> None:
        if not Path(f"/run/netns/{self.name}").exists():
            for words in (["netns", "add", self.name], ["-n", self.name, "link", "set", "lo", "up"]):
                subprocess.run(["ip", *words], check=True, capture_output=True)
        # the number of a containerd that was killed may be another process's by now, and the engine would wait for that
        (self.folder / "exec/containerd/containerd.pid").unlink(missing_ok=True)
        (self.folder / "pid").unlink(missing_ok=True)
        super().start()

    def ask(self, method: str, path: str) -> Any:
        """Ask its API; gives what it answers, RuntimeError for an error."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(READY)
            connection.connect(str(self.socket))
            connection.sendall(f"{method} {path} HTTP/1.0\r\nHost: docker\r\n\r\n".encode())
            answer = b"".join(iter(lambda: connection.recv(65_536), b""))
        head, _, body = answer.partition(b"\r\n\r\n")
        if int(head.split()[1]) >= 400:
            raise RuntimeError(f"{method} {path}: {body.decode()}")
        return json.loads(body) if body.startswith((b"{", b"[")) else body

    def end(self) -> None:
        """Remove all its containers, stop it, and leave nothing of it."""
        with suppress(OSError, RuntimeError):
            for each in self.ask("GET", "/containers/json?all=1"):
                with suppress(RuntimeError):
                    self.ask("DELETE", f"/containers/{each['Id']}?force=1&v=1")
        self.stop()
        for pid in _of(str(self.folder)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        subprocess.run(["ip", "netns", "del", self.name], check=False, capture_output=True)
        for line in reversed(Path("/proc/mounts").read_text().splitlines()):
            if line.split()[1].startswith(f"{self.folder}/"):
                subprocess.run(["umount", "-l", line.split()[1]], check=False, capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _line(self, folder: Path, _: int) -> list[str]:
        fixed = ["--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec", "--pidfile", f"{folder}/pid"]
        live = ["--live-restore"] if self._live else []
        return self.inside(self._docker, *fixed, "-H", self.address, *live, *self._options)

    def _pings(self, _: int) -> bool:
        with suppress(RuntimeError):
            return bool(self.ask("GET", "/_ping") == b"OK")
        return False


def docker(*, live: bool = False, options: Callable[[Path], Sequence[str]] = lambda _: ()) -> DockerServer:
    """Make, not start, an engine; `end` it."""
    runnable()
    folder = Path(tempfile.mkdtemp(prefix="docker-"))  # a short name: a socket's has 107 bytes
    return DockerServer(folder, live=live, options=options(folder))


def runnable() -> None:
    """Go on where an engine can run; else the test is skipped with the reason, or fails where servers are required."""
    problem = missing()
    if problem and os.environ.get("MICRO_REQUIRE_SERVERS") == "1":
        pytest.fail(problem)
    if problem:
        pytest.skip(problem)


def missing() -> str:
    """Say why no engine can run on this machine; empty when one can."""
    absent = [name for name in ("dockerd", "containerd", "runc", "iptables", "ip", "nsenter") if not shutil.which(name)]
    if absent:
        return f"{', '.join(absent)} not installed: {INSTALL}"
    if os.geteuid() != 0:
        return "a Docker engine of the tests' own needs root"
    probe = f"micro-probe-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", probe], check=False, capture_output=True, text=True)
    if made.returncode:
        return f"no network namespace can be made: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", probe], check=False, capture_output=True)
    if "overlay" not in Path("/proc/filesystems").read_text():
        return "this kernel has no overlay file system"
    return ""


def _of(folder: str) -> list[int]:
    """Find what an engine in a folder has left: the shims of its containers name the folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if f"{folder}/".encode() in entry.read_bytes():
                found.append(int(entry.parent.name))
    return [pid for pid in found if pid != os.getpid()]


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[DockerServer]:
    """Give an engine for the whole run; a test that stops one makes its own."""
    server = docker()
    try:
        server.start()
        yield server
    finally:
        server.end()
