"""The JSON of protobuf's well-known types, each of which has its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from micro.schema import scalars
from micro.schema.dataclass_json import READ
from micro.schema.free import fill_struct, fill_value, from_struct, from_value, read_struct
from micro.schema.mismatch import Mismatch, expected

WIDE = frozenset({"int64", "uint64", "sint64", "fixed64", "sfixed64"})
_KINDS = {
    value: name.removeprefix("TYPE_").lower()
    for name, value in vars(FieldDescriptor).items()
    if name.startswith("TYPE_")
}


class Pair:
    """A message type's pair.

    `write` gives a message as a value for JSON; `fill` writes a parsed value into a message. Both raise Mismatch.
    """

    __slots__ = ("fill", "write")

    def __init__(self, write: Callable[[Any], Any], fill: Callable[[Any, Any], None]) -> None:
        self.write = write
        self.fill = fill


def kind_of(field: FieldDescriptor) -> str:
    """Give a field's protobuf type by its lower-case name, like `int64` or `message`."""
    return _KINDS[field.type]


def special_pair(descriptor: Descriptor) -> Pair | None:
    """Give the pair of a well-known type, whose JSON is its own."""
    package, _, name = descriptor.full_name.rpartition(".")
    if package != "google.protobuf":
        return None
    if name in {"Timestamp", "Duration"}:
        return Pair(*((_write_time, _fill_time) if name == "Timestamp" else (_write_span, _fill_span)))
    if name in {"Struct", "Value"}:
        if name == "Struct":
            return Pair(from_struct, lambda value, target: fill_struct(target, read_struct(value)))
        return Pair(from_value, lambda value, target: fill_value(target, value))
    if name == "ListValue":
        return Pair(lambda m: [from_value(item) for item in m.values], _fill_list_value)
    if name.endswith("Value") and "value" in descriptor.fields_by_name:
        return _wrapper(descriptor.fields_by_name["value"])
    return Pair(_write_any, _fill_any) if name in {"Any", "FieldMask"} else None


def _wrapper(field: FieldDescriptor) -> Pair:
    kind = kind_of(field)
    read = READ[kind]
    shown: Callable[[Any], Any] = str if kind in WIDE else lambda value: value
    if kind in {"float", "double"}:
        shown = scalars.short_float32 if kind == "float" else scalars.write_float

    def fill(value: Any, target: Any) -> None:
        target.SetInParent()
        target.value = read(value)

    return Pair(lambda message: shown(message.value), fill)


def _fill_list_value(value: Any, target: Any) -> None:
    if value.__class__ is not list:
        raise expected("list", value)
    target.SetInParent()
    for item in value:
        fill_value(target.values.add(), item)


def _write_time(message: Any) -> str:
    return _text(message)


def _write_span(message: Any) -> str:
    return _text(message)


def _text(message: Any) -> str:
    """Give a Timestamp's or Duration's text, with none, 3, 6 or 9 digits as Go has them."""
    try:
        text: str = message.ToJsonString()
    except (ValueError, OverflowError):
        raise Mismatch("out of range") from None
    return text


def _fill_time(value: Any, target: Any) -> None:
    _parse(value, target, "a time like 2026-01-31T12:00:00Z")


def _fill_span(value: Any, target: Any) -> None:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = scalars.write_span(scalars.read_span(value))
    _parse(value, target, 'a duration like "1.5s"')


def _parse(value: Any, target: Any, wanted: str) -> None:
    if not isinstance(value, str):
        raise expected(wanted, value)
    try:
        target.FromJsonString(value)
    except (ValueError, OverflowError):
        raise Mismatch(f"not {wanted}") from None
    target.SetInParent()


def _write_any(message: Any) -> Any:
    from google.protobuf import json_format  # only these two need it

    try:
        return json_format.MessageToDict(message, preserving_proto_field_name=True) if message.ByteSize() else {}
    except (TypeError, json_format.Error):  # an Any of a type that this process does not know
        return {"@type": message.type_url, "value": message.value} if hasattr(message, "type_url") else ""


def _fill_any(value: Any, target: Any) -> None:
    from google.protobuf import json_format

    try:
        json_format.ParseDict(value, target, ignore_unknown_fields=True)
    except (json_format.Error, TypeError, ValueError, AttributeError) as problem:
        raise Mismatch(f"not {target.DESCRIPTOR.name}: {problem}") from None
