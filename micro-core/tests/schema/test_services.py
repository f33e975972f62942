from __future__ import annotations

import contextlib
import enum
import json
from dataclasses import dataclass, field, make_dataclass
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf import descriptor_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from micro.errors import InvalidArgument
from micro.proto import registry_pb2, store_pb2
from micro.schema import (
    DescriptorFiles,
    DynamicSchema,
    Endpoint,
    SchemaError,
    ServiceSchema,
    Value,
    endpoint_of_values,
    message_of,
    message_of_values,
)
from micro.schema.descriptors import pool_of, with_dependencies
from micro.schema.service import package_of


class Color(enum.Enum):
    RED = "red"


@dataclass
class Line:
    """A line of an order."""

    name: str
    inner: Line | None = None


@dataclass
class Order:
    """An order.

    :param id: who it is
    lines: what is in it
    """

    id: str
    color: Color
    raw: bytes
    when: datetime
    span: timedelta
    free: Any
    object: dict[str, Any]
    line: Line
    lines: list[Line]
    by_number: dict[int, Line]
    names: list[str]
    either: int | Line
    note: str | None
    ratio: float = 1.5
    color_too: Color = Color.RED
    factory: list[str] = field(default_factory=lambda: ["x"])


SCHEMA = ServiceSchema(
    "order-book",
    [
        Endpoint("Orders", "Place", message_of(Order), message_of(Line), doc="Take one."),
        Endpoint("Orders", "Watch", message_of(str), message_of(Order), server_streaming=True),
        Endpoint("Records", "Write", message_of(store_pb2.WriteRequest), message_of(store_pb2.WriteResponse)),
        Endpoint("Records", "Clear", message_of(None), message_of(dict), client_streaming=True),
        Endpoint("Records", "List", message_of(list[Line]), message_of(list[Line])),
    ],
)


@pytest.mark.parametrize(
    ("service", "package"),
    [
        ("foo-bar", "foobar"),
        ("v1.foo", "v1.foo"),
        ("2fa", "_2fa"),
        ("a.1", "a._1"),
        ("Shop_x", "Shop_x"),
        ("0.-.", "_0"),
        ("-", "_"),
    ],
)
def test_a_services_name_becomes_a_package(service, package):
    assert package_of(service) == package


def test_a_service_is_one_set_of_files_that_protobuf_accepts():
    files = descriptor_pb2.FileDescriptorSet.FromString(SCHEMA.files).file
    service = pool_of(files).FindServiceByName("orderbook.Orders")
    place, watch = service.methods_by_name["Place"], service.methods_by_name["Watch"]
    assert place.input_type.full_name == "orderbook.Order"
    assert (watch.client_streaming, watch.server_streaming) == (False, True)
    assert watch.input_type.full_name == "orderbook.StringValue"
    records = pool_of(files).FindServiceByName("orderbook.Records")
    assert records.methods_by_name["Write"].input_type.full_name == "store.WriteRequest"
    assert records.methods_by_name["Clear"].output_type.full_name == "google.protobuf.Struct"


def test_a_proto_that_declares_the_service_itself_is_no_clash():
    write = Endpoint("Store", "Write", message_of(store_pb2.WriteRequest), message_of(store_pb2.WriteResponse))
    schema = ServiceSchema("store", [write])
    files = descriptor_pb2.FileDescriptorSet.FromString(schema.files).file
    assert [method.name for method in pool_of(files).FindServiceByName("store.Store").methods] == ["Write"]


def test_a_dataclass_named_like_a_message_of_the_same_package_is_refused():
    @dataclass
    class Record:
        name: str

    schema = ServiceSchema("store", [Endpoint("S", "W", message_of(store_pb2.WriteRequest), message_of(Record))])
    with pytest.raises(SchemaError, match=r"micro/store\.proto"):
        _ = schema.files


def facts(info, depth=0):
    """A description without what only a dataclass knows."""
    return (info.name, info.free, [
        (f.name, f.kind, f.number, f.repeated, f.key, f.optional, f.oneof, f.default, f.description, f.type_name, f.enum,
         facts(f.message, depth + 1) if f.message is not None and depth < 4 else None)
        for f in info.fields
    ])  # fmt: skip


def test_a_default_travels_beside_plain_descriptors_whatever_else_a_stranger_sends_there():
    assert {key: text for key, text in SCHEMA.docs.items() if key.endswith("=")} == {
        "Order.ratio=": "1.5",
        "Order.color_too=": '"RED"',
    }
    assert b"1.5" not in SCHEMA.files
    for text in ("", "{", "nan", "[" * 100_000):
        info = DynamicSchema(SCHEMA.files, {"Order.ratio=": text}).endpoints["Orders.Place"].request
        assert next(one for one in info.fields if one.name == "ratio").default is None


