"""A profile's layers: where values come from, `--set`, `${VAR}`, and how one layer goes over another."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from micro.plugin.tables import own_keys

_VARIABLE = re.compile(r"\$(?:\$|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\})")


class Where(NamedTuple):
    """A place in a profile that a message can name: `micro.toml: [profile.staging.store]`."""

    file: str
    table: str = ""

    def at(self, key: str) -> str:
        """Name one key here."""
        if self.file == "--set":
            return f"--set {f'{self.table}.{key}' if self.table else key}"
        return f"{self}{' ' if self.table else ': '}{key}"

    @property
    def built_in(self) -> bool:
        """Whether it is a built-in profile, which tests have read for us."""
        return self.file.startswith("built-in")

    def inside(self, table: str) -> Where:
        """Name a table below this one."""
        return Where(self.file, f"{self.table}.{table}" if self.table else table)

    def __str__(self) -> str:
        return f"{self.file}: [{self.table}]" if self.table else self.file


class Value(NamedTuple):
    """A value and the place it came from; `backend` marks one that a `[backend.X]` table lent.

    `unset`: a variable in it is not set, which is reported, so that nothing more is to be said of the value.
    """

    value: Any
    where: Where
    backend: bool = False
    unset: bool = False


Layer = dict[str, "Value | dict[str, Value]"]


def layer(data: Mapping[str, Any], where: Where, tables: Iterable[str]) -> Layer:
    """Note of each key where it stands; keys of `tables` are tables of keys."""
    found: Layer = {}
    for key, value in data.items():
        if key in tables and isinstance(value, Mapping):
            inner = where.inside(key)
            found[key] = {str(k): Value(v, inner) for k, v in value.items()}
        else:
            found[key] = Value(value, where)
    return found


def over(below: Layer, above: Layer) -> Layer:
    """Lay one layer over another: a key wins, but a table that changes `plugin` forgets the other driver's keys."""
    merged: Layer = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            merged[key] = _tables(key, old, value)
        else:
            merged[key] = value
    return merged


def _tables(table: str, below: dict[str, Value], above: dict[str, Value]) -> dict[str, Value]:
    plugin = above.get("plugin")
    if plugin is not None and "plugin" in below and plugin.value != below["plugin"].value:
        keep = own_keys(table)
        below = {key: value for key, value in below.items() if key in keep}
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        if old is not None and isinstance(old.value, Mapping) and isinstance(value.value, Mapping):
            merged[key] = Value({**old.value, **value.value}, value.where)
        else:
            merged[key] = value
    return merged


def parse_set(text: str) -> tuple[list[str], Any]:
    """Read `a.b=v`. A value stays text, which settings convert, unless it is a TOML list, table or quoted text."""
    path, equals, raw = text.partition("=")
    parts = [part.strip() for part in path.split(".")]
    if not equals or not all(parts):
        raise ValueError(f"--set {text}: expected a key like store.timeout=5s")
    raw = raw.strip()
    if raw[:1] in {"[", "{", '"', "'"}:
        import tomllib  # 5 ms, and few starts need it

        try:
            parsed = tomllib.loads(f"value = {raw}")
        except tomllib.TOMLDecodeError as err:
            raise ValueError(f"--set {path}: {err}") from None
        if set(parsed) == {"value"}:
            return parts, parsed["value"]
        raise ValueError(f"--set {path}: expected one value")
    return parts, raw


def overrides(items: Iterable[str], problems: list[str]) -> dict[str, Any]:
    """Make nested tables of `--set` arguments; later ones win."""
    tree: dict[str, Any] = {}
    for item in items:
        try:
            parts, value = parse_set(item)
        except ValueError as err:
            problems.append(str(err))
            continue
        here = tree
        for part in parts[:-1]:
            below = here.setdefault(part, {})
            if not isinstance(below, dict):
                below = here[part] = {}
            here = below
        here[parts[-1]] = value
    return tree


def expand(value: Any, environ: Mapping[str, str], unset: Callable[[str], None]) -> Any:
    """Put the environment's values for `${VAR}` and `${VAR:-default}`, in lists and tables too; `$$` is `$`."""
    if isinstance(value, str):
        if "$" not in value:
            return value

        def one(match: re.Match[str]) -> str:
            name, default = match["name"], match["default"]
            if name is None:
                return "$"
            # As in a shell, `:-` also stands in for a variable that is set and empty.
            found = environ.get(name)
            if default is not None:
                return found or default
            if found is None:
                unset(name)
                return ""
            return found

        return _VARIABLE.sub(one, value)
    if isinstance(value, list):
        return [expand(item, environ, unset) for item in value]
    if isinstance(value, Mapping):
        return {key: expand(item, environ, unset) for key, item in value.items()}
    return value
