"""The driver: the core's reconciler over containers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from micro.plugin.driver import Driver
from micro.registry.api import Registry
from micro.rpc.caller import Caller
from micro.runtime.accounts import RemoteAccounts
from micro.runtime.environment import Build
from micro.runtime.lease import identity
from micro.runtime.output import FileLogs
from micro.runtime.reconciler import Reconciler
from micro.store.api import Store
from micro_runtime_docker.settings import DockerSettings

if TYPE_CHECKING:
    from micro.runtime.running import Running


class DockerRuntime(Reconciler, interface=1):
    """Services as containers of images that are built from their sources, or given.

    Containers reach the platform by their network's gateway, where the driver passes connections on to the network's door.
    """

    settings_type: ClassVar[type[DockerSettings]] = DockerSettings
    needs = frozenset({"store", "data", "caller", "registry", "alive", "addresses"})
    imports = ("micro_runtime_docker.engine", "micro_runtime_docker.sources", "micro_runtime_docker.bridge")

    def __init__(
        self,
        settings: DockerSettings | None = None,
        *,
        store: Store,
        data: Path,
        caller: Caller,
        registry: Registry | None = None,
        alive: int = -1,
        addresses: Mapping[str, str] | None = None,
    ) -> None:
        from micro_runtime_docker.bridge import Bridge
        from micro_runtime_docker.engine import DockerEngine
        from micro_runtime_docker.images import Images
        from micro_runtime_docker.sources import DockerSources

        settings = settings or DockerSettings()
        self.engine = self._engine = engine = DockerEngine(settings, alive=alive)
        self._builds = DockerSources(data / "runtime", Images(engine.daemon, settings.base))
        super().__init__(store=store, sources=self._builds, output=FileLogs(data / "logs"), grace=settings.grace)
        self.capabilities |= {"images"}
        self.accounts = RemoteAccounts(caller)
        self.registry = registry
        self._data = data
        self._bridge = Bridge(engine.network, settings.platform, addresses or {})

    @classmethod
    def probe(cls, settings: DockerSettings) -> Driver:
        """Make what only finds out whether the engine answers."""
        from micro_runtime_docker.engine import DockerEngine

        return DockerEngine(settings)

    def error_code(self, exc: Exception) -> int:
        from micro_runtime_docker.daemon import code_of

        return code_of(exc)

    async def open(self) -> None:
        owner = await asyncio.to_thread(identity, self._data)
        self._engine.owner = self._builds.owner = owner
        await super().open()

    async def lead(self) -> None:
        await self._bridge.open()
        await super().lead()

    async def withdraw(self) -> None:
        await super().withdraw()
        await self._bridge.close()

    async def close(self) -> None:
        await super().close()
        await self._bridge.close()

    def platform(self) -> Mapping[str, str]:
        return self._bridge.variables

    async def build(self, service: Running) -> Build:
        return await self._builds.build(service)
