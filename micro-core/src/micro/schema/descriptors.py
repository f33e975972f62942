"""Plans as protobuf descriptors, in files and pools of their own, so that no two services can collide."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from google.protobuf import descriptor_pool, duration_pb2, empty_pb2, struct_pb2, timestamp_pb2
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto

from micro.schema.enums import EnumPlan, camel, snake
from micro.schema.extras import SchemaError
from micro.schema.plan import FieldPlan, MessagePlan
from micro.schema.shape import Shape

WELL_KNOWN = {
    "timestamp": ("Timestamp", timestamp_pb2), "duration": ("Duration", duration_pb2),
    "value": ("Value", struct_pb2), "struct": ("Struct", struct_pb2), "empty": ("Empty", empty_pb2),
}  # fmt: skip
_F = FieldDescriptorProto


class FileBuilder:
    """One file: messages and enums are added with all they hold, in the order of first mention."""

    def __init__(self, name: str, package: str) -> None:
        self.file = FileDescriptorProto(name=name, package=package, syntax="proto3")
        self.dependencies: dict[str, FileDescriptorProto] = {}
        self._prefix = f".{package}." if package else "."
        self._known: dict[str, object] = {}
        self._enums: list[EnumPlan] = []

    def add(self, plan: MessagePlan) -> str:
        """Add a message and what it holds; give its full name with the leading dot."""
        messages, enums = plan.closure()
        for enum in enums:
            if self._is_new(enum.name, enum.python):
                self._enums.append(enum)
        for message in messages:
            if self._is_new(message.name, message.identity):
                self.file.message_type.append(self._message(message))
        return self._prefix + plan.name

    def depend(self, kind: str) -> str:
        """Make the file depend on a well-known type's; give the type's full name."""
        name, module = WELL_KNOWN[kind]
        self.import_file(FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb))
        return f".google.protobuf.{name}"

    def import_file(self, file: FileDescriptorProto) -> None:
        """Make the file depend on another one."""
        if file.name not in self.file.dependency:
            self.file.dependency.append(file.name)
        self.hold(file)

    def hold(self, file: FileDescriptorProto) -> None:
        """Keep a file that something here needs; two different ones of one name cannot be told apart."""
        known = self.dependencies.setdefault(file.name, file)
        if known != file:
            raise SchemaError(f"two different .proto files are named {file.name}; generate one of them under another")

    def finish(self) -> FileDescriptorProto:
        """Write the enums, now that all are known, and give the file."""
        counts: dict[str, int] = {}
        for name in (name for enum in self._enums for name, _ in enum.values):
            counts[name] = counts.get(name, 0) + 1
        for enum in self._enums:
            made = self.file.enum_type.add(name=enum.name)
            # protobuf has a file's enum values side by side, so a name that two enums have gets its enum's before it
            shared = any(counts[name] > 1 or name in self._known for name, _ in enum.values)
            prefix = f"{snake(enum.name).upper()}_" if shared else ""
            for name, number in enum.values:
                own = name if name.startswith(prefix) else prefix + name
                made.value.add(name=own, number=number)
        self._enums = []
        return self.file

    def _is_new(self, name: str, identity: object) -> bool:
        known = self._known.get(name)
        if known is None:
            self._known[name] = identity
        elif known != identity:
            raise SchemaError(f"two classes are named {name}: {known} and {identity}; rename one")
        return known is None

    def _message(self, plan: MessagePlan) -> DescriptorProto:
        made = DescriptorProto(name=plan.name)
        optional = []
        for field in plan.fields:
            if field.card == "oneof":
                index = len(made.oneof_decl)
                made.oneof_decl.add(name=field.name)
                for arm in field.arms:
                    self._type(_new(made, arm.name, arm.number), arm.shape).oneof_index = index
                continue
            new = _new(made, field.name, field.number)
            self._fill(made, new, field)
            if field.optional and new.type != _F.TYPE_MESSAGE:
                optional.append(new)
        for new in optional:  # the oneofs that stand for `optional` come after the real ones
            new.proto3_optional = True
            new.oneof_index = len(made.oneof_decl)
            made.oneof_decl.add(name=f"_{new.name}")
        return made

    def _fill(self, made: DescriptorProto, new: FieldDescriptorProto, field: FieldPlan) -> None:
        assert field.shape is not None
        if field.card != "one":
            new.label = _F.LABEL_REPEATED
        if field.card != "map":
            self._type(new, field.shape)
            return
        assert field.key is not None
        upper = camel(f"_{field.name}")
        entry = made.nested_type.add(name=f"{upper}Entry")
        entry.options.map_entry = True
        self._type(_new(entry, "key", 1), field.key)
        self._type(_new(entry, "value", 2), field.shape)
        new.type = _F.TYPE_MESSAGE
        new.type_name = f"{self._prefix}{made.name}.{entry.name}"

    def _type(self, new: FieldDescriptorProto, shape: Shape) -> FieldDescriptorProto:
        if shape.message is not None:
            new.type, new.type_name = _F.TYPE_MESSAGE, self._prefix + shape.message.name
        elif shape.enum is not None:
            new.type, new.type_name = _F.TYPE_ENUM, self._prefix + shape.enum.name
        elif shape.kind in WELL_KNOWN:
            new.type, new.type_name = _F.TYPE_MESSAGE, self.depend(shape.kind)
        else:
            new.type = _F.Type.Value(f"TYPE_{shape.kind.upper()}")
        return new


def _new(made: DescriptorProto, name: str, number: int) -> FieldDescriptorProto:
    return made.field.add(name=name, number=number, json_name=camel(name), label=_F.LABEL_OPTIONAL)


def file_of(descriptor: Any) -> FileDescriptorProto:
    """Give a generated file's descriptor as a message."""
    return FileDescriptorProto.FromString(descriptor.serialized_pb)


def with_dependencies(descriptor: Any) -> list[FileDescriptorProto]:
    """Give a generated file and all it imports, each after what it needs."""
    found: dict[str, FileDescriptorProto] = {}

    def visit(file: Any) -> None:
        if file.name not in found:
            for needed in file.dependencies:
                visit(needed)
            found[file.name] = file_of(file)

    visit(descriptor)
    return list(found.values())


def pool_of(files: Iterable[FileDescriptorProto]) -> descriptor_pool.DescriptorPool:
    """Make a private pool of files given each after what it needs."""
    pool = descriptor_pool.DescriptorPool()
    for file in files:
        try:
            pool.AddSerializedFile(file.SerializeToString())
        except (TypeError, ValueError) as problem:
            raise SchemaError(f"{file.name}: {problem}") from problem
    return pool
