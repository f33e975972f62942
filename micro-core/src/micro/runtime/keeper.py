"""Keeps one instance running: starts it, sees its end, starts it again after a pause."""

from __future__ import annotations

import asyncio
import logging
import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable

from micro.errors import DeadlineExceeded, ServiceError, Unavailable
from micro.runtime.driver import ERROR, RUNNING, STARTING, STOPPED, Engine, Handle, Instance

LONGEST = 300.0  # seconds between starts of a service that keeps failing
HEALTHY = 600.0  # seconds after which earlier failures are forgotten
AWAY = 1.0  # seconds between tries while what starts instances is away
SETTLED = 3.0  # seconds after which an instance that never registered counts as running
_log = logging.getLogger(__name__)


class Around(ABC):
    """What a keeper is given: how to prepare a start, and what to tell."""

    @abstractmethod
    async def prepare(self) -> Instance:
        """Give the instance to start, with an account made for it."""

    @abstractmethod
    async def registered(self) -> bool:
        """Whether the instance is in the registry."""

    @abstractmethod
    async def started(self, handle: Handle) -> None:
        """Remember a handle, so that a later runtime adopts it."""

    @abstractmethod
    async def running(self, handle: Handle) -> None:
        """Remember that it runs, so that a later runtime need not find out."""

    @abstractmethod
    async def ended(self, code: int | None) -> str:
        """Clean up after an instance; gives its last words."""

    @abstractmethod
    def changed(self) -> None:
        """The keeper's status is another."""


class Keeper:
    """One instance. `status` is one of the wire's numbers, `error` says why it is ERROR, `failed` why it last was."""

    def __init__(self, engine: Engine, around: Around, *, handle: Handle | None = None, runs: bool = False) -> None:
        """Begin with an instance of an earlier runtime, if `handle` is one's; `runs` when it was known to."""
        self.status = RUNNING if runs else STARTING
        self.error = ""
        self.failed = ""
        self.failures = 0
        self.handle = handle
        self._engine = engine
        self._around = around
        self._over: asyncio.Future[tuple[int | None, str]] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._keep())

    def exited(self, code: int | None, cause: str = "") -> None:
        """Tell that the instance ended, and what made it."""
        if not self._over.done():
            self._over.set_result((code, cause))

    async def stop(self, grace: float) -> None:
        """Stop the instance and stay stopped."""
        self._task.cancel()
        await asyncio.wait([self._task])
        if self.handle is not None:
            code = await self._engine.stop(self.handle, grace=grace)  # when that fails, it can be asked again
            self.handle = None
            await self._around.ended(code)
        self._say(STOPPED)

    def release(self) -> None:
        """Leave the instance running, for a later runtime."""
        self._task.cancel()

    async def _keep(self) -> None:
        while True:
            begun = asyncio.get_running_loop().time()
            try:
                why = await self._live()
            except (Unavailable, DeadlineExceeded) as err:  # what starts it, or a part of that, is away: not its fault
                self.failed = err.detail
                self._say(ERROR, f"cannot be started now: {err.detail}")
                await asyncio.sleep(AWAY * random.uniform(0.8, 1.0))
                continue
            if asyncio.get_running_loop().time() - begun > HEALTHY:
                self.failures = 0
            self.failures += 1
            self.failed = why
            # at once the first time, then 1 s doubling, jittered: seven starts in the first minute
            pause = 0.0 if self.failures == 1 else min(LONGEST, 2.0 ** (self.failures - 2)) * random.uniform(0.8, 1.0)
            again = f"; again in {pause:.0f} s" if pause >= 1 else ""
            self._say(ERROR, f"{why}; started {self.failures} times{again}" if self.failures > 1 else why)
            await asyncio.sleep(pause)

    async def _live(self) -> str:
        """One life of the instance, from its start to its end; gives why it ended."""
        try:
            if self.handle is None:
                if self.failures == 0:
                    self._say(STARTING)
                self._over = asyncio.get_running_loop().create_future()
                self.handle = await self._engine.start(await self._around.prepare())
                await self._around.started(self.handle)
            if self.status != RUNNING:
                await self._confirm()
            code, cause = await asyncio.shield(self._over)
        except (Unavailable, DeadlineExceeded):
            raise
        except ServiceError as err:
            return err.detail
        except OSError as err:
            return f"cannot be started: {err.strerror or err}"
        self.handle = None
        words = await self._guarded(self._around.ended(code))
        how = _how(code) + (f", {cause}" if cause else "")
        return f"{how}{': ' + words if words else ''}"

    async def _confirm(self) -> None:
        """Wait until the instance is registered, or has lived long enough without, or is over."""
        until = asyncio.get_running_loop().time() + SETTLED
        while not self._over.done():
            if asyncio.get_running_loop().time() >= until or await self._is_registered():
                self._say(RUNNING)
                if self.handle is not None:
                    await self._around.running(self.handle)
                return
            await asyncio.wait([self._over], timeout=0.05)

    async def _is_registered(self) -> bool:
        try:
            return await self._around.registered()
        except ServiceError:
            return False  # the registry is away: time will tell

    @staticmethod
    async def _guarded(work: Awaitable[str]) -> str:
        try:
            return await work
        except (ServiceError, OSError):
            _log.exception("cleaning up after an instance")
            return ""

    def _say(self, status: int, error: str = "") -> None:
        if (status, error) != (self.status, self.error):
            self.status, self.error = status, error
            self._around.changed()


def _how(code: int | None) -> str:
    if code is None:
        return "it ended"
    if code < 0:
        import signal

        try:
            return f"it was killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"it was killed by signal {-code}"
    return f"it exited with code {code}"