def test_the_same_description_comes_from_the_class_and_from_the_descriptors():
    dynamic = DynamicSchema(SCHEMA.files, SCHEMA.docs)
    assert list(dynamic.endpoints) == [one.name for one in SCHEMA.endpoints]
    for one in SCHEMA.endpoints:
        found = dynamic.endpoints[one.name]
        assert (found.client_streaming, found.server_streaming, found.doc) == (
            one.client_streaming,
            one.server_streaming,
            one.doc,
        )
        assert facts(found.request) == facts(one.request.info)
        assert facts(found.response) == facts(one.response.info)


def test_a_class_says_defaults_requirements_and_descriptions():
    fields = {one.name: one for one in message_of(Order).fields()}
    assert (fields["id"].required, fields["id"].description) == (True, "who it is")
    assert fields["lines"].description == "what is in it"
    assert (fields["ratio"].default, fields["ratio"].required, fields["ratio"].optional) == (1.5, False, True)
    assert fields["color_too"].default == "RED"
    assert fields["color"].enum == ("COLOR_UNSPECIFIED", "RED")
    assert fields["note"].required is False
    assert (fields["either_int"].oneof, fields["either_line"].oneof) == ("either", "either")
    assert fields["lines"].message is fields["line"].message


def test_messages_made_from_descriptors_speak_both_forms():
    dynamic = DynamicSchema(SCHEMA.files)
    place = dynamic.request_type("Orders.Place")
    sent = place.to_proto(
        place.from_json(b'{"id": "1", "color": "RED", "lines": [{"name": "a"}], "eitherInt": 3, "ratio": 0}')
    )
    order = message_of(Order).from_proto(sent)
    assert (order.id, order.color, order.lines, order.either, order.ratio) == ("1", Color.RED, [Line("a")], 3, 0.0)
    assert json.loads(dynamic.response_type("Orders.Place").to_json(dynamic.response_type("Orders.Place").from_json(b""))) == {
        "name": "", "inner": None,
    }  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60) | st.integers(0, 5000).map(lambda cut: SCHEMA.files[:cut]))
def test_bytes_that_are_no_schema_are_an_invalid_argument(raw):
    with contextlib.suppress(InvalidArgument):
        DynamicSchema(raw)


def test_a_strangers_odd_names_are_refused_and_deep_schemas_read():
    def schema(change):
        file = descriptor_pb2.FileDescriptorProto(name="x.proto", package="x", syntax="proto3")
        message = file.message_type.add(name="M0")
        message.field.add(name="a", number=1, type=9, label=1)
        method = file.service.add(name="S").method.add(name="M", input_type=".x.M0", output_type=".x.M0")
        change(file, message, method)
        return descriptor_pb2.FileDescriptorSet(file=[file]).SerializeToString()

    def hostile(file, message, method):
        message.field[0].name = "a; raise SystemExit"

    def named(file, message, method):
        message.name, method.input_type, method.output_type = "x(", ".x.x(", ".x.x("

    def deep(file, message, method):
        for level in range(1, 3000):
            file.message_type[-1].field.add(name="b", number=2, type=11, label=1, type_name=f".x.M{level}")
            file.message_type.add(name=f"M{level}")

    for change in (hostile, named):
        with pytest.raises(InvalidArgument):
            DynamicSchema(schema(change))
    dynamic = DynamicSchema(schema(deep))
    assert dynamic.endpoints["S.M"].request.fields[1].message.name == "M1"
    with pytest.raises(InvalidArgument, match="nested too deeply"):
        dynamic.request_type("S.M")


def test_a_message_that_holds_itself_many_times_keeps_its_tree_small():
    wide = make_dataclass("Wide", [(f"f{i}", "Wide | None", None) for i in range(12)])
    tree = message_of(wide).value_tree()
    count, queue = 0, [tree]
    for node in queue:
        count += 1
        queue += node.values
    assert len(tree.values) == 12
    assert all(len(value.values) == 12 for value in tree.values)
    assert count < 2000


def test_free_json_has_no_fields_to_name_wherever_its_description_is_from():
    free = message_of(dict)
    assert (free.info.free, free.fields()) == (True, ())
    tree = free.value_tree()
    assert tree == Value("Struct", "Struct", [Value("fields", "map[string]Value")])
    assert message_of_values(tree).free


