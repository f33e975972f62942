"""Free JSON: what a field of type Any, or a dict, carries."""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from micro.schema.extras import SchemaError
from micro.schema.mismatch import Mismatch, each, each_value, expected
from micro.schema.scalars import EXACT, write_span, write_str, write_time

_PLAIN = frozenset({str, int, bool, type(None)})


def write_value(value: Any) -> Any:
    """Give a value as JSON has it; dataclasses, enums, times and bytes inside take the form they have as fields."""
    cls = value.__class__
    if cls in _PLAIN or isinstance(value, bytes):
        return value
    if cls is float:
        return _finite(value)
    if isinstance(value, Mapping):
        return write_struct(value)
    if isinstance(value, (list, tuple)):
        try:
            return [write_value(item) for item in value]
        except Mismatch:
            return each(write_value, value)
    return _write_other(value)


def write_struct(value: Any) -> dict[str, Any]:
    """Give a JSON object of a mapping with str keys, or of a dataclass."""
    if not isinstance(value, Mapping):
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            made: dict[str, Any] = _write_other(value)
            return made
        raise expected("dict", value)
    try:
        return {_key(key): write_value(item) for key, item in value.items()}
    except Mismatch:
        return each_value(_key, write_value, value)


def read_struct(value: Any) -> dict[str, Any]:
    """Give a JSON object as it is."""
    if not isinstance(value, dict):
        raise expected("dict", value)
    return value


def _key(key: Any) -> str:
    if isinstance(key, (int, float)) and not isinstance(key, (bool, enum.Enum)):
        return str(key)
    return write_str(key)


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise Mismatch("NaN and infinity are no JSON")
    return value


def _write_other(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, datetime):
        return write_time(value)
    if isinstance(value, timedelta):
        return write_span(value)
    if isinstance(value, (str, int, float)):  # of classes derived from these
        return str.__str__(value) if isinstance(value, str) else _finite(value + 0)
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        from micro.schema.dataclass_json import json_of
        from micro.schema.plan import plan_of

        try:
            return json_of(plan_of(type(value))).write(value)
        except SchemaError as problem:
            raise Mismatch(str(problem)) from problem
    if hasattr(value, "__struct_fields__"):  # a msgspec Struct, by its fields
        return {name: write_value(getattr(value, name)) for name in value.__struct_fields__}
    raise expected("JSON", value)


def fill_value(target: Any, value: Any) -> None:
    """Write JSON into a google.protobuf.Value."""
    if value is None:
        target.null_value = 0
    elif value.__class__ is bool:
        target.bool_value = value
    elif value.__class__ is float:
        target.number_value = _finite(value)
    elif value.__class__ is int:
        if not -EXACT <= value <= EXACT:
            raise Mismatch("a whole number of free JSON beyond 2^53 is rounded in protobuf; send it as text")
        target.number_value = value
    elif value.__class__ is str:
        target.string_value = value
    elif value.__class__ is dict:
        fill_struct(target.struct_value, value)
    elif value.__class__ is list:
        target.list_value.SetInParent()
        for item in value:
            fill_value(target.list_value.values.add(), item)
    else:
        _fill_other(target, value)


def _fill_other(target: Any, value: Any) -> None:
    plain = write_value(value)
    if isinstance(plain, (bytes, datetime)):
        import msgspec

        plain = msgspec.to_builtins(plain)
    fill_value(target, plain)


def fill_struct(target: Any, value: Any) -> None:
    """Write a JSON object into a google.protobuf.Struct."""
    target.SetInParent()
    for key, item in write_struct(value).items() if value.__class__ is not dict else value.items():
        fill_value(target.fields[_key(key)], item)


def from_value(message: Any) -> Any:
    """Read JSON from a google.protobuf.Value; whole numbers come back as int."""
    kind = message.WhichOneof("kind")
    if kind == "struct_value":
        return from_struct(message.struct_value)
    if kind == "list_value":
        return [from_value(item) for item in message.list_value.values]
    if kind == "number_value":
        number = message.number_value
        return int(number) if number.is_integer() and -EXACT <= number <= EXACT else number
    return None if kind is None or kind == "null_value" else getattr(message, kind)


def from_struct(message: Any) -> dict[str, Any]:
    """Read a JSON object from a google.protobuf.Struct."""
    return {key: from_value(item) for key, item in message.fields.items()}
