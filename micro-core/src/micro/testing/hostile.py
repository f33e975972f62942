"""Pairs of names that an escape, a prefix, a folder, a pattern or a case may take for one another."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import product
from typing import Any

import pytest

from micro.errors import InvalidArgument, PermissionDenied

PAIRS = (
    ("a", "ab"),
    ("a", "a/b"),
    ("a", "A"),
    ("a", "a."),
    ("a", "a%2fb"),
    ("\u00e9", "e\u0301"),
    ("a", "*"),
    ("a", ">"),
    ("a", "?"),
    ("a", ".."),
    ("a", "micro"),
    ("a", "{a}"),
)
pairs = pytest.mark.parametrize("pair", PAIRS, ids=[ascii(f"{one} {other}") for one, other in PAIRS])
Place = tuple[str, str]  # a namespace, and a name in it


async def places(
    pair: tuple[str, str], put: Callable[[Place, bytes], Awaitable[Any]], own: str = "micro", *, only: bool = False
) -> dict[Place, bytes]:
    """Put something of its own into each place that a pair of names makes, and into `own`; gives what went where.

    With `only` into that namespace alone. A place that is refused is none, so that nothing can be taken for it.
    """
    found: dict[Place, bytes] = {}
    for number, place in enumerate(product([own] if only else dict.fromkeys((*pair, own)), pair)):
        value = b"%d of %s" % (number, repr(place).encode())
        with suppress(InvalidArgument, PermissionDenied):
            await put(place, value)
            found[place] = value
    return found
