"""Operations as arguments of scripts, and answers as records."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from math import ceil

from redis import exceptions as rx

from micro.store.driver import Delete, Op, Record

FIELDS = ["v", "m", "n", "e"]


def arguments(op: Op) -> list[str | bytes | int]:
    """Give an operation as a script takes it."""
    wanted = "" if op.if_version is None else op.if_version
    if isinstance(op, Delete):
        return ["delete", op.key, wanted, "", "", ""]
    metadata = json.dumps(dict(op.metadata)) if op.metadata else ""
    return ["put", op.key, wanted, op.value, metadata, "" if op.ttl is None else ceil(op.ttl * 1000)]


def row_of(row: Sequence[bytes]) -> Record:
    """Make a record of what a scan gives."""
    key, value, metadata, version, expires = row
    record = record_of(key.decode(), value, metadata, version, expires or None)
    assert record is not None
    return record


def record_of(
    key: str, value: bytes | None, metadata: bytes | None, version: bytes | None, expires: bytes | None
) -> Record | None:
    """Make a record of its fields; None where there is none."""
    if version is None:
        return None
    instant = datetime.fromtimestamp(int(expires) / 1000, UTC) if expires else None
    return Record(key, value or b"", int(version), instant, json.loads(metadata) if metadata else {})


def text(value: str | bytes) -> str:
    """Give text that came as bytes, or as text."""
    return value if isinstance(value, str) else value.decode()


def said(text: str) -> rx.ResponseError:
    """Make what the client raises of an error that a script was given by a command."""
    kinds = {"OOM ": rx.OutOfMemoryError, "READONLY ": rx.ReadOnlyError, "NOPERM ": rx.NoPermissionError}
    return next((cls(text) for word, cls in kinds.items() if word in text), rx.ResponseError(text))
