"""Writing a state that changes often: what changes while it is being written shares the next write."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class Saver:
    """Writes what `write` writes, once for all who ask meanwhile; without one there is nothing to write."""

    def __init__(self, write: Callable[[], Awaitable[None]] | None) -> None:
        self._write = write
        self._waiting: list[asyncio.Future[bool]] = []
        self._task: asyncio.Task[None] | None = None

    def save(self) -> asyncio.Future[bool]:
        """Ask for the state as it is now to be written; gives True once it is, or raises what writing raised."""
        saved: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if self._write is None:
            saved.set_result(True)
            return saved
        self._waiting.append(saved)
        if self._task is None:
            self._task = asyncio.create_task(self._run(self._write))
        return saved

    async def _run(self, write: Callable[[], Awaitable[None]]) -> None:
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            try:
                await write()
            except Exception as exc:
                for each in waiting:
                    if not each.done():
                        each.set_exception(exc)
                        each.exception()  # who asked may be gone
            else:
                for each in waiting:
                    if not each.done():
                        each.set_result(True)
        self._task = None
