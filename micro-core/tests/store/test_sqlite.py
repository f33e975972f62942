"""SqliteStore is a store, and keeps what it acknowledged."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from micro.store.sqlite import SqliteStore
from micro.testing.store import StoreSuite


class TestSqliteStore(StoreSuite):
    @pytest.fixture
    async def driver(self, tmp_path: Path) -> AsyncIterator[SqliteStore]:
        async with SqliteStore(data=tmp_path) as driver:
            yield driver
