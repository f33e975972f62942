"""The end of all connections of a listener or channel."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Protocol

FAREWELL = 0.3  # seconds for what is written to leave, when all is closed


async def farewell(links: Collection[Leaving]) -> None:
    """Wait for connections that were told to close, and cut those whose peers do not let them."""
    end = asyncio.get_running_loop().time() + FAREWELL
    while links and asyncio.get_running_loop().time() < end:  # noqa: ASYNC110 - they are gone when their sockets say so
        await asyncio.sleep(0.001)
    for link in list(links):
        link.abort()
    while links and asyncio.get_running_loop().time() < end + FAREWELL:  # noqa: ASYNC110
        await asyncio.sleep(0.001)


class Leaving(Protocol):
    """What can be cut."""

    def abort(self) -> None: ...
