"""Where the lines are that instances write: what the reconciler asks for them, and files that answer."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from pathlib import Path

from micro.runtime import logfile
from micro.runtime.driver import LogLine

NOTE = 0.5  # seconds between looks at how long the logs are


class Logs(ABC):
    """The output of instances, each in a place of its own; the engine is told the place by an Instance's `log`."""

    @abstractmethod
    def place(self, namespace: str, name: str, version: str, number: int) -> str:
        """Name an instance's place; the parts are names and hold no separator."""

    @abstractmethod
    async def append(self, place: str, text: str) -> None:
        """Add a line of the runtime's own."""

    @abstractmethod
    async def last(self, place: str, count: int) -> list[str]:
        """Give the last lines, for an error's text."""

    @abstractmethod
    def lines(
        self, places: Sequence[str], *, since: datetime | None, count: int, follow: bool
    ) -> AsyncIterator[LogLine]:
        """Give the lines of a service's instances in the order of time: see RuntimeDriver.logs."""

    async def attend(self, places: Callable[[], list[list[str]]]) -> None:  # noqa: B027 - nothing to do is a valid answer
        """Do what is to be done while instances write; `places` gives those of each service now."""


class FileLogs(Logs):
    """Each instance writes to a file below `folder`; see logfile.py for how their times are known."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._clock = logfile.Clock()

    def place(self, namespace: str, name: str, version: str, number: int) -> str:
        return str(logfile.path_of(self._folder, namespace, name, version, number))

    async def append(self, place: str, text: str) -> None:
        await asyncio.to_thread(logfile.append, Path(place), text)

    async def last(self, place: str, count: int) -> list[str]:
        return await asyncio.to_thread(logfile.last_lines, Path(place), count)

    async def lines(
        self, places: Sequence[str], *, since: datetime | None, count: int, follow: bool
    ) -> AsyncIterator[LogLine]:
        paths = [Path(place) for place in places]
        for path in paths:
            self._clock.note(path)
        async for line in logfile.lines(paths, since=since, count=count, follow=follow):
            yield line

    async def attend(self, places: Callable[[], list[list[str]]]) -> None:
        """Note often how long the logs are whose lines are to be put in order, the others now and then."""
        loop, next_all = asyncio.get_running_loop(), 0.0
        while True:
            services = places()
            several = [logs for logs in services if len(logs) > 1]
            everything = loop.time() >= next_all
            if everything:
                next_all = loop.time() + NOTE
            for place in itertools.chain(*(services if everything else several)):
                with contextlib.suppress(OSError):
                    self._clock.note(Path(place))
            await asyncio.sleep(logfile.FINE if several else NOTE)
