"""Where what the core services run lies in memory: side by side, as an order file lets a linker lay out a program.

A child that runs a function writes to counts of references in its code and in the names that this uses, and so copies a
page for each that it shared until then (docs/performance.md). In the order of imports they lie among all the others that
are never run. `order.txt` says which are: first the names, then modules with their functions, those that most of the ten
processes run first. `scripts/order.py` writes it, from what a server runs. What it names wrongly stays where it is.
"""

from __future__ import annotations

import sys
from types import CodeType, FunctionType, ModuleType

_FILE = f"{__file__.rpartition('.')[0]}.txt"
_names: list[str] = []  # never let go


def names() -> None:
    """Make the names, before whatever uses them is imported: it finds them then, as interned names are found."""
    with open(_FILE, encoding="ascii") as file:  # noqa: PTH123 - pathlib is a part of what comes later
        for line in file:
            if not line.strip():
                return
            _names.extend(map(sys.intern, line.split()))


def functions() -> list[tuple[str, str]]:
    """Give modules and the qualified names of functions in them, in their order."""
    with open(_FILE, encoding="ascii") as file:  # noqa: PTH123
        _, _, lines = file.read().partition("\n\n")
    found = []
    for line in lines.splitlines():
        module, _, qualname = line.partition(" ")
        found.append((module, qualname))
    return found


def lay() -> None:
    """Copy the code of the functions that are here, one after another, and let them run the copies.

    There should be no holes in memory: `light.freeze` sees to it. Whoever runs one of them at this moment goes on with the
    old code.
    """
    wanted = functions()
    inner = {(module, name) for module, name in wanted if "<locals>" in name}
    copies = []
    for module, name in wanted:
        function = found(sys.modules.get(module), name)
        if function is not None:
            copies.append((function, _copy(function.__code__, module, inner)))
    for function, code in copies:
        function.__code__ = code


def found(module: ModuleType | None, qualname: str) -> FunctionType | None:
    """Give a function by its qualified name; the outermost for one within another, None where there is none."""
    at: object = module
    for part in qualname.partition(".<locals>")[0].split("."):
        at = getattr(at, "__dict__", {}).get(part)
    for wrapping in ("__func__", "fget", "func", "__wrapped__"):
        at = getattr(at, wrapping, None) or at
    return at if isinstance(at, FunctionType) and at.__code__.co_qualname == qualname else None


def _copy(code: CodeType, module: str, inner: set[tuple[str, str]]) -> CodeType:
    """Copy code, and of the code within it what is wanted."""
    constants = tuple(
        _copy(each, module, inner) if isinstance(each, CodeType) and (module, each.co_qualname) in inner else each
        for each in code.co_consts
    )
    return code.replace(co_consts=constants)
