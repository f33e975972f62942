"""One container that runs: what it writes goes to its log, its end is told."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from micro.errors import NotFound, ServiceError
from micro.runtime.driver import Exit, Handle
from micro_runtime_docker.daemon import Daemon

AGAIN = 0.2  # seconds between tries while the engine is away
HEAD = 8  # bytes before each piece of output: which stream, and how long
SIGNALS = range(129, 193)  # exit codes of what a signal ended
_log = logging.getLogger(__name__)


class Container:
    """A container and its followed output. `over` has its exit code in the end, None when that is not known.

    What is read goes to the log at once; beside that a file says up to where, so that a later process goes on there.
    """

    def __init__(self, daemon: Daemon, handle: Handle, ended: Callable[[Exit], None]) -> None:
        self.handle = handle
        self.id: str = handle.state["container"]
        self.over: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._daemon = daemon
        self._ended = ended
        self._log = Path(handle.state["log"])
        self._mark = Path(f"{self._log}.{self.id[:12]}")
        self._at, self._count = _marked(self._mark)
        self._following: asyncio.Task[None] | None = None
        self._task: asyncio.Task[None] | None = None

    def follow(self) -> None:
        """Begin to follow it."""
        self._task = asyncio.create_task(self._run())

    async def leave(self) -> None:
        """Let it run on, for a later process."""
        for task in (self._task, self._following):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])

    def look(self) -> None:
        """See whether it still runs, though its output says so."""
        if self._following is not None:
            self._following.cancel()

    async def drain(self) -> None:
        """Read what it has written and nobody read, then remove it."""
        with suppress(NotFound):
            await self._read(follow=False)
        await self._daemon.remove(f"containers/{self.id}")
        self._mark.unlink(missing_ok=True)

    async def _run(self) -> None:
        while True:
            try:
                facts = await self._until_ended()
                if facts is None or not facts["State"]["Running"]:
                    await self.drain()
                    break
            except ServiceError as err:
                _log.info("the engine is asked again for %s: %s", self.handle.id, err)
            await asyncio.sleep(AGAIN)
        code, cause = _how(facts)
        self.over.set_result(code)
        self._ended(Exit(self.handle, code, cause))

    async def _until_ended(self) -> Mapping[str, Any] | None:
        """Follow the output to its end, and look what became of the container."""
        self._following = asyncio.create_task(self._read(follow=True))
        await asyncio.wait([self._following])
        if not self._following.cancelled():
            with suppress(NotFound):
                self._following.result()
        facts: Mapping[str, Any] | None = await self._daemon.find(f"containers/{self.id}/json")
        return facts

    async def _read(self, *, follow: bool) -> None:
        params = {"stdout": "1", "stderr": "1", "timestamps": "1", "follow": "1" if follow else "0"}
        if self._at:
            params["since"] = _seconds(self._at)
        skipped = 0
        begun = (self._at, self._count)
        data = bytearray()
        async with self._daemon.stream("GET", f"containers/{self.id}/logs", params) as pieces:
            async for piece in pieces:
                data += piece
                text = bytearray()
                for when, part in _taken(data):
                    if when < begun[0]:
                        continue
                    if when == begun[0] and skipped < begun[1]:
                        skipped += 1
                        continue
                    self._count = self._count + 1 if when == self._at else 1
                    self._at = when
                    text += part
                if text:
                    self._write(bytes(text))

    def _write(self, text: bytes) -> None:
        self._log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path, data, how in (
            (self._log, text, os.O_APPEND),
            (self._mark, f"{self._at} {self._count}\n".encode(), os.O_TRUNC),
        ):
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | how, 0o600)
            try:
                os.write(fd, data)
            finally:
                os.close(fd)


def _taken(data: bytearray) -> list[tuple[str, bytes]]:
    """Take the whole pieces of output out of what came: when each was written, and what."""
    found = []
    while len(data) >= HEAD:
        size = int.from_bytes(data[4:HEAD], "big")
        if len(data) < HEAD + size:
            break
        when, _, text = bytes(data[HEAD : HEAD + size]).partition(b" ")
        found.append((when.decode(), text))
        del data[: HEAD + size]
    return found


def _marked(mark: Path) -> tuple[str, int]:
    """Read up to where the output was read: the time of the last piece, and how many there were of that time."""
    try:
        when, count = mark.read_text().split()
        return when, int(count)
    except (OSError, ValueError):
        return "", 0


def _seconds(when: str) -> str:
    """Write a time as the engine wants it: seconds since 1970, to the nanosecond."""
    from datetime import UTC, datetime

    whole, _, part = when.removesuffix("Z").partition(".")
    seconds = int(datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp())
    return f"{seconds}.{part or 0}"


def _how(facts: Mapping[str, Any] | None) -> tuple[int | None, str]:
    """Say how a container ended: its code, negative for a signal, and what made it end."""
    if facts is None:
        return None, "its container was removed"
    state = facts["State"]
    code = int(state["ExitCode"])
    cause = "out of memory" if state["OOMKilled"] else ""
    return (128 - code if code in SIGNALS else code), cause
