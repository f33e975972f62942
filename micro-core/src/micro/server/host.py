"""A core service's process, as the service sees it: its table, its drivers, the others, and who may call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from micro.context import CORE_NAMESPACE
from micro.errors import ConfigError
from micro.plugin import discovery
from micro.plugin.driver import Driver
from micro.plugin.profile import Profile
from micro.plugin.settings import Secret
from micro.rpc.caller import Caller
from micro.rpc.driver import Transport
from micro.rpc.guard import Guard
from micro.service.core import Host

if TYPE_CHECKING:
    from micro.plugin.hooks import Hooks
    from micro.registry.api import Registry
    from micro.store.api import Store


class ProcessHost(Host):
    """The Host of a process that serves one core service.

    `pinned` is where this service was in its last life; `alive` the read end of the supervisor's pipe, -1 without one.
    """

    def __init__(
        self,
        name: str,
        profile: Profile,
        data: Path,
        *,
        addresses: Mapping[str, str],
        pinned: Mapping[str, str],
        transport: Transport,
        caller: Caller,
        guard: Guard,
        hooks: Hooks | None = None,
        alive: int = -1,
        leaving: Callable[[], bool] = bool,
    ) -> None:
        self.name = name
        self.profile = profile.name
        self.data = data
        self.addresses = addresses
        self.transport = transport
        self.caller = caller
        self.guard = guard
        self.hooks = hooks
        self.alive = alive
        self._leaving = leaving
        self.interface = 0  # of the driver that provides this very service, once it is made
        table = {key: _revealed(value) for key, value in profile.table(name).items()}
        self.table = {**table, "address": pinned.get(name) or profile.address(name)}
        self._profile = profile
        self._store: Store | None = None

    def leaving(self) -> bool:
        return self._leaving()

    def driver(self, primitive: str, **parts: Any) -> tuple[Driver, str]:
        plugin = self._profile.plugin(primitive)
        if not plugin:
            raise ConfigError(f"profile {self.profile!r} names no plugin for {primitive}")
        cls = discovery.load(primitive, plugin)
        try:
            settings = self._profile.settings(primitive, cls.settings_type)
        except ConfigError as err:
            place = self._profile.where(primitive, "plugin").removesuffix(" plugin")
            raise ConfigError([f"{place}: {problem}" for problem in err.problems]) from err
        given = {need: parts[need] if need in parts else self._part(primitive, need) for need in cls.needs}
        driver = cls(settings, **given)  # type: ignore[call-arg]  # how every driver is made, see Driver
        if primitive == self.name:
            self.interface = cls.interface
        self._tell_opened(primitive, plugin, driver)
        return driver, plugin

    def _part(self, primitive: str, need: str) -> Any:
        match need:
            case "data":
                return self.data
            case "caller":
                return self.caller
            case "keys":
                return self.data / "keys"
            case "store":
                return self.store(primitive)
            case "registry":
                return self.registry()
            case "addresses":
                return self.addresses
            case "alive":
                return self.alive
        raise ConfigError(f"a driver of {primitive} needs {need!r}, which this core cannot give")

    def registry(self) -> Registry:
        """Give the portable Registry over the registry service, at domain `micro`."""
        from micro.registry.api import Registry
        from micro.registry.remote import RemoteRegistry

        return Registry(RemoteRegistry(caller=self.caller), plugin="remote")

    def _tell_opened(self, primitive: str, plugin: str, driver: Driver) -> None:
        hooks = self.hooks
        if hooks is None:
            return
        opens = driver.open

        async def open_and_tell() -> None:
            await opens()
            hooks.tell("driver_opened", primitive=primitive, plugin=plugin, driver=driver)

        driver.open = open_and_tell  # type: ignore[method-assign]

    def store(self, table: str) -> Store:
        if self._store is None:
            from micro.store.api import Store
            from micro.store.remote import RemoteStore

            self._store = Store(RemoteStore(caller=self.caller), plugin="remote", database=CORE_NAMESPACE)
        return self._store.table(table)

    def setting(self, primitive: str, key: str, default: Any) -> Any:
        return _revealed(self._profile.setting(primitive, key, default))


def _revealed(value: Any) -> Any:
    return value.reveal() if isinstance(value, Secret) else value
