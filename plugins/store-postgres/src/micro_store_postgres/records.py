"""Operations as arguments of the database's functions, and rows as records."""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import ceil
from typing import Any

from micro.store.driver import Delete, Op, Record


def record_of(row: Any) -> Record:
    """Make a record of a row."""
    metadata = row["metadata"]
    return Record(row["key"], row["value"], row["version"], row["expires"], json.loads(metadata) if metadata else {})


def columns(batches: Sequence[Sequence[Op]]) -> list[list[Any]]:
    """Give the operations of several batches by column, as `apply` takes them; see schema.py."""
    made: list[list[Any]] = [[], [], [], [], [], []]
    numbers, keys, contents, conditions, lives, notes = made
    for number, ops in enumerate(batches):
        for op in ops:
            numbers.append(number)
            keys.append(op.key)
            conditions.append(op.if_version)
            if isinstance(op, Delete):
                contents.append(None)
                lives.append(None)
                notes.append(None)
            else:
                contents.append(op.value)
                lives.append(None if op.ttl is None else ceil(op.ttl * 1000))
                notes.append(json.dumps(dict(op.metadata)) if op.metadata else "")
    return made


def weight(ops: Sequence[Op]) -> int:
    """Give about how many bytes operations come to."""
    return sum(len(op.key) + (0 if isinstance(op, Delete) else len(op.value)) for op in ops)
