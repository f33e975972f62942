"""PostgresStore when its PostgreSQL is down, hangs and restarts."""

from collections.abc import Iterator

import pytest

from micro.testing.lifecycle import Make
from micro.testing.outages import TIMEOUT, StoreOutageSuite
from micro.testing.servers.postgres import Postgres, postgres
from micro_store_postgres import PostgresSettings, PostgresStore


@pytest.fixture(scope="module")
def own() -> Iterator[Postgres]:
    with postgres() as server:
        server.start()
        yield server


class TestPostgresOutages(StoreOutageSuite):
    @pytest.fixture
    def server(self, own: Postgres) -> Postgres:
        return own

    @pytest.fixture
    def make(self, server: Postgres) -> Make:
        return lambda: PostgresStore(PostgresSettings(url=server.url, timeout=TIMEOUT, connect_timeout=TIMEOUT))
