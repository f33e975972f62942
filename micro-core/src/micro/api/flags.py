"""A command's flags, from a request's schema: which field a flag means, and its text as JSON."""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from micro.names import near
from micro.plugin.settings import duration
from micro.schema.extras import INTEGERS
from micro.schema.info import FieldInfo, MessageInfo
from micro.schema.scalars import bounds

CENTURY = 100 * 365 * 86_400.0  # seconds; what is longer is a mistake, and beyond what some clocks can hold
MAX_DURATION = 315_576_000_000.0  # seconds of protobuf's Duration
_TRUE, _FALSE = frozenset({"true", "1", "yes", "on"}), frozenset({"false", "0", "no", "off"})


class UsageError(Exception):
    """A person's mistake on the command line: its text, and the exit code it ends with."""

    def __init__(self, text: str, exit: int = 1) -> None:
        super().__init__(text)
        self.exit = exit


def plain(name: str) -> str:
    """Give a name as it is compared: lower case, no separators."""
    return name.lower().replace("-", "").replace("_", "").replace(".", "")


class Flags:
    """Collects the flags of one call into its request. `files` gives what stands behind `@name`."""

    def __init__(self, request: MessageInfo, files: Callable[[str], bytes]) -> None:
        self._request = request
        self._files = files
        self._groups: dict[tuple[str, ...], str] = {}
        self.body: dict[str, Any] = {}

    def knows(self, key: str) -> bool:
        """Whether a flag names a field, also as `no-` of a bool."""
        return self._find(key) is not None or self._negated(key) is not None

    def wants_value(self, key: str, following: str = "") -> bool:
        """Whether a flag without `=` takes the following word as its value."""
        path = self._find(key)
        if path is None and self._request.free:
            return not following.startswith("-") or _is_number(following)
        return path is not None and (path[-1].kind != "bool" or bool(path[-1].key) or path[-1].repeated)

    def set(self, key: str, text: str | None) -> None:
        """Take one flag; raises UsageError for one that is not there or a value that does not fit."""
        path = self._find(key)
        if path is None and self._request.free:  # any field there is to be, by its own name
            self.body[key] = True if text is None else _free("value", text)
            return
        if path is None:
            path = self._negated(key)
            if path is None or text is not None:
                raise self.unknown(key)
            text = "false"
        field = path[-1]
        if text is None:
            if field.kind != "bool":
                raise UsageError(f"Flag --{key} needs a value")
            text = "true"
        where = self._descend(key, path)
        try:
            self._store(where, field, text)
        except ValueError as err:
            raise UsageError(f"Flag --{key}: {err}") from None

    def unknown(self, key: str) -> UsageError:
        """Make the error of a flag that is no field, with the nearest that is."""
        meant = near(key.lower().replace("-", "_"), names(self._request), cutoff=0.5)
        return UsageError(f"Unknown flag: {key}" + (f". Did you mean --{meant[0]}?" if meant else ""))

    def _find(self, key: str) -> list[FieldInfo] | None:
        return find(self._request, key.lower().replace("-", "_"))

    def _negated(self, key: str) -> list[FieldInfo] | None:
        for prefix in ("no-", "no_"):
            if key.lower().startswith(prefix):
                path = self._find(key[len(prefix) :])
                if path is not None and path[-1].kind == "bool" and not path[-1].repeated:
                    return path
        return None

    def _descend(self, key: str, path: list[FieldInfo]) -> dict[str, Any]:
        where = self.body
        names_: list[str] = []
        for at, field in enumerate(path):
            if field.oneof:
                group = (*names_, field.oneof)
                other = self._groups.setdefault(group, field.name)
                if other != field.name:
                    raise UsageError(f"Flag --{key}: only one of {other} and {field.name} may be given")
            names_.append(field.name)
            if at < len(path) - 1:
                inner = where.setdefault(field.name, {})
                if not isinstance(inner, dict):
                    raise UsageError(f"Flag --{key}: {field.name} was already given whole")
                where = inner
        return where

    def _store(self, where: dict[str, Any], field: FieldInfo, text: str) -> None:
        if field.key:
            where.setdefault(field.name, {}).update(self._map(field, text))
        elif field.repeated:
            where.setdefault(field.name, []).extend(self._list(field, text))
        else:
            where[field.name] = self._value(field, text)

    def _map(self, field: FieldInfo, text: str) -> Mapping[str, Any]:
        if text.lstrip().startswith("{"):
            parsed = _json(text)
            if not isinstance(parsed, dict):
                raise ValueError("expected a JSON object")
            return parsed
        key, sep, value = text.partition("=")
        if not sep:
            raise ValueError(f"expected key=value or a JSON object, got {_short(text)}")
        return {key: self._value(field, value)}

    def _list(self, field: FieldInfo, text: str) -> list[Any]:
        if text.lstrip().startswith("["):
            parsed = _json(text)
            if isinstance(parsed, list):
                return parsed
        if field.kind in {"message", "struct", "value"} and text.lstrip().startswith("{"):
            return [_json(text)]
        if field.kind in {"message", "struct"}:
            raise ValueError("expected JSON: an object, or a list of them")
        return [self._value(field, part) for part in text.split(",")]

    def _value(self, field: FieldInfo, text: str) -> Any:
        kind = field.kind
        if kind == "string":
            return self._files(text[1:]).decode() if text.startswith("@") and len(text) > 1 else text.removeprefix("\\")
        if kind in INTEGERS:
            return _integer(kind, text)
        if kind in {"double", "float"}:
            return _float(text)
        if kind == "bool":
            return _bool(text)
        if kind == "bytes":
            return self._bytes(text)
        if kind == "enum":
            return _enum(field, text)
        if kind == "timestamp":
            return _instant(text)
        if kind == "duration":
            return f"{seconds(text, MAX_DURATION):.9f}".rstrip("0").rstrip(".") + "s"
        return _free(kind, text)

    def _bytes(self, text: str) -> str:
        if text.startswith("@"):
            return base64.b64encode(self._files(text[1:])).decode()
        try:
            base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("expected @file or base64") from None
        return text


