"""The life of PostgresStore, and what it makes of a PostgreSQL that is away, silent, cut off and back."""

import asyncpg
import pytest

from micro.testing.backend import WatchedBackendSuite
from micro.testing.door import Door
from micro.testing.lifecycle import Make
from micro.testing.servers.postgres import USER, Postgres
from micro_store_postgres import PostgresSettings, PostgresStore

TIMEOUT = 0.7  # seconds that it waits for an answer


class TestPostgresStore(WatchedBackendSuite):
    library = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
    patience = 2 * TIMEOUT + 0.5  # to connect, and for an answer

    @pytest.fixture
    def target(self, postgres_server: Postgres) -> str:
        return f"127.0.0.1:{postgres_server.port}"

    @pytest.fixture
    def make(self, door: Door) -> Make:
        url = f"postgresql://{USER}@{door.address}/postgres"
        return lambda: PostgresStore(PostgresSettings(url=url, connect_timeout=TIMEOUT, timeout=TIMEOUT))
