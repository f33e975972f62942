"""What makes a start, and the processes that are forked, lighter: docs/performance.md says by how much."""

from __future__ import annotations

import gc
import importlib
import sys


def msgspec() -> None:
    """Import msgspec without `typing_extensions`, of which it wants what `typing` has, and which takes 10 ms."""
    if "msgspec" in sys.modules or "typing_extensions" in sys.modules:
        return
    sys.modules["typing_extensions"] = None  # type: ignore[assignment]  # how the import system is told: not there
    try:
        importlib.import_module("msgspec")
    finally:
        del sys.modules["typing_extensions"]


def freeze() -> None:
    """Keep what there is shared with the processes that are forked from now on.

    A collection would touch each page of it. So would the table in which the interpreter remembers where it found a
    method: a child that fills it anew lets go of the names in it, which is a write to each name's count of references.
    """
    if sys.version_info < (3, 13):  # later, names are not counted
        sys._clear_type_cache()
    gc.freeze()
