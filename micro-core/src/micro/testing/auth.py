"""What every auth does, shown through the portable class."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import timedelta

import pytest

from micro.auth.api import Auth
from micro.auth.driver import DENIED, GRANTED, AuthDriver, Event, Resource, Revocation, Rule, Token, account_digest
from micro.auth.reading import KeySet, verify
from micro.context import Account
from micro.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
)
from micro.plugin.driver import Change, Reset, Synced
from micro.testing.suite import Suite

NEIGHBOURS = ["{}bar", "{}-bar", "{}.bar", "{}0", "{}_"]  # namespaces that begin as another does


async def until_synced(events: AsyncIterator[Event]) -> dict[str, Change[Rule | Revocation | str]]:
    """Read a watch's first part, by key."""
    found: dict[str, Change[Rule | Revocation | str]] = {}
    async for event in events:
        if isinstance(event, Synced):
            return found
        if isinstance(event, Change):
            found[event.key] = event
    raise AssertionError("the watch ended")


async def following(events: AsyncIterator[Event], key: str) -> Change[Rule | Revocation | str]:
    """Read up to the next change of a key."""
    async with asyncio.timeout(10):
        async for event in events:
            if isinstance(event, Change) and event.key == key:
                return event
    raise AssertionError("the watch ended")


async def refused(auth: Auth, token: str) -> None:
    """Expect that an access token is refused."""
    with pytest.raises(Unauthenticated):
        await auth.inspect(token)


async def _until(auth: Auth, account: Account, place: str, *, allowed: bool) -> None:
    """Verify until it is allowed, or not."""
    async with asyncio.timeout(10):
        while True:
            try:
                await auth.verify(account, place)
            except PermissionDenied:
                if not allowed:
                    return
            else:
                if allowed:
                    return
            await asyncio.sleep(0.01)


