"""Stand-ins for what aiohttp's server imports and does not use, or hardly: 4 MiB and a third of the gateway's imports.

They are there while aiohttp is imported, and nobody else sees them; what was taken from one asks the real module as soon as
it is used.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

_standing: set[str] = set()  # now


class _Later:
    """An object of a module, asked for when something of it is."""

    def __init__(self, module: str, name: str) -> None:
        self._where = module, name

    def __getattr__(self, name: str) -> Any:
        return getattr(_taken(*self._where), name)

    def __call__(self, *args: Any, **options: Any) -> Any:
        return _taken(*self._where)(*args, **options)


def _taken(module: str, name: str) -> Any:
    if module in _standing:
        raise AttributeError(f"module {module!r} only stands in; it has no {name!r}")
    return getattr(importlib.import_module(module), name)


def _slots(**options: bool) -> Callable[[type], type]:
    """Be `attr.s(auto_attribs=True, …)`: for classes of a few fields a dataclass is the same."""
    if options.pop("auto_attribs", None) is not True:
        raise TypeError("not a class of annotated fields")
    return dataclass(**options)


# What is taken from each at the moment of import; modules of which only the name is, ask for anything when it is used.
_INSTEAD: dict[str, dict[str, Any]] = {
    "attr": {"s": _slots},
    "email.policy": {"HTTP": _Later("email.policy", "HTTP")},  # for odd content types
    "html": {"escape": _Later("html", "escape")},  # for pages about errors, which are JSON here
    "platform": {
        "system": lambda: os.uname().sysname,
        "python_implementation": lambda: {"cpython": "CPython", "pypy": "PyPy"}.get(sys.implementation.name, ""),
    },
    "idna": {},  # for names of hosts beyond ASCII
    "urllib.request": {name: _Later("urllib.request", name) for name in ("getproxies", "proxy_bypass")},
}


@contextmanager
def standing() -> Iterator[None]:
    """Put them in the place of those that are not imported yet."""
    put = {name: values for name, values in _INSTEAD.items() if name not in sys.modules}
    for name, values in put.items():
        module = sys.modules[name] = ModuleType(name)
        vars(module).update(values or {"__getattr__": partial(_taken, name)})
    _standing.update(put)
    try:
        yield
    finally:
        for name in put:
            del sys.modules[name]
        _standing.clear()
