"""The service auth, guarded by its own guard: rights, the original's words, and its first account."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from micro.auth import service as serving
from micro.auth.administration import AccountsHandler, RulesHandler
from micro.auth.api import Auth
from micro.auth.driver import DENIED, Credentials, Resource, Rule
from micro.auth.guard import AuthGuard
from micro.auth.reading import KeySet, verify
from micro.auth.secrets import Secrets
from micro.auth.service import AuthHandler, build, first_account
from micro.auth.store import StoreAuth, StoreAuthSettings
from micro.auth.tokens import SigningKey, claims, key_pem, public_jwks, sign
from micro.context import Account
from micro.errors import (
    Code,
    DeadlineExceeded,
    InvalidArgument,
    PermissionDenied,
    ResourceExhausted,
    ServiceError,
    Unauthenticated,
    Unavailable,
)
from micro.plugin.driver import Change, Synced
from micro.proto import auth_pb2 as pb
from micro.rpc import standing
from micro.rpc.client import RpcCaller
from micro.rpc.credentials import FixedToken
from micro.rpc.driver import JSON, Status
from micro.rpc.guard import NotReadyError
from micro.rpc.memory import MemoryTransport
from micro.rpc.resolve import AddressBook
from micro.rpc.server import Server
from micro.store.api import Store

from .conftest import Clock

SHOP = pb.Options(namespace="shop")


class World:
    """A served auth, and callers with real tokens."""

    def __init__(self, driver: StoreAuth, key: SigningKey, clock: Clock) -> None:
        self.auth = Auth(driver)
        self.transport = MemoryTransport()
        self._key = key
        self._clock = clock
        self._callers: list[RpcCaller] = []
        jwks = public_jwks([key])
        self.guard = AuthGuard("auth", "micro", jwks, driver=driver, core=True, clock=clock)
        self.server = Server("auth", transport=self.transport, guard=self.guard, core=True)

    async def start(self) -> None:
        for name, handler in (("Auth", AuthHandler), ("Accounts", AccountsHandler), ("Rules", RulesHandler)):
            self.server.add(handler(self.auth), name)
        await self.guard.start()
        self.address = await self.server.start("127.0.0.1:0")

    async def close(self) -> None:
        for caller in self._callers:
            await caller.close()
        await self.server.stop(grace=0)
        await self.guard.close()

    def token(self, id: str, **options: Any) -> str:
        return sign(claims(id, now=self._clock(), **options), self._key)

    def caller(self, token: str = "") -> RpcCaller:
        made = RpcCaller(
            transport=self.transport, resolver=AddressBook({"auth": self.address}), credentials=FixedToken(token)
        )
        self._callers.append(made)
        return made

    def as_(self, id: str, **options: Any) -> "As":
        return As(self.caller(self.token(id, **options)))


class As:
    """Calls endpoints by name."""

    def __init__(self, caller: RpcCaller) -> None:
        self.caller = caller

    async def __call__(self, endpoint: str, request: Any, **options: Any) -> Any:
        answer = getattr(pb, type(request).__name__.replace("Request", "Response"))
        return await self.caller.call("auth", endpoint, request, answer, **options)


@pytest.fixture
async def world(driver: StoreAuth, key: SigningKey, clock: Clock) -> AsyncIterator[World]:
    made = World(driver, key, clock)
    await made.start()
    yield made
    await made.close()


@pytest.fixture
def root(world: World) -> As:
    return world.as_("root", scopes=["admin"])


@pytest.fixture
def admin(world: World) -> As:
    return world.as_("boss", issuer="shop", scopes=["admin"])


@pytest.fixture
def nobody(world: World) -> As:
    return As(world.caller())


async def says(code: int, text: str, work: Any) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        await work
    assert (caught.value.http, caught.value.detail) == (code, text)
    return caught.value


class TestWords:
    """Codes and texts that peers know."""

    async def test_of_generate(self, admin: As) -> None:
        await says(400, "ID required", admin("Auth.Generate", pb.GenerateRequest(options=SHOP)))
        made = await admin("Auth.Generate", pb.GenerateRequest(id="ann", name="Ann", scopes=["a,b", "c"], options=SHOP))
        assert (made.account.type, made.account.issuer, made.account.name) == ("user", "shop", "Ann")
        assert list(made.account.scopes) == ["a", "b", "c"]
        assert len(made.account.secret) == 36
        assert made.account.metadata["created"] == "1000000000"
        taken = "Account with this ID already exists"
        err = await says(400, taken, admin("Auth.Generate", pb.GenerateRequest(id="ann", options=SHOP)))
        assert err.id == "auth"
        request = pb.GenerateRequest(id="bob", name="Ann", options=SHOP)
        await says(400, "Account with this Name already exists", admin("Auth.Generate", request))
        with pytest.raises(InvalidArgument):
            await admin("Auth.Generate", pb.GenerateRequest(id="a/b", options=SHOP))

    async def test_of_token(self, world: World, nobody: As) -> None:
        await world.auth.at("shop").accounts.create("ann", secret="hunter2")
        required = "Credentials or a refresh token required"
        for request in (pb.TokenRequest(), pb.TokenRequest(id="ann", options=SHOP)):
            await says(400, required, nobody("Auth.Token", request))
        for id, secret in (("ann", "wrong"), ("bob", "hunter2")):
            request = pb.TokenRequest(id=id, secret=secret, options=SHOP)
            await says(400, "Secret not correct", nobody("Auth.Token", request))
        request = pb.TokenRequest(id="ann", secret="hunter2")  # of the namespace micro
        await says(400, "Secret not correct", nobody("Auth.Token", request))
        request = pb.TokenRequest(refresh_token="0c4f9b1e-6d1f-4f51-8f25-5b8e0f0b7a11", options=SHOP)
        await says(400, "invalid token provided", nobody("Auth.Token", request))

    async def test_of_inspect(self, world: World, nobody: As) -> None:
        found = await nobody("Auth.Inspect", pb.InspectRequest(token=world.token("ann", issuer="shop", name="Ann")))
        assert (found.account.id, found.account.issuer, found.account.secret) == ("ann", "shop", "")
        for bad in ("", "a.b.c", world.token("ann", use="renew"), "x" * 9000):
            await says(400, "invalid token provided", nobody("Auth.Inspect", pb.InspectRequest(token=bad)))

    async def test_of_accounts(self, admin: As) -> None:
        await says(400, "Missing ID", admin("Accounts.Delete", pb.DeleteAccountRequest(options=SHOP)))
        unknown = "Account not found with this ID"
        await says(400, unknown, admin("Accounts.Delete", pb.DeleteAccountRequest(id="ann", options=SHOP)))
        await admin("Auth.Generate", pb.GenerateRequest(id="boss", options=SHOP))
        own = "Can't delete your own account"
        await says(400, own, admin("Accounts.Delete", pb.DeleteAccountRequest(id="boss", options=SHOP)))
        await admin("Auth.Generate", pb.GenerateRequest(id="ann", name="Ann", secret="hunter2", options=SHOP))
        change = pb.ChangeSecretRequest(id="ann", old_secret="hunter2", options=SHOP)
        await says(400, "New secret should not be blank", admin("Accounts.ChangeSecret", change))
        for old in ("", "wrong"):
            change = pb.ChangeSecretRequest(id="ann", old_secret=old, new_secret="new", options=SHOP)
            await says(400, "Secret not correct", admin("Accounts.ChangeSecret", change))
        change = pb.ChangeSecretRequest(id="eve", old_secret="x", new_secret="new", options=SHOP)
        await says(400, unknown, admin("Accounts.ChangeSecret", change))
        change = pb.ChangeSecretRequest(id="ann", old_secret="hunter2", new_secret="new", options=SHOP)
        await admin("Accounts.ChangeSecret", change)
        await admin("Accounts.Delete", pb.DeleteAccountRequest(id="Ann", options=SHOP))  # by its name
        found = await admin("Accounts.List", pb.ListAccountsRequest(options=SHOP))
        assert [(one.id, one.secret) for one in found.accounts] == [("boss", "")]

    async def test_of_rules(self, admin: As) -> None:
        whole = pb.Rule(id="r", resource=pb.Resource(name="*", type="*", endpoint="*"), access=pb.GRANTED)
        for text, missing in (
            ("Rule missing", None),
            ("ID missing", pb.Rule(resource=whole.resource, access=pb.GRANTED)),
            ("Resource missing", pb.Rule(id="r", access=pb.GRANTED)),
            ("Access missing", pb.Rule(id="r", resource=whole.resource)),
        ):
            await says(400, text, admin("Rules.Create", pb.CreateRequest(rule=missing, options=SHOP)))
        await admin("Rules.Create", pb.CreateRequest(rule=whole, options=SHOP))
        taken = "A rule with this ID already exists"
        await says(400, taken, admin("Rules.Create", pb.CreateRequest(rule=whole, options=SHOP)))
        await says(400, "ID missing", admin("Rules.Delete", pb.DeleteRequest(options=SHOP)))
        await admin("Rules.Delete", pb.DeleteRequest(id="unknown", options=SHOP))
        found = await admin("Rules.List", pb.ListRequest(options=SHOP))
        assert [rule.id for rule in found.rules] == ["default", "r"]
        assert all(rule.HasField("resource") for rule in found.rules)


class TestJson:
    @pytest.mark.parametrize(
        "body",
        [
            b'{"id": "ann", "id": "bob", "options": {"namespace": "shop"}}',
            b'{"id": "ann", "options": {"namespace": "shop", "namespace": "micro"}}',
            b'{"id": "ann", "metadata": {"a": "1", "a": "2"}, "options": {"namespace": "shop"}}',
        ],
    )
    async def test_a_key_that_is_twice_is_refused(self, world: World, body: bytes) -> None:
        headers = [(b"authorization", f"Bearer {world.token('boss', issuer='shop', scopes=['admin'])}".encode())]
        channel = world.transport.channel(world.address)
        with pytest.raises(Status) as refused:
            await channel.unary(b"/auth.Auth/Generate", body, headers, content_type=JSON, timeout=5)
        assert refused.value.code == Code.INVALID_ARGUMENT
        good = b'{"id": "ann", "options": {"namespace": "shop"}}'
        await channel.unary(b"/auth.Auth/Generate", good, headers, content_type=JSON, timeout=5)
        await channel.close()


class TestRights:
    """Who may do what: rows are calls in the namespace shop, columns who makes them."""

    CALLS = (
        ("Auth.Generate", pb.GenerateRequest(id="new", options=SHOP), "adm"),
        ("Accounts.List", pb.ListAccountsRequest(options=SHOP), "adm"),
        ("Accounts.Delete", pb.DeleteAccountRequest(id="victim", options=SHOP), "adm"),
        ("Accounts.ChangeSecret", pb.ChangeSecretRequest(id="victim", old_secret="s", new_secret="t", options=SHOP), "mem"),
        ("Rules.Create", pb.CreateRequest(rule=pb.Rule(id="x", resource=pb.Resource(name="*", type="*", endpoint="*"), access=1), options=SHOP), "adm"),
        ("Rules.Delete", pb.DeleteRequest(id="x", options=SHOP), "adm"),
        ("Rules.List", pb.ListRequest(options=SHOP), "mem"),
        ("Auth.Check", pb.CheckRequest(namespace="shop"), "adm"),
    )  # fmt: skip

    @pytest.mark.parametrize(
        ("who", "rank"),
        [
            ({}, "none"),
            ({"issuer": "shop"}, "mem"),
            ({"issuer": "shop", "scopes": ["admin"]}, "adm"),
            ({"issuer": "shop", "type": "service", "scopes": ["service"]}, "adm"),
            ({"issuer": "shop", "type": "service", "scopes": ["admin"]}, "mem"),
            ({"issuer": "shop", "type": "robot", "scopes": ["admin"]}, "foreign"),
            ({"issuer": "shopping", "scopes": ["admin"]}, "foreign"),
            ({"issuer": "micro"}, "foreign"),
            ({"issuer": "micro", "scopes": ["admin"]}, "adm"),
            ({"issuer": "micro", "type": "service", "scopes": ["service"]}, "adm"),
        ],
    )
    @pytest.mark.parametrize("call", CALLS, ids=[call[0] for call in CALLS])
    async def test_a_call(self, world: World, who: Any, rank: str, call: Any) -> None:
        endpoint, request, needs = call
        await world.auth.at("shop").accounts.create("victim", secret="s")
        caller = world.as_("someone", **who) if who else As(world.caller())
        if rank == "none":
            await says(401, "an account is required", caller(endpoint, request))
        elif rank == "foreign":
            with pytest.raises(PermissionDenied):
                await caller(endpoint, request)
        elif rank == "mem" and needs == "adm":
            await says(401, "Unauthorized", caller(endpoint, request))
        else:
            await caller(endpoint, request)

    async def test_a_token_that_is_bad_is_refused_but_by_a_login(self, world: World) -> None:
        await world.auth.at("shop").accounts.create("ann", secret="hunter2")
        for bad in (world.token("ann", issuer="shop", use="renew"), "a.b.c", "x"):
            caller = As(world.caller(bad))
            with pytest.raises(Unauthenticated):
                await caller("Rules.List", pb.ListRequest(options=SHOP))
            assert (
                await caller("Auth.Token", pb.TokenRequest(id="ann", secret="hunter2", options=SHOP))
            ).token.access_token

    async def test_a_core_name_is_nobodys_to_give(self, root: As) -> None:
        for id in ("store", "proxy"):
            with pytest.raises(InvalidArgument):
                await root("Auth.Generate", pb.GenerateRequest(id=id, type="service", scopes=["service"]))

    async def test_the_old_secret_is_waived_for_services_of_the_namespace_and_the_platforms_admins(
        self, world: World, root: As
    ) -> None:
        await world.auth.at("shop").accounts.create("ann", secret="hunter2")
        change = pb.ChangeSecretRequest(id="ann", new_secret="new", options=SHOP)
        await world.as_("svc", issuer="shop", type="service", scopes=["service"])("Accounts.ChangeSecret", change)
        await root("Accounts.ChangeSecret", change)
        stranger = world.as_("svc", type="service", scopes=["service"])  # a service of micro, but not of shop
        await says(400, "Secret not correct", stranger("Accounts.ChangeSecret", change))

    async def test_everybody_may_end_his_own_logins(self, world: World, driver: StoreAuth) -> None:
        shop = world.auth.at("shop")
        await shop.accounts.create("ann", secret="hunter2")
        token = await shop.login("ann", "hunter2")
        ann = As(world.caller(token.access_token))
        for request in (
            pb.RevokeTokenRequest(namespace="shop", id="bob"),
            pb.RevokeTokenRequest(namespace="shop", token_id="x"),
            pb.RevokeTokenRequest(namespace="shop", id="ann", token_id="x"),
        ):
            with pytest.raises(Unauthenticated):
                await ann.caller.call("auth", "Auth.Revoke", request, pb.RevokeTokenResponse)
        await ann.caller.call(
            "auth", "Auth.Revoke", pb.RevokeTokenRequest(namespace="shop", id="ann"), pb.RevokeTokenResponse
        )
        with pytest.raises(Unauthenticated):
            await driver.inspect(token.access_token)

    async def test_a_token_is_exchanged_by_its_owner_or_the_platform(
        self, world: World, admin: As, key: SigningKey
    ) -> None:
        token = world.token("ann", issuer="shop")
        request = pb.ExchangeRequest(token=token, audience="services")
        for caller in (As(world.caller(token)), world.as_("proxy", type="service", scopes=["service"])):
            answer = await caller("Auth.Exchange", request)
            read = verify(answer.token.access_token.encode(), KeySet(public_jwks([key])), now=1_000_000_000)
            assert (read.account.id, read.account.audience) == ("ann", ("services",))
        with pytest.raises(PermissionDenied):
            await admin("Auth.Exchange", request)
        for bad in (pb.ExchangeRequest(token=token, audience="micro"), pb.ExchangeRequest(token=token)):
            with pytest.raises(InvalidArgument):
                await As(world.caller(token))("Auth.Exchange", bad)


class TestGoPeers:
    """What services written with the original's library do."""

    async def test_a_services_jwt_secret_renews_for_as_long_as_its_account_is_there(
        self, world: World, nobody: As, clock: Clock
    ) -> None:
        runtime = world.as_("runtime", type="service", scopes=["service"])
        request = pb.GenerateRequest(id="hello-latest", type="service", scopes=["service"], options=SHOP)
        secret = (await runtime("Auth.Generate", request)).account.secret
        request = pb.TokenRequest(id="hello-latest", secret=secret, token_expiry=600, options=SHOP)
        token = (await nobody("Auth.Token", request)).token
        assert token.expiry - token.created == 600
        for _ in range(3):
            clock.now += 590
            token = (
                await nobody("Auth.Token", pb.TokenRequest(refresh_token=token.refresh_token, token_expiry=600))
            ).token
            found = await nobody("Auth.Inspect", pb.InspectRequest(token=token.access_token))
            assert (found.account.id, found.account.type) == ("hello-latest", "service")
        assert (await nobody("Auth.Token", pb.TokenRequest(secret=secret))).token.access_token  # without an id, too
        await world.auth.at("shop").accounts.delete("hello-latest")
        for dead in (pb.TokenRequest(refresh_token=token.refresh_token), pb.TokenRequest(secret=secret)):
            await says(400, "invalid token provided", nobody("Auth.Token", dead))

    async def test_an_access_token_renews_nothing(self, world: World, nobody: As) -> None:
        request = pb.TokenRequest(refresh_token=world.token("ann", issuer="shop"), token_expiry=10**6)
        await says(400, "invalid token provided", nobody("Auth.Token", request))

    async def test_the_runtime_may_ask_again_for_a_service_that_runs(self, world: World, nobody: As, admin: As) -> None:
        runtime = world.as_("runtime", type="service", scopes=["service"])
        request = pb.GenerateRequest(id="hello-latest", type="service", scopes=["service"], options=SHOP)
        first = (await runtime("Auth.Generate", request)).account.secret
        second = (await runtime("Auth.Generate", request)).account.secret
        for secret in (first, second):
            token = await nobody("Auth.Token", pb.TokenRequest(id="hello-latest", secret=secret, options=SHOP))
            assert token.token.access_token
        with pytest.raises(InvalidArgument):
            await admin("Auth.Generate", request)
        await admin("Auth.Generate", pb.GenerateRequest(id="taken", scopes=["admin"], options=SHOP))
        request = pb.GenerateRequest(id="taken", type="service", scopes=["service"], options=SHOP)
        await says(400, "Account with this ID already exists", runtime("Auth.Generate", request))


