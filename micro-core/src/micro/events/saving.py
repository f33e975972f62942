"""Writing a state that changes often: what changes while it is being written shares the next write."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class Saver:
    """Writes what `write` writes, once for all who ask meanwhile; without one there is nothing to write."""

    def __init__(self, write: Callable[[], Awaitable[None]] | None) -> None:
        self._write = write
        self._next: asyncio.Future[bool] | None = None  # of those who ask from now on
        self._task: asyncio.Task[None] | None = None

    def save(self) -> asyncio.Future[bool]:
        """Ask for the state as it is now to be written; gives True once it is, or raises what writing raised.

        The future is everybody's who asks for the same write: who may be cancelled while waiting shields it.
        """
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
            if self._write is None:
                self._next.set_result(True)
            elif self._task is None:
                self._task = asyncio.create_task(self._run(self._write))
        return self._next

    async def _run(self, write: Callable[[], Awaitable[None]]) -> None:
        while self._next is not None:
            saved, self._next = self._next, None
            try:
                await write()
            except Exception as exc:
                saved.set_exception(exc)
                saved.exception()  # who asked may be gone
            else:
                saved.set_result(True)
        self._task = None
