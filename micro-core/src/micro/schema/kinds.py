"""The kinds of message: a dataclass, a protobuf class, free JSON, nothing, and a single value."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, get_origin

from micro.schema.dataclass_json import json_of
from micro.schema.extras import field
from micro.schema.free import fill_struct, from_struct, read_struct, write_struct
from micro.schema.info import MessageInfo
from micro.schema.message import LOCAL, MessageType
from micro.schema.mismatch import Mismatch, expected
from micro.schema.plan import MessagePlan, enum_plan, plan_of
from micro.schema.shape import Form, Reader, Shape, show, unwrap

if TYPE_CHECKING:
    from google.protobuf.descriptor_pb2 import FileDescriptorProto

    from micro.schema.dataclass_proto import Proto
    from micro.schema.descriptors import FileBuilder
    from micro.schema.well_known import Pair

_NOTHING = (None, type(None))
_OBJECTS = (dict, Mapping, Any, object)


def make(tp: Any) -> MessageType[Any]:
    """Make a type's message."""
    if tp in _NOTHING:
        return Empty()
    if _is_protobuf(tp):
        return Protobuf(tp)
    if isinstance(tp, type) and dataclasses.is_dataclass(tp) and get_origin(tp) is None:
        return Dataclass(tp)
    form = Reader(show(tp), plan_of, enum_plan).form(tp, "value")
    plain, _, nullable, _ = unwrap(tp)
    if not nullable and (
        plain in _OBJECTS or (form.shape is not None and form.card == "one" and form.shape.kind == "struct")
    ):
        return Free(tp)
    return Single(tp, form)


def _is_protobuf(tp: Any) -> bool:
    module = sys.modules.get("google.protobuf.message")  # no message class exists before it is imported
    return module is not None and isinstance(tp, type) and issubclass(tp, module.Message)


class Dataclass(MessageType[Any]):
    """A dataclass."""

    def __init__(self, cls: type) -> None:
        self.plan: MessagePlan = plan_of(cls)
        self.python_type = cls
        self.name = self.plan.name

    @cached_property
    def to_plain(self) -> Any:
        return json_of(self.plan).write

    @cached_property
    def from_plain(self) -> Any:
        return json_of(self.plan).read

    @cached_property
    def _proto(self) -> tuple[Proto, Any]:
        from google.protobuf.message_factory import GetMessageClass

        from micro.schema.dataclass_proto import proto_of
        from micro.schema.descriptors import pool_of

        pool = pool_of(self.descriptor_files())
        return proto_of(self.plan), GetMessageClass(pool.FindMessageTypeByName(f"{LOCAL}.{self.name}"))

    def _serialized(self, value: Any) -> bytes:
        proto, cls = self._proto
        message = cls()
        proto.fill(value, message)
        made: bytes = message.SerializeToString(deterministic=True)
        return made

    def _parsed(self, data: bytes) -> Any:
        proto, cls = self._proto
        return proto.read(cls.FromString(data))

    def _describe(self) -> MessageInfo:
        from micro.schema.plan_info import info_of

        return info_of(self.plan)

    def declare(self, builder: FileBuilder) -> str:
        return builder.add(self.plan)

    def named(self) -> list[tuple[str, object]]:
        messages, enums = self.plan.closure()
        return [(each.name, each.identity) for each in messages] + [(each.name, each.python) for each in enums]


class Single(Dataclass):
    """One value, as the field `value`, number 1, of a message made for it.

    JSON gives the value inside an object, and takes it also by itself. A union's types are members of the oneof `value`,
    numbered by their names.
    """

    def __init__(self, tp: Any, form: Form) -> None:
        inner = tp if form.card == "oneof" else Annotated[tp, field(1)]
        super().__init__(dataclasses.make_dataclass(_name(form), [("value", inner)], slots=True))
        self._holder = self.python_type
        self.plan.identity = f"the message of a single {show(tp)}"
        self.python_type = tp
        self._bare = form.card == "list" or (
            form.card == "one" and form.shape is not None and form.shape.message is None
        )

    @cached_property
    def to_plain(self) -> Any:
        write, holder = json_of(self.plan).write, self._holder
        return lambda value: write(holder(value))

    @cached_property
    def from_plain(self) -> Any:
        read, bare = json_of(self.plan).read, self._bare

        def take(parsed: Any) -> Any:
            return read(parsed if parsed.__class__ is dict or not bare else {"value": parsed}).value

        return take

    def read_bare(self, parsed: Any) -> Any:
        """Make the value of parsed JSON that stands by itself, in no object; raises Mismatch."""
        try:
            return json_of(self.plan).read({"value": parsed}).value
        except Mismatch as problem:
            raise Mismatch(problem.text, problem.path.removeprefix("value").removeprefix(".")) from None

    def _serialized(self, value: Any) -> bytes:
        return super()._serialized(self._holder(value))

    def _parsed(self, data: bytes) -> Any:
        return super()._parsed(data).value


