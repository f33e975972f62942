"""Auth as users know it: the accounts, rules and tokens of one namespace, on any driver."""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING

from micro import names
from micro.auth import verdicts
from micro.auth.decisions import Decision, forbid, resource_of
from micro.auth.decisions import Rules as Compiled
from micro.auth.driver import (
    DENIED,
    GRANTED,
    AuthDriver,
    Credentials,
    Event,
    Exchange,
    Made,
    Refresh,
    Resource,
    Rule,
    Token,
)
from micro.auth.reading import DEAD_TOKEN
from micro.auth.secrets import MAX_SECRET
from micro.auth.tokens import PLATFORM
from micro.context import CORE_NAMESPACE, Account
from micro.durations import seconds
from micro.errors import InvalidArgument, ResourceExhausted, Unauthenticated
from micro.plugin.portable import Portable
from micro.plugin.watch import resuming

if TYPE_CHECKING:
    from micro.durations import Duration

ACCESS = 900.0  # seconds of an access token when nothing is said; an hour at most
PROFILE = 4096  # bytes of an account's scopes and metadata: they are in each of its tokens


class Auth(Portable[AuthDriver]):
    """Accounts, rules and tokens of one namespace: `auth.at("shop")` is another one, over the same driver.

    Beyond the errors each method names, all raise InvalidArgument, ResourceExhausted, Unavailable and
    DeadlineExceeded; over the wire PermissionDenied and Unauthenticated for what the account may not.
    """

    primitive = "auth"

    def __init__(self, driver: AuthDriver, *, plugin: str = "", namespace: str = CORE_NAMESPACE) -> None:
        super().__init__(driver, plugin=plugin)
        self.namespace = names.namespace(namespace)
        self.accounts = Accounts(self)
        self.rules = Rules(self)
        self._verdicts = verdicts.Verdicts(driver)

    @property
    def capabilities(self) -> frozenset[str]:
        """What the driver can: see AuthDriver."""
        return self.driver.capabilities

    def at(self, namespace: str) -> Auth:
        """Give the same auth at another namespace. Costs nothing; closing one closes the driver of both."""
        made = type(self)(self.driver, plugin=self.plugin, namespace=namespace)
        made._verdicts = self._verdicts
        return made

    async def close(self) -> None:
        """Follow no rules any more and close the driver; idempotent."""
        await self._verdicts.close()
        await super().close()

    async def login(
        self, id: str, secret: str, *, ttl: Duration = ACCESS, audience: Sequence[str] = (PLATFORM,), peer: str = ""
    ) -> Token:
        """Give a token for an account's id, or name, and secret.

        Unauthenticated when they do not fit, whoever exists; ResourceExhausted after many failures, for a while.
        `peer` is who tries, where that is not the driver's to know.
        """
        _secret(secret)
        names.account(id)
        return await self._token("login", Credentials(id, secret, peer), ttl, audience)

    async def renew(
        self, refresh_token: str, *, ttl: Duration = ACCESS, audience: Sequence[str] = (PLATFORM,)
    ) -> Token:
        """Give a token for a refresh token, or for a service's secret that is a token; Unauthenticated for a dead one.

        A refresh token is good once: the answer has the next. Coming with the old one again gives the same answer's
        for a minute, and after that ends the login, for somebody else has a copy.
        """
        return await self._token("renew", Refresh(_bearer(refresh_token)), ttl, audience)

    async def exchange(self, token: str, *, audience: Sequence[str], ttl: Duration = ACCESS) -> Token:
        """Give another access token of the same account for less: another audience, no longer than the first."""
        return await self._token("exchange", Exchange(_bearer(token)), ttl, audience)

    async def inspect(self, token: str) -> Account:
        """Give whom an access token is for; Unauthenticated for one that is dead, revoked or none."""
        return await self._call("inspect", self.driver.inspect(_bearer(token)))

    async def revoke(self, *, id: str = "", token_id: str = "") -> None:
        """Refuse, everywhere within 5 seconds, all tokens an account has now, or the one of this `jti`."""
        if not id and not token_id:
            raise InvalidArgument("an account's id or a token's id is required")
        if id:
            names.account(id)
        await self._call("revoke", self.driver.revoke(self.namespace, id=id, token_id=token_id))

    async def verify(self, account: Account | None, resource: Resource | str) -> None:
        """Ask the rules whether an account, or nobody, may use a resource: `service:orders:Orders.Place`.

        PermissionDenied, or Unauthenticated without an account, when it may not. The first one is a round trip; from
        then on the rules are followed, and decisions remembered until one changes, so that it costs microseconds. A
        change made by way of this Auth counts at once, one made elsewhere within seconds; when auth is away, what was
        heard last counts for a minute. Whether the account's token is revoked is not looked at: who calls was
        verified when the call came.
        """
        known = self._verdicts
        found = known.known.get(verdicts.key(self.namespace, account, resource))
        if found is None or known.loop is not asyncio.get_running_loop():
            found = await self._call("verify", known.decide(self.namespace, account, resource))
        if not found.allowed:
            forbid(account, resource_of(resource))

    async def decide(
        self, account: Account | None, resource: Resource | str, *, trail: builtins.list[str] | None = None
    ) -> Decision:
        """Give what the rules say now, and which of them; `trail` is told what was weighed. One round trip."""
        found = await self._call("decide", self.driver.rules(self.namespace))
        return Compiled(self.namespace, found).decide(account, resource_of(resource), trail=trail)

    async def keys(self) -> str:
        """Give the public keys, as a JWKS document."""
        return await self._call("keys", self.driver.keys())

    def watch(self, *, after: int | None = None, resume: bool = True) -> AsyncIterator[Event]:
        """Follow the namespace's rules, the keys, and revocations: what exists, `Synced`, then changes."""

        def start(since: int | None) -> AsyncIterator[Event]:
            return self._iterate("watch", self.driver.watch(self.namespace, after=since))

        return resuming(start, after=after) if resume else start(after)

    async def _token(
        self, operation: str, grant: Credentials | Refresh | Exchange, ttl: Duration, audience: Sequence[str]
    ) -> Token:
        lasting = seconds(ttl, "ttl")
        if lasting <= 0:
            raise InvalidArgument("the token's seconds to live must be more than 0")
        if not audience:
            raise InvalidArgument("a token without an audience")
        for one in audience:
            names.service(one)
        return await self._call(operation, self.driver.token(self.namespace, grant, ttl=lasting, audience=audience))


