"""The life of DockerRuntime and of DockerEngine, and what that makes of an engine that is away, silent, cut off and back."""

import os
from pathlib import Path

import aiohttp
import pytest
from aiodocker.exceptions import DockerContainerError, DockerContextError, DockerError, DockerStreamError

from micro.store import Store
from micro.store.memory import MemoryStore
from micro.testing.backend import BackendSuite
from micro.testing.door import Door
from micro.testing.lifecycle import CheckedSuite, Make
from micro.testing.servers.docker import DockerServer
from micro_runtime_docker import DockerEngine, DockerRuntime, DockerSettings

SUPERVISOR = os.pipe()  # its writing end stays open as long as there is this process
TIMEOUT = 0.7  # seconds that it waits for an answer


class TestDockerEngine(BackendSuite):
    library = (DockerError, aiohttp.ClientError, OSError)
    patience = TIMEOUT + 0.5
    registered = False
    through = ("adopt",)

    def raised(self, cls: type[Exception]) -> Exception:
        if issubclass(cls, DockerContainerError):
            return cls(500, "raised by the suite", "a container")
        if issubclass(cls, DockerStreamError):
            return cls("raised by the suite", error_detail={})
        if issubclass(cls, DockerContextError):
            return cls("raised by the suite")
        return cls(500, "raised by the suite") if issubclass(cls, DockerError) else super().raised(cls)

    @pytest.fixture
    def target(self, docker_engine: DockerServer) -> str:
        return docker_engine.address

    @pytest.fixture
    def make(self, door: Door) -> Make:
        settings = DockerSettings(host=door.address, connect_timeout=TIMEOUT, timeout=TIMEOUT)
        owner = os.urandom(8).hex()
        return lambda: DockerEngine(settings, alive=SUPERVISOR[0], owner=owner)


class TestDockerRuntime(CheckedSuite):
    patience = 5.0

    @pytest.fixture
    def make(self, docker_engine: DockerServer, image: str, tmp_path: Path) -> Make:
        settings = DockerSettings(host=docker_engine.address, base=image, network="none")
        store = Store(MemoryStore()).table("runtime")
        return lambda: DockerRuntime(settings, store=store, data=tmp_path, caller=None, alive=SUPERVISOR[0])

    @pytest.fixture
    def unopenable(self, tmp_path: Path) -> Make:
        settings = DockerSettings(host=f"unix://{tmp_path}/nothing.sock")
        store = Store(MemoryStore()).table("runtime")
        return lambda: DockerRuntime(settings, store=store, data=tmp_path, caller=None, alive=SUPERVISOR[0])