def _name(form: Form) -> str:
    """Name the message of a single value: StringValue, OrderList, OrderMap, CircleOrSquare, OptionalOrder."""
    if form.card == "oneof":
        name = "Or".join(_word(arm.shape) for arm in form.arms)
    else:
        assert form.shape is not None
        name = _word(form.shape)
    if form.card == "map" and form.key is not None and form.key.kind != "string":
        name = form.key.kind.capitalize() + name
    name = ("Optional" if form.nullable else "") + name
    if form.card == "one" and form.nullable:
        return name
    return name + {"one": "Value", "list": "List", "map": "Map", "oneof": ""}[form.card]


def _word(shape: Shape) -> str:
    return shape.python.__name__ if shape.kind in {"enum", "message"} else shape.kind.capitalize()


class Protobuf(MessageType[Any]):
    """A class generated from a .proto, in any descriptor pool."""

    def __init__(self, cls: Any) -> None:
        self.python_type = cls
        self.name = cls.DESCRIPTOR.name

    @cached_property
    def _pair(self) -> Pair:
        from micro.schema.proto_json import pair_of

        return pair_of(self.python_type.DESCRIPTOR)

    def to_plain(self, value: Any) -> Any:
        return self._pair.write(self._checked(value))

    def from_plain(self, parsed: Any) -> Any:
        message = self.python_type()
        self._pair.fill(parsed, message)
        return message

    def _serialized(self, value: Any) -> bytes:
        made: bytes = self._checked(value).SerializeToString(deterministic=True)
        return made

    def _parsed(self, data: bytes) -> Any:
        return self.python_type.FromString(data)

    def _checked(self, value: Any) -> Any:
        if not isinstance(value, self.python_type):
            raise expected(self.name, value)
        return value

    def _describe(self) -> MessageInfo:
        from micro.schema.descriptor_info import info_of

        return info_of(self.python_type.DESCRIPTOR)

    def declare(self, builder: FileBuilder) -> str:
        from micro.schema.descriptors import file_of, with_dependencies

        for file in with_dependencies(self.python_type.DESCRIPTOR.file):
            builder.hold(file)
        builder.import_file(file_of(self.python_type.DESCRIPTOR.file))
        return f".{self.python_type.DESCRIPTOR.full_name}"

    def descriptor_files(self) -> list[FileDescriptorProto]:
        from micro.schema.descriptors import with_dependencies

        return with_dependencies(self.python_type.DESCRIPTOR.file)


class Free(MessageType[Any]):
    """A JSON object of any content; google.protobuf.Struct on the wire."""

    name = "Struct"

    def __init__(self, tp: Any) -> None:
        self.python_type = tp

    def to_plain(self, value: Any) -> Any:
        return write_struct(value)

    def from_plain(self, parsed: Any) -> Any:
        return read_struct(parsed)

    def _serialized(self, value: Any) -> bytes:
        from google.protobuf.struct_pb2 import Struct

        message = Struct()
        fill_struct(message, value)
        return message.SerializeToString(deterministic=True)

    def _parsed(self, data: bytes) -> Any:
        from google.protobuf.struct_pb2 import Struct

        return from_struct(Struct.FromString(data))

    def _describe(self) -> MessageInfo:
        return MessageInfo("Struct", free=True)

    def declare(self, builder: FileBuilder) -> str:
        return builder.depend("struct")


class Empty(MessageType[None]):
    """Nothing; google.protobuf.Empty on the wire. What is sent instead is passed over."""

    name = "Empty"
    python_type = None

    def to_plain(self, value: None) -> Any:
        if value is not None:
            raise expected("None", value)
        return {}

    def from_plain(self, parsed: Any) -> None:
        return None

    def _serialized(self, value: None) -> bytes:
        self.to_plain(value)
        return b""

    def _parsed(self, data: bytes) -> None:
        return None

    def _describe(self) -> MessageInfo:
        return MessageInfo("Empty")

    def declare(self, builder: FileBuilder) -> str:
        return builder.depend("empty")
