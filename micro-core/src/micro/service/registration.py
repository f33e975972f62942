"""Keeping a service in the registry from a thread of its own, so that a busy service is never missing.

Leased, renewed at a third of the lease, registered anew for ever when the registry lost it or was away.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import threading

from micro.errors import ServiceError
from micro.registry.api import LEASE, Registry
from micro.registry.driver import ServiceRecord
from micro.registry.remote import RemoteRegistry
from micro.service import wiring
from micro.service.surroundings import Surroundings

RENEW = LEASE / 3
SOONEST, LONGEST = 0.05, 2.0  # seconds between attempts while the registry is away

_log = logging.getLogger("micro.service")


class Registration:
    """One node's registration. `registered` is set while the registry is believed to know it, `tried` after one attempt."""

    def __init__(self, around: Surroundings, record: ServiceRecord) -> None:
        self.registered = threading.Event()
        self.tried = threading.Event()
        self._around = around
        self._record = record
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = False
        self._woken: asyncio.Event
        self._begun = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"{record.name}-registration", daemon=True)

    def start(self) -> None:
        """Begin; waits for nothing."""
        self._thread.start()

    async def stop(self, *, timeout: float = 2.0) -> bool:
        """Take the registration back; True when the registry knew it, so that callers must be given time to see it."""
        known = self.registered.is_set()
        await asyncio.to_thread(self._end, timeout)
        return known

    def _end(self, timeout: float) -> None:
        self._begun.wait(timeout)
        loop = self._loop
        if loop is not None:
            self._stopping = True
            with contextlib.suppress(RuntimeError):  # it has ended already
                loop.call_soon_threadsafe(self._woken.set)
        self._thread.join(timeout)

    def _run(self) -> None:
        asyncio.run(self._keep())

    async def _keep(self) -> None:
        self._loop, self._woken = asyncio.get_running_loop(), asyncio.Event()
        self._begun.set()
        carrier = wiring.transport()
        caller = wiring.caller(self._around, carrier)
        registry = Registry(RemoteRegistry(caller=caller), plugin="remote", domain=self._around.namespace)
        try:
            await self._renewing(registry)
            if self.registered.is_set():
                with contextlib.suppress(ServiceError, TimeoutError):
                    await asyncio.wait_for(registry.deregister(self._record), 1.0)
        finally:
            await caller.close()
            await carrier.close()

    async def _renewing(self, registry: Registry) -> None:
        wait, warned = SOONEST, False
        while not self._stopping:
            try:
                await self._once(registry)
            except ServiceError as err:
                self.registered.clear()
                self.tried.set()
                if not warned:
                    _log.warning("%s is not registered yet, trying on: %s", self._record.name, err)
                warned = True
                await self._pause(wait * random.uniform(0.5, 1.0))
                wait = min(wait * 2, LONGEST)
                continue
            if warned:
                _log.info("%s is registered", self._record.name)
            wait, warned = SOONEST, False
            await self._pause(RENEW * random.uniform(0.8, 1.0))

    async def _once(self, registry: Registry) -> None:
        nodes = [node.id for node in self._record.nodes]
        if not self.registered.is_set() or await registry.renew(nodes):
            await registry.register(self._record)
            self.registered.set()
            self.tried.set()

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._woken.wait(), seconds)
        self._woken.clear()
