"""From names and files to one merged profile: `extends`, `[backend.X]`, `--set`, `${VAR}`, and the keys we know.

Mistakes are collected, never raised one by one; each names file, table, key and the nearest valid name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from micro.errors import ConfigError
from micro.plugin import builtin, discovery, tables
from micro.plugin.layers import Layer, Value, Where, expand, layer, over, overrides
from micro.plugin.profile import CONFIG, Profile, find
from micro.plugin.settings import RESERVED, Setting, nearest, typed

_TABLED = (*tables.TABLES, "hooks")


def read_file(path: Path) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]], list[str]]:
    """Read a file's profiles and backends, with what is wrong about its shape; raises ConfigError if it is no TOML."""
    import tomllib  # 5 ms, and few starts have a file

    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as err:
        raise ConfigError(f"{path}: {err}") from None
    except OSError as err:
        raise ConfigError(f"{path}: {err.strerror or err}") from None
    problems = [
        f"{path}: unknown table [{key}]{nearest(key, ('profile', 'backend'))}"
        for key in data
        if key not in {"profile", "backend"}
    ]
    sections: list[dict[str, dict[str, Any]]] = []
    for section in ("profile", "backend"):
        found = data.get(section, {})
        if not isinstance(found, dict) or not all(isinstance(table, dict) for table in found.values()):
            problems.append(f"{path}: [{section}] expected tables, such as [{section}.name]")
            found = {}
        sections.append(found)
    return sections[0], sections[1], problems


def resolve(
    name: str,
    config: str | os.PathLike[str] | None,
    sets: Iterable[str],
    required: tuple[str, ...],
    environ: Mapping[str, str],
) -> tuple[Profile | None, list[str]]:
    """Merge a profile; gives None with the problems when there is nothing to go on with."""
    problems: list[str] = []
    file = find(config, environ)
    profiles: dict[str, dict[str, Any]] = {}
    backends: dict[str, dict[str, Any]] = {}
    if file is not None:
        profiles, backends, problems = read_file(file)
    merged = _chain(name, profiles, str(file or ""), problems)
    if merged is None:
        return None, problems
    given = overrides(sets, problems)
    lent = given.pop("backend", {})
    above = layer(given, Where("--set"), _TABLED)
    _known(above, problems)
    merged = over(merged, above)
    merged = _backends(merged, backends, lent, str(file), problems, environ=environ)
    merged = _expanded(merged, environ, problems)
    profile = _made(name, merged, str(file or ""), problems)
    _plugins(profile, merged, required, problems)
    _exposed(profile, required, problems)
    return profile, problems


def _chain(name: str, profiles: Mapping[str, dict[str, Any]], file: str, problems: list[str]) -> Layer | None:
    """Lay a profile over what it extends; a profile of a built-in one's name extends that, unless it says otherwise."""
    chain: list[Layer] = []
    seen: list[str] = []
    where = file or f"no {CONFIG}"  # who asked for the next one
    here: str | None = name
    while here is not None:
        own = profiles.get(here) if here not in seen else None
        if own is None and here in builtin.PROFILES and (here not in seen or here == seen[-1]):
            chain.append(layer(builtin.PROFILES[here], Where(f"built-in profile {here!r}"), _TABLED))
            break
        if own is None:
            known = {*profiles, *builtin.PROFILES}
            if here in seen:
                problems.append(f"{where}: goes in a circle: {' -> '.join([*seen, here])}")
            else:
                problems.append(f"{where}: unknown profile {here!r}{nearest(here, known)}")
            return None
        place = Where(file, f"profile.{here}")
        found = layer(own, place, _TABLED)
        _known(found, problems)
        chain.append(found)
        seen.append(here)
        parent = found.get("extends")
        where = place.at("extends")
        if isinstance(parent, Value) and not isinstance(parent.value, str):
            problems.append(f"{where}: expected a profile's name, got {parent.value!r}")
            return None
        here = parent.value if isinstance(parent, Value) else here if here in builtin.PROFILES else None
    merged: Layer = {}
    for part in reversed(chain):
        merged = over(merged, part)
    return merged


def _known(part: Layer, problems: list[str]) -> None:
    """Check a layer's shape: its keys are ours, its tables are tables."""
    for key, value in part.items():
        if isinstance(value, dict):
            continue  # a driver's keys are judged by its settings
        if key in _TABLED:
            problems.append(f"{value.where.at(key)}: expected a table, got {value.value!r}")
        elif key not in tables.TOP:
            words = "unknown table" if isinstance(value.value, Mapping) else "unknown key"
            problems.append(f"{value.where.at(key)}: {words}{nearest(key, (*tables.TOP, *tables.TABLES))}")


def _backends(
    merged: Layer,
    files: Mapping[str, dict[str, Any]],
    sets: Any,
    file: str,
    problems: list[str],
    *,
    environ: Mapping[str, str],
) -> Layer:
    """Lay each service's table over the `[backend.X]` of its plugin."""
    sets = sets if isinstance(sets, Mapping) else {}
    result: Layer = dict(merged)
    used = set()
    for name, table in merged.items():
        if not isinstance(table, dict) or "plugin" not in table:
            continue
        plugin = str(expand(table["plugin"].value, environ, lambda _: None))  # what is not set is told elsewhere
        used.add(plugin)
        base = {
            key: Value(v, Where(file, f"backend.{plugin}"), backend=True) for key, v in files.get(plugin, {}).items()
        }
        # What is said on the command line wins over the profile, for a backend as for a service.
        said = {
            key: Value(v, Where("--set", f"backend.{plugin}"), backend=True) for key, v in sets.get(plugin, {}).items()
        }
        problems += [
            f"{item.where.at(key)}: belongs to a service's own table"
            for key, item in {**base, **said}.items()
            if key in RESERVED
        ]
        result[name] = {**base, **table, **said}
    problems += [
        f"--set backend.{name}: no service of this profile uses plugin {name!r}{nearest(name, used)}"
        for name in sets
        if name not in used
    ]
    return result


