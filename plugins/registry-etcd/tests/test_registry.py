"""EtcdRegistry is a registry; and its life, with an etcd that is away, silent, cut off and back."""

from collections.abc import AsyncIterator

import pytest

from micro.testing.backend import WatchedBackendSuite
from micro.testing.door import Door
from micro.testing.lifecycle import Make
from micro.testing.registry import RegistrySuite
from micro.testing.servers import Server
from micro_registry_etcd import EtcdRegistry, EtcdSettings
from micro_registry_etcd.client import CompactedError, EtcdError

TIMEOUT = 0.7  # seconds that it waits for an answer


class TestEtcdRegistry(RegistrySuite):
    lease = 2.0  # etcd's shortest
    late = 1.5  # its sweep, and a busy machine

    @pytest.fixture
    async def driver(self, etcd_server: Server) -> AsyncIterator[EtcdRegistry]:
        async with EtcdRegistry(EtcdSettings(endpoints=[f"http://127.0.0.1:{etcd_server.port}"])) as driver:
            yield driver


class TestEtcdRegistryLife(WatchedBackendSuite):
    library = (EtcdError, CompactedError, OSError)
    patience = TIMEOUT + 0.5

    @pytest.fixture
    def target(self, etcd_server: Server) -> str:
        return f"127.0.0.1:{etcd_server.port}"

    @pytest.fixture
    def make(self, door: Door) -> Make:
        settings = EtcdSettings(endpoints=[f"http://{door.address}"], connect_timeout=TIMEOUT, timeout=TIMEOUT)
        return lambda: EtcdRegistry(settings)
