"""What instances wrote: append-only files, read from the end, followed as they grow.

A process writes straight into its file, so nobody sees when: `Clock` notes now and then how long the file was, and a
line's time is that of the first note that covers it: exact to half a second, of a service with several instances to a
twentieth, so that their lines can be put in order.
"""

from __future__ import annotations

import asyncio
import bisect
import heapq
import os
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from micro import limits
from micro.runtime.driver import LogLine

POLL = 0.2  # seconds between looks at a file that is followed
FINE = 0.05  # the same where several are, whose lines are to come in order
HOLD = 0.15  # seconds that a line waits for earlier ones of other files
BLOCK = 64 * limits.KIB
KEPT = 64 * limits.MIB  # bytes of one instance's log; beyond, the older half goes
NOTES = ".times"  # beside the log: lines of "unix-seconds length"
NOTES_KEPT = 256 * limits.KIB  # bytes of them; beyond, the older half is thinned
THINNED = 8  # of as many older notes one is kept


def path_of(folder: Path, namespace: str, name: str, version: str, number: int) -> Path:
    """Give an instance's log file; names were checked and hold no separator."""
    return folder / namespace / f"{name}@{version}.{number}.log"


def append(log: Path, text: str) -> None:
    """Add a line of ours."""
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, f"{text}\n".encode())
    finally:
        os.close(fd)


