"""Rules decide as the wire says, in whatever order they are listed."""

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from micro.auth.decisions import Rules, resource_of
from micro.auth.driver import DENIED, GRANTED, UNKNOWN, Resource, Rule
from micro.context import Account
from micro.errors import InvalidArgument

ASKED = Resource("orders", "service", "Orders.Place")
ACCOUNTS = [
    None,
    Account("own", issuer="shop"),
    Account("scoped", issuer="shop", scopes=("a",)),
    Account("foreign", issuer="other", scopes=("a",)),
]


def reference(rules: list[Rule], account: Account | None, asked: Resource) -> bool:
    """Say what the wire's table says, as plainly as can be."""

    def fits(pattern: str, value: str) -> bool:
        pattern, value = pattern.lower(), value.lower()
        below = pattern[-2:] == "/*" and value[: len(pattern) - 1] == pattern[:-1]
        return pattern in ("*", value) or below

    def verdict(rule: Rule) -> bool | None:
        grants = rule.access == GRANTED
        if rule.scope == "":
            return grants
        if account is None:
            return None
        if rule.scope != "+" and account.issuer != "shop":
            return False
        return grants if rule.scope in ("*", "+") or rule.scope in account.scopes else None

    fitting = [
        rule
        for rule in rules
        if rule.resource.name.lower() in ("*", asked.name.lower())
        and rule.resource.type.lower() in ("*", asked.type.lower())
        and fits(rule.resource.endpoint, asked.endpoint)
    ]
    for priority in sorted({rule.priority for rule in fitting}, reverse=True):
        level = [rule for rule in fitting if rule.priority == priority]
        deny = [verdict(rule) for rule in level if rule.access != GRANTED]
        if False in deny:
            return False
        for width in ("", "+", None):  # a grant to more people comes first
            grants = [
                r
                for r in level
                if r.access == GRANTED and (r.scope == width or (width is None and r.scope not in ("", "+")))
            ]
            found = {verdict(rule) for rule in grants} - {None}
            if found:
                return found == {True}
    return False


def decide(rules: list[Rule], account: Account | None, asked: Resource = ASKED) -> bool:
    return Rules("shop", rules).decide(account, asked).allowed is True


SMALL = [
    (scope, access, priority, name)
    for scope in ("", "*", "+", "a", "b")
    for access in (GRANTED, DENIED)
    for priority in (0, 1)
    for name in ("orders", "*")
]


class TestAgainstTheTable:
    def test_every_pair_of_small_rules(self) -> None:
        for one, two in itertools.combinations_with_replacement(SMALL, 2):
            rules = [
                Rule(f"r{n}", scope, Resource(name), access, priority)
                for n, (scope, access, priority, name) in enumerate((one, two))
            ]
            for account in ACCOUNTS:
                expected = reference(rules, account, ASKED)
                assert decide(rules, account) is expected, (rules, account)
                assert decide(rules[::-1], account) is expected, (rules, account)

    def test_a_sample_of_all_triples(self) -> None:
        chance = random.Random(3)
        for _ in range(6000):
            rules = [
                Rule(f"r{n}", scope, Resource(name), access, priority)
                for n, (scope, access, priority, name) in enumerate(chance.choices(SMALL, k=3))
            ]
            expected = [reference(rules, account, ASKED) for account in ACCOUNTS]
            for order in itertools.permutations(rules):
                assert [decide(list(order), account) for account in ACCOUNTS] == expected, rules

    @settings(max_examples=300, deadline=None)
    @given(
        st.lists(
            st.builds(
                Rule,
                st.uuids().map(str),
                st.sampled_from(["", "*", "+", "a", "b"]),
                st.builds(
                    Resource,
                    st.sampled_from(["*", "orders", "ORDERS", "other", ""]),
                    st.sampled_from(["*", "service", "Service", "topic"]),
                    st.sampled_from(["*", "/a/*", "/a", "/a/b", "/*", "a/*", "Orders.Place", "orders.place", "/a/b/*"]),
                ),
                st.sampled_from([UNKNOWN, GRANTED, DENIED]),
                st.integers(-1, 1),
            ),
            max_size=6,
        ),
        st.sampled_from(ACCOUNTS),
        st.sampled_from(["Orders.Place", "/a", "/a/", "/a/b", "/a/b/c", "/ab", "a/b", "", "/A/B"]),
        st.randoms(use_true_random=False),
    )
    def test_any_rules_in_any_order(
        self, rules: list[Rule], account: Account | None, endpoint: str, chance: random.Random
    ) -> None:
        asked = Resource("orders", "service", endpoint)
        expected = reference(rules, account, asked)
        chance.shuffle(rules)
        assert decide(rules, account, asked) is expected
        for named in (False, True):  # explained, each rule is looked at
            found = Rules("shop", rules).decide(account, asked, named=named)
            explained = Rules("shop", rules).decide(account, asked, named=named, trail=[])
            assert (found.allowed, found.rule) == (explained.allowed, explained.rule)


class TestInWords:
    def test_no_rule_is_no(self) -> None:
        assert Rules("shop", []).decide(ACCOUNTS[1], ASKED).allowed is None

    def test_a_denial_wins_over_a_grant_of_the_same_priority(self) -> None:
        rules = [Rule("grant", "*"), Rule("deny", "a", access=DENIED)]
        assert decide(rules, ACCOUNTS[1])
        assert not decide(rules, ACCOUNTS[2])

    def test_a_grant_of_a_higher_priority_wins_over_a_denial(self) -> None:
        assert decide([Rule("grant", "*", priority=1), Rule("deny", "", access=DENIED)], ACCOUNTS[1])

    def test_the_wildcard_below_a_path_is_not_the_path(self) -> None:
        rules = [Rule("r", "", Resource("*", "*", "/a/*"))]
        for endpoint, allowed in (("/a/b", True), ("/a/b/c", True), ("/a", False), ("/ab", False), ("/b/a/c", False)):
            assert decide(rules, None, Resource("orders", "service", endpoint)) is allowed

    def test_a_stranger_is_refused_by_a_rule_for_the_namespaces_own(self) -> None:
        rules = [Rule("first", "a", priority=1), Rule("public", "")]
        assert decide(rules, None)
        assert not decide(rules, ACCOUNTS[3])

    def test_what_neither_grants_nor_denies_refuses(self) -> None:
        assert not decide([Rule("odd", "", access=UNKNOWN), Rule("public", "")], None)

    def test_named_rules_alone_count_for_the_platforms_services(self) -> None:
        rules = [Rule("default", ""), Rule("all", "", access=DENIED), Rule("named", "a", Resource("store"), DENIED)]
        store = Resource("store", "service", "Store.Read")
        decided = Rules("shop", rules)
        assert decided.decide(ACCOUNTS[1], store, named=True).allowed is None
        assert decided.decide(ACCOUNTS[2], store, named=True).allowed is False

    def test_the_trail_says_what_was_weighed(self) -> None:
        trail: list[str] = []
        decision = Rules("shop", [Rule("one", "b", priority=1), Rule("two", "*")]).decide(
            ACCOUNTS[1], ASKED, trail=trail
        )
        assert (decision.allowed, decision.rule) == (True, "two")
        assert [line.split(":")[0] for line in trail] == ["one", "two"]

    def test_a_resource_in_text(self) -> None:
        assert resource_of("service:orders:Orders.Place") == ASKED
        assert resource_of("service:orders") == Resource("orders", "service", "*")
        assert resource_of("service") == Resource("*", "service", "*")
        with pytest.raises(InvalidArgument):
            resource_of("a:b:c:d")
