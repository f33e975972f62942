"""The right to run what the store wants: one server's at a time, where several share a store."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from micro.errors import Aborted, AlreadyExists, ServiceError
from micro.store.api import Store

KEY = "lease/runtime"
HELD = 15.0  # seconds that the right lasts; how long nobody runs what a server that died ran, at most
RENEW = 4.0  # seconds between renewals
LOOK = 2.0  # seconds between looks of those who wait for it
MARGIN = 2.0  # seconds before its end at which a holder that cannot renew stops what it runs
_log = logging.getLogger(__name__)


class Candidate(Protocol):
    """Who may hold the right."""

    async def lead(self) -> None:
        """Begin to run what is wanted."""

    async def withdraw(self) -> None:
        """Stop what runs: it is another's to run now."""


class Lease:
    """A row of the store that its holder renews. `holder` is this server, also after a restart; `address` is shown to others.

    A holder that cannot renew withdraws before another may take over.
    """

    def __init__(self, store: Store, folder: Path, address: Callable[[], str]) -> None:
        self._store = store
        self._folder = folder
        self._address = address
        self._holder = ""
        self._version = 0
        self._until = 0.0  # of the loop's clock
        self._task: asyncio.Task[None] | None = None
        self._heard: list[Callable[[bool], None]] = []
        self.leads = False
        self.other = ""  # where the holder is, if it is another

    def hear(self, told: Callable[[bool], None]) -> None:
        """Call this with whether the right is held, now and whenever that changes."""
        self._heard.append(told)
        told(self.leads)

    async def start(self, candidate: Candidate) -> None:
        """Try once, and go on trying, or renewing, until stopped."""
        self._holder = await asyncio.to_thread(identity, self._folder)
        await self._turn(candidate)
        self._task = asyncio.create_task(self._keep(candidate))

    async def stop(self, *, release: bool = False) -> None:
        """Stop renewing; with `release` the right is another's at once."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if release and self.leads:
            with contextlib.suppress(ServiceError):
                await self._store.delete(KEY, if_version=self._version)

    async def _keep(self, candidate: Candidate) -> None:
        while True:
            await asyncio.sleep(RENEW if self.leads else LOOK)
            try:
                await self._turn(candidate)
            except ServiceError as err:
                if self.leads and asyncio.get_running_loop().time() > self._until - MARGIN:
                    _log.warning("the right to run services could not be renewed, they stop here: %s", err)
                    await self._lost(candidate)
            except Exception:  # whatever a start of services raised: it must not end the turns
                _log.exception("taking over what is to run failed, and is tried again")

    async def _turn(self, candidate: Candidate) -> None:
        now = asyncio.get_running_loop().time()
        if await self._taken():
            self._until = now + HELD
            if not self.leads:
                try:
                    await candidate.lead()
                except BaseException:
                    await candidate.withdraw()  # what was begun is begun anew, not twice
                    raise
                self._say(leads=True)
        elif self.leads:
            _log.warning("%s runs the services now, they stop here", self.other or "another server")
            await self._lost(candidate)

    async def _lost(self, candidate: Candidate) -> None:
        self._say(leads=False)
        await candidate.withdraw()

    async def _taken(self) -> bool:
        found = (await self._store.read_many([KEY]))[0]
        held = found.json() if found is not None else {}
        if held and held["holder"] != self._holder:
            self.other = held["address"]
            return False
        mine = {"holder": self._holder, "address": self._address()}
        try:
            self._version = await self._store.write(KEY, mine, ttl=HELD, if_version=found.version if found else 0)
        except (Aborted, AlreadyExists):
            return False  # another one was quicker
        return True

    def _say(self, *, leads: bool) -> None:
        self.leads = leads
        for told in self._heard:
            told(leads)


def identity(folder: Path) -> str:
    """Give this server's name, which it keeps in its data folder."""
    file = folder / "server.id"
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as new:
            new.write(os.urandom(16).hex())
    return file.read_text()
