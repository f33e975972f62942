"""Servers of fake services, and of the real ones, in a process of their own."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from micro.context import CORE_SERVICES
from micro.plugin import discovery
from micro.rpc.client import RpcCaller
from micro.rpc.credentials import FixedToken
from micro.rpc.nghttp2 import Nghttp2Transport
from micro.rpc.resolve import AddressBook
from micro.server import control, keys, minter

RUN = """
import sys
from micro.server.main import run_server
from micro.server.options import Options
sys.exit(run_server(Options(profile="local", data=sys.argv[1], overrides=tuple(sys.argv[2:]))))
"""
FREE = [f"{name}.address=127.0.0.1:0" for name in CORE_SERVICES]
HERE = Path(__file__).parent
PATIENCE = 20.0


class Server:
    """One run of `fakes.py`: its process, its data folder, what it printed."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.environ = environ
        self.process: subprocess.Popen[str] | None = None
        self.pids: set[int] = set()

    def start(
        self, *sets: str, which: str = "all", told: dict[str, Any] | None = None, wait: bool = True, **limits: float
    ) -> Server:
        environ = {**self.environ, "MICRO_FAKE": json.dumps(told or {})}
        with (self.folder / "out").open("w") as out, (self.folder / "err").open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, str(HERE / "fakes.py"), which, str(self.data), json.dumps(limits), *sets],
                stdout=out, stderr=err, stdin=subprocess.DEVNULL, env=environ, text=True,
            )  # fmt: skip
        if wait:
            self.until(self.up)
            self.remember()
        return self

    def up(self) -> bool:
        """Whether this very run has written that it is ready."""
        path = self.data / "server.json"
        return self.process is not None and path.exists() and json.loads(path.read_text())["pid"] == self.process.pid

    def remember(self) -> dict[str, Any]:
        """Read server.json, and remember the pids in it."""
        facts = json.loads((self.data / "server.json").read_text())
        self.pids |= {facts["pid"], *(s["pid"] for s in facts["services"].values())}
        return facts

    def until(self, what: Callable[[], Any], patience: float = PATIENCE) -> Any:
        """Wait until something is so; fails with what the server printed."""
        end = time.monotonic() + patience
        while time.monotonic() < end:
            found = what()
            if found:
                return found
            assert self.process is None or self.process.poll() is None, f"ended: {self.printed()}"
            time.sleep(0.01)
        raise AssertionError(f"waited in vain; {self.printed()}\n{self.notes()}")

    def wait(self, patience: float = PATIENCE) -> int:
        assert self.process is not None
        return self.process.wait(patience)

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.wait()

    def printed(self) -> str:
        return (self.folder / "out").read_text() + (self.folder / "err").read_text()

    def errors(self) -> str:
        return (self.folder / "err").read_text()

    def notes(self) -> list[tuple[float, str, str]]:
        path = self.data / "notes"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(float(when), name, what) for when, name, what in (line.split(" ", 2) for line in lines)]

    def noted(self, what: str) -> list[str]:
        """The services that noted this, in order of time."""
        return [name for _, name, said in sorted(self.notes()) if said.startswith(what)]

    def status(self) -> dict[str, Any]:
        return control.ask(self.data, "status", timeout=5)


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def gone(pids: set[int], within: float) -> float:
    """Wait until processes are gone; gives the seconds it took."""
    began = time.monotonic()
    waiting = {pid: os.pidfd_open(pid) for pid in pids if alive(pid)}
    poll = select.poll()
    for fd in waiting.values():
        poll.register(fd, select.POLLIN)
    while waiting and time.monotonic() - began < within:
        poll.poll(50)
        for pid in [pid for pid in waiting if not alive(pid)]:
            poll.unregister(waiting[pid])
            os.close(waiting.pop(pid))
    assert not waiting, f"still there after {within} s: {sorted(waiting)}"
    return time.monotonic() - began


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server that is not started yet, with every port picked by 0."""
    site = tmp_path / "site"
    info = site / "micro_core-9.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: micro-core\nVersion: 9\n")
    points = "".join(f"[micro.{name}]\nfake = fakes:nothing\n" for name in CORE_SERVICES)
    (info / "entry_points.txt").write_text(points + "[micro.transport]\nnghttp2 = fakes:nothing\n")
    tables = "".join(f"[profile.fake.{name}]\nplugin = 'fake'\naddress = '127.0.0.1:0'\n" for name in CORE_SERVICES)
    (tmp_path / "micro.toml").write_text(tables)
    environ = {k: v for k, v in os.environ.items() if not k.startswith("MICRO_")}
    environ |= {"PYTHONPATH": str(site), "XDG_CONFIG_HOME": str(tmp_path / "none")}
    made = Server(tmp_path, environ)
    yield made
    process = made.process
    if process is not None:
        if process.poll() is None:
            process.kill()
            process.wait()
        gone(made.pids, 5.0)
    discovery.refresh()


class Real(Server):
    """A server of the real services."""

    def start(
        self, *sets: str, which: str = "", told: dict[str, Any] | None = None, wait: bool = True, **_: float
    ) -> Real:
        self.run(RUN, str(self.data), *FREE, *sets)
        if wait:
            self.until(self.up)
            self.remember()
        return self

    def run(self, code: str, *arguments: str) -> None:
        with (self.folder / "out").open("w") as out, (self.folder / "err").open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-c", code, *arguments], stdout=out, stderr=err, stdin=subprocess.DEVNULL,
                env=self.environ, text=True,
            )  # fmt: skip

    @asynccontextmanager
    async def caller(self) -> AsyncIterator[RpcCaller]:
        """Call as a core service would."""
        facts = self.remember()["services"]
        token = minter.token("registry", keys.load_or_make(self.data))
        addresses = {name: service["address"] for name, service in facts.items()}
        transport = Nghttp2Transport()
        made = RpcCaller(transport=transport, resolver=AddressBook(addresses), credentials=FixedToken(token))
        try:
            yield made
        finally:
            await made.close()
            await transport.close()


@pytest.fixture
def real(tmp_path: Path) -> Iterator[Real]:
    environ = {k: v for k, v in os.environ.items() if not k.startswith("MICRO_")} | {"XDG_CONFIG_HOME": str(tmp_path)}
    made = Real(tmp_path, environ)
    yield made
    if made.process is not None:
        if made.process.poll() is None:
            made.process.kill()
            made.process.wait()
        gone(made.pids, 5.0)
