"""When a service that died is started again, and when it is enough."""

from __future__ import annotations

import random
from collections import defaultdict, deque

EACH = (5, 30.0)  # more exits of one service within seconds end the server; OTP's own worked example
ALL = (20, 60.0)  # likewise of all services together
BASE, CAP = 0.1, 10.0  # seconds to wait: 0, then up to BASE doubled each time
HEALTHY = 60.0  # seconds after which a service's past is forgotten


class Restarts:
    """The record of exits. Instants are `time.monotonic()`'s."""

    def __init__(self) -> None:
        self._each: defaultdict[str, deque[float]] = defaultdict(deque)
        self._all: deque[float] = deque()
        self._streak: defaultdict[str, int] = defaultdict(int)

    def died(self, name: str, now: float, ready_since: float | None) -> float | None:
        """Note an exit; gives the seconds to wait before the next start, or None when it is enough."""
        if ready_since is not None and now - ready_since >= HEALTHY:
            self._streak[name] = 0
        if self._many(self._each[name], now, *EACH) or self._many(self._all, now, *ALL):
            return None
        streak = self._streak[name]
        self._streak[name] = streak + 1
        if streak == 0:
            return 0.0
        return random.uniform(0.0, min(CAP, BASE * 2.0 ** min(streak, 16)))

    @staticmethod
    def _many(exits: deque[float], now: float, most: int, within: float) -> bool:
        exits.append(now)
        while exits and exits[0] <= now - within:
            exits.popleft()
        return len(exits) > most
