"""What commands print: tables on a terminal, plain text in a pipe, JSON or YAML when asked."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any


def on_terminal() -> bool:
    """Whether a person reads standard output."""
    return sys.stdout.isatty()


def coloured() -> bool:
    """Whether colour is welcome."""
    return on_terminal() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def say(text: str = "") -> None:
    """Print a line to standard output."""
    sys.stdout.write(text + "\n")


def note(text: str) -> None:
    """Tell a person something beside the result: only where one reads."""
    if sys.stderr.isatty():
        sys.stderr.write(text + "\n")


def records(
    rows: Sequence[Sequence[str]], heads: Sequence[str], form: str = "", *, plain: Sequence[int] = (), whole: Any = None
) -> None:
    """Print records: `form` as asked, else a table on a terminal, else lines of the `plain` columns (all if empty).

    `whole` is what JSON and YAML show; without it each row by its heads.
    """
    if form in {"json", "yaml"}:
        shown = whole if whole is not None else [dict(zip(map(str.lower, heads), row, strict=False)) for row in rows]
        value(shown, form)
    elif form or on_terminal():
        if rows:
            from micro.api.render import columns

            say(columns(list(heads), [list(row) for row in rows]))
    else:
        for row in rows:
            say(" ".join(row[i] for i in plain) if plain else "\t".join(row))


def value(item: Any, form: str = "json") -> None:
    """Print one value as JSON, indented, or YAML."""
    if form == "yaml":
        from micro.api.render import yaml

        say("\n".join(yaml(item)))
    else:
        say(json.dumps(item, indent="\t", ensure_ascii=False))


def age(seconds: float) -> str:
    """Give a span as people say it: `4s ago`."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            rest = f"{int(seconds % size // (size // {86400: 24, 3600: 60, 60: 60}[size]))}"
            small = {"d": "h", "h": "m", "m": "s"}[unit]
            return f"{int(seconds // size)}{unit}{rest + small if rest != '0' else ''} ago"
    return f"{max(0, int(seconds))}s ago"


class Spinner:
    """A sign of life on a terminal while something takes long; nothing in a pipe."""

    FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"

    def __init__(self, text: str) -> None:
        self._text = text
        self._shown = sys.stderr.isatty()
        self._at = 0
        self._last = 0.0

    def turn(self, text: str = "") -> None:
        """Show that it goes on."""
        self._text = text or self._text
        now = time.monotonic()
        if self._shown and now - self._last > 0.08:
            self._last = now
            self._at = (self._at + 1) % len(self.FRAMES)
            sys.stderr.write(f"\r\x1b[2K{self.FRAMES[self._at]} {self._text}")
            sys.stderr.flush()

    def done(self) -> None:
        """Wipe it."""
        if self._shown:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()


def parts(text: str) -> Iterable[str]:
    """Give the parts of a comma list."""
    return (part.strip() for part in text.split(",") if part.strip())
