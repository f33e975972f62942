"""Which node gets a forwarded call: the one with the fewest under way here; who cannot be reached rests a while."""

from __future__ import annotations

import time
from collections.abc import Sequence

from micro.errors import Code
from micro.rpc.balance import Target

REST = 1.0  # seconds that a node is left alone after it was unavailable; doubled with each further time
LONGEST_REST = 30.0
_REMEMBERED = 4096  # nodes; beyond, those without calls are forgotten


class Load:
    """What a door knows of one node. `done` hears how a call ended."""

    __slots__ = ("address", "failures", "outstanding", "until")

    def __init__(self, address: str) -> None:
        self.address = address
        self.outstanding = 0
        self.until = 0.0  # monotonic; it rests before
        self.failures = 0

    def done(self, code: int) -> None:
        """Hear the gRPC code of a call that ended."""
        self.outstanding -= 1
        if code == Code.UNAVAILABLE:
            self.until = time.monotonic() + min(LONGEST_REST, REST * 2**self.failures)
            self.failures = min(self.failures + 1, 16)
        elif self.failures:
            self.failures, self.until = 0, 0.0


class Balance:
    """The nodes of all services of one door: a node that is away is away for each of them."""

    def __init__(self) -> None:
        self._loads: dict[str, Load] = {}
        self._turn = 0

    def pick(self, targets: Sequence[Target]) -> Load:
        """Give a node, counted as having one call more: its `done` is to be called once."""
        if len(targets) == 1:
            best = self._loads.get(targets[0].address) or self._learn(targets[0].address)
        else:
            best = self._least(targets)
        best.outstanding += 1
        return best

    def _least(self, targets: Sequence[Target]) -> Load:
        now = time.monotonic()
        self._turn += 1  # so that ties do not all fall on the first
        count = len(targets)
        best: Load | None = None
        least = resting = 0
        for at in range(count):
            address = targets[(self._turn + at) % count].address
            load = self._loads.get(address) or self._learn(address)
            away = load.until > now
            if best is None or (away, load.outstanding) < (resting, least):
                best, least, resting = load, load.outstanding, away
                if not away and not least:
                    break
        assert best is not None
        return best

    def _learn(self, address: str) -> Load:
        if len(self._loads) >= _REMEMBERED:
            self._loads = {key: load for key, load in self._loads.items() if load.outstanding}
        load = self._loads[address] = Load(address)
        return load