def find(message: MessageInfo, key: str) -> list[FieldInfo] | None:
    """Give the path of fields that a flag's name means; a field whose own name holds a separator wins over nesting."""
    for field in message.fields:
        if plain(field.name) == plain(key):
            return [field]
    inner = [f for f in message.fields if f.message is not None and not f.repeated and not f.key]
    for field in sorted(inner, key=lambda f: -len(f.name)):
        prefix = field.name.lower().replace("-", "_") + "_"
        if key.startswith(prefix) and field.message is not None:
            rest = find(field.message, key[len(prefix) :])
            if rest is not None:
                return [field, *rest]
    return None


def names(message: MessageInfo, prefix: str = "", level: int = 0) -> list[str]:
    """Give all flags of a message, nested ones joined by `_`; six levels, as the registry's trees have."""
    found: list[str] = []
    for field in message.fields:
        if field.message is not None and not field.repeated and not field.key and level < 5:
            found += names(field.message, f"{prefix}{field.name}_", level + 1)
        else:
            found.append(prefix + field.name)
    return found


def seconds(text: str, most: float = CENTURY) -> float:
    """Read a span of time that a person gave: `5s`, `1h30m`, a number of seconds; ValueError for none, or over `most`."""
    found = duration(float(text) if _is_number(text) else text)
    if not found <= most:
        raise ValueError(f"expected at most {most:.0f} seconds, got {_short(text)}")
    return found


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as err:
        raise ValueError(f"not valid JSON: {err}") from None


def _integer(kind: str, text: str) -> int:
    try:
        number = int(text, 10)
    except ValueError:
        raise ValueError(f"expected a whole number, got {_short(text)}") from None
    low, high = bounds(kind)
    if not low <= number <= high:
        raise ValueError(f"expected {low} to {high}, got {_short(text)}")
    return number


def _float(text: str) -> float | str:
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"expected a number, got {_short(text)}") from None
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def _bool(text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ValueError(f"expected true or false, got {_short(text)}")


def _enum(field: FieldInfo, text: str) -> str | int:
    for name in field.enum:
        if plain(name) == plain(text):
            return name
    if text.lstrip("-").isdecimal():
        return int(text)
    raise ValueError(f"expected one of {', '.join(field.enum)}, got {_short(text)}")


def _instant(text: str) -> str:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"expected a time in ISO 8601, such as 2030-01-31T12:00:00Z, got {_short(text)}") from None
    when = when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
    return when.isoformat().replace("+00:00", "Z")


def _free(kind: str, text: str) -> Any:
    if kind == "value":
        try:
            return json.loads(text)
        except ValueError:
            return text
    parsed = _json(text)
    if not isinstance(parsed, dict):
        raise ValueError("expected a JSON object")
    return parsed
