"""What a piece of code leaves in its process, or does to the world: tasks, threads, descriptors; files and sockets."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

_SHARED = "asyncio_"  # begins the names of the threads of a loop's own pool, which stay
_WORLD = ("os.", "socket.", "subprocess.", "tempfile.", "shutil.", "fcntl.", "sqlite3.", "ctypes.", "_thread.start")

_watching: dict[int, list[str]] = {}  # what happened, by the thread that is watched
_hooked: list[bool] = []  # a hook stays for good, so there is one


class Traces:
    """What there is of a process at a moment."""

    def __init__(self, tasks: set[asyncio.Task[Any]], threads: set[threading.Thread], descriptors: int) -> None:
        self._tasks = tasks
        self._threads = threads
        self._descriptors = descriptors

    @classmethod
    def now(cls) -> Self:
        """Look; within a loop."""
        threads = {each for each in threading.enumerate() if not each.name.startswith(_SHARED)}
        return cls(asyncio.all_tasks(), threads, len(list(Path("/proc/self/fd").iterdir())))

    def __sub__(self, before: Traces) -> list[str]:
        """Say what has come since."""
        more = [f"the task {task.get_coro()}" for task in self._tasks - before._tasks]
        more += [f"the thread {thread.name}" for thread in self._threads - before._threads]
        if self._descriptors > before._descriptors:
            more.append(f"{self._descriptors - before._descriptors} open descriptors")
        return more

    async def gone(self, within: float) -> None:
        """Wait, `within` seconds, until there is nothing more than there was."""
        end = time.monotonic() + within
        while left := Traces.now() - self:
            assert time.monotonic() < end, f"left behind: {', '.join(left)}"
            await asyncio.sleep(0.01)


@contextmanager
def touched() -> Iterator[list[str]]:
    """Note what this thread does to files, sockets, processes and threads, as Python's audit events name it."""
    if not _hooked:
        _hooked.append(True)
        sys.addaudithook(_note)
    seen = _watching[threading.get_ident()] = []
    try:
        yield seen
    finally:
        del _watching[threading.get_ident()]


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if not _watching:
        return
    seen = _watching.get(threading.get_ident())
    if seen is not None and (event == "open" or event.startswith(_WORLD)):
        seen.append(f"{event} {arguments[0] if arguments else ''}")
