"""A URL's query as JSON: `a=5&b[c]=x&d[]=1` is `{"a": 5, "b": {"c": "x"}, "d": [1]}`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote_plus

import msgspec

from micro.errors import InvalidArgument

_DEPTH = 32  # levels of a key
_PAIRS = 1000
_KEY = re.compile(r"([^\[\].]+)((?:\[[^\[\]]*\]|\.[^\[\].]+)*)")
_STEP = re.compile(r"\[([^\[\]]*)\]|\.([^\[\].]+)")

_decode = msgspec.json.Decoder().decode


def to_json(query: str) -> dict[str, Any]:
    """Read a query; values that are JSON are taken as such, others are texts. InvalidArgument for a key without `=`."""
    out: dict[str, Any] = {}
    for key, raw in pairs(query):
        if not key:
            raise InvalidArgument("invalid url query: a name is empty", id="api")
        match = _KEY.fullmatch(key)
        steps = [a if a or not b else b for a, b in _STEP.findall(match[2])] if match else []
        if len(steps) > _DEPTH:
            raise InvalidArgument(f"invalid url query: {key[:40]!r} is nested too deeply", id="api")
        _put(out, match[1] if match else key, steps, _value(raw), key)
    return out


def pairs(query: str, what: str = "url query") -> Iterable[tuple[str, str]]:
    """Split a query, or a form, into names and texts, at the last `=` of each."""
    parts = [part for part in query.split("&") if part]
    if len(parts) > _PAIRS:
        raise InvalidArgument(f"invalid {what}: {len(parts)} values, the limit is {_PAIRS}", id="api")
    for part in parts:
        key, sep, value = part.rpartition("=")
        if not sep:
            raise InvalidArgument(f"invalid {what}: {part[:40]!r} has no '='", id="api")
        yield unquote_plus(key), unquote_plus(value)


def _value(raw: str) -> Any:
    try:
        return _decode(raw)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return raw


def _put(where: dict[str, Any], name: str, steps: list[str], value: Any, key: str) -> None:
    """Store a value below `name`; an empty step appends."""
    for at, step in enumerate(steps):
        last = at == len(steps) - 1
        if not step:
            items = where.setdefault(name, [])
            if not isinstance(items, list) or not last:
                raise _conflict(key)
            items.append(value)
            return
        inner = where.setdefault(name, {})
        if not isinstance(inner, dict):
            raise _conflict(key)
        where, name = inner, step
    if steps and isinstance(where.get(name), dict | list):
        raise _conflict(key)
    if not steps and isinstance(where.get(name), dict | list) and not isinstance(value, dict | list):
        raise _conflict(key)
    where[name] = value


def _conflict(key: str) -> InvalidArgument:
    return InvalidArgument(f"invalid url query: {key[:40]!r} is given both as one value and as several", id="api")
