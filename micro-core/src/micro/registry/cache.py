"""Registrations kept here and followed, so that asking costs nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Self

from micro.errors import ServiceError
from micro.registry.api import Registry
from micro.registry.driver import Event, ServiceRecord
from micro.registry.view import View

RETRY = 5.0  # seconds until a watch that was refused is tried again


class Cache:
    """A domain's registrations, or one service's, followed by a task of this loop.

    While the registry is away it answers what it knew last. `told` hears every event once it is taken in.
    """

    def __init__(
        self, registry: Registry, name: str | None = None, *, told: Callable[[Event], None] = lambda _: None
    ) -> None:
        self._registry = registry
        self._name = name
        self._told = told
        self._view = View()
        self._synced = asyncio.Event()
        self._failure: ServiceError | None = None
        self._task: asyncio.Task[None] | None = None

    async def open(self, *, timeout: float = 5.0) -> None:
        """Start following and wait for what exists; raises what the registry refused with, or TimeoutError."""
        self.start()
        await asyncio.wait_for(self._synced.wait(), timeout)
        if self._failure is not None:
            raise self._failure

    def start(self) -> None:
        """Start following, without waiting for anything."""
        self._task = self._task or asyncio.create_task(self._follow())

    def get(self, name: str) -> list[ServiceRecord]:
        """Give the versions of a service, none when there is none."""
        return self._view.get(name)

    def services(self) -> list[ServiceRecord]:
        """Give all versions of all services, sorted by name."""
        return self._view.services()

    async def close(self) -> None:
        """Stop following; idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _follow(self) -> None:
        while True:
            try:
                async for event in self._registry.watch(self._name):
                    self._view.apply(event)
                    self._told(event)
                    if self._view.synced:
                        self._failure = None
                        self._synced.set()
            except ServiceError as err:
                self._failure = err
                self._synced.set()
            await asyncio.sleep(RETRY)

    async def __aenter__(self) -> Self:
        try:
            await self.open()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()
