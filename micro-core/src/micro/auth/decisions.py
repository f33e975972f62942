"""Rules, decided: a pure function of a namespace's rules, the account, and what is called."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import NoReturn

from micro.auth.driver import DEFAULT_RULE, GRANTED, Resource, Rule
from micro.context import Account
from micro.errors import LOCAL, InvalidArgument, PermissionDenied, Unauthenticated

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
    """A namespace's rules, in the order they are tried. Immutable.

    Deciding costs the same however many there are: they are looked up by what they are about.
    """

    def __init__(self, namespace: str, rules: Iterable[Rule]) -> None:
        self.namespace = namespace
        self.all = tuple(sorted(rules, key=_order))
        self._tables: dict[bool, _Table] = {}  # by `named`, made when first asked

    def decide(
        self, account: Account | None, resource: Resource, *, named: bool = False, trail: list[str] | None = None
    ) -> Decision:
        """Try the rules that match a resource; the first that says yes or no decides.

        `named` tries only those that name the service, and no `default`: what the platform's own services obey.
        `trail` is told what was weighed, for people: then each rule is looked at.
        """
        if trail is not None:
            return self._explain(account, resource, named, trail)
        table = self._tables.get(named)
        if table is None:
            table = self._tables[named] = _Table(self.all, named=named)
        rule = table.first(account, resource, self.namespace)
        if rule is None:
            return Decision(None)
        return Decision(_weigh(rule, account, self.namespace)[0], rule.id)

    def _explain(self, account: Account | None, resource: Resource, named: bool, trail: list[str]) -> Decision:
        name, kind, endpoint = (part.lower() for part in resource)
        for rule in self.all:
            if (named and not _names(rule)) or not _matches(rule.resource, name, kind, endpoint):
                continue
            allowed, why = _weigh(rule, account, self.namespace)
            trail.append(f"{rule.id}: {why}")
            if allowed is not None:
                return Decision(allowed, rule.id)
        return Decision(None)


class _Table:
    """Where in their order the rules are that may decide, by resource and scope.

    Of the rules about one resource for one scope only the first can decide. `None` stands for all scopes that belong to
    accounts of the namespace: the first such rule refuses whoever is of another.
    """

    def __init__(self, rules: tuple[Rule, ...], *, named: bool) -> None:
        self._rules = rules
        self._places: dict[tuple[str, str, str], dict[str | None, int]] = {}
        lengths = set()
        for place, rule in enumerate(rules):
            if named and not _names(rule):
                continue
            name, kind, endpoint = (part.lower() for part in rule.resource)
            scopes = self._places.setdefault((name, kind, endpoint), {})
            scopes.setdefault(rule.scope, place)
            if rule.scope not in {"", "+"}:
                scopes.setdefault(None, place)
            if endpoint.endswith("/*"):
                lengths.add(len(endpoint) - 1)
        self._lengths = sorted(lengths)  # of what a path must begin with

    def first(self, account: Account | None, resource: Resource, namespace: str) -> Rule | None:
        """Give the first rule that says yes or no."""
        scopes: list[str | None] = [""]
        if account is not None:
            scopes.append("+")
            scopes += ("*", *account.scopes) if account.issuer == namespace else (None,)
        name, kind, endpoint = (part.lower() for part in resource)
        endpoints = ["*", endpoint]
        endpoints += [f"{endpoint[:n]}*" for n in self._lengths if endpoint[n - 1 : n] == "/"]
        places = self._places
        found = len(self._rules)
        for key in product((name, "*"), (kind, "*"), endpoints):
            there = places.get(key)
            if there is not None:
                for scope in scopes:
                    found = min(found, there.get(scope, found))
        return self._rules[found] if found < len(self._rules) else None


def _names(rule: Rule) -> bool:
    """Tell whether a rule names its service: `*` and the rule `default` do not."""
    return rule.resource.name != "*" and rule.id != DEFAULT_RULE


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


def resource_of(resource: Resource | str) -> Resource:
    """Read `type:name:endpoint`; what is left out is everything."""
    if isinstance(resource, Resource):
        return resource
    parts = resource.split(":")
    if len(parts) > 3:
        raise InvalidArgument(f"resource {resource[:80]!a} is not type:name:endpoint")
    kind, name, endpoint = (part or "*" for part in parts + [""] * (3 - len(parts)))
    return Resource(name, kind, endpoint)


def forbid(account: Account | None, resource: Resource, *, id: str = LOCAL) -> NoReturn:
    """Refuse in the original's words."""
    called = f"call made to {resource.name}:{resource.endpoint}"
    if account is None:
        raise Unauthenticated(f"Unauthorized {called}", id=id)
    raise PermissionDenied(f"Forbidden {called} by {account.id}", id=id)
