"""What a service calls: who calls it, what they need, and its namespace's accounts and rules."""

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from micro import auth, context
from micro.auth.administration import AccountsHandler, RulesHandler
from micro.auth.service import AuthHandler
from micro.auth.store import StoreAuth
from micro.context import Account, Context
from micro.errors import PermissionDenied, Unauthenticated
from micro.rpc.endpoint import collect
from micro.service.process import Process
from micro.service.surroundings import Surroundings
from micro.testing.served import PLATFORM, Served


def become(account: Account | None) -> None:
    """Answer a call of this account; each test has a context of its own."""
    context.enter(Context(account=account))


@dataclass
class Order:
    id: str


class Orders:
    """Takes orders."""

    @auth.require("writer", "clerk")
    async def place(self, order: Order) -> Order:
        """Take one order."""
        return order

    @auth.require("writer")
    def count(self, order: Order) -> int:
        return 1

    @auth.require()
    async def watch(self, order: Order) -> AsyncIterator[Order]:
        yield order

    @auth.require("writer")
    def each(self, order: Order) -> Iterator[Order]:
        yield order


class TestRequire:
    def test_it_leaves_an_endpoint_what_it_is(self) -> None:
        found = {one.method: one for one in collect(Orders())}
        assert [(name, one.server_streaming, one.blocking) for name, one in found.items()] == [
            ("Place", False, False), ("Count", False, True), ("Watch", True, False), ("Each", True, True),
        ]  # fmt: skip
        assert found["Place"].doc == "Take one order."

    async def test_who_has_all_scopes_may(self) -> None:
        become(Account("ann", scopes=("clerk", "writer", "more")))
        orders, order = Orders(), Order("1")
        assert auth.current() == Account("ann")
        assert await orders.place(order) == order
        assert orders.count(order) == 1
        assert [one async for one in orders.watch(order)] == [order]
        assert list(orders.each(order)) == [order]

    async def test_who_lacks_one_may_not(self) -> None:
        become(Account("ann", scopes=("clerk",)))
        orders, order = Orders(), Order("1")
        with pytest.raises(PermissionDenied, match="writer"):
            await orders.place(order)
        with pytest.raises(PermissionDenied):
            orders.count(order)
        with pytest.raises(PermissionDenied):
            list(orders.each(order))
        assert [one async for one in orders.watch(order)] == [order]

    async def test_nobody_may_nothing(self) -> None:
        become(None)
        assert auth.current() is None
        with pytest.raises(Unauthenticated):
            await Orders().place(Order("1"))
        with pytest.raises(Unauthenticated):
            await anext(Orders().watch(Order("1")))


async def test_the_functions_use_the_process_they_are_called_in(driver: StoreAuth) -> None:
    async with Served() as world:
        served = auth.Auth(driver)
        handlers: list[tuple[str, Any]] = [
            ("Auth", AuthHandler(served)), ("Accounts", AccountsHandler(served)), ("Rules", RulesHandler(served)),
        ]  # fmt: skip
        await world.serve("auth", handlers)
        async with Process(Surroundings(namespace="shop"), caller=world.caller(PLATFORM)):
            await auth.accounts.create("ann", secret="hunter2", scopes=["a"])
            assert [account.id for account in await auth.accounts.list()] == ["ann"]
            assert (await auth.login("ann", "hunter2")).access_token
            ann = Account("ann", issuer="shop", scopes=("a",))
            await auth.verify(ann, "service:orders:Orders.Place")
            await auth.rules.create(auth.Rule("no", "a", access=2))
            with pytest.raises(PermissionDenied):
                await auth.verify(ann, "service:orders:Orders.Place")
            await auth.rules.delete("no")
            await auth.accounts.delete("ann")
            assert await auth.accounts.list() == []


def test_importing_auth_imports_nothing_else() -> None:
    code = "import sys, micro.auth; print([m for m in sys.modules if m.startswith('micro')])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert set(eval(printed)) == {"micro", "micro._lazy", "micro.auth"}


def test_a_guard_needs_neither_grpc_nor_cryptography_nor_argon2() -> None:
    code = "import sys, micro.auth.guard; print([m for m in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"grpc", "cryptography", "argon2", "jwt", "aiohttp"} & set(eval(printed))
