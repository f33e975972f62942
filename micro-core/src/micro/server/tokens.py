"""The supervisor's part in core tokens: who gets one when. Minting itself is in `minter.py`, in another process."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from micro.server import keys, minter
from micro.server.loop import Loop
from micro.server.worker import Worker

AGAIN = 20.0  # seconds until a renewal that failed is tried again


class Tokens:
    """Keeps every core service in tokens. `failed` hears what went wrong."""

    def __init__(
        self, data: Path, workers: Mapping[str, Worker], loop: Loop, *, renew: float, failed: Callable[[str], None]
    ) -> None:
        self._data = data
        self._workers = workers
        self._loop = loop
        self._renew = renew
        self._failed = failed
        self._running: dict[int, tuple[int, int]] = {}  # pid: pidfd, where it says what went wrong
        self._go: Callable[[], None] | None = None

    def prepare(self) -> None:
        """Fork the first minter, which makes the key if there is none, while the caller goes on with other things."""
        for worker in self._workers.values():
            worker.open_down()
        self.mint(self._workers)

    def begin(self, go: Callable[[], None]) -> None:
        """Call `go` once there is a key: at once, but for the first start."""
        self._loop.later(self._renew, self._renewal)
        if not keys.exist(self._data):
            self._go = go
        else:
            go()

    def mint(self, names: Iterable[str]) -> None:
        """Give these services a token each, those that can be reached."""
        pipes = {name: self._workers[name].down for name in names if self._workers[name].down >= 0}
        if not pipes:
            return
        pid, reading = minter.start(self._data, pipes)
        pidfd = os.pidfd_open(pid)
        self._running[pid] = (pidfd, reading)
        self._loop.watch(pidfd, lambda: self._ended(pid))

    def close(self) -> None:
        """End minters that still run."""
        for pid in list(self._running):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            self._reap(pid)

    def _renewal(self) -> None:
        self.mint(self._workers)
        self._loop.later(self._renew, self._renewal)

    def _reap(self, pid: int) -> tuple[int, str]:
        pidfd, reading = self._running.pop(pid)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        try:
            words = os.read(reading, 4096).decode("utf-8", "replace")
        except BlockingIOError:
            words = ""
        self._loop.unwatch(pidfd)
        os.close(pidfd)
        os.close(reading)
        return code, words

    def _ended(self, pid: int) -> None:
        code, words = self._reap(pid)
        if code:
            self._failed(words or f"exit {code}")
            self._loop.later(AGAIN, lambda: self.mint(self._workers))
        elif self._go is not None:
            go, self._go = self._go, None
            go()
