"""Which of a service's nodes gets a call: the one with the fewest calls under way; who cannot be reached rests."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

from msgspec import Struct

from micro.rpc.driver import Channel
from micro.rpc.pool import Pool

REST = 5.0  # seconds that a node is left alone after it could not be reached; doubled with each further time
LONGEST_REST = 60.0


class Target(Struct, frozen=True):
    """Where calls can go. `ours`: it speaks JSON by names, and reads what we add to the wire."""

    address: str
    ours: bool = True
    keepalive: float = 0.0
    node: str = ""


class Balancer:
    """Picks among targets. One for all services of a caller: a node that is away is away for each of them."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._resting: dict[str, tuple[float, int]] = {}  # until when, after how many failures
        self._turn = 0

    def pick(self, targets: Sequence[Target], tried: Collection[str] = ()) -> tuple[Target, Channel]:
        """Give a target and its channel; `tried` ones only when there are no others."""
        if len(targets) == 1:
            return targets[0], self._pool.channel(targets[0])
        candidates = [each for each in targets if each.address not in tried] or list(targets)
        if self._resting:
            candidates = self._awake(candidates)
        self._turn = (self._turn + 1) % len(candidates)  # so that ties do not all fall on the first
        best = candidates[self._turn]
        channel = self._pool.channel(best)
        for offset in range(1, len(candidates)):
            if not channel.outstanding:
                break
            other = candidates[(self._turn + offset) % len(candidates)]
            rival = self._pool.channel(other)
            if rival.outstanding < channel.outstanding:
                best, channel = other, rival
        return best, channel

    def _awake(self, targets: list[Target]) -> list[Target]:
        """Leave out who rests, unless that were over half: then it is our own network that is at fault."""
        now = time.monotonic()
        awake = [each for each in targets if self._resting.get(each.address, (0.0, 0))[0] <= now]
        return awake if 2 * len(awake) >= len(targets) else targets

    def failed(self, target: Target) -> None:
        """Hear that a target could not be reached."""
        _, times = self._resting.get(target.address, (0.0, 0))
        self._resting[target.address] = (time.monotonic() + min(LONGEST_REST, REST * 2**times), times + 1)

    def reached(self, target: Target) -> None:
        """Hear that a target answered."""
        if self._resting:
            self._resting.pop(target.address, None)