def test_a_value_tree_has_six_levels_and_leaves_oneofs_out():
    tree = message_of(Order).value_tree()
    types = {value.name: value.type for value in tree.values}
    assert types == {
        "id": "string", "color": "Color", "raw": "[]uint8", "when": "Timestamp", "span": "Duration", "free": "Value",
        "object": "Struct", "line": "Line", "lines": "[]Line", "by_number": "map[int64]Line", "names": "[]string",
        "note": "string", "ratio": "float64", "color_too": "Color", "factory": "[]string",
    }  # fmt: skip
    depth, node = 1, tree
    while node.values:
        inner = [value for value in node.values if value.name in {"line", "inner"}]
        depth, node = depth + 1, (inner or node.values)[0]
    assert depth == 6
    lines = next(value for value in tree.values if value.name == "lines")
    assert lines == Value("lines", "[]Line", [])


def test_flags_can_be_read_from_the_registrys_tree_alone():
    tree = message_of(Order).value_tree()
    record = registry_pb2.Value(name=tree.name, type=tree.type)

    def copy(source, target):
        for value in source.values:
            copy(value, target.values.add(name=value.name, type=value.type))

    copy(tree, record)
    endpoint = endpoint_of_values(
        "Orders.Place", record, SimpleNamespace(name="", type="", values=[]), {"stream": "true", "description": "d"}
    )
    assert (endpoint.handler, endpoint.method, endpoint.server_streaming, endpoint.doc) == (
        "Orders",
        "Place",
        True,
        "d",
    )
    found = {one.name: one for one in endpoint.request.fields}
    known = {one.name: one for one in message_of(Order).fields() if not one.oneof}
    assert list(found) == list(known)
    for name in ("id", "raw", "when", "span", "object", "names", "ratio", "note", "line"):
        assert (found[name].kind, found[name].repeated, found[name].type_name) == (
            known[name].kind,
            known[name].repeated,
            known[name].type_name,
        )
    assert (found["by_number"].key, found["lines"].repeated, found["color"].type_name) == ("int64", True, "Color")
    assert facts(found["line"].message)[0] == "Line"


def test_a_go_services_own_type_words_are_understood():
    words = {
        "a": "[]uint8",
        "b": "[]Endpoint",
        "c": "map[string]Field",
        "d": "float32",
        "e": "[][]uint8",
        "f": "strange",
        "g": "map[",
        "h": "",
    }
    info = message_of_values(Value("R", "R", [Value(name, type) for name, type in words.items()]))
    found = {f.name: (f.kind, f.repeated, f.key) for f in info.fields}
    assert found["a"] == ("bytes", False, "")
    assert found["b"] == ("value", True, "")
    assert found["c"] == ("value", False, "string")
    assert found["d"] == ("float", False, "")
    assert found["e"] == ("bytes", True, "")
    assert found["f"] == found["h"] == ("value", False, "")


def test_reflection_finds_files_by_name_and_by_any_symbol():
    files = DescriptorFiles(SCHEMA.file_set)
    for file in with_dependencies(registry_pb2.DESCRIPTOR):
        files.add(file)
    assert files.services() == [
        "store.Store",
        "store.BlobStore",
        "orderbook.Orders",
        "orderbook.Records",
        "registry.Registry",
    ]
    for symbol, file in {
        "orderbook.Orders": "micro/orderbook.proto", "orderbook.Orders.Place": "micro/orderbook.proto",
        "orderbook.Order": "micro/orderbook.proto", "orderbook.Order.id": "micro/orderbook.proto",
        "orderbook.Order.ByNumberEntry": "micro/orderbook.proto", "orderbook.RED": "micro/orderbook.proto",
        ".google.protobuf.Timestamp": "google/protobuf/timestamp.proto", "registry.Registry": "registry.proto",
    }.items():  # fmt: skip
        raw = files.file_containing_symbol(symbol)
        assert raw is not None, symbol
        assert descriptor_pb2.FileDescriptorProto.FromString(raw).name == file
        assert files.file_by_name(file) == raw
    assert files.file_by_name("nope.proto") is None
    assert files.file_containing_symbol("orderbook.Nope") is None


@dataclass
class Sealed:
    data: bytes = b"\x00\xff"
    more: bytes = b""


def test_a_default_of_bytes_is_told_as_json_has_them():
    message = message_of(Sealed)
    schema = ServiceSchema("seals", [Endpoint("Seals", "Call", message, message)])
    assert schema.docs["Sealed.data="] == '"AP8="'
    assert DynamicSchema(schema.files, schema.docs).endpoints
