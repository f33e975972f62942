"""A real platform for tests: `micro server` as a user starts it, ten processes, on ports and in a folder of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from micro.context import CORE_SERVICES

T = TypeVar("T")

MICRO = str(Path(sys.executable).with_name("micro"))
READY = 60.0  # seconds a loaded machine may take


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}


def until(condition: Callable[[], T], seconds: float = READY, what: str = "it") -> T:
    """Wait until a condition holds; gives what it gave."""
    end = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < end, f"{what} did not happen within {seconds} s"
        time.sleep(0.02)
    return result


class Platform:
    """A server and its command line, in a folder: `data`, `home` and `server.log` are in it.

    `micro` is the command to start and to ask it with: another installation's, instead of this one's.
    """

    def __init__(
        self, folder: Path, *, profile: str = "local", extra: Sequence[str] = (), micro: str | Path = MICRO
    ) -> None:
        self.folder = folder
        self.launcher = str(micro)
        self.data = folder / "data"
        self.home = folder / "home"
        self.home.mkdir(parents=True, exist_ok=True)
        self.extra = list(extra)
        self.profile = profile
        self.process: subprocess.Popen[bytes] | None = None
        self.log = folder / "server.log"

    @property
    def env(self) -> dict[str, str]:
        """The environment that its commands run in."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("MICRO_")}
        return kept | {"HOME": str(self.home), "MICRO_DATA": str(self.data)}

    def command(self, *args: str) -> list[str]:
        """Give the command that starts the server, every port free."""
        sets = [part for name in CORE_SERVICES for part in ("--set", f"{name}.address=127.0.0.1:0")]
        return [self.launcher, "server", "--profile", self.profile, *sets, *self.extra, *args]

    def start(self, *args: str) -> Platform:
        """Start it and wait until all ten are ready."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(*args),
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        process = self.process
        until(lambda: self.state or process.poll() is not None, what="the server")
        assert process.poll() is None, self.log.read_text()
        return self

    @property
    def state(self) -> dict[str, Any]:
        """What `server.json` says; empty while it is not there, or still a killed server's."""
        try:
            found: dict[str, Any] = json.loads((self.data / "server.json").read_text())
        except (OSError, ValueError):
            return {}
        return found if self.process is not None and found.get("pid") == self.process.pid else {}

    def address(self, service: str) -> str:
        """Give a core service's address."""
        return str(self.state["services"][service]["address"])

    def pids(self) -> dict[str, int]:
        """Give the core services' processes."""
        return {name: facts["pid"] for name, facts in self.state["services"].items()}

    def micro(self, *args: str, code: int = 0, stdin: str = "", **env: str) -> str:
        """Run a command; gives its standard output, for another exit `code` standard error too."""
        done = subprocess.run(
            [self.launcher, *args],
            env=self.env | env,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == code, f"micro {' '.join(args)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, done.stderr
        return done.stdout if code == 0 else done.stdout + done.stderr

    def run(self, source: Path, *args: str) -> None:
        """Run a service and wait until it does."""
        self.micro("run", str(source), *args)
        name = args[args.index("--name") + 1] if "--name" in args else source.name
        until(lambda: " running " in self.micro("status", name), what=f"{name} running")

    def stop(self) -> int | None:
        """Stop in order; gives the exit code, None when it did not run."""
        if self.process is None or self.process.poll() is not None:
            return None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def end(self) -> None:
        """Leave nothing, whatever happened."""
        services = self.state.get("services", {})
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.stop()
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for facts in services.values():
            until(lambda pid=facts["pid"]: not alive(pid), 10, "the end of a core service")  # type: ignore[misc]
