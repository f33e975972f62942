"""RedisStore is a store."""

from collections.abc import AsyncIterator

import pytest

from micro.testing.servers import Server
from micro.testing.store import StoreSuite
from micro_store_redis import RedisSettings, RedisStore


class TestRedisStore(StoreSuite):
    @pytest.fixture
    async def driver(self, redis_server: Server) -> AsyncIterator[RedisStore]:
        async with RedisStore(RedisSettings(url=f"redis://127.0.0.1:{redis_server.port}/0")) as driver:
            yield driver
