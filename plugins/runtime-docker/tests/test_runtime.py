"""DockerRuntime is a runtime."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from micro.runtime.driver import RuntimeDriver
from micro.testing.runtime import RuntimeSuite
from micro.testing.servers.docker import DockerServer


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("micro.runtime.keeper.SETTLED", 0.2)
    monkeypatch.setattr("micro.runtime.reconciler.DWELL", 0.5)


class TestDockerRuntime(RuntimeSuite):
    second = 0.05

    @pytest.fixture
    def make(
        self, contained_on: Callable[..., Any], docker_engine: DockerServer, image: str, tmp_path: Path
    ) -> Callable[[], RuntimeDriver]:
        driver: Callable[[], RuntimeDriver] = contained_on(docker_engine, tmp_path, base=image).driver
        return driver
