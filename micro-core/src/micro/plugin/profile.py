"""Profiles: which plugin provides each primitive, and with which settings. Data from `micro.toml` and the built-in ones.

    profile = load("staging", overrides=["store.timeout=5s"])     # ConfigError lists every mistake at once
    profile.plugin("store")                                       # "redis"
    profile.table("store")                                        # its merged table

Precedence, lowest first: a driver's defaults, `[backend.X]`, what the profile extends, the profile, `--set`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from micro.context import CORE_SERVICES
from micro.errors import ConfigError
from micro.plugin import builtin, tables
from micro.plugin.layers import Value
from micro.plugin.settings import Settings

CONFIG = "micro.toml"


class Profile:
    """One profile, merged and expanded. Nothing here was opened, and no plugin was imported.

    `transport` is the stack that carries calls; `insecure` allows listening beyond loopback without TLS;
    `trusted_addresses` are the exact `host:port` that may be; `hooks` the enabled hook plugins.
    """

    def __init__(
        self,
        name: str,
        top: Mapping[str, Any],
        merged: Mapping[str, Mapping[str, Value]],
        file: str,
        *,
        own: Mapping[str, Value],
    ) -> None:
        self.name = name
        self.file = file
        self._own = own
        self.transport: str = top["transport"]
        self.insecure: bool = top["insecure"]
        self.trusted_addresses: list[str] = top["trusted_addresses"]
        self.hooks: list[str] = top["hooks"]
        self._values = merged
        self._made: dict[tuple[str, type[Settings]], Settings] = {}

    def table(self, primitive: str) -> dict[str, Any]:
        """Give a primitive's table, reserved keys included, service's own defaults filled in; empty when absent."""
        found = {name: knob.default for name, knob in tables.service_keys(primitive).items()}
        found.update({key: item.value for key, item in self._values.get(primitive, {}).items()})
        return found

    def tables(self) -> list[str]:
        """List the primitives that the profile has a table of."""
        return sorted(self._values)

    def plugin(self, primitive: str) -> str:
        """Name the plugin of a primitive; empty when the profile names none."""
        found = self._values.get(primitive, {}).get("plugin")
        return str(found.value) if found is not None else ""

    def address(self, service: str) -> str:
        """Give where a core service listens."""
        found = self._values.get(service, {}).get("address")
        return str(found.value) if found is not None else builtin.ADDRESSES.get(service, "127.0.0.1:0")

    def setting(self, primitive: str, key: str, default: Any = None) -> Any:
        """Read one key."""
        return self.table(primitive).get(key, default)

    def driver_values(self, primitive: str) -> dict[str, Value]:
        """Give the keys that belong to the primitive's driver, with their places."""
        own = tables.own_keys(primitive)
        return {key: item for key, item in self._values.get(primitive, {}).items() if key not in own}

    def settings(self, primitive: str, cls: type[Settings]) -> Settings:
        """Give a driver's settings; keys that a `[backend.X]` lends and this driver does not have are left out.

        They are made once, also for processes that are forked then: not to be changed.
        """
        made = self._made.get((primitive, cls))
        if made is None:
            made = self._made[primitive, cls] = self._settings(primitive, cls)
        return made

    def _settings(self, primitive: str, cls: type[Settings]) -> Settings:
        values = self.driver_values(primitive)
        own = tables.service_keys(primitive)
        table = {key: v.value for key, v in values.items() if not v.backend or key in cls.__settings__}
        table |= {key: value for key, value in self.table(primitive).items() if key in own and key in cls.__settings__}
        return cls.decode(table)

    def where(self, primitive: str, key: str) -> str:
        """Name the place that a key comes from, for messages."""
        found = self._values.get(primitive, {})
        item = found.get(key) or found.get("plugin")
        return item.where.at(key) if item is not None else f"profile {self.name!r}: [{primitive}] {key}"

    def place(self, key: str) -> str:
        """Name the place of `transport`, `hooks` or another of the profile's own keys, for messages."""
        item = self._own.get(key)
        if item is None:
            return f"profile {self.name!r}: {key}"
        return item.where.at("enabled" if key == "hooks" else key)


def find(config: str | os.PathLike[str] | None = None, environ: Mapping[str, str] = os.environ) -> Path | None:
    """Find the profiles' file: as given, `$MICRO_CONFIG`, `./micro.toml`, the user's config folder; None without one.

    Raises ConfigError when one that was named is not there.
    """
    for named, by in ((config, "--config"), (environ.get("MICRO_CONFIG"), "MICRO_CONFIG")):
        if named:
            path = Path(named).expanduser()
            if not path.is_file():
                raise ConfigError(f"{by}: {path} is not a file")
            return path
    home = environ.get("XDG_CONFIG_HOME") or str(Path(environ.get("HOME") or "~").expanduser() / ".config")
    for path in (Path(CONFIG), Path(home) / "micro" / CONFIG):
        if path.is_file():
            return path
    return None


def load(
    name: str = "",
    *,
    config: str | os.PathLike[str] | None = None,
    overrides: Iterable[str] = (),
    required: Iterable[str] = CORE_SERVICES,
    environ: Mapping[str, str] = os.environ,
    thorough: bool = False,
) -> Profile:
    """Read a profile (`--profile`, else `$MICRO_PROFILE`, else `local`), merge it and check it.

    `required` are the primitives that must have a plugin. Drivers' settings are checked in a process of their own,
    only where there is something to check: with `thorough`, every plugin is imported there. Raises ConfigError with
    all mistakes together, one line each.
    """
    from micro.plugin import resolve, validate

    required = tuple(required)
    profile, problems = resolve.resolve(
        name or environ.get("MICRO_PROFILE") or builtin.DEFAULT, config, overrides, required, environ
    )
    if profile is not None:
        problems += validate.settings(profile, required, thorough=thorough)
    if profile is None or problems:
        raise ConfigError(problems)
    return profile


def check(
    name: str = "",
    *,
    config: str | os.PathLike[str] | None = None,
    overrides: Iterable[str] = (),
    required: Iterable[str] = CORE_SERVICES,
    environ: Mapping[str, str] = os.environ,
) -> Profile:
    """Do what a start does, but open nothing: every selected plugin is imported and its settings are read."""
    return load(name, config=config, overrides=overrides, required=required, environ=environ, thorough=True)


def show(profile: Profile) -> str:
    """Write a profile as TOML, merged, drivers' defaults filled in, secrets as `***`."""
    from micro.plugin import validate

    return validate.shown(profile)


def listed(
    config: str | os.PathLike[str] | None = None, environ: Mapping[str, str] = os.environ
) -> list[tuple[str, str, str]]:
    """List the profiles there are, as (name, where from, description or what it extends)."""
    from micro.plugin import resolve

    file = find(config, environ)
    found = {name: ("built in", words) for name, words in builtin.DESCRIPTIONS.items()}
    for name, data in resolve.read_file(file)[0].items() if file is not None else ():
        parent = data.get("extends") or (name if name in builtin.PROFILES else "")
        found[name] = (str(file), f"extends {parent}" if parent else "")
    return [(name, *facts) for name, facts in sorted(found.items())]