class Clock:
    """Notes how long a log was at which time."""

    def __init__(self) -> None:
        self._seen: dict[Path, int] = {}

    def note(self, log: Path) -> None:
        """Look at a log; if it grew, note it. Keeps it within its size."""
        try:
            size = log.stat().st_size
        except OSError:
            return
        if size == self._seen.get(log):
            return
        self._seen[log] = size
        fd = os.open(f"{log}{NOTES}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(fd, f"{time.time():.3f} {size}\n".encode())
            long = os.fstat(fd).st_size > NOTES_KEPT
        finally:
            os.close(fd)
        if long:
            _thin(Path(f"{log}{NOTES}"))
        if size > KEPT:
            _halve(log)


def _thin(notes: Path) -> None:
    """Keep fewer of the older notes: the times of old lines are known less exactly."""
    lines = notes.read_bytes().splitlines(keepends=True)
    half = len(lines) // 2
    fresh = notes.with_name(f".{notes.name}.new")
    fresh.touch(mode=0o600)
    fresh.write_bytes(b"".join(lines[THINNED - 1 : half : THINNED] + lines[half:]))
    fresh.replace(notes)


def _halve(log: Path) -> None:
    """Free the older half's blocks; offsets stay, so that readers and the appending process are undisturbed."""
    import ctypes

    punch_and_keep = 0x02 | 0x01  # FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
    fd = os.open(log, os.O_RDWR)
    try:
        until = os.fstat(fd).st_size - KEPT // 2
        call = ctypes.CDLL(None, use_errno=True).fallocate
        call(fd, punch_and_keep, ctypes.c_longlong(0), ctypes.c_longlong(until))
    finally:
        os.close(fd)


class Times:
    """When the parts of a log were written."""

    def __init__(self, log: Path) -> None:
        self._ends: list[int] = []
        self._when: list[float] = []
        try:
            text = Path(f"{log}{NOTES}").read_text()
        except OSError:
            return
        for line in text.splitlines():
            when, _, end = line.partition(" ")
            if end.isdecimal():
                self._ends.append(int(end))
                self._when.append(float(when))

    def at(self, offset: int) -> datetime:
        """Give when the byte at an offset was there at the latest; now for what was not noted yet."""
        index = bisect.bisect_right(self._ends, offset)
        return datetime.fromtimestamp(self._when[index] if index < len(self._when) else time.time(), UTC)

    def since(self, when: datetime) -> int:
        """Give the offset up to which all was written before an instant."""
        index = bisect.bisect_left(self._when, when.timestamp())
        return self._ends[index - 1] if index else 0


def tail(log: Path, count: int) -> tuple[int, int]:
    """Give where the last `count` lines begin (0: all), and where the last whole line ends."""
    try:
        fd = os.open(log, os.O_RDONLY)
    except FileNotFoundError:
        return 0, 0
    try:
        size = end = os.fstat(fd).st_size
        found = -1  # the newline that ends the last line begins no further one
        while end > 0:
            begin = max(0, end - BLOCK)
            block = os.pread(fd, end - begin, begin)
            if end == size and not block.endswith(b"\n"):
                found += 1  # a last line without its end
            at = len(block)
            while count and (at := block.rfind(b"\n", 0, at)) >= 0:
                found += 1
                if found == count:
                    return begin + at + 1, size
            end = begin
        return 0, size
    finally:
        os.close(fd)


def last_lines(log: Path, count: int) -> list[str]:
    """Give the last lines, for an error's text."""
    begin, end = tail(log, count)
    return [line.message for line in _lines(log, begin, end)[0]]


def _lines(
    log: Path, begin: int, end: int, times: Times | None = None, instance: str = ""
) -> tuple[list[LogLine], int]:
    """Read whole lines from an offset; gives them and the offset after the last. A last line without its end waits."""
    try:
        fd = os.open(log, os.O_RDONLY)
    except FileNotFoundError:
        return [], begin
    try:
        data = os.pread(fd, min(end - begin, limits.MIB), begin)
    finally:
        os.close(fd)
    cut = data.rfind(b"\n") + 1
    if not cut and len(data) >= limits.LOG_LINE:
        cut = len(data)  # a line too long to wait for its end
    found: list[LogLine] = []
    offset = begin
    for raw in data[:cut].removesuffix(b"\n").split(b"\n") if cut else ():
        when = times.at(offset) if times is not None else None
        offset += len(raw) + 1
        text = raw.lstrip(b"\0")[: limits.LOG_LINE]  # what was freed reads as zeros
        found.append(LogLine(text.decode("utf-8", "replace").rstrip("\r"), when, instance))
    return found, begin + cut


def read(log: Path, *, since: datetime | None, count: int, instance: str, unended: bool) -> tuple[list[LogLine], int]:
    """Give what is there: the last `count` lines (0: all) written since an instant; and the offset to follow from.

    `unended` says whether a last line that has no end yet is one of them.
    """
    begin, end = tail(log, count)
    times = Times(log)
    if since is not None:
        begin = max(begin, times.since(since))
    found: list[LogLine] = []
    while begin < end:
        lines, after = _lines(log, begin, end, times, instance)
        if after == begin:
            break
        found += lines
        begin = after
    if unended and begin < end:
        found += _rest(log, begin, end, instance)
    if since is not None:
        found = [line for line in found if line.when is None or line.when >= since]
    return found, begin


def _rest(log: Path, begin: int, end: int, instance: str) -> Iterator[LogLine]:
    """Give a last line that has no end yet, as far as it was there; more may have come since."""
    try:
        with log.open("rb") as file:
            file.seek(begin)
            raw = file.read(min(end - begin, limits.LOG_LINE))
    except FileNotFoundError:
        return
    yield LogLine(raw.decode("utf-8", "replace"), datetime.now(UTC), instance)


async def lines(paths: Sequence[Path], *, since: datetime | None, count: int, follow: bool) -> AsyncIterator[LogLine]:
    """Give the lines of a service's instances in the order of time: see RuntimeDriver.logs."""
    first: list[LogLine] = []
    places: list[tuple[Path, int]] = []
    for number, path in enumerate(paths):
        found, offset = await asyncio.to_thread(
            read, path, since=since, count=count, instance=str(number), unended=not follow
        )
        first += found
        places.append((path, offset))
    if len(paths) > 1:
        first.sort(key=_when)
    for line in first[-count:] if count else first:
        yield line
    if not follow:
        return
    async for line in followed(*places[0], "0") if len(places) == 1 else merged(places):
        yield line


def _when(line: LogLine) -> float:
    return line.when.timestamp() if line.when else 0.0


async def merged(places: Sequence[tuple[Path, int]]) -> AsyncIterator[LogLine]:
    """Follow several logs, each from its offset on, for ever; their lines in the order of time, to `FINE` seconds."""
    queue: asyncio.Queue[LogLine] = asyncio.Queue(1000)

    async def pump(log: Path, begin: int, instance: str) -> None:
        async for line in followed(log, begin, instance, poll=FINE):
            await queue.put(line)

    tasks = [asyncio.create_task(pump(log, begin, str(number))) for number, (log, begin) in enumerate(places)]
    held: list[tuple[float, int, LogLine]] = []
    count = 0
    try:
        while True:
            wait = max(0.0, held[0][0] + HOLD - time.time()) if held else None
            try:
                async with asyncio.timeout(wait):
                    line = await queue.get()
            except TimeoutError:
                yield heapq.heappop(held)[2]
                continue
            count += 1
            heapq.heappush(held, (_when(line), count, line))
    finally:
        for task in tasks:
            task.cancel()


async def followed(log: Path, begin: int, instance: str, *, poll: float = POLL) -> AsyncIterator[LogLine]:
    """Give lines from an offset on, as they come, for ever."""
    while True:
        try:
            end = os.stat(log).st_size  # noqa: PTH116 - a look at the kernel's memory, not worth a thread
        except OSError:
            end = 0
        if end < begin:
            begin = 0  # another file by that name
        if end > begin:
            lines, begin = _lines(log, begin, end, None, instance)
            now = datetime.now(UTC)
            for line in lines:
                line.when = now
                yield line
            if lines:
                continue
        await asyncio.sleep(poll)