def _expanded(merged: Layer, environ: Mapping[str, str], problems: list[str]) -> Layer:
    said: set[str] = set()

    def one(key: str, item: Value) -> Value:
        if item.where.file == "--set":
            return item  # the shell has had its turn
        unset: list[str] = []
        value = expand(item.value, environ, unset.append)
        words = [f"{item.where.at(key)}: ${{{name}}} is not set in the environment" for name in dict.fromkeys(unset)]
        problems.extend(line for line in words if line not in said)
        said.update(words)
        return Value(value, item.where, item.backend, unset=bool(unset))

    return {
        key: {k: one(k, v) for k, v in value.items()} if isinstance(value, dict) else one(key, value)
        for key, value in merged.items()
    }


def _made(name: str, merged: Layer, file: str, problems: list[str]) -> Profile:
    """Read the keys that are ours, and make the profile; a key that is wrong takes its default."""

    def top(key: str, read: Callable[[object], Any], default: Any) -> Any:
        item = merged.get(key)
        return _read(item, key, read, problems, default) if isinstance(item, Value) else default

    hooks = merged.get("hooks")
    enabled: list[str] = []
    if isinstance(hooks, dict):
        problems += [
            f"{v.where.at(k)}: unknown key{nearest(k, ['enabled'])}" for k, v in hooks.items() if k != "enabled"
        ]
        if "enabled" in hooks:
            enabled = _read(hooks["enabled"], "enabled", tables.strings, problems, [])
            problems += [
                f"{hooks['enabled'].where.at('enabled')}: no hook plugin {hook!r} is installed "
                f"(installed: {', '.join(discovery.names('hooks')) or 'none'})"
                for hook in enabled
                if discovery.point("hooks", hook) is None
            ]
    values: dict[str, dict[str, Value]] = {}
    for table in tables.TABLES:
        found = merged.get(table)
        if isinstance(found, dict):
            values[table] = _own(table, found, problems)
    settings = {
        "transport": top("transport", tables.text, "nghttp2"),
        "insecure": top("insecure", tables.flag, False),
        "trusted_addresses": top("trusted_addresses", tables.strings, []),
        "hooks": enabled,
    }
    own = {key: item for key, item in merged.items() if isinstance(item, Value)}
    own |= {"hooks": hooks["enabled"]} if isinstance(hooks, dict) and "enabled" in hooks else {}
    profile = Profile(name, settings, values, file, own=own)
    if discovery.point("transport", profile.transport) is None:
        problems.append(f"{profile.place('transport')}: {discovery.missing('transport', profile.transport)}")
    return profile


def _own(table: str, found: dict[str, Value], problems: list[str]) -> dict[str, Value]:
    """Read a service's reserved keys and its own settings."""
    knobs: Mapping[str, Setting] = tables.service_keys(table)
    values = {}
    for key, item in found.items():
        if key in tables.RESERVED_READERS:
            read: Callable[[object], Any] = tables.RESERVED_READERS[key]
        elif key in knobs:
            read = partial(typed, hint=knobs[key].type)
        else:
            values[key] = item
            continue
        value = _read(item, key, read, problems, None)
        if value is not None:
            values[key] = Value(value, item.where, item.backend)
    return values


def _read(item: Value, key: str, read: Callable[[object], Any], problems: list[str], default: Any) -> Any:
    if item.unset:
        return default
    try:
        return read(item.value)
    except ValueError as err:
        problems.append(f"{item.where.at(key)}: {err}")
        return default


def _plugins(profile: Profile, merged: Layer, required: tuple[str, ...], problems: list[str]) -> None:
    named = {name for name, table in merged.items() if isinstance(table, dict) and "plugin" in table}
    missing = [name for name in required if name not in named]
    if missing:
        problems.append(
            f"profile {profile.name!r} names no plugin for {', '.join(missing)}: "
            f'say so in [profile.{profile.name}.{missing[0]}], or extends = "local"'
        )
    for table in profile.tables():
        name = profile.plugin(table)
        if table not in required and not (table == "blobs" and "store" in required):
            continue
        if name and discovery.point(table, name) is None:
            problems.append(f"{profile.where(table, 'plugin')}: {discovery.missing(table, name)}")
        elif name == "remote":
            problems.append(f"{profile.where(table, 'plugin')}: 'remote' asks the service {table}, which this is to be")
    if required and profile.transport == "memory":
        problems.append(f"{profile.place('transport')}: 'memory' carries calls within one process, for tests")


def _exposed(profile: Profile, required: tuple[str, ...], problems: list[str]) -> None:
    """Refuse to listen beyond loopback without TLS, unless the profile means it."""
    for service in required:
        address = profile.address(service)
        if tables.is_loopback(address) or profile.insecure or profile.table(service).get("tls"):
            continue
        if address not in profile.trusted_addresses:
            problems.append(
                f"{profile.where(service, 'address')}: {address} is reachable from other machines: "
                f"give [profile.{profile.name}.{service}] tls, list it in trusted_addresses, or say insecure = true"
            )
