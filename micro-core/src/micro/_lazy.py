"""Import a package's public names on first use (PEP 562)."""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # importing `typing` costs more than all the rest of a bare start
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any


def lazy(
    package: str, names: Mapping[str, str], *, modules: Iterable[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Give a package's `__getattr__`, `__dir__` and `__all__`.

    `names` maps a public name to the submodule that holds it; `modules` are submodules or sub-packages that are
    public themselves.
    """
    public_modules = frozenset(modules)
    public = sorted({*names, *public_modules})

    def load(module: str) -> Any:
        full = f"{package}.{module}"
        __import__(full)
        return sys.modules[full]

    def resolve(name: str) -> Any:
        module = names.get(name)
        if module is not None:
            value = getattr(load(module), name)
            setattr(sys.modules[package], name, value)
            return value
        if name in public_modules:
            return load(name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}", name=name, obj=sys.modules[package])

    return resolve, lambda: public, public
