"""The engine that the tests share, the image that they run, and a runtime on an engine with what that has of it."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from micro.runtime.accounts import Accounts
from micro.runtime.api import Runtime
from micro.store import Store
from micro.store.memory import MemoryStore
from micro.testing.servers.docker import DockerServer, docker_engine
from micro_runtime_docker import DockerRuntime, DockerSettings, root
from micro_runtime_docker.daemon import Daemon
from micro_runtime_docker.images import Images

__all__ = ["docker_engine"]
SUPERVISOR = os.pipe()  # its writing end stays open as long as there is this process


IMAGE = "tools:1"


def with_tools(server: DockerServer) -> str:
    """Make an image on an engine that has a shell, which is all that most tests need."""

    async def made() -> None:
        daemon = Daemon(DockerSettings(host=server.address))
        await daemon.open()
        try:
            await Images(daemon, "").make(IMAGE, root.tools())
        finally:
            await daemon.close()

    asyncio.run(made())
    return IMAGE


class Known(Accounts):
    """What the auth service makes of accounts is shown where it runs."""

    async def create(self, namespace: str, id: str) -> str:
        return f"secret of {id}"

    async def remove(self, namespace: str, id: str) -> None:
        pass


class Contained:
    """What a server would have: a store, a data folder, and a runtime on `server`, again and again."""

    def __init__(self, server: DockerServer, folder: Path, **settings: Any) -> None:
        given = {"host": server.address, "network": "none", "grace": 1.0} | settings
        self.settings = DockerSettings(**given)
        self.data = folder
        folder.mkdir(exist_ok=True)
        self.server = server
        self.store = Store(MemoryStore()).table("runtime")
        self.addresses: dict[str, str] = {}

    def driver(self) -> DockerRuntime:
        made = DockerRuntime(
            self.settings,
            store=self.store,
            data=self.data,
            caller=None,
            alive=SUPERVISOR[0],
            addresses=self.addresses,
        )
        made.accounts = Known()
        return made

    def runtime(self, namespace: str = "micro") -> Runtime:
        return Runtime(self.driver(), plugin="docker", namespace=namespace)

    @property
    def owner(self) -> str:
        return (self.data / "server.id").read_text()

    def containers(self, state: str = "") -> list[dict[str, Any]]:
        """List this runtime's containers that the engine has, in a state."""
        found = self.server.ask("GET", "/containers/json?all=1")
        mine = [each for each in found if each["Labels"].get("micro.server") == self.owner]
        return [each for each in mine if state in {"", each["State"]}]

    def running(self) -> Counter[str]:
        """Count the containers that run, by their services."""
        return Counter(each["Labels"]["micro.service"] for each in self.containers("running"))

    async def gone(self) -> None:
        """Wait until the engine has nothing of it: what is removed at the end may take its time."""

        async def none() -> bool:
            return not self.containers()

        await self.until(none, 20, "nothing is left")

    @staticmethod
    async def until(true: Callable[[], Awaitable[bool]], seconds: float, what: str) -> float:
        """Wait until something is so; gives how long that took."""
        begun = time.monotonic()
        while not await true():
            assert time.monotonic() - begun < seconds, f"it did not happen in {seconds:g} s that {what}"
            await asyncio.sleep(0.05)
        return time.monotonic() - begun

    @staticmethod
    async def lines(runtime: Runtime, name: str) -> list[str]:
        """Give what a service wrote."""
        return [line.message async for line in runtime.logs(name)]


@pytest.fixture(scope="session")
def tools() -> Callable[[DockerServer], str]:
    """Give what makes the image on an engine."""
    return with_tools


@pytest.fixture(scope="session")
def image(docker_engine: DockerServer) -> str:
    """Give an image with a shell on the shared engine."""
    return with_tools(docker_engine)


@pytest.fixture(scope="session")
def contained_on() -> Callable[..., Contained]:
    """Give what makes a runtime's surroundings, of an engine, a folder and settings."""
    return Contained
