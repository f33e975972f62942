"""The supervisor: it starts the core services in waves, starts again what dies, and stops them in order.

One thread, no event loop, no channel, no plugin, so that it may fork at any time. What its children share it has
imported before it starts the first.
"""

from __future__ import annotations

import gc
import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from micro.plugin.profile import Profile
from micro.server import folder, light, link, minter
from micro.server.layout import CORE, Spec
from micro.server.loop import Loop
from micro.server.report import Report
from micro.server.restarts import Restarts
from micro.server.tokens import Tokens
from micro.server.worker import CONFIG, HELD, READY, RESTARTING, STARTING, STOPPED, STOPPING, Worker

READY_LIMIT = 30.0  # seconds for a service to say that it is ready
TRIM = 15.0  # seconds between looks at the logs' sizes
FAILED, INTERRUPTED = 1, 130  # exit codes


class Supervisor:
    """A server's processes. `prepare`, then `run`, which blocks until all have ended and gives the exit code."""

    def __init__(
        self,
        profile: Profile,
        data: Path,
        report: Report,
        *,
        specs: Iterable[Spec] = CORE,
        ready_limit: float = READY_LIMIT,
        renew: float = minter.RENEW,
    ) -> None:
        self.profile = profile
        self.data = data
        self.report = report
        self.workers = {spec.name: Worker(spec, data / "logs" / "core" / f"{spec.name}.log") for spec in specs}
        self.loop = Loop()
        self.ready = False  # all were ready once
        self.stopping = False
        self._ready_limit = ready_limit
        self._wave = 0  # up to this one they may go
        self._code = 0
        self._forced = False
        self._restarts = Restarts()
        self._after: dict[str, list[Callable[[bool], None]]] = {}  # who waits for a service to be ready again
        self._alive = os.pipe2(os.O_CLOEXEC)  # children read it, and hear when we are gone
        self._tokens = Tokens(data, self.workers, self.loop, renew=renew, failed=self._no_token)

    def prepare(self) -> None:
        """Begin what takes its time elsewhere, keys and tokens. Imports may follow, threads may not."""
        self._tokens.prepare()

    def run(self) -> int:
        """Start everything and stay until the end."""
        self.loop.signals(self._signalled)
        try:
            light.freeze()
            gc.enable()
            self._tokens.begin(self._begin)
            while not (self.stopping and all(w.state == STOPPED for w in self.workers.values())):
                self.loop.turn()
        finally:
            self._leave()
        return self._code

    def _leave(self) -> None:
        """Give everything back; whatever happened, no process of ours is left."""
        for worker in self.workers.values():
            if worker.pid:
                worker.kill(signal.SIGKILL)
                worker.reap()
            worker.close()
        self._tokens.close()
        self.loop.close()
        for fd in self._alive:
            os.close(fd)
        gc.unfreeze()

    def _signalled(self, numbers: set[int]) -> None:
        if not numbers & {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}:
            return
        if self.stopping:
            self.force()
        elif not self.ready and signal.SIGINT in numbers:
            self.stop("interrupted", INTERRUPTED)
        else:
            self.stop("stopping")

    def _no_token(self, words: str) -> None:
        if self.ready:
            self.report.event(f"tokens could not be renewed: {words}")
        else:
            self.report.problem(f"the signing key cannot be used: {words}")
            self.stop("no tokens", FAILED)

    def _begin(self) -> None:
        """Fork all: each imports what it needs at once, and builds its service when its wave may go."""
        for worker in sorted(self.workers.values(), key=lambda one: not one.spec.slow):
            self._start(worker)
        self._advance()
        self.loop.later(TRIM, self._trim)

    def _trim(self) -> None:
        for worker in self.workers.values():
            worker.trim_log()
        self.loop.later(TRIM, self._trim)

    def _advance(self) -> None:
        """Let the next wave go once all before it are ready."""
        while not self.stopping and all(w.state == READY for w in self.workers.values() if w.spec.wave <= self._wave):
            behind = [w for w in self.workers.values() if w.spec.wave > self._wave]
            if not behind:
                self._completed()
                return
            self._wave = min(w.spec.wave for w in behind)
            for worker in behind:
                self._go(worker)

    def _completed(self) -> None:
        """See whether all are ready, and known to the registry, for the first time."""
        if not self.ready and all(w.state == READY and w.registered for w in self.workers.values()):
            self.ready = True
            self._write_server()
            self.report.started(self.workers)

    def _start(self, worker: Worker) -> None:
        def told(up: int, down: int) -> link.Start:
            return link.Start(
                worker.name, self.profile, self.data, dict(worker.addresses),
                up=up, down=down, alive=self._alive[0], grace=worker.spec.grace,
            )  # fmt: skip

        worker.start(told, self._alive[0])
        assert worker.lines is not None
        self.loop.watch(worker.lines.fd, lambda: self._heard(worker))
        self.loop.watch(worker.pidfd, lambda: self._died(worker))
        self._go(worker)

    def _go(self, worker: Worker) -> None:
        """Let a process build its service, if its wave may."""
        if worker.state == HELD and worker.spec.wave <= self._wave:
            life, worker.state = worker.lives, STARTING
            link.say(worker.down, go=True, addresses=self.addresses())
            self.loop.later(self._ready_limit, lambda: self._too_slow(worker, life))

    def _too_slow(self, worker: Worker, life: int) -> None:
        if worker.lives == life and worker.state == STARTING:
            worker.problem = f"not ready after {self._ready_limit:g} s"
            worker.kill(signal.SIGABRT)  # faulthandler writes its stacks into the log
            self.loop.later(2.0, lambda: worker.kill(signal.SIGKILL) if worker.lives == life else None)

    def _again(self, worker: Worker, delay: float) -> None:
        worker.state = RESTARTING
        life = worker.lives

        def start() -> None:
            if worker.state == RESTARTING and worker.lives == life and not self.stopping:
                self._start(worker)
                self._tokens.mint([worker.name])

        self.loop.later(delay, start)

    def addresses(self) -> dict[str, str]:
        """Give the address book: where the services that were ready are called, each under its name."""
        return {w.name: w.door for w in self.workers.values() if w.door}

    def _heard(self, worker: Worker) -> None:
        lines = worker.lines
        if lines is None:
            return
        for message in lines.read():
            if message.get("problem"):
                worker.problem = str(message["problem"])
                worker.config_problem = bool(message.get("config"))
            if message.get("registered"):
                worker.registered = True
            if message.get("ready") and worker.state == STARTING:
                self._is_ready(worker, message.get("addresses") or {})
        if lines.ended:
            self.loop.unwatch(lines.fd)  # the pidfd tells the rest
        if not self.stopping:
            self._advance()

    def _is_ready(self, worker: Worker, addresses: Mapping[str, str]) -> None:
        worker.state, worker.ready_at = READY, time.monotonic()
        worker.addresses = {str(name): str(address) for name, address in addresses.items()}
        self.report.ready(worker, first=not self.ready)
        book = self.addresses()
        for other in self.workers.values():
            if other.down >= 0 and other.pid and other is not worker:
                link.say(other.down, addresses=book)
        if self.ready:
            self._write_server()
        for heard in self._after.pop(worker.name, ()):
            heard(True)

    def _died(self, worker: Worker) -> None:
        """See to a process that has ended: start it again, or stop everything."""
        self._heard(worker)  # its last words first
        self.loop.unwatch(worker.pidfd)
        self.loop.unwatch(worker.lines.fd if worker.lines else -1)
        since, deliberate = worker.ready_at, worker.state == STOPPING
        code = worker.reap()
        if self.stopping:
            worker.state = STOPPED
            self.report.stopped(worker, code)
            self._stop_next()
        elif deliberate:  # `restart NAME`
            self._again(worker, 0.0)
        elif not self.ready and worker.problem and since is None:
            # It says itself why it cannot start; a second try would say the same.
            worker.state = STOPPED
            self.report.failed(worker, code)
            self.stop(f"{worker.name} does not start", CONFIG if worker.config_problem else FAILED)
        else:
            self._restart(worker, code, since)

    def _restart(self, worker: Worker, code: int, since: float | None) -> None:
        delay = self._restarts.died(worker.name, time.monotonic(), since)
        if delay is None:
            worker.state = STOPPED
            self.report.failed(worker, code)
            self.stop(f"{worker.name} ended too often", FAILED)
            return
        self.report.died(worker, code, delay)
        self._again(worker, delay)

    def _write_server(self) -> None:
        services: dict[str, dict[str, object]] = {
            w.name: {"address": w.address, "pid": w.pid} for w in self.workers.values()
        }
        for name, facts in services.items():
            if self.profile.table(name).get("tls"):
                facts["tls"] = True
        folder.write_server(self.data, {"pid": os.getpid(), "profile": self.profile.name, "services": services})

    def restart(self, name: str, heard: Callable[[bool], None]) -> str:
        """Drain a service and start it again; gives what is wrong with that. `heard` hears when it is ready again."""
        worker = self.workers.get(name)
        if worker is None:
            return f"no core service {name!r}: there are {', '.join(self.workers)}"
        if self.stopping:
            return "the server is stopping"
        if worker.state != READY:
            return f"{name} is {worker.state}"
        self._after.setdefault(name, []).append(heard)
        self._end(worker)
        return ""

    def stop(self, why: str, code: int = 0) -> None:
        """Stop everything in order: the edge first, registry and store last."""
        if self.stopping:
            return
        self.stopping, self._code = True, code
        self.report.stopping(why)
        for worker in self.workers.values():
            if not worker.pid:
                worker.state = STOPPED
            elif worker.state == READY:
                link.say(worker.down, leaving=True)
        for waiting in self._after.values():
            for heard in waiting:
                heard(False)
        self._stop_next()

    def _stop_next(self) -> None:
        """Ask the next ones to end, once those before them have."""
        left = [w for w in self.workers.values() if w.state != STOPPED]
        if not left:
            return
        turn = min(w.spec.stop for w in left)
        for worker in left:
            if worker.spec.stop == turn and worker.state != STOPPING:
                self._end(worker)

    def _end(self, worker: Worker) -> None:
        life = worker.lives
        worker.state = STOPPING
        worker.kill(signal.SIGKILL if self._forced else signal.SIGTERM)

        def too_long() -> None:
            if worker.lives == life and worker.pid:
                self.report.killed(worker)
                worker.kill(signal.SIGKILL)

        self.loop.later(worker.spec.grace, too_long)

    def force(self) -> None:
        """Stop waiting for anybody."""
        if not self._forced:
            self._forced = True
            self._code = self._code or INTERRUPTED
            self.report.stopping("stopping at once")
        for worker in self.workers.values():
            worker.kill(signal.SIGKILL)
