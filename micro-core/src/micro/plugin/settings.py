"""Settings of a driver: typed knobs with a default, a unit and a word of help, filled from a profile's table.

    class RedisSettings(Settings):
        \"\"\"Where Redis is.\"\"\"

        url: str = setting("redis://127.0.0.1:6379/0", "redis://, rediss:// or unix://")
        timeout: Seconds = setting(5.0, "to wait for an answer")
        password: Secret[str] = setting(Secret(""), "of the server")

    RedisSettings(url="redis://db:6379")      # unknown names and wrong types raise ConfigError
    RedisSettings.decode({"timeout": "2s"})   # as a profile's table gives it

Types: str, int, float, bool, `Seconds` (a number, or text as "2s", "150ms", "1h30m"), `Size` (bytes, or "64MiB"), `Count` (1 or more), `Secret[str]`, `list[str]`,
`dict[str, str]`, an enum-like `Literal`, and `T | None`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from copy import copy
from types import UnionType
from typing import Any, ClassVar, Generic, Literal, NewType, Self, TypeVar, Union, get_args, get_origin, get_type_hints

from micro.errors import ConfigError
from micro.names import near

Seconds = NewType("Seconds", float)
Size = NewType("Size", int)
Count = NewType("Count", int)  # 1 or more
T = TypeVar("T")

# Every service's table has these besides its driver's settings; a Settings class may not use them.
RESERVED = frozenset({"plugin", "address", "advertise", "tls", "workers", "limits"})

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|us|ns|s|m|h|d)")
_UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(B|KB|KiB|MB|MiB|GB|GiB|TB|TiB)?")
_SIZES = {
    "B": 1, "KB": 10**3, "KiB": 2**10, "MB": 10**6, "MiB": 2**20, "GB": 10**9, "GiB": 2**30, "TB": 10**12, "TiB": 2**40,
}  # fmt: skip


class Secret(Generic[T]):
    """A value that `repr` and `str` hide; `reveal()` gives it."""

    __slots__ = ("_value",)

    def __init__(self, value: T) -> None:
        self._value = value

    def reveal(self) -> T:
        """Give the value itself; never log what this returns."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __repr__(self) -> str:
        return "***" if self._value else "(empty)"

    __str__ = __repr__


class Setting:
    """One knob: its default (or `REQUIRED`) and its help."""

    __slots__ = ("default", "help", "name", "type")

    def __init__(self, default: Any, help: str) -> None:
        self.default = default
        self.help = help
        self.name = ""
        self.type: Any = None


class _Required:
    def __repr__(self) -> str:
        return "(required)"


REQUIRED = _Required()


def setting(default: Any = REQUIRED, help: str = "") -> Any:
    """Declare a knob; without a default it must be given."""
    return Setting(default, help)


def nearest(name: str, known: Iterable[str]) -> str:
    """Give `; did you mean 'x'?` for a mistyped name, or, when nothing is near, the few names there are."""
    names = sorted(known)
    close = near(name, names)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(names)}" if names and len(names) <= 16 else ""


def duration(value: object) -> float:
    """Read seconds: a number, also as text, or text such as `2s`, `150ms`, `1h30m`; raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"expected seconds or text like '2s', got {type(value).__name__}")
    if isinstance(value, str):
        if re.fullmatch(r"\d+(\.\d+)?", value.strip(), re.ASCII):  # as `--set` and `${VAR}` give it
            return float(value)
        parts = _DURATION.findall(value)
        if not parts or "".join(n + u for n, u in parts) != value.strip():
            raise ValueError(f"expected a duration like '2s' or '150ms', got {value!r}")
        return sum(float(number) * _UNITS[unit] for number, unit in parts)
    if value < 0:
        raise ValueError(f"expected seconds of 0 or more, got {value}")
    return float(value)


def size(value: object) -> int:
    """Read bytes: a number, or text such as `64MiB`; raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"expected bytes or text like '64MiB', got {type(value).__name__}")
    if isinstance(value, int):
        if value < 0:
            raise ValueError(f"expected bytes of 0 or more, got {value}")
        return value
    match = _SIZE.fullmatch(value.strip())
    if match is None:
        raise ValueError(f"expected a size like '64MiB', got {value!r}")
    return int(float(match[1]) * _SIZES[match[2] or "B"])


