"""DockerEngine is an engine."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from micro.runtime.driver import Engine, Instance, Limits
from micro.testing.engine import EngineSuite
from micro.testing.servers.docker import DockerServer
from micro_runtime_docker import DockerEngine, DockerSettings

SUPERVISOR = os.pipe()  # its writing end stays open as long as there is this process


class TestDockerEngine(EngineSuite):
    @pytest.fixture
    def make(self, docker_engine: DockerServer, image: str) -> Callable[[], Engine]:
        settings = DockerSettings(host=docker_engine.address, base=image, network="none")
        owner = os.urandom(8).hex()
        return lambda: DockerEngine(settings, alive=SUPERVISOR[0], owner=owner)

    def instance(self, script: str, number: int, folder: Path, env: Mapping[str, str], limits: Limits) -> Instance:
        made = super().instance(script, number, folder, env, limits)
        made.folder = "/tmp"
        return made
