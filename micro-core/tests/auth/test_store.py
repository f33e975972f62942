"""StoreAuth, apart from what every driver does."""

import asyncio

import pytest

from micro.auth.driver import Credentials, Exchange
from micro.auth.store import StoreAuth
from micro.context import Account


async def test_the_first_tokens_at_once_are_all_good(driver: StoreAuth, monkeypatch: pytest.MonkeyPatch) -> None:
    await driver.create(Account("ann", issuer="shop"), "secret")
    token = await driver.token("shop", Credentials("ann", "secret"), ttl=900)
    jwks = driver._accounts.jwks

    async def slow() -> str:
        await asyncio.sleep(0.01)  # a store elsewhere
        return await jwks()

    monkeypatch.setattr(driver._accounts, "jwks", slow)
    exchange = Exchange(token.access_token)
    asked = [driver.token("shop", exchange, ttl=900, audience=("services",)) for _ in range(10)]
    assert all(one.access_token for one in await asyncio.gather(*asked))
