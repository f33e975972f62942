"""What a server tells its terminal: each service as it becomes ready, the banner, and one line for each event."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from micro.server.worker import Worker, clean, how

if TYPE_CHECKING:
    from micro.plugin.profile import Profile

FORGETFUL = "memory"  # a plugin of this name keeps nothing
EMBEDDED = ("sqlite", "file")  # and these keep it in the data folder


class Report:
    """Writes results to `out` and what went wrong to `err`. A terminal that has gone away is no reason to stop."""

    def __init__(
        self, profile: Profile, data: Path, *, out: TextIO | None = None, err: TextIO | None = None, began: float = 0.0
    ) -> None:
        self._profile = profile
        self._data = data
        self._out = out or sys.stdout
        self._err = err or sys.stderr
        self._began = began or time.monotonic()

    def _write(self, stream: TextIO, *lines: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            stream.write("".join(f"{line}\n" for line in lines))
            stream.flush()

    def event(self, text: str) -> None:
        """Tell one thing that happened."""
        self._write(self._err, f"{time.strftime('%H:%M:%S')} {clean(text)}")

    def problem(self, text: str) -> None:
        """Tell why a server does not start, or stops."""
        self._write(self._err, *(clean(line) for line in text.splitlines()))

    def ready(self, worker: Worker, *, first: bool) -> None:
        """Tell that a service is ready."""
        if first:
            self._write(self._out, f"  {worker.name:<9} {worker.address:<21} pid {worker.pid}")
        else:
            self.event(f"{worker.name} is ready again at {worker.address} (pid {worker.pid})")

    def died(self, worker: Worker, code: int, delay: float) -> None:
        """Tell that a service ended and will be started again."""
        again = f"in {delay:.1f} s" if delay >= 0.05 else "now"
        cause = f": {worker.problem.splitlines()[0]}" if worker.problem else ""
        self.event(f"{worker.name} ended ({how(code)}){cause}; starting it again {again}")

    def failed(self, worker: Worker, code: int) -> None:
        """Tell why a service cannot go on: what it said, else the last lines of its log."""
        self.problem(f"{worker.name} ended ({how(code)})" + (f": {worker.problem}" if worker.problem else ""))
        if not worker.problem:
            self._write(self._err, *(f"  | {line}" for line in worker.last_lines()))
        self._write(self._err, f"  its log: {worker.log}")

    def stopping(self, why: str) -> None:
        """Tell that the server stops."""
        self.event(why)

    def stopped(self, worker: Worker, code: int) -> None:
        """Tell of a service that did not stop as it should."""
        if code not in {0, -15, -9}:
            cause = f": {worker.problem.splitlines()[0]}" if worker.problem else ""
            self.event(f"{worker.name} ended while stopping ({how(code)}){cause}; its log: {worker.log}")

    def killed(self, worker: Worker) -> None:
        """Tell of a service that took too long to stop."""
        self.event(f"{worker.name} did not stop within {worker.spec.grace:g} s: killed")

    def started(self, workers: Mapping[str, Worker]) -> None:
        """Tell that everything is up, and what to do with it."""
        took = time.monotonic() - self._began
        lines = [f"micro is ready in {took:.2f} s: profile {self._profile.name}, {len(workers)} services", ""]
        lines += [f"  data   {self._kept()}"]
        if "api" in workers:
            scheme = "https" if self._profile.table("api").get("tls") else "http"
            lines += [f"  http   {scheme}://{workers['api'].address}"]
        if "proxy" in workers:
            lines += [
                f"  grpc   {workers['proxy'].address} (for programs elsewhere: MICRO_PROXY={workers['proxy'].address})"
            ]
        admin = self._data / "admin.json"
        if admin.exists():
            lines += [
                "  login  on this machine the command line is admin without asking; elsewhere: micro env add, then micro login,",
                f"         with the id and secret in {admin}",
            ]
        else:
            lines += [f"  login  {admin} is gone; micro login, as whom there is an account of"]
        if self._profile.insecure:
            lines += ["  note   insecure = true: what passes between machines is not encrypted"]
        if self._profile.trusted_addresses:
            lines += [f"  note   trusted without TLS: {', '.join(self._profile.trusted_addresses)}"]
        self._write(self._out, *lines)

    def _kept(self) -> str:
        """Say where data is kept, and whether it survives."""
        plugins = {name: self._profile.plugin(name) for name in ("store", "blobs", "events")}
        lost = [name for name, plugin in plugins.items() if plugin == FORGETFUL]
        here = [name for name, plugin in plugins.items() if plugin in EMBEDDED]
        away = [f"{name} in {plugin}" for name, plugin in plugins.items() if plugin and name not in {*lost, *here}]
        if not here and not away:
            return "in memory: it is lost when the server stops"
        kept = ([f"{'' if not (lost or away) else ' and '.join(here) + ' '}in {self._data}"] if here else []) + away
        text = f"{', '.join(kept)}: it survives restarts"
        return f"{text}; {' and '.join(lost)} in memory: lost when the server stops" if lost else text