def typed(value: Any, hint: Any) -> Any:
    """Convert a profile's value to a setting's type; raises ValueError in words for people."""
    origin = get_origin(hint)
    if origin in {Union, UnionType}:
        arms = get_args(hint)
        if value is None and type(None) in arms:
            return None
        return typed(value, next(a for a in arms if a is not type(None)))
    if hint is Seconds:
        return duration(value)
    if hint is Size:
        return size(value)
    if hint is Count:
        number: int = _scalar(value, int)
        if number < 1:
            raise ValueError(f"expected 1 or more, got {number}")
        return number
    if origin is Literal:
        if value not in get_args(hint):
            raise ValueError(f"expected one of {', '.join(map(repr, get_args(hint)))}, got {value!r}")
        return value
    if hint is Secret or origin is Secret:
        if isinstance(value, Secret):
            return value
        return Secret(typed(value, (get_args(hint) or (str,))[0]))
    if origin is list:
        if isinstance(value, str):  # from --set, a comma list
            value = [part.strip() for part in value.split(",") if part.strip()]
        if not isinstance(value, list):
            raise ValueError(f"expected a list, got {type(value).__name__}")
        return [typed(item, get_args(hint)[0]) for item in value]
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ValueError(f"expected a table, got {type(value).__name__}")
        return {str(k): typed(v, get_args(hint)[1]) for k, v in value.items()}
    return _scalar(value, hint)


def _scalar(value: Any, hint: Any) -> Any:
    if hint is bool and isinstance(value, str) and value.lower() in {"true", "false"}:
        return value.lower() == "true"
    if hint is int and isinstance(value, str) and value.lstrip("-").isdecimal():
        return int(value)
    if hint is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            return float(value)
        except ValueError:
            pass
    elif hint is not Any and (not isinstance(value, hint) or (hint is int and isinstance(value, bool))):
        pass
    else:
        return value
    shown = "a secret" if isinstance(value, Secret) else repr(value)
    raise ValueError(f"expected {getattr(hint, '__name__', hint)}, got {shown}")


class Settings:
    """Base of every driver's settings; see the module's own words."""

    __settings__: ClassVar[dict[str, Setting]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        hints = get_type_hints(cls)
        found: dict[str, Setting] = dict(cls.__settings__)
        for name, value in list(vars(cls).items()):
            if not isinstance(value, Setting):
                continue
            if name in RESERVED:
                raise TypeError(f"{cls.__name__}.{name}: this key is every service's own; choose another name")
            value.name, value.type = name, hints.get(name, Any)
            found[name] = value
            delattr(cls, name)
        cls.__settings__ = found

    def __init__(self, **values: Any) -> None:
        found, problems = self.read(values)
        if problems:
            raise ConfigError([f"setting {name!r}: {words}" for name, words in problems])
        vars(self).update(found)

    @classmethod
    def read(cls, table: Mapping[str, Any]) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        """Convert a table: what was understood, defaults included, and every mistake as (key, words)."""
        found: dict[str, Any] = {}
        problems = [
            (name, f"unknown setting{nearest(name, cls.__settings__)}")
            for name in table
            if name not in cls.__settings__
        ]
        for name, knob in cls.__settings__.items():
            value = table.get(name, knob.default)
            if value is REQUIRED:
                problems.append((name, "is required"))
            elif value is knob.default:
                found[name] = copy(value) if isinstance(value, list | dict) else value
            else:
                try:
                    found[name] = typed(value, knob.type)
                except ValueError as err:
                    problems.append((name, str(err)))
        return found, problems

    @classmethod
    def decode(cls, table: Mapping[str, Any]) -> Self:
        """Read a profile's table; raises ConfigError with every mistake in it."""
        return cls(**{str(key): value for key, value in table.items()})

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__settings__)
        return f"{type(self).__name__}({shown})"

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(repr(self))
