"""Records and changes as protobuf messages and back; for both ends of the wire."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime

from micro.errors import InvalidArgument
from micro.plugin.driver import Change
from micro.proto import store_pb2 as pb
from micro.store.driver import Delete, Op, Put, Record, Scalar

_KINDS = {"put": pb.Change.PUT, "delete": pb.Change.DELETE, "expire": pb.Change.EXPIRE}
_NAMES = {number: name for name, number in _KINDS.items()}
# What a Go writer calls its types; any other travels as text.
_INTEGERS = frozenset({"int", "int8", "int16", "int32", "int64", "uint", "uint8", "uint16", "uint32", "uint64"})
_FLOATS = frozenset({"float32", "float64"})


def record_out(record: Record, now: float) -> pb.Record:
    """Write a record; its expiry as what remains, in milliseconds and in seconds rounded up, never 0 (for ever)."""
    out = pb.Record(key=record.key, value=record.value, version=record.version)
    if record.expires is not None:
        out.expiry_ms = max(1, round((record.expires.timestamp() - now) * 1000))
        out.expiry = math.ceil(out.expiry_ms / 1000)
    fields_out(record.metadata, out)
    return out


def record_in(record: pb.Record, now: float) -> Record:
    """Read a record."""
    ttl = ttl_in(record)
    expires = None if ttl is None else datetime.fromtimestamp(now + ttl, UTC)
    return Record(record.key, record.value, record.version, expires, fields_in(record))


def put_in(record: pb.Record, key: str, if_version: int | None = None) -> Put:
    """Read a record that is to be written."""
    return Put(key, record.value, ttl_in(record), fields_in(record), if_version)


def ttl_in(record: pb.Record) -> float | None:
    """Read a record's time to live in seconds; 0 is for ever."""
    if record.expiry_ms:
        return record.expiry_ms / 1000
    return float(record.expiry) if record.expiry else None


def op_out(op: Op) -> pb.Op:
    """Write an operation."""
    out = pb.Op(key=op.key, if_version=op.if_version)
    if isinstance(op, Delete):
        out.delete = True
        return out
    out.record.value = op.value
    if op.ttl is not None:
        out.record.expiry_ms = max(1, math.ceil(op.ttl * 1000))
        out.record.expiry = math.ceil(op.ttl)
    fields_out(op.metadata, out.record)
    return out


def op_in(op: pb.Op) -> Op:
    """Read an operation."""
    if_version = op.if_version if op.HasField("if_version") else None
    if op.delete:
        return Delete(op.key, if_version)
    if not op.HasField("record"):
        raise InvalidArgument("no record specified")
    return put_in(op.record, op.key, if_version)


def change_out(change: Change[Record], now: float) -> pb.Change:
    """Write a change."""
    record = record_out(change.item, now) if change.item is not None else pb.Record(key=change.key)
    return pb.Change(kind=_KINDS[change.kind], record=record, version=change.version)


def change_in(change: pb.Change, now: float) -> Change[Record]:
    """Read a change."""
    item = record_in(change.record, now) if change.kind == pb.Change.PUT else None
    return Change(_NAMES.get(change.kind, "put"), change.record.key, change.version, item)


def fields_out(metadata: Mapping[str, Scalar], out: pb.Record) -> None:
    """Write metadata with Go's names of the types."""
    for name, value in metadata.items():
        field = out.metadata[name]
        if isinstance(value, bool):
            field.type, field.value = "bool", "true" if value else "false"
        elif isinstance(value, int):
            field.type, field.value = "int64", str(value)
        elif isinstance(value, float):
            field.type, field.value = "float64", repr(value)
        else:
            field.type, field.value = "string", value


def fields_in(record: pb.Record) -> dict[str, Scalar]:
    """Read metadata; a text that its type cannot read is refused."""
    return {name: _scalar(name, field) for name, field in record.metadata.items()}


def _scalar(name: str, field: pb.Field) -> Scalar:
    try:
        if field.type in _INTEGERS:
            return int(field.value)
        if field.type in _FLOATS:
            return float(field.value)
    except ValueError:
        raise InvalidArgument(f"metadata {name!r} is not of type {field.type}") from None
    if field.type == "bool":
        return field.value == "true"
    return field.value
