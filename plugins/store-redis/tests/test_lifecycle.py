"""The life of RedisStore, and what it makes of a Redis that is away, silent, cut off and back."""

import pytest
from redis import exceptions as rx

from micro.testing.backend import WatchedBackendSuite
from micro.testing.door import Door
from micro.testing.lifecycle import Make
from micro.testing.servers import Server
from micro_store_redis import RedisSettings, RedisStore

TIMEOUT = 0.7  # seconds that it waits for an answer


class TestRedisStore(WatchedBackendSuite):
    library = (rx.RedisError, rx.RedisClusterException, OSError)
    patience = TIMEOUT + 0.5

    @pytest.fixture
    def target(self, redis_server: Server) -> str:
        return f"127.0.0.1:{redis_server.port}"

    @pytest.fixture
    def make(self, door: Door) -> Make:
        settings = RedisSettings(url=f"redis://{door.address}/0", connect_timeout=TIMEOUT, timeout=TIMEOUT)
        return lambda: RedisStore(settings)
