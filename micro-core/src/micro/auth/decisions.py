"""Rules, decided: a pure function of a namespace's rules, the account, and what is called."""

from __future__ import annotations

from collections.abc import Iterable

from micro.auth.driver import DEFAULT_RULE, GRANTED, Resource, Rule
from micro.context import Account

# What everybody may call at the platform's own services, whatever the rules say: logging in must stay possible.
PUBLIC = frozenset({("auth", "Auth.Token"), ("auth", "Auth.Inspect"), ("auth", "Auth.Keys")})
HEALTH = "Debug.Health"
# What tells any account how to talk to one of the platform's services; the rest of Debug is its members'.
OPEN_DEBUG = frozenset({"Debug.Info", "Debug.Schema"})


class Decision:
    """What the rules say: `allowed` True or False, None when none decided; `rule` is the id of the one that did."""

    __slots__ = ("allowed", "rule")

    def __init__(self, allowed: bool | None, rule: str = "") -> None:
        self.allowed = allowed
        self.rule = rule

    def __repr__(self) -> str:
        return f"Decision({self.allowed}, {self.rule!r})"


class Rules:
    """A namespace's rules, in the order they are tried. Immutable."""

    def __init__(self, namespace: str, rules: Iterable[Rule]) -> None:
        self.namespace = namespace
        self.all = tuple(sorted(rules, key=_order))

    def decide(
        self, account: Account | None, resource: Resource, *, named: bool = False, trail: list[str] | None = None
    ) -> Decision:
        """Try the rules that match a resource; the first that says yes or no decides.

        `named` tries only those that name the service, and no `default`: what the platform's own services obey.
        `trail` is told what was weighed, for people.
        """
        name, kind, endpoint = (part.lower() for part in resource)
        for rule in self.all:
            if not _matches(rule.resource, name, kind, endpoint):
                continue
            if named and (rule.resource.name == "*" or rule.id == DEFAULT_RULE):
                continue
            allowed, why = _weigh(rule, account, self.namespace)
            if trail is not None:
                trail.append(f"{rule.id}: {why}")
            if allowed is not None:
                return Decision(allowed, rule.id)
        return Decision(None)


def _order(rule: Rule) -> tuple[int, bool, int, str]:
    """Sort by priority, denials first among equals; then whoever admits more, so that no listing's order counts."""
    width = {"": 0, "+": 1}.get(rule.scope, 2)
    return -rule.priority, rule.access == GRANTED, width, rule.id


def _matches(resource: Resource, name: str, kind: str, endpoint: str) -> bool:
    wanted = resource.endpoint.lower()
    return (
        (resource.name == "*" or resource.name.lower() == name)
        and (resource.type == "*" or resource.type.lower() == kind)
        and (wanted in {"*", endpoint} or (wanted.endswith("/*") and endpoint.startswith(wanted[:-1])))
    )


def _weigh(rule: Rule, account: Account | None, namespace: str) -> tuple[bool | None, str]:
    """Say what one rule says of an account; None passes on to the next. Anything but a grant refuses."""
    allowed = rule.access == GRANTED
    word = "granted" if allowed else "denied"
    if rule.scope == "":
        return allowed, f"{word} to everybody"
    if account is None:
        return None, "nobody is logged in"
    if rule.scope != "+" and account.issuer != namespace:
        return False, f"for accounts of {namespace}, not of {account.issuer}"
    if rule.scope in {"*", "+"}:
        return allowed, f"{word} to any account"
    if rule.scope in account.scopes:
        return allowed, f"{word} to scope {rule.scope}"
    return None, f"for scope {rule.scope}, which the account has not"
