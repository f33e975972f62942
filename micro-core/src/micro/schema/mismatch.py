"""A value that does not fit its field, on its way to the caller."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

_SHOWN = 40  # characters of a map's key in an error; the key is the caller's


class Mismatch(Exception):
    """What was expected and what was found; each level on the way out puts its own name before the path."""

    def __init__(self, text: str, path: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.path = path

    def __str__(self) -> str:
        return f"{self.path}: {self.text}" if self.path else self.text

    def under(self, name: str) -> Mismatch:
        """Put a field's name, or `[index]`, before the path."""
        join = "" if not self.path or self.path.startswith("[") else "."
        self.path = f"{name}{join}{self.path}"
        return self


def expected(wanted: str, found: object) -> Mismatch:
    """Say what was wanted and the type of what was found, never the value: it may be long or secret."""
    return Mismatch(f"expected {wanted}, got {'null' if found is None else type(found).__name__}")


def each(convert: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """Convert one by one, naming the index that does not fit: the slow twin of a comprehension that failed."""
    done = []
    for index, item in enumerate(items):
        try:
            done.append(convert(item))
        except Mismatch as problem:
            raise problem.under(f"[{index}]") from None
    return done


def each_value(key: Callable[[Any], Any], convert: Callable[[Any], Any], items: Mapping[Any, Any]) -> dict[Any, Any]:
    """Convert a map one by one, naming the key whose entry does not fit."""
    done = {}
    for name, value in items.items():
        try:
            done[key(name)] = convert(value)
        except Mismatch as problem:
            raise problem.under(f"[{str(name)[:_SHOWN]!r}]") from None
    return done
