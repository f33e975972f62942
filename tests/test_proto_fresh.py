"""The wire is what its table says, and its generated modules are what `scripts/proto` makes of it."""

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf import any_pb2, descriptor_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, FileDescriptor, MethodDescriptor
from grpc_health.v1 import health_pb2 as standard_health
from grpc_reflection.v1alpha import reflection_pb2 as standard_reflection

from micro.proto import health_pb2, reflection_pb2, status_pb2

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "micro-core" / "src" / "micro" / "proto"
TABLE = Path(__file__).resolve().parent / "data" / "wire.txt"
FIRST_EXTENSION = 100  # numbers below are the original's
STANDARD = {"health", "reflection", "status"}
NAMES = sorted(path.stem for path in (ROOT / "proto").glob("*.proto"))
IMPLEMENTATIONS = ["upb", "python"]

CONFLICT = """
import importlib, sys
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
def theirs():
    pool = descriptor_pool.Default()
    file = descriptor_pb2.FileDescriptorProto(name="auth.proto", package="auth", syntax="proto3")
    file.message_type.add(name="Account").field.add(name="id", number=7, type=5, label=1)
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("auth.Account"))
if sys.argv[1] == "theirs":
    user = theirs()
for name in sys.argv[2:]:
    importlib.import_module(f"micro.proto.{name}_pb2")
if sys.argv[1] == "ours":
    user = theirs()
from micro.proto.auth_pb2 import Account
from micro.proto.network_pb2 import RoutesResponse
assert user(id=3).SerializeToString() == bytes([0x38, 3])
assert Account(id="a", metadata={"k": "v"}) == Account.FromString(Account(id="a", metadata={"k": "v"}).SerializeToString())
assert RoutesResponse.FromString(bytes([10, 3, 10, 1, 97])).routes[0].service == "a"
assert "grpc" not in sys.modules
"""


def sections() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            found[line.strip("[]")] = current = []
        elif line and not line.startswith("#"):
            current.append(line)
    return found


def files() -> list[FileDescriptor]:
    return [importlib.import_module(f"micro.proto.{name}_pb2").DESCRIPTOR for name in NAMES if name not in STANDARD]


def describe(file: FileDescriptor) -> Iterator[str]:
    for service in file.services_by_name.values():
        yield from (f"{service.full_name}/{method.name} {signature(method)}" for method in service.methods)
    for message in file.message_types_by_name.values():
        yield from describe_message(message)
    for enum in file.enum_types_by_name.values():
        yield from describe_enum(enum)


def describe_message(message: Descriptor) -> Iterator[str]:
    if all(field.number >= FIRST_EXTENSION for field in message.fields):
        yield f"{message.full_name} empty"
    yield from (f"{field.full_name} {field.number} {type_of(field)}" for field in message.fields)
    proto = descriptor_pb2.DescriptorProto()
    message.CopyToProto(proto)
    for span in proto.reserved_range:
        yield from (f"{message.full_name} reserved {number}" for number in range(span.start, span.end))
    for enum in message.enum_types:
        yield from describe_enum(enum)
    for nested in message.nested_types:
        if not nested.GetOptions().map_entry:
            yield from describe_message(nested)


def describe_enum(enum: EnumDescriptor) -> Iterator[str]:
    return (f"{enum.full_name}.{value.name} {value.number}" for value in enum.values)


def signature(method: MethodDescriptor) -> str:
    package = method.containing_service.file.package
    kinds = (method.client_streaming, method.input_type), (method.server_streaming, method.output_type)
    return " -> ".join(f"{'stream ' if many else ''}{local(kind.full_name, package)}" for many, kind in kinds)


def type_of(field: FieldDescriptor) -> str:
    entry = field.message_type
    if entry and entry.GetOptions().map_entry:
        return f"map<{type_of(entry.fields_by_name['key'])},{type_of(entry.fields_by_name['value'])}>"
    kind = entry or field.enum_type
    name = local(kind.full_name, field.file.package) if kind else scalar(field)
    if field.is_repeated:
        return f"{name}[]"
    one_of = field.containing_oneof
    if one_of is None:
        return name
    return f"optional {name}" if one_of.name == f"_{field.name}" else f"oneof {one_of.name} {name}"


def scalar(field: FieldDescriptor) -> str:
    return descriptor_pb2.FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()


def local(full_name: str, package: str) -> str:
    return full_name.removeprefix(f"{package}.")


def parent(name: str) -> str:
    return name.rpartition(".")[0]


def structure(file: FileDescriptor) -> str:
    """Messages and services, whatever the package is called."""
    proto = descriptor_pb2.FileDescriptorProto()
    file.CopyToProto(proto)
    kept = descriptor_pb2.FileDescriptorProto(message_type=proto.message_type, service=proto.service)
    for message in (nested for outer in kept.message_type for nested in (outer, *outer.nested_type)):
        for field in message.field:
            field.ClearField("json_name")
    return str(kept).replace(f".{file.package}.", ".")


def test_the_generated_modules_are_fresh(tmp_path: Path) -> None:
    subprocess.run([sys.executable, ROOT / "proto" / "generate.py", "--out", tmp_path], check=True)
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    kept = {path.name: path.read_bytes() for path in PACKAGE.glob("*_pb2.py*")}
    assert sorted(made) == sorted(kept)
    assert [name for name in made if made[name] != kept[name]] == [], "run scripts/proto"


def test_the_descriptors_hold_what_the_table_lists_and_nothing_else() -> None:
    listed = [line for lines in sections().values() for line in lines]
    found = [line for file in files() for line in describe(file)]
    assert len(listed) == len(set(listed))
    assert sorted(set(found) - set(listed)) == [], "not in tests/data/wire.txt"
    assert sorted(set(listed) - set(found)) == [], "not in proto/"


def test_a_field_added_to_an_original_message_has_a_number_of_100_or_more() -> None:
    tables = {name: [line.split() for line in lines] for name, lines in sections().items()}
    originals = {words[0] if words[1] == "empty" else parent(words[0]) for words in tables["original"]}
    added = [words for words in tables["extensions"] if words[1].isdigit() and parent(words[0]) in originals]
    assert ["store.Record.version", "100", "uint64"] in added
    assert ["config.SetResponse.version", "100", "uint64"] in added
    assert [words for words in added if int(words[1]) < FIRST_EXTENSION] == []


def test_health_and_reflection_are_the_standard_ones() -> None:
    assert structure(health_pb2.DESCRIPTOR) == structure(standard_health.DESCRIPTOR)
    assert structure(reflection_pb2.DESCRIPTOR) == structure(standard_reflection.DESCRIPTOR)


def test_a_status_detail_has_the_bytes_of_an_any() -> None:
    detail = any_pb2.Any(type_url="type.googleapis.com/errors.Error", value=b"\x10\x90\x03")
    status = b"\x08\x05\x12\x01m\x1a" + bytes([detail.ByteSize()]) + detail.SerializeToString()
    read = status_pb2.Status.FromString(status)
    assert (read.code, read.message) == (5, "m")
    assert [(one.type_url, one.value) for one in read.details] == [(detail.type_url, detail.value)]


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("first", ["ours", "theirs"])
@pytest.mark.parametrize("names", [NAMES, NAMES[::-1]], ids=["forwards", "backwards"])
def test_a_user_may_have_an_auth_proto_too(implementation: str, first: str, names: list[str]) -> None:
    environment = {**os.environ, "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": implementation}
    command = [sys.executable, "-W", "error", "-c", CONFLICT, first, *names]
    subprocess.run(command, env=environment, check=True)
