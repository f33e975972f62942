"""One description of messages for flags, help, OpenAPI and the registry, wherever it was read from."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

LEVELS = 6  # of a Value tree, the top included; the original's figure
MAX_NODES = 1000  # of a Value tree; a registration of 256 KiB holds several

# what Go calls a scalar, which is what the registry's records say
_GO = {
    "string": "string", "bool": "bool", "bytes": "[]uint8", "double": "float64", "float": "float32",
    "int32": "int32", "sint32": "int32", "sfixed32": "int32", "int64": "int64", "sint64": "int64", "sfixed64": "int64",
    "uint32": "uint32", "fixed32": "uint32", "uint64": "uint64", "fixed64": "uint64",
    "timestamp": "Timestamp", "duration": "Duration", "value": "Value", "struct": "Struct",
}  # fmt: skip


class Value(Struct):
    """A node of the tree that the registry publishes: a message, or one of its fields."""

    name: str
    type: str
    values: list[Value] = field(default_factory=list)


class MessageInfo(Struct, eq=False):
    """A message: its name, its fields, what its author says of it. A message may hold itself.

    `free` is a JSON object of any content, which has no fields to name.
    """

    name: str
    fields: tuple[FieldInfo, ...] = ()
    doc: str = ""
    free: bool = False


class FieldInfo(Struct, eq=False):
    """A field.

    `kind` is protobuf's scalar name (`string`, `int64`, `double`, …) or `enum`, `message`, `timestamp`, `duration`,
    `value` (any JSON) or `struct` (a JSON object). A map has `key`, the kind of its keys; `repeated` is for lists alone.
    `type_name` names the enum or the message, `enum` lists the enum's names, `oneof` is the group of which only one may be given.
    `required` is known of dataclasses here only, `default` (in its JSON form) of whoever tells it in the docs, `number` is 0 where only a Value tree was there.
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


class EndpointInfo(Struct, eq=False):
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


def default_key(message: str, field: str) -> str:
    """Give where a schema's docs have a field's default; no name of a field or a message holds a `=`."""
    return f"{message}.{field}="


def value_tree(info: MessageInfo) -> Value:
    """Give the registry's tree of a message: fields in order, members of a oneof left out, six levels.

    Level by level, so that a message that holds itself many times over loses its depths, never its own fields.
    """
    top = Value(info.name, info.name)
    if info.free:
        top.values.append(Value("fields", "map[string]Value"))
    queue, left = [(top, info, 2)], MAX_NODES
    for node, message, level in queue:
        if level > 2 and len(message.fields) > left:
            continue
        for one in message.fields:
            if not one.oneof:
                child = _node(one, level)
                node.values.append(child)
                if one.message is not None and not one.key and not one.repeated and level < LEVELS:
                    queue.append((child, one.message, level + 1))
        left -= len(message.fields)
    return top


def _node(one: FieldInfo, level: int) -> Value:
    plain = _GO.get(one.kind) or one.type_name
    if one.key:
        return Value(one.name, f"map[{_GO[one.key]}]{plain}")
    if one.repeated:
        return Value(one.name, f"[]{plain}")
    node = Value(one.name, plain)
    if level < LEVELS and one.kind in {"timestamp", "duration"}:
        node.values += [Value("seconds", "int64"), Value("nanos", "int32")]
    elif level < LEVELS and one.kind == "struct":
        node.values.append(Value("fields", "map[string]Value"))
    return node
