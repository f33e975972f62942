"""One core service's process, as its supervisor sees it: pipes, state, and the last words in its log."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

from micro.errors import ConfigError
from micro.server import folder, link, process
from micro.server.layout import Spec

LOG_LIMIT = 10 * 1024 * 1024  # bytes of a log until it makes room; as many of the past are kept beside it
LAST = 20  # lines shown of a process that failed

WAITING, HELD, STARTING, READY, RESTARTING, STOPPING, STOPPED = (
    "waiting", "held", "starting", "ready", "restarting", "stopping", "stopped",
)  # fmt: skip
CONFIG = 78  # exit code of a process whose profile is wrong; BSD's EX_CONFIG


class Worker:
    """One service over all its lives. Only its supervisor calls it, in one thread.

    `pidfd`, `lines` and `pid` are of the present life, `addresses` of the last that was ready.
    """

    def __init__(self, spec: Spec, log: Path) -> None:
        self.spec = spec
        self.name = spec.name
        self.log = log
        self.state = WAITING
        self.pid = 0
        self.pidfd = -1
        self.down = -1
        self.lines: link.Lines | None = None
        self.addresses: dict[str, str] = {}
        self.registered = False
        self.problem = ""
        self.config_problem = False
        self.ready_at: float | None = None
        self.lives = 0
        self._down = -1  # the child's end, until it has it
        self._offset = 0

    def open_down(self) -> None:
        """Make the pipe for the next life, so that there can be a token in it when it starts."""
        if self.down < 0:
            self._down, self.down = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def start(self, make: Callable[[int, int], link.Start], alive: int) -> None:
        """Fork a life. `make` is given the descriptors up and down."""
        self.open_down()
        up, child_up = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(up, False)
        child_down, self._down = self._down, -1
        told = make(child_up, child_down)
        log = self._open_log()
        try:
            self.pid = process.fork(
                lambda: _live(self.spec.main, told),
                keep={child_up, child_down, alive},
                log=log,
                title=f"micro-{self.name}",
            )
        finally:
            for fd in (child_up, child_down, log):
                os.close(fd)
        self.pidfd = os.pidfd_open(self.pid)
        self.lines = link.Lines(up)
        self.state, self.ready_at, self.registered = HELD, None, False
        self.problem, self.config_problem = "", False
        self.lives += 1

    def _open_log(self) -> int:
        self.trim_log()
        fd = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._offset = os.fstat(fd).st_size
        return fd

    def trim_log(self) -> None:
        """Make room when the log has grown too big: its end goes to `<name>.log.1`, and it begins anew.

        The process goes on writing to the same file, at its new end. A full disk is told elsewhere.
        """
        with contextlib.suppress(OSError), self.log.open("r+b") as file:
            end = file.seek(0, os.SEEK_END)
            if end > LOG_LIMIT:
                file.seek(end - LOG_LIMIT)
                folder.replace(self.log.with_suffix(".log.1"), file.read(LOG_LIMIT))
                file.truncate(0)
                self._offset = 0

    @property
    def address(self) -> str:
        """Where people reach it, or did when it was ready."""
        return self.addresses.get(self.name, "")

    @property
    def door(self) -> str:
        """Where the other core services reach it."""
        return self.addresses.get(f"{self.name}.rpc") or self.address

    def kill(self, number: int) -> None:
        """Send a signal to this very process, never to a later one of its pid."""
        if self.pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, number)

    def reap(self) -> int:
        """Collect an ended process and its descriptors; gives its exit code, or minus its signal."""
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self.close()
        return code

    def close(self) -> None:
        """Close the descriptors of a life that has ended, or never began."""
        for fd in (self.pidfd, self.down, self._down, self.lines.fd if self.lines else -1):
            if fd >= 0:
                os.close(fd)
        self.pid, self.pidfd, self.down, self._down, self.lines = 0, -1, -1, -1, None

    def healthy(self) -> float:
        """Give the seconds it has been ready."""
        return time.monotonic() - self.ready_at if self.ready_at is not None else 0.0

    def last_lines(self, count: int = LAST) -> list[str]:
        """Give the last lines of this life's log, control characters escaped."""
        try:
            with self.log.open("rb") as file:
                end = file.seek(0, os.SEEK_END)
                file.seek(max(self._offset if self._offset <= end else 0, end - 16 * 1024))
                text = file.read().decode("utf-8", "replace")
        except OSError:
            return []
        return [clean(line) for line in text.splitlines()[-count:]]


def clean(line: str) -> str:
    """Make a line safe for a terminal: control characters are shown, not sent."""
    return "".join(c if c.isprintable() or c == "\t" else c.encode("unicode_escape").decode() for c in line)


def how(code: int) -> str:
    """Say how a process ended."""
    if code >= 0:
        return f"exit {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


def _live(main: str, told: link.Start) -> int:
    """In the child: import what it runs, and run it."""
    process.watch_parent(told.alive)
    module, _, name = main.partition(":")
    try:
        run = cast("Callable[[link.Start], int]", getattr(importlib.import_module(module), name))
        return run(told)
    except ConfigError as err:
        link.say(told.up, problem=str(err)[:4000], config=True)
        return CONFIG
    except Exception as exc:
        link.say(told.up, problem=f"{type(exc).__name__}: {exc}"[:4000])
        raise
