"""Failed logins: after five in a minute the next ones are let in one by one, twelve seconds apart. Nobody is locked out.

Counted for each account and for each peer. Who comes when the next turn is far away is told when to come again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from micro.errors import ResourceExhausted

PER_MINUTE = 5
SPACING = 60.0 / PER_MINUTE  # seconds between turns once these are used up
LONGEST = 5.0  # seconds that a login is held back; peers wait 10 for an answer
KEPT = 10_000  # accounts and peers remembered


class Attempts:
    """Turns for those who have failed: `wait` before a secret is looked at, then `failed` or `succeeded`.

    A peer on this machine is not counted: one service with an old secret must not hold up all others. A peer that has
    logged in as an account before has turns of its own there, so that strangers who guess cannot keep it out.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # for each key the instant at which all its failures will be forgiven: one every SPACING seconds
        self._forgiven: dict[str, float] = {}
        self._known: dict[str, None] = {}

    async def wait(self, account: str, peer: str) -> list[str]:
        """Hold a login back until its turn; ResourceExhausted when that is too far away. Gives what `failed` takes."""
        now = self._clock()
        pair = f"{account} from {peer}"
        keys = [f"known {pair}" if pair in self._known else f"account {account}"]
        if peer and not _local(peer):
            keys.append(f"peer {peer}")
        late = [key for key in keys if self._delay(key, now) > 0]
        delay = max((self._delay(key, now) for key in late), default=0.0)
        if delay > LONGEST:
            raise ResourceExhausted(f"too many failed logins: try again in {delay:.0f} seconds")
        if late:
            for key in late:
                self._add(key, now)  # its turn is taken; the next one waits longer
            await asyncio.sleep(delay)
        return [key for key in keys if key not in late]

    def failed(self, keys: list[str]) -> None:
        """Note a wrong secret."""
        now = self._clock()
        for key in keys:
            self._add(key, now)

    def succeeded(self, account: str, peer: str) -> None:
        """Remember that this peer knows the account's secret."""
        pair = f"{account} from {peer}"
        self._forgiven.pop(f"known {pair}", None)
        if peer:
            self._known[pair] = None
            if len(self._known) > KEPT:
                del self._known[next(iter(self._known))]

    def _delay(self, key: str, now: float) -> float:
        return self._forgiven.get(key, 0.0) - now - (PER_MINUTE - 1) * SPACING

    def _add(self, key: str, now: float) -> None:
        forgiven = max(self._forgiven.pop(key, 0.0), now) + SPACING
        self._forgiven[key] = min(forgiven, now + (PER_MINUTE + 1) * SPACING)
        if len(self._forgiven) > KEPT:
            for old in [one for one, until in self._forgiven.items() if until <= now] or [next(iter(self._forgiven))]:
                del self._forgiven[old]


def _local(peer: str) -> bool:
    return peer.startswith(("127.", "[::1]", "::1", "unix", "memory", "localhost"))
