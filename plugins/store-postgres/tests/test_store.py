"""PostgresStore is a store."""

from collections.abc import AsyncIterator

import pytest

from micro.testing.servers.postgres import Postgres
from micro.testing.store import StoreSuite
from micro_store_postgres import PostgresSettings, PostgresStore


class TestPostgresStore(StoreSuite):
    @pytest.fixture
    async def driver(self, postgres_server: Postgres) -> AsyncIterator[PostgresStore]:
        async with PostgresStore(PostgresSettings(url=postgres_server.url)) as driver:
            yield driver
