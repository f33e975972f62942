"""A real server of a test: started on a free loopback port, stopped by its pid."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

TRIES = 3  # ports tried: another process may take one between our look and the server's
READY = 10.0  # seconds until a server must answer
GRACE = 5.0  # seconds that it may take to stop


class Server:
    """A server in a folder of its own, on a port of its own.

    `command` makes the command line from the folder and the port, `answers` asks whether it is ready, for `ready` seconds.
    Start it from the main thread: it gets a signal when the thread that started it dies, so that a killed run leaves nothing.
    """

    def __init__(
        self,
        folder: Path,
        command: Callable[[Path, int], Sequence[str]],
        answers: Callable[[int], bool],
        *,
        ready: float = READY,
    ) -> None:
        self.folder = folder
        self.port = 0
        self._ready = ready
        self._command = command
        self._answers = answers
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """Where its output goes."""
        return self.folder / "server.log"

    def start(self) -> None:
        """Start it and wait until it answers; the port stays what it was."""
        for _ in range(TRIES):
            port = self.port or free_port()
            if self._started(port):
                self.port = port
                return
        lines = self.log.read_text(errors="replace").splitlines()[-20:]
        raise RuntimeError(f"{self._command(self.folder, 0)[0]} did not start:\n" + "\n".join(lines))

    def stop(self) -> None:
        """Stop it, by force when it takes longer than GRACE."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it as a crash would."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Make it hang: it accepts connections, and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        status = Path(f"/proc/{self._process.pid}/status")
        while "\nState:\tT" not in status.read_text():  # all its threads have seen it
            time.sleep(0.001)

    def resume(self) -> None:
        """Undo `pause`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _started(self, port: int) -> bool:
        command = list(self._command(self.folder, port))
        setpriv = shutil.which("setpriv")
        if setpriv is not None:
            command = [setpriv, "--pdeathsig", "KILL", *command]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log)
        limit = time.monotonic() + self._ready
        while time.monotonic() < limit and self._process.poll() is None:
            with suppress(OSError):
                if self._answers(port):
                    return True
            time.sleep(0.005)
        self.kill()
        return False

    def _end(self, how: int) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        process.send_signal(signal.SIGCONT)  # one that is paused would not notice
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    """Give a port of the loopback that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def program(name: str, install: str) -> str:
    """Give a program's path; without it the test is skipped, or fails where servers are required."""
    beside = Path(sys.executable).parent  # where a wheel puts its programs
    found = shutil.which(name) or shutil.which(name, path=str(beside))
    if found is not None:
        return found
    message = f"{name} is not installed: {install}"
    if os.environ.get("MICRO_REQUIRE_SERVERS") == "1":
        pytest.fail(message)
    pytest.skip(message)
