"""Auths that are each wrong in one way: the suite must tell every one of them. Run by test_suite_bites.py."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from micro.auth import records, secrets
from micro.auth.driver import DEFAULT_RULE, Event, Exchange, Grant, Refresh, Rule, Token
from micro.auth.reading import Verified, verify
from micro.auth.records import Kept
from micro.auth.store import StoreAuth
from micro.auth.tokens import ACCESS, RENEW, SECRET, SigningKey, generate_key
from micro.context import Account
from micro.errors import Unauthenticated
from micro.plugin.driver import Change, Synced
from micro.store.api import Store
from micro.store.memory import MemoryStore
from micro.testing.auth import AuthSuite
from micro.testing.bites import suites


class NamespaceWithoutItsSlash(StoreAuth, interface=1):
    """Lists what begins with the namespace's name, as the original does with refresh tokens."""

    async def accounts(self, namespace: str, *, id: str | None = None) -> list[Account]:
        everything = await super().accounts(namespace, id=id)
        if id is not None:
            return everything
        found = self._store.scan(f"account/{namespace}")
        return [Kept.load(record.key, record.value, 0).account async for record in found]


class RulesWithoutTheirSlash(StoreAuth, interface=1):
    async def rules(self, namespace: str) -> list[Rule]:
        found = {rule.id: rule for rule in await super().rules(namespace)}
        async for record in self._store.scan(f"rules/{namespace}"):
            rule = records.load_rule(record.key, record.value)
            if rule is not None:
                found[rule.id] = rule
        return sorted(found.values(), key=lambda rule: rule.id)


class AccessTokenRenews(StoreAuth, interface=1):
    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        checked = self._accounts.verify
        self._accounts.verify = lambda token, uses: checked(token, uses | {ACCESS})  # type: ignore[method-assign]


class AnyTokenIsAccess(StoreAuth, interface=1):
    async def inspect(self, token: str) -> Account:
        return (await self._accounts.verify(token, frozenset({ACCESS, RENEW, SECRET}))).account


class NothingIsRevoked(StoreAuth, interface=1):
    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)

        async def unchecked(token: str, uses: frozenset[str]) -> Verified:
            await self._accounts._load_keys()
            return verify(token.encode(), self._accounts._keys, now=self.clock(), uses=uses)

        self._accounts.verify = unchecked  # type: ignore[method-assign]


class LongLives(StoreAuth, interface=1):
    """Believes whatever life is asked for."""

    async def token(self, namespace: str, grant: Grant, *, ttl: float, audience: Sequence[str] = ("micro",)) -> Token:
        made = await super().token(namespace, grant, ttl=ttl, audience=audience)
        return Token(made.access_token, made.refresh_token, made.created, made.created + int(ttl))


class RefreshTokensStay(StoreAuth, interface=1):
    async def token(self, namespace: str, grant: Grant, *, ttl: float, audience: Sequence[str] = ("micro",)) -> Token:
        made = await super().token(namespace, grant, ttl=ttl, audience=audience)
        kept = grant.token if isinstance(grant, Refresh) else made.refresh_token
        return Token(made.access_token, kept, made.created, made.expiry)


class ReuseIsForgiven(StoreAuth, interface=1):
    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        self._issuer._store = _NoBatch(self._store)  # type: ignore[assignment]


class PredecessorIsRefused(StoreAuth, interface=1):
    """Has no minute of grace: two commands at once are a thief."""

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        self._used: set[str] = set()

    async def token(self, namespace: str, grant: Grant, *, ttl: float, audience: Sequence[str] = ("micro",)) -> Token:
        if isinstance(grant, Refresh) and grant.token.count(".") != 2:
            if grant.token in self._used:
                raise Unauthenticated("used")
            self._used.add(grant.token)
        return await super().token(namespace, grant, ttl=ttl, audience=audience)


class SecretsStayWithTokens(StoreAuth, interface=1):
    """Changes a secret and leaves the tokens as they are."""

    async def set_secret(self, namespace: str, id: str, new: str, *, old: str | None) -> None:
        kept = await self._accounts.find(namespace, id)
        if kept is None:
            return await super().set_secret(namespace, id, new, old=old)
        made = await self._secrets.store(new, service=False)
        return await self._accounts.replace(kept, kept.changed(secret=made))


class WhoExistsIsTold(StoreAuth, interface=1):
    async def token(self, namespace: str, grant: Grant, *, ttl: float, audience: Sequence[str] = ("micro",)) -> Token:
        if not isinstance(grant, Refresh | Exchange) and await self._accounts.find(namespace, grant.id) is None:
            raise Unauthenticated("no such account")
        return await super().token(namespace, grant, ttl=ttl, audience=audience)


class ExchangedForTheSame(StoreAuth, interface=1):
    async def token(self, namespace: str, grant: Grant, *, ttl: float, audience: Sequence[str] = ("micro",)) -> Token:
        return await super().token(namespace, grant, ttl=ttl, audience=("micro",))


class GuessingIsFree(StoreAuth, interface=1):
    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        self._issuer._attempts.failed = lambda keys: None  # type: ignore[method-assign]


class DefaultComesBack(StoreAuth, interface=1):
    async def delete_rule(self, namespace: str, id: str) -> None:
        await self._store.delete(records.rule_key(namespace, id))


class PriorityForgotten(StoreAuth, interface=1):
    async def put_rule(self, namespace: str, rule: Rule) -> None:
        await super().put_rule(namespace, Rule(rule.id, rule.scope, rule.resource, rule.access))


class WatchWithoutDefault(StoreAuth, interface=1):
    async def watch(self, namespace: str, *, after: int | None = None) -> AsyncIterator[Event]:
        async for event in super().watch(namespace, after=after):
            if not isinstance(event, Change) or event.key != f"rules/{DEFAULT_RULE}":
                yield event


class WatchOfTheBeginning(StoreAuth, interface=1):
    """Tells what there is and then nothing."""

    async def watch(self, namespace: str, *, after: int | None = None) -> AsyncIterator[Event]:
        async for event in super().watch(namespace, after=after):
            yield event
            if isinstance(event, Synced):
                return


class WatchForgetsWhereItWas(StoreAuth, interface=1):
    async def watch(self, namespace: str, *, after: int | None = None) -> AsyncIterator[Event]:
        async for event in super().watch(namespace):
            yield event


class AccountsMadeAgainRevive(StoreAuth, interface=1):
    """An account of a former one's id takes its tokens over."""

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)

        async def since(namespace: str, id: str) -> int:
            return 0

        self._accounts.since = since  # type: ignore[method-assign]
        self._accounts._revocation = lambda *_: ("revoked/x", b"{}")  # type: ignore[method-assign]


class _NoBatch:
    """A store at which nothing of a batch happens."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def batch(self) -> Any:
        made = self._store.batch()
        made.write = made.delete = lambda *_, **__: None  # type: ignore[method-assign]
        return made


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000_000.0

    def __call__(self) -> float:
        return self.now


secrets.MEMORY, secrets.PASSES = 8, 1  # argon2id's cost is not what is tested here
KEY: list[SigningKey] = []


class Mutant(AuthSuite):
    made: type[StoreAuth] = StoreAuth

    @pytest.fixture
    async def driver(self) -> AsyncIterator[StoreAuth]:
        KEY[:] = KEY or [generate_key()]
        clock = Clock()
        driver = self.made(store=Store(MemoryStore(clock=clock), table="auth"), clock=clock)
        driver._keyring._keys = KEY
        async with driver:
            yield driver

    async def pass_time(self, driver: Any, seconds: float) -> None:
        driver.clock.now += seconds


globals().update(suites(Mutant, StoreAuth))
