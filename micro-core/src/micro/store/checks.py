"""What the portable class refuses before any I/O: drivers may trust what passed here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite

from micro import limits, names
from micro.errors import InvalidArgument, ResourceExhausted
from micro.store.driver import Delete, Op, Put, Scalar

MAX_TTL = 100 * 365 * 86_400.0  # seconds; a date beyond what datetime and every backend can hold is a mistake
_INT64 = 2**63


def ops(sequence: Sequence[Op]) -> None:
    """Check the operations of one batch, one by one and together."""
    if not sequence:
        raise InvalidArgument("no operations")
    if len(sequence) > limits.BATCH:
        raise ResourceExhausted(f"{len(sequence)} operations in one batch, at most {limits.BATCH}")
    seen: set[str] = set()
    size = 0
    for op in sequence:
        names.key(op.key)
        if op.key in seen:
            raise InvalidArgument(f"key {op.key!r} is twice in one batch")
        seen.add(op.key)
        if op.if_version is not None and op.if_version < 0:
            raise InvalidArgument(f"if_version is {op.if_version}, versions are 0 or more")
        if isinstance(op, Put):
            _put(op)
            size += len(op.value)
    if size > limits.BATCH_BYTES:
        raise ResourceExhausted(f"{size} bytes in one batch, at most {limits.BATCH_BYTES}")


def conditional(sequence: Sequence[Op]) -> bool:
    """Tell whether any operation has a condition."""
    return any(op.if_version is not None for op in sequence)


def needs(sequence: Sequence[Op]) -> list[str]:
    """Give the capabilities that these operations need."""
    found = ["batch"] if len(sequence) > 1 else []
    if conditional(sequence):
        found.append("conditions")
    puts = [op for op in sequence if not isinstance(op, Delete)]
    if any(op.ttl is not None for op in puts):
        found.append("expiry")
    if any(op.metadata for op in puts):
        found.append("metadata")
    return found


def _put(op: Put) -> None:
    if len(op.value) > limits.VALUE:
        raise ResourceExhausted(f"value of key {op.key!r} is {len(op.value)} bytes, at most {limits.VALUE}")
    if op.ttl is not None and not 0 < op.ttl <= MAX_TTL:
        raise InvalidArgument(f"ttl is {op.ttl:g} seconds, more than 0 and at most {MAX_TTL:g} (or None, for ever)")
    if op.metadata:
        _metadata(op.metadata)


def _metadata(metadata: Mapping[str, Scalar]) -> None:
    if len(metadata) > limits.RECORD_METADATA_ENTRIES:
        raise ResourceExhausted(f"{len(metadata)} metadata entries, at most {limits.RECORD_METADATA_ENTRIES}")
    size = 0
    for name, value in metadata.items():
        if not name:
            raise InvalidArgument("a metadata name is empty")
        if not isinstance(value, str | int | float):  # bool is an int
            raise InvalidArgument(f"metadata {name!r} is {type(value).__name__}, wanted str, int, float or bool")
        if isinstance(value, int) and not -_INT64 <= value < _INT64:
            raise InvalidArgument(f"metadata {name!r} does not fit 64 bits")
        if isinstance(value, float) and not isfinite(value):
            raise InvalidArgument(f"metadata {name!r} is not a finite number")
        try:
            size += len(name.encode()) + len(str(value).encode())
        except UnicodeEncodeError:
            raise InvalidArgument(f"metadata {name!a} is not valid UTF-8") from None
    if size > limits.RECORD_METADATA:
        raise ResourceExhausted(f"{size} bytes of metadata, at most {limits.RECORD_METADATA}")
