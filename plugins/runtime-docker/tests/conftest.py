"""The engine that the tests share, and the image that they run."""

import asyncio

import pytest

from micro.testing.servers.docker import DockerServer, docker_engine
from micro_runtime_docker.daemon import Daemon
from micro_runtime_docker.images import Images
from micro_runtime_docker.settings import DockerSettings

__all__ = ["docker_engine"]


@pytest.fixture(scope="session")
def image(docker_engine: DockerServer) -> str:
    """Give an image of this interpreter on the shared engine."""

    async def made() -> str:
        daemon = Daemon(DockerSettings(host=docker_engine.address))
        await daemon.open()
        try:
            return await Images(daemon, "").base()
        finally:
            await daemon.close()

    return asyncio.run(made())
