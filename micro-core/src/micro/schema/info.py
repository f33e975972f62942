"""One description of messages for flags, help, OpenAPI and the registry, wherever it was read from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

LEVELS = 6  # of a Value tree, the top included; the original's figure

# what Go calls a scalar, which is what the registry's records say
_GO = {
    "string": "string", "bool": "bool", "bytes": "[]uint8", "double": "float64", "float": "float32",
    "int32": "int32", "sint32": "int32", "sfixed32": "int32", "int64": "int64", "sint64": "int64", "sfixed64": "int64",
    "uint32": "uint32", "fixed32": "uint32", "uint64": "uint64", "fixed64": "uint64",
    "timestamp": "Timestamp", "duration": "Duration", "value": "Value", "struct": "Struct",
}  # fmt: skip


@dataclass(slots=True)
class Value:
    """A node of the tree that the registry publishes: a message, or one of its fields."""

    name: str
    type: str
    values: list[Value] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class MessageInfo:
    """A message: its name, its fields, what its author says of it. A message may hold itself."""

    name: str
    fields: tuple[FieldInfo, ...] = ()
    doc: str = ""


@dataclass(slots=True, eq=False)
class FieldInfo:
    """A field.

    `kind` is protobuf's scalar name (`string`, `int64`, `double`, …) or `enum`, `message`, `timestamp`, `duration`,
    `value` (any JSON) or `struct` (a JSON object). A map has `key`, the kind of its keys; `repeated` is for lists alone.
    `type_name` names the enum or the message, `enum` lists the enum's names, `oneof` is the group of which only one may be given.
    `required` and `default` (in its JSON form) are known of dataclasses only, `number` is 0 where only a Value tree was there.
    """

    name: str
    kind: str
    number: int = 0
    repeated: bool = False
    key: str = ""
    optional: bool = False
    required: bool = False
    oneof: str = ""
    default: Any = None
    description: str = ""
    type_name: str = ""
    enum: tuple[str, ...] = ()
    message: MessageInfo | None = None


@dataclass(slots=True, eq=False)
class EndpointInfo:
    """An endpoint as its callers know it, wherever its schema was read from."""

    handler: str
    method: str
    request: MessageInfo
    response: MessageInfo
    client_streaming: bool = False
    server_streaming: bool = False
    doc: str = ""

    @property
    def name(self) -> str:
        """`Handler.Method`."""
        return f"{self.handler}.{self.method}"


def value_tree(info: MessageInfo) -> Value:
    """Give the registry's tree of a message: fields in order, members of a oneof left out, six levels."""
    return Value(info.name, info.name, _values(info, 2))


def _values(info: MessageInfo, level: int) -> list[Value]:
    if level > LEVELS:
        return []
    return [_value(one, level) for one in info.fields if not one.oneof]


def _value(one: FieldInfo, level: int) -> Value:
    plain = _GO.get(one.kind) or one.type_name
    if one.key:
        return Value(one.name, f"map[{_GO[one.key]}]{plain}")
    if one.repeated:
        return Value(one.name, f"[]{plain}")
    if level == LEVELS:
        return Value(one.name, plain)
    if one.message is not None:
        return Value(one.name, plain, _values(one.message, level + 1))
    if one.kind in {"timestamp", "duration"}:
        return Value(one.name, plain, [Value("seconds", "int64"), Value("nanos", "int32")])
    return Value(one.name, plain, [Value("fields", "map[string]Value")] if one.kind == "struct" else [])
