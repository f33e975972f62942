"""What rules say of accounts, decided in this process by rules that it follows: see `Auth.verify`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from micro.auth.decisions import Decision, Rules, resource_of
from micro.auth.driver import AuthDriver, Resource, Rule
from micro.auth.follow import Following, Revoked
from micro.context import Account

REMEMBERED = 16_384  # decisions; beyond, all are forgotten
NAMESPACES = 256  # followed at a time; the one asked about longest ago goes

Key = tuple[str, str | None, tuple[str, ...], Resource | str]


class Verdicts:
    """Decisions by one driver's rules, any namespace's. A namespace is followed from the first one on.

    What is followed counts once it has been seen to be what auth itself says. Until then, and again after `doubt`,
    auth is asked: so who writes a rule is judged by it from then on, however late the news of it.

    `known` are decisions that hold until something changes, in `loop` alone.
    """

    def __init__(self, driver: AuthDriver) -> None:
        self.known: dict[Key, Decision] = {}
        self.loop: asyncio.AbstractEventLoop | None = None
        self._driver = driver
        self._followed: dict[str, _Followed] = {}

    async def decide(self, namespace: str, account: Account | None, resource: Resource | str) -> Decision:
        """Give what the rules say, and which of them; asks auth where what is followed does not count."""
        wanted = resource_of(resource)
        one = await self._of(namespace)
        rules = one.rules()
        if rules is None:
            rules = await one.ask(self._driver.rules(namespace))
        decision = rules.decide(account, wanted)
        if one.stands:
            if len(self.known) >= REMEMBERED:
                self.known.clear()
            self.known[key(namespace, account, resource)] = decision
        return decision

    def doubt(self, namespace: str) -> None:
        """Ask about a namespace until what is followed is the same: one of its rules was changed."""
        self.known.clear()
        if namespace in self._followed:
            self._followed[namespace].doubt()

    async def close(self) -> None:
        """Follow no more; idempotent."""
        followed, self._followed = list(self._followed.values()), {}
        self.known.clear()
        if self.loop is asyncio.get_running_loop():
            for one in followed:
                await one.following.close()

    async def _of(self, namespace: str) -> _Followed:
        if self.loop is not asyncio.get_running_loop():  # the other one is gone, and what ran in it
            self.loop = asyncio.get_running_loop()
            self.known.clear()
            self._followed = {}
        found = self._followed.pop(namespace, None)
        if found is None:
            found = _Followed(self._driver, namespace, self.known.clear)
        self._followed[namespace] = found  # last: the first is the one asked about longest ago
        if len(self._followed) > NAMESPACES:
            self.known.clear()
            await self._followed.pop(next(iter(self._followed))).following.close()
        return found


class _Followed:
    """A namespace that is followed, and whether auth has agreed with what was heard."""

    def __init__(self, driver: AuthDriver, namespace: str, changed: Callable[[], None]) -> None:
        self.agreed = False
        self._doubts = 0
        self.following = Following(driver, namespace, Revoked(), changed=changed, new_keys=lambda _: None)
        self.following.start()

    @property
    def stands(self) -> bool:
        """Whether what was heard counts, and whatever happens to it will be told."""
        return self.agreed and self.following.live.is_set()

    def rules(self) -> Rules | None:
        """Give the rules heard of; None when they do not count, or the watch has been cut for too long."""
        return self.following.rules if self.agreed and time.monotonic() < self.following.good_until else None

    def doubt(self) -> None:
        """Count what was heard for nothing, until auth agrees; one who is asking now may be told of before."""
        self.agreed = False
        self._doubts += 1

    async def ask(self, asking: Awaitable[list[Rule]]) -> Rules:
        """Give the rules as auth has them, and see whether that is what was heard."""
        doubts = self._doubts
        asked = Rules(self.following.namespace, await asking)
        if doubts == self._doubts and self.following.live.is_set():
            heard = self.following.rules
            self.agreed = heard is not None and heard.all == asked.all
        return asked


def key(namespace: str, account: Account | None, resource: Resource | str) -> Key:
    """Give what a decision depends on, beside the rules."""
    if account is None:
        return namespace, None, (), resource
    return namespace, account.issuer, tuple(account.scopes), resource
