"""What a process may hold of messages that came and nobody has read, all its connections together.

A stream holds a window of them and a connection its messages under way (`budget.py`), but of both there are as many as
peers like. Nothing is counted as messages come and go: that would be in each one's way, and every exit path would have
to count back. What is held can grow only by what sockets give. So these bytes are counted, and once they could have
filled what was free, all streams are asked what they hold:

* over half of the size, streams that are read get a quarter of their window from then on, until it is less;
* over seven eighths, streams are ended, those first that have not moved since they were asked last, the largest first,
  until a quarter is free. A small call that is read is never among them while others hold more.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol
from weakref import ref

if TYPE_CHECKING:
    from micro.rpc.nghttp2.connection import Link

TEXT = "the process holds too much that nobody has read"


class Holder(Protocol):
    """A stream, whoever has it."""

    def weigh(self) -> tuple[int, bool]:
        """Give the bytes that it holds, and whether something of them was read since this was asked last."""

    def shed(self) -> None:
        """End it, and let go of what it holds."""


class Ledger:
    """One for all connections of a transport on one loop."""

    __slots__ = ("_step", "left", "links", "scarce", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self._step = size // 8
        self.left = size // 2  # bytes that may come until it is time to look
        self.links: set[Link] = set()
        self.scarce = False

    def look(self) -> None:
        """Ask all streams what they hold, end those that hold too much."""
        total = 0
        holders: list[tuple[bool, int, Holder]] = []
        for link in self.links:
            for stream in link.streams.values():
                held, moved = stream.weigh()
                if held:
                    total += held
                    holders.append((moved, -held, stream))
        if total > self.size - self._step:
            holders.sort(key=lambda each: each[:2])
            for _, held, stream in holders:
                if total <= self.size - 2 * self._step:
                    break
                stream.shed()
                total += held
        half = self.size // 2
        self.scarce = total > half
        self.left = max(self._step, (self.size if self.scarce else half) - total)


class Ledgers:
    """One transport's, by loop: a loop's streams are nobody else's to touch."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._found: list[tuple[ref[asyncio.AbstractEventLoop], Ledger]] = []

    def here(self) -> Ledger:
        """Give the running loop's."""
        loop = asyncio.get_running_loop()
        for whose, ledger in self._found:
            if whose() is loop:
                return ledger
        self._found = [each for each in self._found if each[0]() is not None]
        self._found.append((ref(loop), Ledger(self._size)))
        return self._found[-1][1]