class AuthSuite(Suite):
    """A subclass gives the fixture `driver`, open, and `pass_time` for a clock of the test's (seconds, wall)."""

    @pytest.fixture
    def auth(self, driver: AuthDriver) -> Auth:
        """Give the portable class at a namespace that no other test uses."""
        return Auth(driver, namespace=f"ns{uuid.uuid4().hex[:12]}")

    async def pass_time(self, driver: AuthDriver, seconds: float) -> None:
        """Let time pass for the driver and its store."""
        raise NotImplementedError  # a subclass gives it, as its docstring says

    @staticmethod
    async def _ann(auth: Auth, secret: str = "hunter2") -> Token:
        await auth.accounts.create("ann", secret=secret, scopes=["admin", "x"], name="Ann", metadata={"k": "v"})
        return await auth.login("ann", secret)

    # accounts

    async def test_an_account_is_found_by_its_id_and_by_its_name(self, auth: Auth) -> None:
        made = await auth.accounts.create("ann", name="Ann", scopes=["a", "b"], metadata={"k": "v"})
        assert made.secret
        for called in ("ann", "Ann"):
            found = await auth.accounts.get(called)
            assert found is not None
            assert (found.id, found.name, found.issuer, found.type) == ("ann", "Ann", auth.namespace, "user")
            assert found.scopes == ("a", "b")
            assert found.metadata["k"] == "v"
            assert found.metadata["created"].isdigit()
        assert await auth.accounts.get("bob") is None

    async def test_accounts_are_listed_by_id(self, auth: Auth) -> None:
        for id in ("carol", "ann", "bob"):
            await auth.accounts.create(id, type="service", secret="s" * 40)
        assert [account.id for account in await auth.accounts.list()] == ["ann", "bob", "carol"]
        assert all(account.token == "" for account in await auth.accounts.list())

    async def test_an_id_and_a_name_are_taken_once(self, auth: Auth) -> None:
        await auth.accounts.create("ann", name="Ann")
        for id, name in (("ann", ""), ("ann", "other"), ("bob", "Ann")):
            with pytest.raises(AlreadyExists):
                await auth.accounts.create(id, name=name)
        assert [account.id for account in await auth.accounts.list()] == ["ann"]

    async def test_no_account_is_named_as_another_is_called(self, auth: Auth) -> None:
        await auth.accounts.create("ann", name="Ann")
        with pytest.raises(AlreadyExists):
            await auth.accounts.create("bob", name="ann")
        with pytest.raises(AlreadyExists):
            await auth.accounts.create("Ann")

    async def test_of_many_who_create_an_account_one_does(self, auth: Auth) -> None:
        tries = (auth.accounts.create("ann", secret=f"secret{n}", name=f"n{n % 2}") for n in range(6))
        answers = await asyncio.gather(*tries, return_exceptions=True)
        assert sum(not isinstance(answer, BaseException) for answer in answers) == 1
        assert all(isinstance(answer, AlreadyExists) for answer in answers if isinstance(answer, BaseException))
        assert len(await auth.accounts.list()) == 1

    @pytest.mark.parametrize("id", ["", "a/b", "../a", ".a", "a b", "é", "a\n", "a" * 64, "a..b"])
    async def test_an_odd_id_is_refused(self, auth: Auth, id: str) -> None:
        with pytest.raises(InvalidArgument):
            await auth.accounts.create(id)
        with pytest.raises(InvalidArgument):
            await auth.accounts.delete(id)

    async def test_what_would_not_fit_a_token_is_refused(self, auth: Auth) -> None:
        with pytest.raises(ResourceExhausted):
            await auth.accounts.create("ann", metadata={f"k{n}": "v" * 500 for n in range(9)})
        for scope in ("", "*", "+"):
            with pytest.raises(InvalidArgument):
                await auth.accounts.create("ann", scopes=[scope])

    async def test_deleting_an_account_ends_all_it_had(self, auth: Auth) -> None:
        token = await self._ann(auth)
        await auth.accounts.delete("ann")
        assert await auth.accounts.list() == []
        await refused(auth, token.access_token)
        with pytest.raises(Unauthenticated):
            await auth.renew(token.refresh_token)
        with pytest.raises(Unauthenticated):
            await auth.login("ann", "hunter2")
        with pytest.raises(NotFound):
            await auth.accounts.delete("ann")

    async def test_an_account_made_again_has_nothing_of_the_former(self, auth: Auth) -> None:
        token = await self._ann(auth)
        service = await auth.accounts.create("svc", type="service", scopes=["service"])
        await auth.accounts.delete("ann")
        await auth.accounts.delete("svc")
        again = await self._ann(auth)
        await auth.accounts.create("svc", type="service", scopes=["service"])
        assert (await auth.inspect(again.access_token)).id == "ann"
        await refused(auth, token.access_token)
        for dead in (token.refresh_token, service.secret):
            with pytest.raises(Unauthenticated):
                await auth.renew(dead)

    async def test_changing_a_secret_ends_all_tokens(self, auth: Auth) -> None:
        token = await self._ann(auth)
        await auth.accounts.change_secret("ann", "second", old="hunter2")
        await refused(auth, token.access_token)
        with pytest.raises(Unauthenticated):
            await auth.renew(token.refresh_token)
        with pytest.raises(Unauthenticated):
            await auth.login("ann", "hunter2")
        assert (await auth.inspect((await auth.login("ann", "second")).access_token)).id == "ann"

    async def test_changing_a_secret_of_nobody_is_refused(self, auth: Auth) -> None:
        with pytest.raises(NotFound):
            await auth.accounts.change_secret("ann", "second")

    # tokens

    async def test_a_login_says_who_it_is(self, auth: Auth) -> None:
        token = await self._ann(auth)
        account = await auth.inspect(token.access_token)
        assert (account.id, account.issuer, account.name, account.type) == ("ann", auth.namespace, "Ann", "user")
        assert account.scopes == ("admin", "x")
        assert account.metadata["k"] == "v"
        assert token.expiry - token.created == 900
        assert token.access_token.count(".") == 2

    async def test_a_login_by_name_is_a_login(self, auth: Auth) -> None:
        await self._ann(auth)
        assert (await auth.inspect((await auth.login("Ann", "hunter2")).access_token)).id == "ann"

    async def test_a_wrong_secret_and_an_unknown_account_are_told_the_same(self, auth: Auth) -> None:
        await self._ann(auth)
        with pytest.raises(Unauthenticated) as wrong:
            await auth.login("ann", "hunter3")
        with pytest.raises(Unauthenticated) as unknown:
            await auth.login("nobody", "hunter2")
        assert wrong.value.detail == unknown.value.detail

    async def test_guessing_is_slowed_down(self, auth: Auth) -> None:
        await self._ann(auth)
        with pytest.raises(ResourceExhausted):
            for n in range(30):
                with pytest.raises(Unauthenticated):
                    await auth.login("ann", f"guess{n}")

    async def test_a_made_secret_logs_in(self, auth: Auth) -> None:
        made = await auth.accounts.create("ann")
        assert (await auth.inspect((await auth.login("ann", made.secret)).access_token)).id == "ann"

    async def test_a_services_secret_is_good_for_logging_in_alone(self, auth: Auth) -> None:
        made = await auth.accounts.create("svc-latest", type="service", scopes=["service"])
        assert made.secret.count(".") == 2
        await refused(auth, made.secret)
        for token in (await auth.login("svc-latest", made.secret), await auth.renew(made.secret)):
            assert (await auth.inspect(token.access_token)).is_service
            await refused(auth, token.refresh_token)
            again = await auth.renew(token.refresh_token)
            assert (await auth.inspect(again.access_token)).id == "svc-latest"

    async def test_a_services_secret_is_no_other_accounts(self, auth: Auth) -> None:
        made = await auth.accounts.create("svc", type="service", scopes=["service"])
        await auth.accounts.create("ann")
        with pytest.raises(Unauthenticated):
            await auth.login("ann", made.secret)
        with pytest.raises(Unauthenticated):
            await auth.at(f"{auth.namespace}x").login("svc", made.secret)

    async def test_an_access_token_is_no_refresh_token_and_the_other_way_round(self, auth: Auth) -> None:
        token = await self._ann(auth)
        with pytest.raises(Unauthenticated):
            await auth.renew(token.access_token)
        with pytest.raises(Unauthenticated):
            await auth.login("ann", token.access_token)
        with pytest.raises(Unauthenticated):
            await auth.login("ann", token.refresh_token)
        await refused(auth, token.refresh_token)

    async def test_nothing_lives_longer_than_an_hour(self, auth: Auth, driver: AuthDriver) -> None:
        await self._ann(auth)
        token = await auth.login("ann", "hunter2", ttl=10 * 86_400)
        assert token.expiry - token.created == 3600
        await self.pass_time(driver, 3600 + 61)
        await refused(auth, token.access_token)

    async def test_a_token_ends_when_it_says(self, auth: Auth, driver: AuthDriver) -> None:
        await self._ann(auth)
        token = await auth.login("ann", "hunter2", ttl=timedelta(minutes=1))
        assert token.expiry - token.created == 60
        await self.pass_time(driver, 100)
        await auth.inspect(token.access_token)  # clocks may differ by a minute
        await self.pass_time(driver, 25)
        await refused(auth, token.access_token)

    async def test_the_published_keys_verify_a_token(self, auth: Auth) -> None:
        token = await self._ann(auth)
        account = await auth.inspect(token.access_token)
        read = verify(token.access_token.encode(), KeySet(await auth.keys()), now=token.created)
        assert read.account == account
        assert read.account.audience == ("micro",)

    # renewing

    async def test_renewing_gives_the_next_of_both(self, auth: Auth) -> None:
        first = await self._ann(auth)
        second = await auth.renew(first.refresh_token, ttl=600)
        third = await auth.renew(second.refresh_token)
        assert len({first.refresh_token, second.refresh_token, third.refresh_token}) == 3
        assert second.expiry - second.created == 600
        assert (await auth.inspect(third.access_token)).id == "ann"

    async def test_two_who_renew_at_once_both_stay(self, auth: Auth) -> None:
        first = await self._ann(auth)
        answers = await asyncio.gather(*(auth.renew(first.refresh_token) for _ in range(6)))
        assert len({answer.refresh_token for answer in answers}) == 1
        assert (await auth.renew(answers[0].refresh_token)).access_token

    async def test_the_predecessor_gives_the_same_for_a_minute_and_then_ends_the_login(
        self, auth: Auth, driver: AuthDriver
    ) -> None:
        first = await self._ann(auth)
        second = await auth.renew(first.refresh_token)
        await self.pass_time(driver, 59)
        assert (await auth.renew(first.refresh_token)).refresh_token == second.refresh_token
        await self.pass_time(driver, 2)
        for token in (first, second):
            with pytest.raises(Unauthenticated):
                await auth.renew(token.refresh_token)
        await refused(auth, second.access_token)

    async def test_an_older_one_ends_the_login_at_once(self, auth: Auth) -> None:
        first = await self._ann(auth)
        other = await auth.login("ann", "hunter2")
        second = await auth.renew(first.refresh_token)
        third = await auth.renew(second.refresh_token)
        with pytest.raises(Unauthenticated):
            await auth.renew(first.refresh_token)
        with pytest.raises(Unauthenticated):
            await auth.renew(third.refresh_token)
        assert (await auth.renew(other.refresh_token)).access_token  # another login is another matter

    async def test_a_login_that_is_not_renewed_for_a_week_ends(self, auth: Auth, driver: AuthDriver) -> None:
        token = await self._ann(auth)
        await self.pass_time(driver, 6 * 86_400)
        token = await auth.renew(token.refresh_token)
        await self.pass_time(driver, 7 * 86_400 + 1)
        with pytest.raises(Unauthenticated):
            await auth.renew(token.refresh_token)

    @pytest.mark.parametrize("token", ["x", "....", "a.b.c", "A" * 70, "é", "=" * 40, "A" * 7000])
    async def test_what_is_no_refresh_token_is_refused(self, auth: Auth, token: str) -> None:
        with pytest.raises(Unauthenticated):
            await auth.renew(token)

    # exchanging, revoking

    async def test_an_exchanged_token_is_good_for_less(self, auth: Auth) -> None:
        await self._ann(auth)
        token = await auth.login("ann", "hunter2", ttl=300)
        less = await auth.exchange(token.access_token, audience=("services",), ttl=900)
        read = verify(less.access_token.encode(), KeySet(await auth.keys()), now=token.created)
        assert read.account.audience == ("services",)
        assert read.account.id == "ann"
        assert less.expiry <= token.expiry
        assert less.refresh_token == ""
        with pytest.raises(Unauthenticated):
            await auth.exchange(less.access_token, audience=("services",))
        with pytest.raises(Unauthenticated):
            await auth.exchange(token.refresh_token, audience=("services",))

    async def test_what_is_revoked_is_refused_with_what_came_of_it(self, auth: Auth) -> None:
        token = await self._ann(auth)
        less = await auth.exchange(token.access_token, audience=("services",))
        renewed = await auth.renew(token.refresh_token)
        await auth.revoke(id="ann")
        for dead in (token, less, renewed):
            await refused(auth, dead.access_token)
        with pytest.raises(Unauthenticated):
            await auth.renew(renewed.refresh_token)
        assert (await auth.inspect((await auth.login("ann", "hunter2")).access_token)).id == "ann"

    async def test_one_token_is_revoked_alone(self, auth: Auth) -> None:
        token, other = await self._ann(auth), await auth.login("ann", "hunter2")
        read = verify(token.access_token.encode(), KeySet(await auth.keys()), now=token.created)
        await auth.revoke(token_id=read.token_id)
        await refused(auth, token.access_token)
        assert (await auth.inspect(other.access_token)).id == "ann"
        with pytest.raises(InvalidArgument):
            await auth.revoke()

    # namespaces

    async def test_no_namespace_sees_what_begins_as_it_does(self, auth: Auth) -> None:
        token = await self._ann(auth)
        await auth.rules.create(Rule("r", "*"))
        for shape in NEIGHBOURS:
            near = auth.at(shape.format(auth.namespace))
            assert await near.accounts.list() == []
            assert [rule.id for rule in await near.rules.list()] == ["default"]
            await near.accounts.create("ann", secret="another")
            await near.accounts.create("bob")
            await near.rules.create(Rule("theirs", "*"))
            assert [account.id for account in await auth.accounts.list()] == ["ann"]
            assert [rule.id for rule in await auth.rules.list()] == ["default", "r"]
            for work in (near.login("ann", "hunter2"), near.renew(token.refresh_token), auth.login("ann", "another")):
                with pytest.raises(Unauthenticated):
                    await work
            await near.accounts.delete("ann")
        assert [account.id for account in await auth.accounts.list()] == ["ann"]
        assert (await auth.renew(token.refresh_token)).access_token

    # rules

    async def test_the_rule_default_is_there_until_it_is_deleted(self, auth: Auth) -> None:
        (default,) = await auth.rules.list()
        assert (default.id, default.resource, default.access) == ("default", Resource(), GRANTED)
        with pytest.raises(AlreadyExists):
            await auth.rules.create(Rule("default"))
        await auth.rules.create(Rule("own", "*"))
        assert [rule.id for rule in await auth.rules.list()] == ["default", "own"]
        await auth.rules.delete("default")
        await auth.rules.delete("default")
        assert [rule.id for rule in await auth.rules.list()] == ["own"]
        await auth.rules.create(Rule("default", "+"))
        assert [rule.scope for rule in await auth.rules.list()] == ["+", "*"]

    async def test_a_rule_comes_back_as_it_was(self, auth: Auth) -> None:
        rule = Rule("r1", "some:scope", Resource("orders", "service", "/a/*"), DENIED, -7)
        await auth.rules.create(rule)
        assert rule in await auth.rules.list()
        with pytest.raises(AlreadyExists):
            await auth.rules.create(Rule("r1"))
        await auth.rules.delete("r1")
        await auth.rules.delete("r1")
        assert rule not in await auth.rules.list()

    @pytest.mark.parametrize(
        "rule",
        [
            Rule(""),
            Rule("a/b"),
            Rule("r", access=0),
            Rule("r", access=3),
            Rule("r", "s" * 300),
            Rule("r", priority=2**31),
        ],
    )
    async def test_an_odd_rule_is_refused(self, auth: Auth, rule: Rule) -> None:
        with pytest.raises(InvalidArgument):
            await auth.rules.create(rule)

    async def test_verify_asks_the_rules(self, auth: Auth) -> None:
        await auth.rules.delete("default")
        await auth.rules.create(Rule("r", "writer", Resource("orders", "service", "*")))
        writer = Account("ann", issuer=auth.namespace, scopes=("writer",))
        await auth.verify(writer, "service:orders:Orders.Place")
        with pytest.raises(PermissionDenied):
            await auth.verify(Account("bob", issuer=auth.namespace), "service:orders:Orders.Place")
        with pytest.raises(Unauthenticated):
            await auth.verify(None, "service:orders:Orders.Place")
        with pytest.raises(PermissionDenied):
            await auth.verify(writer, "service:others:Orders.Place")

    async def test_a_rule_counts_at_once_for_who_makes_it_and_soon_for_others(self, auth: Auth) -> None:
        ann, place = Account("ann", issuer=auth.namespace), "service:orders:Orders.Place"
        elsewhere = Auth(auth.driver, namespace=auth.namespace)
        for _ in range(3):
            await auth.verify(ann, place)
            await elsewhere.verify(ann, place)
            await auth.rules.create(Rule("no", "*", access=DENIED, priority=1))
            with pytest.raises(PermissionDenied):
                await auth.verify(ann, place)
            await _until(elsewhere, ann, place, allowed=False)
            await auth.rules.delete("no")
            await auth.verify(ann, place)
            await _until(elsewhere, ann, place, allowed=True)

    # watching

    async def test_a_watch_tells_what_there_is_and_what_changes(self, auth: Auth) -> None:
        rule = Rule("own", "*", Resource("orders", "service", "*"), DENIED, 3)
        await auth.rules.create(rule)
        token = await self._ann(auth)
        async with aclosing(auth.watch()) as events:  # type: ignore[type-var]
            first = await until_synced(events)
            assert first["rules/own"].item == rule
            assert first["rules/default"].item == (await auth.rules.list())[0]
            keys = first["keys"].item
            assert isinstance(keys, str)
            assert verify(token.access_token.encode(), KeySet(keys), now=token.created).account.id == "ann"
            await auth.rules.create(Rule("new"))
            assert (await following(events, "rules/new")).item == Rule("new")
            await auth.rules.delete("own")
            assert (await following(events, "rules/own")).kind == "delete"
            await auth.rules.delete("default")
            assert (await following(events, "rules/default")).kind == "delete"
            await auth.accounts.delete("ann")
            digest = account_digest(auth.namespace, "ann")
            told = (await following(events, f"revoked/{digest}")).item
            assert isinstance(told, Revocation)
            assert told.before > token.created

    async def test_a_watch_hears_of_revocations_elsewhere_but_not_of_rules(self, auth: Auth) -> None:
        near = auth.at(f"{auth.namespace}x")
        await near.accounts.create("bob")
        async with aclosing(auth.watch()) as events:  # type: ignore[type-var]
            assert not [
                key
                for key in await until_synced(events)
                if key not in {"keys", "rules/default"} and "revoked/" not in key
            ]
            await near.rules.create(Rule("theirs"))
            await near.accounts.delete("bob")
            seen = []
            async for event in events:
                assert isinstance(event, Change)
                seen.append(event.key)
                if event.key == f"revoked/{account_digest(near.namespace, 'bob')}":
                    break
            assert not [key for key in seen if key.startswith("rules/")]

    async def test_a_watch_goes_on_where_another_ended(self, auth: Auth) -> None:
        async with aclosing(auth.watch(resume=False)) as events:  # type: ignore[type-var]
            await until_synced(events)
            await auth.rules.create(Rule("one"))
            version = (await following(events, "rules/one")).version
        await auth.rules.create(Rule("two"))
        async with aclosing(auth.watch(after=version, resume=False)) as events:  # type: ignore[type-var]
            assert set(await until_synced(events)) - {"keys"} == {"rules/two"}
        async with aclosing(auth.watch(after=1, resume=False)) as events:  # type: ignore[type-var]
            assert isinstance(await anext(aiter(events)), Reset)
            assert {"rules/one", "rules/two"} <= set(await until_synced(events))

    # its life

    async def test_closed_is_closed(self, auth: Auth) -> None:
        await auth.close()
        await auth.close()
        with pytest.raises(FailedPrecondition):
            await auth.accounts.list()
        with pytest.raises(FailedPrecondition):
            await auth.login("ann", "hunter2")
