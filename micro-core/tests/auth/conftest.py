"""Clocks, keys and stores that auth's tests share."""

from collections.abc import AsyncIterator

import pytest

from micro.auth.store import StoreAuth
from micro.auth.tokens import SigningKey, generate_key
from micro.store.api import Store
from micro.store.memory import MemoryStore


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1_000_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="session")
def key() -> SigningKey:
    return generate_key()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> Store:
    return Store(MemoryStore(clock=clock), database="micro", table="auth")


@pytest.fixture
async def driver(store: Store, clock: Clock, key: SigningKey) -> AsyncIterator[StoreAuth]:
    made = StoreAuth(store=store, clock=clock)
    made._keyring._keys = [key]  # making one takes tenths of a second
    async with made:
        yield made
