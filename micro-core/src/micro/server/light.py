"""Imports that cost more than they give, made lighter."""

from __future__ import annotations

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
