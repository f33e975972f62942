"""What auth keeps in its table, and under which keys. All keys name the namespace whole, so none is another's prefix.

account/<ns>/<id>            the account, with its secret's stored form and the instant its older tokens ended at
accountByName/<ns>/<name>    {"id"}; for its id as well, so that no account has a name that is another's id
refresh/<ns>/<id>/<family>   a login: hashes of its present and its last refresh token
rules/<ns>/<id>              a rule; a deleted `default` stays, marked, for an absent one is implied
revoked/<digest>             a revocation, until the tokens it is about have ended
keys/<kid>                   a public key, as a JWK
bootstrap/<id>               that the first account was made: deleting it is not undone by a restart
"""

from __future__ import annotations

import json
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from micro.auth.driver import DEFAULT_RULE, GRANTED, Resource, Revocation, Rule
from micro.context import Account
from micro.errors import DataLoss


def account_key(namespace: str, id: str) -> str:
    """Give an account's key."""
    return f"account/{namespace}/{id}"


def name_key(namespace: str, name: str) -> str:
    """Give the key of what an account is called."""
    return f"accountByName/{namespace}/{name}"


def refresh_key(namespace: str, id: str, family: str) -> str:
    """Give a login's key; without a family the prefix of all of an account's."""
    return f"refresh/{namespace}/{id}/{family}"


def rule_key(namespace: str, id: str) -> str:
    """Give a rule's key; without an id the prefix of a namespace's."""
    return f"rules/{namespace}/{id}"


def revoked_key(digest: str) -> str:
    """Give a revocation's key."""
    return f"revoked/{digest}"


def dump(value: dict[str, Any]) -> bytes:
    """Write a record."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def load(key: str, raw: bytes) -> dict[str, Any]:
    """Read a record; DataLoss for what we did not write."""
    try:
        found = json.loads(raw, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise DataLoss(f"the record {key} is not readable") from None
    if not isinstance(found, dict):
        raise DataLoss(f"the record {key} is not readable")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member is there twice")
    return found


class Kept(Struct, frozen=True):
    """A stored account: its secret's stored form; `before`: tokens issued before are void; `version` of its record."""

    account: Account
    secret: str = ""
    before: int = 0
    version: int = 0

    def changed(self, *, secret: str | None = None, before: int | None = None) -> Kept:
        """Give it with another secret, or its older tokens ended."""
        return replace(
            self,
            secret=self.secret if secret is None else secret,
            before=self.before if before is None else max(before, self.before),
        )

    def dump(self) -> bytes:
        """Write it, as the original does; `before` is ours."""
        account = self.account
        made: dict[str, Any] = {
            "id": account.id,
            "type": account.type,
            "issuer": account.issuer,
            "metadata": account.metadata,
            "scopes": list(account.scopes),
            "secret": self.secret,
            "name": account.name,
        }
        if self.before:
            made["before"] = self.before
        return dump(made)

    @classmethod
    def load(cls, key: str, raw: bytes, version: int) -> Kept:
        """Read it; a record of the original has empty lists as null."""
        found = load(key, raw)
        account = Account(
            found["id"],
            issuer=found["issuer"],
            type=found.get("type") or "user",
            scopes=tuple(found.get("scopes") or ()),
            metadata=found.get("metadata") or {},
            name=found.get("name") or "",
        )
        return cls(account, found.get("secret", ""), int(found.get("before", 0)), version)


def dump_rule(rule: Rule) -> bytes:
    """Write a rule; zero fields are omitted."""
    made: dict[str, Any] = {"id": rule.id, "resource": rule.resource._asdict(), "access": rule.access}
    if rule.scope:
        made["scope"] = rule.scope
    if rule.priority:
        made["priority"] = rule.priority
    return dump(made)


NO_DEFAULT = dump({"id": DEFAULT_RULE, "deleted": True})  # what a deleted default leaves


def load_rule(key: str, raw: bytes) -> Rule | None:
    """Read a rule; None for a default that was deleted."""
    found = load(key, raw)
    if found.get("deleted"):
        return None
    about = found.get("resource") or {}
    resource = Resource(about.get("name", ""), about.get("type", ""), about.get("endpoint", ""))
    return Rule(found["id"], found.get("scope", ""), resource, found.get("access", 0), found.get("priority", 0))


def default_rule(*, public: bool) -> Rule:
    """Give the rule that a namespace has without being told."""
    return Rule(DEFAULT_RULE, "" if public else "*", Resource(), GRANTED)


def dump_revocation(revocation: Revocation) -> bytes:
    """Write a revocation."""
    if revocation.account:
        return dump({"account": revocation.account, "before": revocation.before})
    return dump({"token": revocation.token})


def load_revocation(key: str, raw: bytes) -> Revocation:
    """Read a revocation."""
    found = load(key, raw)
    return Revocation(found.get("account", ""), found.get("token", ""), found.get("before", 0))
