"""Trees of configuration: paths, merging, masking. Pure functions; a change makes new nodes and leaves the old.

A node is a dict as it is stored: `{"n": version, "c": {key: node}}` is an object, `{"n": version, "v": value}` a leaf,
with `"s": true` when it is secret. The root is an object.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from typing import Any

from micro import limits, names
from micro.config.driver import JSON, MASK, Path
from micro.errors import InvalidArgument, ResourceExhausted

Node = dict[str, Any]


def parse(text: str) -> Path:
    r"""Read a path: keys parted by dots, `\.` and `\\` for themselves; the empty text is the root."""
    if not text:
        return ()
    names.path(text)
    keys = [""]
    escaped = False
    for char in text:
        if escaped:
            if char not in ".\\":
                raise InvalidArgument(f"path {text!r}: only '.' and '\\' may follow a '\\'")
            keys[-1] += char
            escaped = False
        elif char == "\\":
            escaped = True
        elif char == ".":
            keys.append("")
        else:
            keys[-1] += char
    if escaped:
        raise InvalidArgument(f"path {text!r} ends in '\\'")
    if "" in keys:
        raise InvalidArgument(f"path {text!r} has an empty key")
    return tuple(keys)


def show(path: Path) -> str:
    """Write a path."""
    return ".".join(key.replace("\\", "\\\\").replace(".", "\\.") for key in path)


def check(path: Path, value: JSON) -> None:
    """Refuse a value that cannot be in a tree: too deep, a key that no path can name, no JSON."""
    if not path and not isinstance(value, dict):
        raise InvalidArgument("the whole tree is an object")
    _check(value, len(path))


def empty() -> Node:
    """Make the root of nothing."""
    return {"n": 0, "c": {}}


def find(root: Node, path: Path) -> Node | None:
    """Give the node at a path."""
    node: Node | None = root
    for key in path:
        node = node.get("c", {}).get(key) if node is not None else None
    return node


def version(root: Node, path: Path) -> int:
    """Give a path's version, 0 when nothing is there."""
    node = find(root, path)
    return 0 if node is None else int(node["n"])


def changed(root: Node, path: Path) -> int:
    """Give the version at which a path last changed, or may have been removed."""
    node, last = root, int(root["n"])
    for key in path:
        below = node.get("c", {}).get(key)
        if below is None:
            return last
        node, last = below, int(below["n"])
    return last


def merge(node: Node | None, path: Path, value: JSON, number: int, *, secret: bool = False) -> Node:
    """Set a value at a path: an object leaf by leaf, anything else in place of what is there."""
    if not path and not isinstance(value, dict):
        return {"n": number, "v": value} | ({"s": True} if secret else {})
    children = dict(node.get("c", {})) if node is not None else {}
    if path:
        children[path[0]] = merge(children.get(path[0]), path[1:], value, number, secret=secret)
    else:
        for key, below in value.items():
            children[key] = merge(children.get(key), (), below, number, secret=secret)
    return {"n": number, "c": children}


def graft(root: Node, path: Path, node: Node, number: int) -> Node:
    """Put a node, all of it, at a path."""
    if not path:
        return _stamped(node, number)
    children = dict(root.get("c", {}))
    children[path[0]] = graft(children.get(path[0], {}), path[1:], node, number)
    return {"n": number, "c": children}


def remove(root: Node, path: Path, number: int) -> Node:
    """Remove what is at a path, which is there; of the root, all below it."""
    children = dict(root["c"]) if path else {}
    if len(path) == 1:
        del children[path[0]]
    elif path:
        children[path[0]] = remove(children[path[0]], path[1:], number)
    return {"n": number, "c": children}


def plain(node: Node, *, reveal: bool = False) -> JSON:
    """Give a node as the JSON it stands for, secrets masked unless revealed."""
    if "c" in node:
        return {key: plain(below, reveal=reveal) for key, below in node["c"].items()}
    return MASK if node.get("s") and not reveal else node["v"]


def secrets(node: Node, at: Path = ()) -> Iterator[Path]:
    """Give the paths of the secrets below a node."""
    if node.get("s"):
        yield at
    for key, below in node.get("c", {}).items():
        yield from secrets(below, (*at, key))


def put(value: JSON, path: Path, leaf: JSON) -> JSON:
    """Give plain JSON with one leaf, which is there, replaced."""
    if not path:
        return leaf
    return {**value, path[0]: put(value[path[0]], path[1:], leaf)}


def _stamped(node: Node, number: int) -> Node:
    if "c" in node:
        return {"n": number, "c": {key: _stamped(below, number) for key, below in node["c"].items()}}
    return {**node, "n": number}


def _check(value: JSON, depth: int) -> None:
    if depth > limits.CONFIG_DEPTH:
        raise ResourceExhausted(f"deeper than {limits.CONFIG_DEPTH} levels")
    if isinstance(value, list):
        for item in value:
            _check(item, depth + 1)
    elif isinstance(value, dict):
        for key, below in value.items():
            if not isinstance(key, str) or not key:
                raise InvalidArgument("a key is empty, or not text")
            _check(below, depth + 1)
    elif isinstance(value, float) and not isfinite(value):
        raise InvalidArgument("a value is not a finite number")
    elif not isinstance(value, str | int | float | None):
        raise InvalidArgument(f"a value is {type(value).__name__}, wanted JSON")
