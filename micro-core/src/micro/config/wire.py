"""Values and entries as protobuf messages and back; for both ends of the wire."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NoReturn

from micro.config import tree
from micro.config.driver import JSON, Entry, Path
from micro.errors import InvalidArgument
from micro.plugin.driver import Change
from micro.proto import config_pb2 as pb


def value_out(value: JSON) -> pb.Value:
    """Write a value."""
    return pb.Value(data=json.dumps(value, ensure_ascii=False))


def value_in(value: pb.Value) -> JSON:
    """Read a value; a key twice in an object, NaN and infinity are refused."""
    try:
        return json.loads(value.data, object_pairs_hook=_once, parse_constant=_no_number)
    except ValueError as err:
        raise InvalidArgument(f"Request is invalid JSON: {err}") from None
    except RecursionError:
        raise InvalidArgument("Request is invalid JSON: nested too deep") from None


def entry_out(path: Path, entry: Entry) -> pb.Entry:
    """Write an entry."""
    out = pb.Entry(path=tree.show(path), version=entry.version)
    if entry.version:
        out.value.CopyFrom(value_out(entry.value))
        out.secret_paths.extend(map(tree.show, entry.secret_paths))
    return out


def entry_in(value: pb.Value, version: int, secret_paths: Iterable[str]) -> Entry:
    """Read an entry's parts."""
    return Entry(json.loads(value.data or "null"), version, tuple(map(tree.parse, secret_paths)))


def change_out(path: Path, change: Change[Entry]) -> pb.EntryChange:
    """Write a change of a path."""
    kind = pb.EntryChange.PUT if change.item is not None else pb.EntryChange.DELETE
    entry = entry_out(path, change.item or Entry(None))
    return pb.EntryChange(kind=kind, entry=entry, version=change.version)


def change_in(change: pb.EntryChange) -> Change[Entry]:
    """Read a change."""
    found = change.entry
    if change.kind == pb.EntryChange.DELETE:
        return Change("delete", found.path, change.version)
    return Change("put", found.path, change.version, entry_in(found.value, found.version, found.secret_paths))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is twice in one object")
    return found


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON")
