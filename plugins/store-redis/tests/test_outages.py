"""RedisStore when its Redis is down, hangs and restarts."""

from collections.abc import Iterator

import pytest

from micro.testing.lifecycle import Make
from micro.testing.outages import TIMEOUT, StoreOutageSuite
from micro.testing.servers import Server, redis
from micro_store_redis import RedisSettings, RedisStore


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = redis(tmp_path_factory.mktemp("outages"))
    server.start()
    yield server
    server.stop()


class TestRedisOutages(StoreOutageSuite):
    @pytest.fixture
    def server(self, own: Server) -> Server:
        return own

    @pytest.fixture
    def make(self, server: Server) -> Make:
        url = f"redis://127.0.0.1:{server.port}/0"
        return lambda: RedisStore(RedisSettings(url=url, timeout=TIMEOUT, connect_timeout=TIMEOUT))
