"""StoreAuth is an auth, and RemoteAuth is one through the service, on a clock of the test's."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from micro.auth.administration import AccountsHandler, RulesHandler
from micro.auth.api import Auth
from micro.auth.driver import AuthDriver
from micro.auth.remote import RemoteAuth
from micro.auth.service import AuthHandler
from micro.auth.store import StoreAuth
from micro.testing.auth import AuthSuite
from micro.testing.served import Served, core


class TestStoreAuth(AuthSuite):
    async def pass_time(self, driver: AuthDriver, seconds: float) -> None:
        assert isinstance(driver, StoreAuth)
        clock: Any = driver.clock
        clock.now += seconds


class TestRemoteAuth(AuthSuite):
    @pytest.fixture
    async def driver(self, driver: StoreAuth, clock: Any) -> AsyncIterator[RemoteAuth]:
        self.clock = clock
        auth = Auth(driver)
        async with Served() as world:
            handlers = [("Auth", AuthHandler(auth)), ("Accounts", AccountsHandler(auth)), ("Rules", RulesHandler(auth))]
            await world.serve("auth", handlers)
            yield RemoteAuth(caller=world.caller(core("runtime")))

    async def pass_time(self, driver: AuthDriver, seconds: float) -> None:
        self.clock.now += seconds
