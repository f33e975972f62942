"""DockerRuntime is a runtime."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from micro.runtime.accounts import Accounts
from micro.runtime.driver import RuntimeDriver
from micro.store import Store
from micro.store.memory import MemoryStore
from micro.testing.runtime import RuntimeSuite
from micro.testing.servers.docker import DockerServer
from micro_runtime_docker import DockerRuntime, DockerSettings

SUPERVISOR = os.pipe()  # its writing end stays open as long as there is this process


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("micro.runtime.keeper.SETTLED", 0.2)
    monkeypatch.setattr("micro.runtime.reconciler.DWELL", 0.5)


class Known(Accounts):
    """What the auth service makes of accounts is shown where it runs."""

    async def create(self, namespace: str, id: str) -> str:
        return f"secret of {id}"

    async def remove(self, namespace: str, id: str) -> None:
        pass


class TestDockerRuntime(RuntimeSuite):
    second = 0.05

    @pytest.fixture
    def make(self, docker_engine: DockerServer, image: str, tmp_path: Path) -> Callable[[], RuntimeDriver]:
        settings = DockerSettings(host=docker_engine.address, base=image, network="none", grace=1.0)
        store = Store(MemoryStore()).table("runtime")

        def made() -> DockerRuntime:
            runtime = DockerRuntime(settings, store=store, data=tmp_path, caller=None, alive=SUPERVISOR[0])
            runtime.accounts = Known()
            return runtime

        return made