class TestNews:
    async def test_a_follower_hears_that_auth_lives(
        self, world: World, admin: As, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(serving, "HEARTBEAT", 0.02)
        request = pb.WatchRequest(namespace="shop")
        stream = admin.caller.serve_stream("auth", "Auth.Watch", request, pb.WatchResponse)
        async with asyncio.timeout(10), aclosing(stream) as answers:  # type: ignore[type-var]
            silent = 0
            async for answer in answers:
                silent += not (answer.rules or answer.keys or answer.revoked or answer.synced)
                if silent == 3:
                    break

    async def test_an_open_stream_ends_when_its_token_is_revoked_and_not_when_it_runs_out(
        self, world: World, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(serving, "HEARTBEAT", 0.02)
        monkeypatch.setattr(standing, "EVERY", 0.02)
        shop = world.auth.at("shop")
        for id in ("ann", "bob"):
            await shop.accounts.create(id, secret="hunter2")
        heard: dict[str, int] = {}

        async def listen(id: str) -> None:
            token = (await shop.login(id, "hunter2", ttl=60)).access_token
            caller = world.caller(token)
            request = pb.WatchRequest(namespace="shop")
            async for _ in caller.serve_stream("auth", "Auth.Watch", request, pb.WatchResponse):
                heard[id] = heard.get(id, 0) + 1

        ann, bob = (asyncio.create_task(listen(id)) for id in ("ann", "bob"))
        async with asyncio.timeout(10):
            while len(heard) < 2:
                await asyncio.sleep(0.01)
            clock.now += 200
            await shop.revoke(id="ann")
            with pytest.raises(Unauthenticated):
                await ann
            before = heard["bob"]
            while heard["bob"] < before + 5:
                await asyncio.sleep(0.01)
        bob.cancel()
        await asyncio.gather(bob, return_exceptions=True)

    async def test_an_open_stream_ends_when_the_rules_would_not_let_it_in(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(standing, "EVERY", 0.02)
        shop = world.auth.at("shop")
        caller = world.as_("ann", issuer="shop").caller
        request = pb.WatchRequest(namespace="shop")
        async with asyncio.timeout(10):
            with pytest.raises(PermissionDenied, match=r"Auth\.Watch by ann"):
                async for answer in caller.serve_stream("auth", "Auth.Watch", request, pb.WatchResponse):
                    if answer.synced:
                        await shop.rules.create(Rule("no", "*", Resource("auth"), DENIED))

    async def test_a_foreigner_hears_nothing(self, world: World) -> None:
        stranger = world.as_("eve", issuer="other", scopes=["admin"])
        request = pb.WatchRequest(namespace="shop")
        with pytest.raises(PermissionDenied):
            async for _ in stranger.caller.serve_stream("auth", "Auth.Watch", request, pb.WatchResponse):
                pass

    async def test_a_guard_over_the_wire_follows(self, world: World, admin: As, key: SigningKey) -> None:
        guard = AuthGuard("orders", "shop", "", caller=admin.caller, clock=lambda: 1_000_000_000.0)
        await guard.start()
        try:
            header = f"Bearer {world.token('ann', issuer='shop')}".encode()
            await guard.prepare(header, "shop")
            account = guard.identify(header, audience="services")
            guard.check(account, "shop", "orders", "Orders.Place")
            await world.auth.at("shop").rules.delete("default")
            async with asyncio.timeout(5):
                while True:
                    try:
                        guard.check(account, "shop", "orders", "Orders.Place")
                    except PermissionDenied:
                        break
                    await asyncio.sleep(0.01)
        finally:
            await guard.close()

    async def test_check_says_which_rule_decides(self, world: World, admin: As) -> None:
        await world.auth.at("shop").accounts.create("ann", scopes=["a"])
        await world.auth.at("shop").rules.create(Rule("mine", "a", priority=2))
        asked = pb.Resource(name="orders", type="service", endpoint="Orders.Place")
        answer = await admin("Auth.Check", pb.CheckRequest(account="ann", resource=asked, namespace="shop"))
        assert (answer.allowed, answer.rule, list(answer.trail)) == (True, "mine", ["mine: granted to scope a"])


class TestFirstAccount:
    async def test_it_is_made_once_in_the_life_of_a_store(self, driver: StoreAuth, tmp_path: Path) -> None:
        path = tmp_path / "admin.json"
        await first_account(driver, path)  # no file: nothing to do
        path.write_text(json.dumps({"version": 1, "id": "admin", "secret": "s3cret", "namespace": "micro"}))
        await asyncio.gather(*(first_account(driver, path) for _ in range(4)))
        auth = Auth(driver)
        token = await auth.login("admin", "s3cret")
        assert (await auth.inspect(token.access_token)).is_platform
        await auth.accounts.change_secret("admin", "another")
        await first_account(driver, path)
        with pytest.raises(Unauthenticated):
            await auth.login("admin", "s3cret")
        await auth.accounts.delete("admin")
        await first_account(driver, path)
        assert await auth.accounts.list() == []

    @pytest.mark.parametrize("away", [Unavailable, DeadlineExceeded])
    async def test_a_store_that_is_away_or_slow_is_waited_for(
        self, driver: StoreAuth, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, away: type[ServiceError]
    ) -> None:
        path = tmp_path / "admin.json"
        path.write_text(json.dumps({"version": 1, "id": "admin", "secret": "s3cret", "namespace": "micro"}))
        bootstrap = driver.bootstrap
        answers: list[Exception] = [away("store.write: no answer"), away("store.write: no answer")]

        async def sometimes(account: Account, secret: str) -> bool:
            if answers:
                raise answers.pop()
            return await bootstrap(account, secret)

        monkeypatch.setattr(driver, "bootstrap", sometimes)
        await first_account(driver, path)
        assert await Auth(driver).login("admin", "s3cret")

    async def test_no_secret_is_known(self, driver: StoreAuth) -> None:
        auth = Auth(driver)
        with pytest.raises(Unauthenticated):
            await auth.login("admin", "micro")

    @pytest.mark.parametrize(
        ("doors", "scope"),
        [({}, ""), ({"proxy": "127.0.0.1:8081"}, ""), ({"proxy": "0.0.0.0:8081"}, "*"), ({"api": ":8080"}, "*")],
    )
    async def test_the_default_rule_is_public_on_this_machine_alone(
        self, store: Store, key: SigningKey, tmp_path: Path, doors: dict[str, str], scope: str
    ) -> None:
        driver = StoreAuth(StoreAuthSettings(default_rule="public"), store=store)
        driver._keyring._keys = [key]

        class Fake:
            data = tmp_path

            def driver(self, primitive: str, **parts: Any) -> Any:
                return driver, "store"

            def setting(self, primitive: str, key: str, default: Any) -> Any:
                return doors.get(primitive, default)

        core = await build(Fake())  # type: ignore[arg-type]
        assert core.ready is not None
        assert core.close is not None
        await core.ready()
        assert [rule.scope for rule in await driver.rules("shop")] == [scope]
        await core.close()

    async def test_without_a_word_the_default_rule_is_for_accounts(self, driver: StoreAuth) -> None:
        assert [rule.scope for rule in await driver.rules("shop")] == ["*"]


class TestSecrets:
    async def test_of_people_are_argon2id_and_of_services_sha256(self, driver: StoreAuth, store: Store) -> None:
        shop = Auth(driver, namespace="shop")
        await shop.accounts.create("ann", secret="hunter2")
        await shop.accounts.create("svc", type="service", secret="r" * 32)
        await shop.accounts.create("weak", type="service", secret="short")
        kept = {id: (await store.get(f"account/shop/{id}"))["secret"] for id in ("ann", "svc", "weak")}
        assert kept["ann"].startswith("$argon2id$v=19$m=19456,t=2,p=1$")
        assert kept["svc"].startswith("sha256$")
        assert kept["weak"].startswith("$argon2id$")
        assert (await shop.login("svc", "r" * 32)).access_token
        assert (await shop.login("weak", "short")).access_token

    async def test_the_originals_are_checked_and_written_anew(self, driver: StoreAuth, store: Store) -> None:
        stored = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"  # of "U*U"
        account = {"id": "ann", "type": "user", "issuer": "shop", "metadata": None, "scopes": None, "secret": stored}
        await store.write("account/shop/ann", {**account, "name": "ann"})
        shop = Auth(driver, namespace="shop")
        with pytest.raises(Unauthenticated):
            await shop.login("ann", "U*V")
        for _ in range(2):
            assert (await shop.login("ann", "U*U")).access_token
        assert (await store.get("account/shop/ann"))["secret"].startswith("$argon2id$")

    async def test_nothing_that_is_stored_logs_in(self, driver: StoreAuth, store: Store) -> None:
        shop = Auth(driver, namespace="shop")
        await shop.accounts.create("ann", secret="hunter2")
        await shop.accounts.create("svc", type="service", secret="r" * 32)
        token = await shop.login("ann", "hunter2")
        await shop.renew(token.refresh_token)
        whole = b"".join([record.key.encode() + record.value async for record in store.scan()])
        for secret in ("hunter2", "r" * 32, token.refresh_token, token.access_token):
            assert secret.encode() not in whole
        for id in ("ann", "svc"):
            with pytest.raises(Unauthenticated):
                await shop.login(id, (await store.get(f"account/shop/{id}"))["secret"])

    async def test_a_flood_of_logins_is_cut_short(self) -> None:
        secrets = Secrets()
        stored = await secrets.store("hunter2", service=False)
        answers = await asyncio.gather(*(secrets.matches("x", stored) for _ in range(40)), return_exceptions=True)
        secrets.close()
        refused = [answer for answer in answers if isinstance(answer, ResourceExhausted)]
        assert len(refused) == 18
        assert answers.count(False) == 22

    async def test_who_is_known_here_is_not_kept_out_by_strangers(self, driver: StoreAuth) -> None:
        shop = Auth(driver, namespace="shop")
        await shop.accounts.create("ann", secret="hunter2")
        await shop.login("ann", "hunter2", peer="10.0.0.1")
        for n in range(5):
            with pytest.raises(Unauthenticated):
                await shop.login("ann", "guess", peer=f"10.0.1.{n}")
        with pytest.raises(ResourceExhausted):
            await shop.login("ann", "hunter2", peer="10.0.1.9")
        assert (await shop.login("ann", "hunter2", peer="10.0.0.1")).access_token

    async def test_one_peer_guesses_at_no_more_than_five_accounts_a_minute(self, driver: StoreAuth) -> None:
        for n in range(5):
            with pytest.raises(Unauthenticated):
                await driver.token("shop", Credentials(f"user{n}", "guess", "10.0.0.9"), ttl=60)
        with pytest.raises(ResourceExhausted):
            await driver.token("shop", Credentials("user9", "guess", "10.0.0.9"), ttl=60)
        for n in range(8):  # this machine's own are not counted together
            with pytest.raises(Unauthenticated):
                await driver.token("shop", Credentials(f"user{n + 10}", "guess", "127.0.0.1"), ttl=60)


class TestSeveralServers:
    async def test_each_signs_with_its_own_key_and_all_read_all(
        self, store: Store, clock: Clock, tmp_path: Path
    ) -> None:
        async with (
            StoreAuth(store=store, clock=clock, keys=tmp_path / "a") as one,
            StoreAuth(store=store, clock=clock, keys=tmp_path / "b") as two,
        ):
            await one.create(Account("ann", issuer="shop"), "hunter2")
            token = await two.token("shop", Credentials("ann", "hunter2"), ttl=900)
            assert (await one.inspect(token.access_token)).id == "ann"
            assert len(KeySet(await one.keys())) == len(KeySet(await two.keys())) == 2
            guard = AuthGuard("orders", "shop", "", driver=one, clock=clock)
            header = f"Bearer {token.access_token}".encode()
            await guard.prepare(header, "shop")
            assert guard.identify(header).id == "ann"
            await two.revoke("shop", id="ann")
            async with asyncio.timeout(5):
                while True:
                    try:
                        guard.identify(header)
                    except Unauthenticated:
                        break
                    await asyncio.sleep(0.01)
            await guard.close()

    async def test_a_new_key_is_taken_up_by_all_and_the_old_one_stays_good(
        self, store: Store, clock: Clock, tmp_path: Path, key: SigningKey
    ) -> None:
        folder = tmp_path / "a"
        async with (
            StoreAuth(store=store, clock=clock, keys=folder) as one,
            StoreAuth(store=store, clock=clock, keys=tmp_path / "b") as two,
        ):
            await one.create(Account("ann", issuer="shop"), "hunter2")
            guard = AuthGuard("orders", "shop", "", driver=two, clock=clock)
            await guard.start()
            await guard.prepare(None, "shop")

            async def borne() -> bytes:
                token = await one.token("shop", Credentials("ann", "hunter2"), ttl=900)
                assert (await two.inspect(token.access_token)).id == "ann"
                return f"Bearer {token.access_token}".encode()

            async def identified(header: bytes) -> None:
                async with asyncio.timeout(5):
                    while True:
                        try:
                            guard.identify(header)
                        except NotReadyError:
                            await asyncio.sleep(0.005)
                        else:
                            return

            old = await borne()
            await identified(old)
            file = folder / f"{key.kid}.pem"
            file.touch(mode=0o600)
            file.write_bytes(key_pem(key))
            two._accounts._keys_next = 0.0  # as five seconds later
            await identified(await borne())
            await identified(old)
            assert len(KeySet(await two.keys())) == 3
            file.unlink()
            await borne()
            assert len(KeySet(await two.keys())) == 2
            await guard.close()

    async def test_a_record_that_is_damaged_hides_no_other(self, driver: StoreAuth, store: Store) -> None:
        await driver.put_rule("shop", Rule("good"))
        await store.write("rules/shop/bad", b"{")
        async with asyncio.timeout(5), aclosing(driver.watch("shop")) as events:  # type: ignore[type-var]
            async for event in events:
                if isinstance(event, Change) and event.key == "rules/good":
                    break

    async def test_a_mirror_survives_its_store(self, store: Store, clock: Clock, key: SigningKey) -> None:
        driver = StoreAuth(store=store, clock=clock)
        driver._keyring._keys = [key]
        real, broken = store.watch, [3]

        def watch(prefix: str = "") -> Any:
            broken[0] -= 1
            if broken[0] >= 0:
                raise PermissionDenied("not now")
            return real(prefix)

        store.watch = watch  # type: ignore[method-assign,assignment]
        async with driver, asyncio.timeout(10), aclosing(driver.watch("shop")) as events:  # type: ignore[type-var]
            async for event in events:
                if isinstance(event, Synced):
                    break
        assert broken[0] < 0