class Accounts:
    """The accounts of a namespace."""

    def __init__(self, auth: Auth) -> None:
        self._auth = auth

    async def create(
        self,
        id: str,
        *,
        secret: str = "",
        type: str = "user",
        scopes: Sequence[str] = (),
        metadata: Mapping[str, str] | None = None,
        name: str = "",
        replace: bool = False,
    ) -> Made:
        """Add an account and give it with its secret, which is made when empty and told this once.

        AlreadyExists when the id or name is taken. A service's own secret is a token, good for logging in alone.
        """
        names.account(id)
        names.account(name or id)
        names.topic(type)
        _profile(scopes, metadata or {})
        if secret:
            _secret(secret)
        account = Account(
            id, issuer=self._auth.namespace, type=type, scopes=tuple(scopes), metadata=metadata, name=name
        )
        return await self._auth._call("create", self._auth.driver.create(account, secret, replace=replace))

    async def list(self) -> builtins.list[Account]:
        """Give all accounts, by id."""
        return await self._auth._call("accounts", self._auth.driver.accounts(self._auth.namespace))

    async def get(self, id: str) -> Account | None:
        """Give the account of this id, else of this name; None without one."""
        names.account(id)
        found = await self._auth._call("accounts", self._auth.driver.accounts(self._auth.namespace, id=id))
        return found[0] if found else None

    async def delete(self, id: str) -> None:
        """Remove an account by id; its tokens are refused within 5 seconds. NotFound."""
        names.account(id)
        await self._auth._call("delete", self._auth.driver.remove(self._auth.namespace, id))

    async def change_secret(self, id: str, new: str, *, old: str | None = None) -> None:
        """Change a secret; all tokens of the account end. NotFound; InvalidArgument for a wrong old one."""
        names.account(id)
        _secret(new)
        work = self._auth.driver.set_secret(self._auth.namespace, id, new, old=old)
        await self._auth._call("change_secret", work)


class Rules:
    """The rules of a namespace."""

    def __init__(self, auth: Auth) -> None:
        self._auth = auth

    async def create(self, rule: Rule) -> None:
        """Add a rule; AlreadyExists. In force everywhere within 5 seconds."""
        names.account(rule.id)
        if rule.access not in {GRANTED, DENIED}:
            raise InvalidArgument("a rule grants or denies")
        for part, what in zip((*rule.resource, rule.scope or "*"), ("name", "type", "endpoint", "scope"), strict=True):
            if len(part) > names.MAX_TOPIC:
                raise InvalidArgument(f"the rule's {what} is longer than {names.MAX_TOPIC} characters")
        if not -(1 << 31) <= rule.priority < 1 << 31:
            raise InvalidArgument("the rule's priority is not a 32-bit number")
        try:
            await self._auth._call("create_rule", self._auth.driver.put_rule(self._auth.namespace, rule))
        finally:  # it may have happened, whatever was answered
            self._auth._verdicts.doubt(self._auth.namespace)

    async def list(self) -> builtins.list[Rule]:
        """Give all rules, by id; `default` is one of them until it is deleted."""
        return await self._auth._call("rules", self._auth.driver.rules(self._auth.namespace))

    async def delete(self, id: str) -> None:
        """Delete a rule; a missing one is fine."""
        names.account(id)
        try:
            await self._auth._call("delete_rule", self._auth.driver.delete_rule(self._auth.namespace, id))
        finally:
            self._auth._verdicts.doubt(self._auth.namespace)


def _bearer(token: str) -> str:
    """Check that it can be a token at all; what cannot is as dead as any."""
    try:
        return _secret(token)
    except (InvalidArgument, ResourceExhausted):
        raise Unauthenticated(DEAD_TOKEN) from None


def _secret(value: str) -> str:
    if not value:
        raise InvalidArgument("the secret is empty")
    if len(value.encode("utf-8", "replace")) > MAX_SECRET:
        raise ResourceExhausted(f"a secret, or token, has at most {MAX_SECRET} bytes")
    if any(ord(c) < 0x20 for c in value) or any(0xD800 <= ord(c) < 0xE000 for c in value):
        raise InvalidArgument("a secret, or token, has no control characters and is valid UTF-8")
    return value


def _profile(scopes: Sequence[str], metadata: Mapping[str, str]) -> None:
    size = 0
    for text in (*scopes, *metadata, *metadata.values()):
        if text:
            names.path(text)
        size += len(text.encode()) + 6
    for scope in scopes:
        if scope in {"", "*", "+"}:
            raise InvalidArgument(f"scope {scope!r} means something else in a rule")
    if size > PROFILE:
        raise ResourceExhausted(f"the account's scopes and metadata have {size} bytes, the limit is {PROFILE}")
