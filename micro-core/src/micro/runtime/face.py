"""The functions a program calls: this process's runtime."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from micro.runtime.api import Runtime
    from micro.runtime.driver import LogLine, Status


def _runtime() -> Runtime:
    from micro.service.process import current

    return current().runtime


async def run(source: str | Path = "", *, name: str = "", **options: Any) -> Status:
    """Run a service: see Runtime.run."""
    return await _runtime().run(source, name=name, **options)


async def update(source: str | Path = "", *, name: str = "", version: str = "latest") -> None:
    """Replace a running service: see Runtime.update."""
    await _runtime().update(source, name=name, version=version)


async def kill(name: str, version: str = "latest") -> None:
    """Stop a service and forget it: see Runtime.kill."""
    await _runtime().kill(name, version)


async def status(name: str = "", version: str = "") -> list[Status]:
    """Say what the services are doing: see Runtime.status."""
    return await _runtime().status(name, version)


def logs(
    name: str,
    *,
    version: str = "latest",
    follow: bool = False,
    since: datetime | timedelta | None = None,
    count: int = 0,
) -> AsyncIterator[LogLine]:
    """Give a service's log lines: see Runtime.logs."""
    return _runtime().logs(name, version=version, follow=follow, since=since, count=count)
