"""Keeping a core service in the registry: leased, renewed, and registered anew for ever, whatever happens to it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable

from micro.context import CORE_NAMESPACE
from micro.errors import ServiceError
from micro.registry.api import LEASE, Registry
from micro.registry.driver import ServiceRecord
from micro.registry.remote import RemoteRegistry

RENEW = LEASE / 3
SOONEST, LONGEST = 0.05, 1.0  # seconds between attempts while the registry is away
_log = logging.getLogger("micro.server")


class Trusted:
    """The registry's own service, asked without the checks of what people give: it checks what comes."""

    def __init__(self, driver: RemoteRegistry) -> None:
        self._driver = driver

    async def register(self, record: ServiceRecord) -> int:
        """See Registry."""
        return await self._driver.register(CORE_NAMESPACE, record, ttl=LEASE, owner="")

    async def renew(self, nodes: list[str]) -> list[str]:
        """See Registry."""
        return await self._driver.renew(CORE_NAMESPACE, nodes, ttl=LEASE, owner="")

    async def deregister(self, record: ServiceRecord) -> None:
        """See Registry."""
        await self._driver.deregister(CORE_NAMESPACE, record, owner="")


class Registration:
    """One service's registration. `told` is called once, when it is there for the first time."""

    def __init__(self, registry: Registry | Trusted, record: ServiceRecord, told: Callable[[], None]) -> None:
        self._registry = registry
        self._record = record
        self._told = told
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, in a task of its own."""
        self._task = asyncio.create_task(self._keep(), name="registration")

    async def stop(self, *, timeout: float = 1.0) -> None:
        """Give the registration back; a registry that is away forgets it when the lease is over."""
        if self._task is None:
            return
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._task = None
        with contextlib.suppress(ServiceError, TimeoutError):
            async with asyncio.timeout(timeout):
                await self._registry.deregister(self._record)

    async def _keep(self) -> None:
        wait, known, logged = SOONEST, False, False
        nodes = [node.id for node in self._record.nodes]
        while True:
            try:
                if not known or await self._registry.renew(nodes):
                    await self._registry.register(self._record)
            except ServiceError as err:
                if not logged and wait >= LONGEST:
                    logged = True
                    _log.warning("cannot register %s, trying on: %s", self._record.name, err)
                known = False
                await asyncio.sleep(wait * random.uniform(0.5, 1.0))
                wait = min(wait * 2, LONGEST)
                continue
            if not known:
                self._told()
            known, logged, wait = True, False, SOONEST
            await asyncio.sleep(RENEW * random.uniform(0.8, 1.0))
