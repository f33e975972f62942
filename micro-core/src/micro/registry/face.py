"""The functions a service calls: this process's registry, in its namespace."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from micro.registry.api import Registry
    from micro.registry.driver import Event, ServiceRecord


def _registry() -> Registry:
    from micro.service.process import current

    return current().registry


async def services() -> list[ServiceRecord]:
    """Give all versions of all services: see Registry.services."""
    return await _registry().services()


async def get(name: str) -> list[ServiceRecord]:
    """Give the versions of a service: see Registry.get."""
    return await _registry().get(name)


def watch(name: str | None = None) -> AsyncGenerator[Event, None]:
    """Follow the registrations, or one service's: see Registry.watch."""
    return _registry().watch(name)
