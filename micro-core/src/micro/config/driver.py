"""What a configuration's driver provides: a tree of JSON values for each namespace. No I/O here.

A tree's inner nodes are objects; a leaf is any other value, lists included. Each change counts the namespace's version
up by one; a path's version is that of the last change at it, below it, or of a value above that it is part of.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Sequence
from typing import Any

from msgspec import Struct, field

from micro.errors import Aborted, AlreadyExists
from micro.plugin.driver import Change, Driver, Reset, Synced

Path = tuple[str, ...]
JSON = Any  # None, bool, int, float, str, list, dict of these
MISSING: Any = object()  # no default, where None would be one
MASK = "[secret]"  # what stands for a secret that is not revealed; the original's


class Entry(Struct):
    """What is at a path: the value, and the paths below it (() is itself) whose values are secret.

    Version 0: nothing is there, and the value is None.
    """

    value: JSON
    version: int = 0
    secret_paths: Sequence[Path] = field(default_factory=tuple)


Event = Change[Entry] | Synced | Reset


class ConfigDriver(Driver, defines=1):
    """Keeps configuration.

    Arguments were validated: names, sizes, depth, no empty key. Capabilities: `conditions` (`if_version`), `watch`,
    `history` (and `rollback`), `secrets` (kept unreadable where they are stored). A secret that is not revealed reads
    as MASK, in watches and histories always.
    """

    @abstractmethod
    async def get(self, namespace: str, path: Path, *, reveal: bool = False) -> Entry:
        """Give what is at a path, version 0 for nothing; NotFound when the namespace was never written."""

    @abstractmethod
    async def set(
        self, namespace: str, path: Path, value: JSON, *, secret: bool = False, if_version: int | None = None
    ) -> int:
        """Merge an object leaf by leaf into what is there, or put any other value in its place; gives the version.

        Leaves that were set `secret` are, until they are set again. `if_version` 0: nothing may be at the path.
        """

    @abstractmethod
    async def delete(self, namespace: str, path: Path, *, if_version: int | None = None) -> int:
        """Remove a path and all below it; gives the version, 0 when nothing was there.

        NotFound when the namespace was never written.
        """

    @abstractmethod
    def watch(self, namespace: str, path: Path, *, after: int | None = None) -> AsyncIterator[Event]:
        """Give the path as one item, whole at each change: `put`, or `delete` when nothing is left there.

        First what is there, if anything, then `Synced`; see micro/plugin/watch.py. A namespace never written is empty.
        """

    @abstractmethod
    async def history(self, namespace: str, path: Path, *, limit: int = 20) -> list[Entry]:
        """Give what the path was, the newest first; None for when it was deleted. Goes back 100 versions or more."""

    @abstractmethod
    async def rollback(self, namespace: str, path: Path, version: int) -> int:
        """Make the path what it was at a version, secrets too, absent if it was; NotFound beyond the history."""

    async def claim(self, value: str) -> str:
        """Remember a text for all who share this data, unless one is remembered; gives the one that is."""
        return value  # a driver whose data is this process's has nobody to agree with


def conflict(path: str, found: int, wanted: int) -> Aborted | AlreadyExists:
    """Make the error of a condition that did not hold; `found` is 0 when nothing is at the path."""
    if wanted == 0:
        return AlreadyExists(f"path {path!r} exists, at version {found}")
    at = f"at version {found}" if found else "absent"
    return Aborted(f"path {path!r} is {at}, wanted version {wanted}")
