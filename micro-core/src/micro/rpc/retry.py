"""Trying again: only what is safe to repeat, a little later each time, and never so often that it adds to a fault."""

from __future__ import annotations

import random
import time

ATTEMPTS = 3  # of one call, the first included; the per-request figure of Google's SRE book
FIRST = 0.05  # seconds; the longest wait before the second attempt, doubled before the third
LONGEST = 1.0
_SHARE = 0.1  # retries for each call
_PER_SECOND = 3.0  # retries that are always left
_FIRST = 10.0  # retries at the beginning
_MOST = 100.0  # saved up by calls, for a node that takes many with it


def wait(attempt: int) -> float:
    """Give the seconds until attempt 2, 3, …: full jitter, so that callers who failed together do not come together."""
    return random.uniform(0, min(LONGEST, FIRST * 2.0 ** (attempt - 2)))


class Budget:
    """What one service may be asked again: a tenth of its calls and three a second."""

    __slots__ = ("_at", "_left")

    def __init__(self) -> None:
        self._left = _FIRST
        self._at = time.monotonic()

    def called(self) -> None:
        """Earn a part of a retry by a call."""
        if self._left < _MOST:
            self._left += _SHARE

    def spend(self) -> bool:
        """Take a retry; False when there is none left."""
        now = time.monotonic()
        self._left = min(_MOST, self._left + (now - self._at) * _PER_SECOND)
        self._at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True
