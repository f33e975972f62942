"""A real PostgreSQL."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from micro.testing.servers.server import READY, Server, program

INSTALL = "apt-get install --no-install-recommends postgresql"
USER = "postgres"  # a superuser, who needs no password; all others need theirs
RULES = f"host all {USER} 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"


class Postgres(Server):
    """A PostgreSQL, which is one process and its children: what is done to it is done to all of them."""

    @property
    def url(self) -> str:
        """Where its database is, for a superuser."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start it; after a crash what is left of the last one may hold its memory for a moment."""
        end = time.monotonic() + READY
        while True:
            try:
                return super().start()
            except RuntimeError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)

    def kill(self) -> None:
        """Kill it as a crash of the machine would, less what its disk had not."""
        children = self._children()
        super().kill()
        _signal(children, signal.SIGKILL)

    def stop(self) -> None:
        """Stop it and end who is connected: by the signal that means so, and not the one that waits for them."""
        _signal(self._children(), signal.SIGCONT)
        self._end(signal.SIGINT)

    def pause(self) -> None:
        """Make it hang, and first who begets the others."""
        super().pause()
        _signal(self._children(), signal.SIGSTOP)

    def resume(self) -> None:
        """Undo `pause`."""
        _signal(self._children(), signal.SIGCONT)
        super().resume()

    def _children(self) -> list[int]:
        if self._process is None:
            return []
        pid = self._process.pid
        with suppress(OSError):
            return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return []


@contextmanager
def postgres(*options: str) -> Iterator[Postgres]:
    """Give a PostgreSQL, not started, whose acknowledged writes are on disk; its folder goes with it.

    It refuses to run as root, so that then it runs as the user that its package made, in a folder that this one may enter.
    Its own order of text is a language's, not that of bytes: who needs the latter has to say so.
    """
    programs = _programs()
    folder = Path(tempfile.mkdtemp(prefix="micro-postgres-"))
    data = folder / "data"
    data.mkdir()
    if os.geteuid() == 0:
        folder.chmod(0o755)
        shutil.chown(data, USER)
    locale = ["--locale", "C.UTF-8", "--locale-provider", "icu", "--icu-locale", "und", "--encoding", "UTF8"]
    made = [f"{programs}/initdb", "--pgdata", str(data), "--username", USER, "--no-sync", *locale]
    subprocess.run([*_as_user(), *made], check=True, capture_output=True, cwd=folder, timeout=60)
    (data / "pg_hba.conf").write_text(RULES)

    def command(folder: Path, port: int) -> list[str]:
        fixed = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "max_connections": "200", "port": port}
        settings = [f"--{name}={value}" for name, value in fixed.items()]
        return [*_as_user(), f"{programs}/postgres", "-D", str(folder / "data"), *settings, *options]

    server = Postgres(folder, command, _answers)
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """Give a PostgreSQL for the whole run; a test that stops one makes its own."""
    with postgres() as server:
        server.start()
        yield server


def own_file(file: Path) -> None:
    """Let the user that it runs as, and nobody else, read a file."""
    file.chmod(0o600)
    if os.geteuid() == 0:
        shutil.chown(file, USER)


def _programs() -> Path:
    """Give the folder of its programs, which Debian keeps off the path."""
    beside = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    found = Path(beside[-1] if beside else program("initdb", INSTALL))
    return found.resolve().parent


def _as_user() -> list[str]:
    """Give what begins a command that must not run as root; a new user takes the signal of a parent's death away."""
    if os.geteuid() != 0:
        return []
    found = program("setpriv", "apt-get install util-linux")
    return [found, "--reuid", USER, "--regid", USER, "--clear-groups", "--pdeathsig", "KILL"]


def _answers(port: int) -> bool:
    """Ask for a session of nobody's: one that is not ready yet says so in words that are an error, too."""
    with socket.create_connection(("127.0.0.1", port), 1) as connection:
        words = b"user\0" + USER.encode() + b"\0database\0postgres\0\0"
        connection.sendall(struct.pack("!ii", 8 + len(words), 196_608) + words)
        return connection.recv(1) == b"R"  # an authentication request, or that none is needed


def _signal(pids: list[int], number: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
