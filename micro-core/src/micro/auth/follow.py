"""Following auth: a namespace's rules, the keys and the revocations, kept up to date in this process."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable

from micro.auth.decisions import Rules
from micro.auth.driver import AuthDriver, Event, Revocation, Rule
from micro.errors import ServiceError
from micro.plugin.driver import Change, Reset, Synced
from micro.plugin.watch import finish, resuming

STALE = 60.0  # seconds that what is known is good for once the watch is cut
REMEMBER = 7200.0  # seconds that a revocation is kept: longer than any access token lives
LONGEST = 4.0  # seconds between tries to be connected again


class Revoked:
    """Which tokens are refused; shared by all namespaces that are followed, for each hears of all."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: dict[str, float] = {}
        self._before: dict[str, int] = {}
        self._tokens: set[str] = set()

    def add(self, revocation: Revocation) -> bool:
        """Note a revocation; False if it says nothing new."""
        now = self._clock()
        self._forget(now)
        digest = revocation.account or revocation.token
        if revocation.account and self._before.get(digest, -1) < revocation.before:
            self._before[digest] = revocation.before
        elif revocation.token and digest not in self._tokens:
            self._tokens.add(digest)
        else:
            return False
        self._until.pop(digest, None)  # so that the dict's order is the order of forgetting
        self._until[digest] = now + REMEMBER
        return True

    def __bool__(self) -> bool:
        return bool(self._until)

    def covers(self, account: str, tokens: tuple[str, ...], issued: int) -> bool:
        """Tell whether a token is refused; all by their digests."""
        return issued < self._before.get(account, 0) or not self._tokens.isdisjoint(tokens)

    def _forget(self, now: float) -> None:
        while self._until:
            digest = next(iter(self._until))
            if self._until[digest] > now:
                return
            del self._until[digest]
            self._before.pop(digest, None)
            self._tokens.discard(digest)


class Following:
    """One namespace of a driver, followed for ever once started.

    `changed` is called after anything changed, also when the watch was cut or came back; `new_keys` is given the
    JWKS document. `rules` is None until the namespace has been heard of; `good_until` is the instant (monotonic) up
    to which what is known may be relied on.
    """

    def __init__(
        self,
        driver: AuthDriver,
        namespace: str,
        revoked: Revoked,
        *,
        changed: Callable[[], None],
        new_keys: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.namespace = namespace
        self.good_until = 0.0
        self.live = asyncio.Event()
        self._driver = driver
        self._revoked = revoked
        self._changed = changed
        self._new_keys = new_keys
        self._clock = clock
        self._found: dict[str, Rule] | None = None  # None until the namespace has been heard of
        self._coming: dict[str, Rule] | None = {}  # what a watch has told before it was synced; None from then on
        self._rules: Rules | None = None  # those found, once somebody asked for them
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, in the running loop."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"auth rules of {self.namespace}")

    @property
    def rules(self) -> Rules | None:
        """The rules, ready to decide; made when asked for, so that many changes in a row cost nothing."""
        if self._rules is None and self._found is not None:
            self._rules = Rules(self.namespace, self._found.values())
        return self._rules

    def stop(self) -> None:
        """End soon."""
        if self._task is not None:
            self._task.cancel()

    async def close(self) -> None:
        """End; idempotent."""
        self.stop()
        task, self._task = self._task, None
        if task is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _run(self) -> None:
        wait = 0.05
        after: int | None = None
        while True:
            events = resuming(self._open, after=after, longest=LONGEST)
            try:
                async for event in events:
                    wait = 0.05
                    self._take(event)
                    after = event.version if self._coming is None else None
            except ServiceError:  # refused: our token has run out, or auth is of another version; it may change
                await asyncio.sleep(wait * random.uniform(0.5, 1.0))
                wait = min(wait * 2, LONGEST)
            finally:
                await finish(events)

    async def _open(self, after: int | None) -> AsyncIterator[Event]:
        events = self._driver.watch(self.namespace, after=after)
        if after is None:
            self._coming = {}
        try:
            async for event in events:
                yield event
        finally:
            self._cut()
            await finish(events)

    def _take(self, event: Event) -> None:
        if isinstance(event, Reset):
            self._coming = {}
        elif isinstance(event, Synced):
            self._connected()
        elif isinstance(event.item, Revocation):
            if self._revoked.add(event.item):
                self._changed()
        elif isinstance(event.item, str):
            self._new_keys(event.item)
        elif event.key.startswith("rules/"):
            self._rule(event)

    def _rule(self, change: Change[Rule | Revocation | str]) -> None:
        rules = self._found if self._coming is None else self._coming
        assert rules is not None
        if isinstance(change.item, Rule):
            rules[change.key] = change.item
        else:
            rules.pop(change.key, None)
        if rules is self._found:
            self._anew()

    def _anew(self) -> None:
        self._rules = None
        self._changed()

    def _connected(self) -> None:
        if self._coming is not None:
            self._found, self._coming = self._coming, None
        self.good_until = float("inf")
        self.live.set()
        self._anew()

    def _cut(self) -> None:
        if self.live.is_set():
            self.live.clear()
            self.good_until = self._clock() + STALE
            self._changed()
