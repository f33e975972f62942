"""A disk whose power can be cut: a SQLite VFS that remembers what was written, and what of it was synced.

    with Disk(folder) as disk:
        ...                                   # the driver works in `folder`, as it does anywhere
        disk.mark("a was acknowledged")
    for at in disk.moments(50, rng):          # afterwards, any number of times
        disk.cut(at, fresh_folder, rng)       # what would be there if the power had gone at this moment
        disk.marked(at)                       # what was marked by then

`kill -9` shows nothing of this: what a killed process wrote is in the system's cache, and reaches the disk all the same.

What a disk promises here, as ext4 and XFS on a disk that honours a flush: after a sync of a file all that was written to it
is there, and what was created, removed or cut short before. Of anything written since, each sector of 512 bytes may be
there or not, in any order. A file that was removed may come back until then.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import apsw

SECTOR = 512  # bytes that are written whole or not at all
_CHANCES = (0.0, 0.1, 0.5, 0.9, 1.0)  # that a sector which was not synced is there all the same


class Disk(apsw.VFS):
    """SQLite's default for as long as this is entered; remembers every write to files in `folder`. Safe in threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._lock = threading.Lock()
        self._done: list[tuple[Any, ...]] = []

    def __enter__(self) -> Self:
        super().__init__("powercut", "unix", makedefault=True)
        return self

    def __exit__(self, *exc: object) -> None:
        self.unregister()

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - SQLite's names
        path = name if name is None or isinstance(name, str) else name.filename()
        if path is None or Path(path).resolve().parent != self._folder:
            return apsw.VFSFile("unix", name, flags)
        return _File(self, Path(path).name, name, flags)

    def xDelete(self, name: str, syncdir: bool) -> None:  # noqa: N802
        super().xDelete(name, syncdir)
        self.note("delete", Path(name).name)

    def note(self, *what: Any) -> None:
        """Remember something that was done."""
        with self._lock:
            self._done.append(what)

    def mark(self, what: Any) -> None:
        """Remember that something was acknowledged."""
        self.note("mark", what)

    def moments(self, count: int, rng: random.Random) -> list[int]:
        """Give so many moments at which the power may go, the last one among them."""
        return [*(rng.randrange(len(self._done)) for _ in range(count - 1)), len(self._done)]

    def marked(self, at: int) -> list[Any]:
        """Give what was marked before a moment."""
        return [one[1] for one in self._done[:at] if one[0] == "mark"]

    def cut(self, at: int, into: Path, rng: random.Random) -> None:
        """Write the files as they would be found after the power had gone at a moment."""
        chance = rng.choice(_CHANCES)
        for name, content in _Platter(self._done[:at]).found(chance, rng):
            (into / name).write_bytes(content)


class _File(apsw.VFSFile):
    """A file whose changes are noted."""

    def __init__(self, disk: Disk, called: str, name: Any, flags: list[int]) -> None:
        self._disk = disk
        self._called = called
        super().__init__("unix", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self._disk.note("write", self._called, offset, bytes(data))
        super().xWrite(data, offset)

    def xTruncate(self, size: int) -> None:  # noqa: N802
        self._disk.note("truncate", self._called, size)
        super().xTruncate(size)

    def xSync(self, flags: int) -> None:  # noqa: N802
        super().xSync(flags)
        self._disk.note("sync", self._called)


class _Content:
    """One file: what is safe, and what has been written since."""

    def __init__(self) -> None:
        self.safe = bytearray()
        self.there = False  # its name is
        self.since: list[tuple[Any, ...]] = []

    def sync(self) -> None:
        for change in self.since:
            _apply(self.safe, change)
        self.since.clear()
        self.there = True

    def found(self, chance: float, rng: random.Random) -> bytes:
        content = bytearray(self.safe)
        for change in self.since:
            if change[0] == "truncate":
                if rng.random() < chance:
                    _apply(content, change)
                continue
            offset, data = change[2], change[3]
            for part, size in _sectors(offset, len(data)):
                if rng.random() < chance:
                    _put(content, part, data[part - offset : part - offset + size])
        return bytes(content)


class _Platter:
    """What is on the disk after all of this was done."""

    def __init__(self, done: list[tuple[Any, ...]]) -> None:
        self._files: dict[str, _Content] = {}
        self._removed: dict[str, _Content] = {}  # which may come back
        for one in done:
            self._do(one)

    def _do(self, one: tuple[Any, ...]) -> None:
        kind, name = one[0], one[1]
        if kind == "delete":
            gone = self._files.pop(name, None)
            if gone is not None and gone.there:
                self._removed[name] = gone
        elif kind == "sync":
            self._files.setdefault(name, _Content()).sync()
            self._removed.clear()
        elif kind in {"write", "truncate"}:
            self._files.setdefault(name, _Content()).since.append(one)

    def found(self, chance: float, rng: random.Random) -> Iterator[tuple[str, bytes]]:
        for name, content in self._files.items():
            if content.there or rng.random() < chance:
                yield name, content.found(chance, rng)
        for name, content in self._removed.items():
            if name not in self._files and rng.random() >= chance:
                yield name, content.found(chance, rng)


def _apply(content: bytearray, change: tuple[Any, ...]) -> None:
    if change[0] == "truncate":
        del content[change[2] :]
    else:
        _put(content, change[2], change[3])


def _put(content: bytearray, offset: int, data: bytes) -> None:
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


def _sectors(offset: int, size: int) -> Iterator[tuple[int, int]]:
    """Give the pieces of a write, none over more than one sector."""
    end = offset + size
    while offset < end:
        following = min(end, (offset // SECTOR + 1) * SECTOR)
        yield offset, following - offset
        offset = following
