"""What an auth driver provides: accounts, tokens, rules, and the news about them. No I/O here."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

from msgspec import Struct

from micro.context import Account
from micro.plugin.driver import Change, Driver, Reset, Synced

UNKNOWN, GRANTED, DENIED = 0, 1, 2  # a rule's access, as the wire numbers it
DEFAULT_RULE = "default"  # id of the rule that every namespace has unless it was deleted


class Resource(NamedTuple):
    """What a rule is about: each part `*` or equal in any case; an endpoint `/a/*` is every path below `/a`."""

    name: str = "*"
    type: str = "*"
    endpoint: str = "*"


EVERYTHING = Resource()


class Rule(Struct, frozen=True):
    """Who may, or may not, call what. The highest priority decides; at equal priority a denial.

    `scope`: empty for everybody, `*` for any account of the namespace, `+` for any account of any, else what an
    account of the namespace must have.
    """

    id: str
    scope: str = ""
    resource: Resource = EVERYTHING
    access: int = GRANTED
    priority: int = 0


class Revocation(Struct, frozen=True):
    """Refuses one token, or each token of an account that was issued before an instant (unix seconds).

    `account` and `token` are digests (`account_digest`, `token_digest`): who hears of it learns no names.
    """

    account: str = ""
    token: str = ""
    before: int = 0


class Confidential(Struct, frozen=True):
    """What must not be seen in a log: its `repr` tells no more than its class."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"


class Token(Confidential, frozen=True):
    """What a login gives; instants in unix seconds."""

    access_token: str
    refresh_token: str
    created: int
    expiry: int


class Made(Confidential, frozen=True):
    """A new account and its secret, which is told this once."""

    account: Account
    secret: str


class Credentials(Confidential, frozen=True):
    """An account's id, or name, and its secret; `peer` is who tries, for the limit on failures."""

    id: str
    secret: str
    peer: str = ""


class Refresh(Confidential, frozen=True):
    """A refresh token, or a service's secret that is a token itself."""

    token: str


class Exchange(Confidential, frozen=True):
    """An access token, to be had for less: another audience, the same end at most."""

    token: str


Grant = Credentials | Refresh | Exchange
News = Rule | Revocation | str  # str: the whole JWKS document
Event = Change[News] | Synced | Reset


class AuthDriver(Driver, defines=1):
    """Keeps accounts and rules, and signs tokens.

    Arguments were validated (names, sizes). Capabilities: `durable`. A namespace is told apart from all others, also
    from those it begins like. After `close` every method raises FailedPrecondition.
    """

    @abstractmethod
    async def create(self, account: Account, secret: str, *, replace: bool = False) -> Made:
        """Add an account, issuer as its namespace; AlreadyExists when its id, or name, is another's id or name.

        An empty secret has one made: a token of kind `secret` for a service, random text for all others. `replace`
        puts a new one in the place of an account of the same id and type instead; secrets that are tokens stay good.
        """

    @abstractmethod
    async def accounts(self, namespace: str, *, id: str | None = None) -> list[Account]:
        """Give all accounts by id, or the one with this id or name, without secrets and tokens."""

    @abstractmethod
    async def remove(self, namespace: str, id: str) -> None:
        """Remove an account by id, revoking its tokens; NotFound."""

    @abstractmethod
    async def set_secret(self, namespace: str, id: str, new: str, *, old: str | None) -> None:
        """Change an account's secret, revoking its tokens; `old` None is not asked for.

        NotFound; InvalidArgument for a wrong old one.
        """

    @abstractmethod
    async def token(self, namespace: str, grant: Grant, *, ttl: float, audience: Sequence[str] = ("micro",)) -> Token:
        """Give an access token for `ttl` seconds (an hour at most) and a token to renew it with.

        Unauthenticated for a wrong secret, an unknown account, or a dead or foreign token; one text for all.
        ResourceExhausted when too many log in at once.
        """

    @abstractmethod
    async def inspect(self, token: str) -> Account:
        """Give whom an access token is for, unless it is dead or revoked: Unauthenticated."""

    @abstractmethod
    async def revoke(self, namespace: str, *, id: str = "", token_id: str = "") -> None:
        """Refuse, within seconds everywhere, all tokens issued to an account until now, or one by its claim `jti`."""

    @abstractmethod
    async def rules(self, namespace: str) -> list[Rule]:
        """Give the rules, `default` among them unless it was deleted; by id."""

    @abstractmethod
    async def put_rule(self, namespace: str, rule: Rule) -> None:
        """Add a rule; AlreadyExists."""

    @abstractmethod
    async def delete_rule(self, namespace: str, id: str) -> None:
        """Delete a rule; a missing one is fine."""

    @abstractmethod
    async def keys(self) -> str:
        """Give the public keys that verify tokens, as a JWKS document."""

    @abstractmethod
    def watch(self, namespace: str, *, after: int | None = None) -> AsyncIterator[Event]:
        """Give what exists, `Synced`, then changes: keys `rules/<id>`, `keys` and `revoked/<digest>`.

        Revocations are those of all namespaces, as digests: a token may come from any.
        """


def account_digest(namespace: str, id: str) -> str:
    """Give what a revocation calls an account."""
    return hashlib.sha256(f"{namespace}/{id}".encode()).hexdigest()[:32]


def token_digest(namespace: str, token_id: str) -> str:
    """Give what a revocation calls a token; no account has the digest of one, for no id begins with a slash."""
    return hashlib.sha256(f"{namespace}//{token_id}".encode()).hexdigest()[:32]
