from __future__ import annotations

import contextlib
import enum
import json
import subprocess
import sys
import threading
from dataclasses import dataclass, make_dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypedDict

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from micro.errors import InvalidArgument
from micro.proto import store_pb2
from micro.schema import SchemaError, decode_as, encode_value, message_of


class Color(enum.Enum):
    RED = "red"


@dataclass
class Line:
    name: str
    price: float = 0.0


@dataclass
class Odd:
    """Cannot travel, can be kept."""

    price: Decimal
    rows: list[list[int]]


class Row(msgspec.Struct):
    name: str
    size: int = 0


class Typed(TypedDict):
    a: int


SINGLES = [
    (str, "ann", "StringValue"), (bytes, b"\xff", "BytesValue"), (bool, True, "BoolValue"), (int, 2**60, "Int64Value"),
    (float, 1.5, "DoubleValue"), (datetime, datetime(2026, 1, 1, tzinfo=UTC), "TimestampValue"),
    (timedelta, timedelta(seconds=1.5), "DurationValue"), (Color, Color.RED, "ColorValue"), (list[Line], [Line("a")], "LineList"),
    (list[str], ["a"], "StringList"), (dict[str, Line], {"a": Line("b")}, "LineMap"), (dict[int, str], {1: "a"}, "Int64StringMap"),
    (int | Line, Line("a"), "Int64OrLine"), (Line | None, None, "OptionalLine"), (Line | None, Line("a"), "OptionalLine"),
    (str | None, "", "OptionalString"), (str | None, None, "OptionalString"), (int | str | None, None, "OptionalInt64OrString"),
    (list[Any], [1, None, {"a": []}], "ValueList"), (dict, {"a": 1}, "Struct"), (Any, {"a": [None]}, "Struct"), (None, None, "Empty"),
    (dict[str, Any], {}, "Struct"), (tuple[int, ...], (1, 2), "Int64List"),
]  # fmt: skip


@pytest.mark.parametrize(("tp", "value", "name"), SINGLES)
def test_a_single_value_travels_as_a_message_made_for_it(tp, value, name):
    kind = message_of(tp)
    assert (kind.name, kind.python_type) == (name, tp)
    assert kind.from_json(kind.to_json(value)) == value
    assert kind.from_proto(kind.to_proto(value)) == value
    assert kind.value_tree().name == name
    assert isinstance(json.loads(kind.to_json(value)), dict)


def test_a_single_value_is_the_field_value_number_one():
    assert message_of(str).to_json("ann") == b'{"value":"ann"}'
    assert message_of(str).to_proto("ann") == b"\x0a\x03ann"
    assert [(f.name, f.number) for f in message_of(list[Line]).fields()] == [("value", 1)]


def test_a_single_value_is_also_read_without_its_object():
    assert message_of(str).from_json(b'"ann"') == "ann"
    assert message_of(list[str]).from_json(b'["a"]') == ["a"]
    with pytest.raises(InvalidArgument, match=r"^value: expected str, got int$"):
        message_of(str).from_json(b"5")


def test_nothing_takes_whatever_is_sent():
    for body in (b"", b"{}", b'{"a": 1}', b"null"):
        assert message_of(None).from_json(body) is None
    assert message_of(None).from_proto(b"\x08\x01") is None


def test_a_message_is_made_once():
    assert message_of(Line) is message_of(Line)
    assert message_of(list[Line]) is message_of(list[Line])
    assert message_of(store_pb2.Record) is message_of(store_pb2.Record)


def test_many_threads_compile_one_message():
    inner = make_dataclass("Inner", [("name", str)])
    outer = make_dataclass("Outer", [("inners", list[inner]), ("inner", inner)])
    gate, seen, wrong = threading.Barrier(16), [], []

    def work():
        gate.wait()
        try:
            kind = message_of(outer)
            value = kind.from_json(b'{"inners": [{"name": "a"}]}')
            assert kind.from_proto(kind.to_proto(value)) == value
            seen.append(kind)
        except Exception as problem:
            wrong.append(problem)

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(seen) == 16
    assert len(set(map(id, seen))) == 1


def test_json_needs_no_protobuf_and_the_import_neither():
    source = """
import sys
before = set(sys.modules)
import micro.schema
assert set(sys.modules) - before <= {"__future__", "micro", "micro._lazy", "micro.schema"}, "the import is not lazy"
from dataclasses import dataclass
from datetime import datetime
from micro.schema import Endpoint, ServiceSchema, decode_as, encode_value, message_of
@dataclass
class Order:
    id: str
    when: datetime
kind = message_of(Order)
assert kind.from_json(kind.to_json(kind.from_json(b'{"id": "1"}'))).id == "1"
kind.value_tree(), kind.fields(), message_of(list[Order]).from_json(b"[]"), decode_as(Order, encode_value(kind.from_json(b"")))
ServiceSchema("a", [Endpoint("A", "B", kind, message_of(None))]).docs
assert not [name for name in sys.modules if name.startswith("google")], "JSON does not need protobuf"
kind.to_proto(kind.from_json(b""))
"""
    subprocess.run([sys.executable, "-c", source], check=True)


@pytest.mark.parametrize(
    ("value", "raw"),
    [
        (b"\xff", b"\xff"), ("é", "é".encode()), (5, b"5"), (None, b"null"), ({"a": [1.5]}, b'{"a":[1.5]}'),
        (Line("a"), b'{"name":"a","price":0.0}'), ([Line("a")], b'[{"name":"a","price":0.0}]'), (Row("a"), b'{"name":"a","size":0}'),
        (2**60, b"1152921504606846976"), (datetime(2026, 1, 1, tzinfo=UTC), b'"2026-01-01T00:00:00Z"'), (Color.RED, b'"RED"'),
    ],
)  # fmt: skip
def test_kept_values_are_bytes_text_or_json(value, raw):
    assert encode_value(value) == raw


@pytest.mark.parametrize(
    ("tp", "raw", "value"),
    [
        (bytes, b"\xff", b"\xff"), (str, "é".encode(), "é"), (int, b"5", 5), (float, b"5", 5.0), (bool, b"true", True),
        (Line, b'{"name":"a"}', Line("a")), (list[Line], b'[{"name":"a"}]', [Line("a")]), (dict[str, Line], b'{"a":{}}', {"a": Line("")}),
        (Row, b'{"name":"a"}', Row("a")), (Odd, b'{"price":"1.5","rows":[[1]]}', Odd(Decimal("1.5"), [[1]])), (Typed, b'{"a":1}', {"a": 1}),
        (dict, b'{"a":null}', {"a": None}), (Any, b"[1]", [1]), (object, b"null", None), (Line | None, b"null", None),
        (int | str, b'"a"', "a"), (int | str, b"5", 5), (list[list[int]], b"[[1]]", [[1]]), (datetime, b'"2026-01-01T00:00:00Z"', datetime(2026, 1, 1, tzinfo=UTC)),
        (timedelta, b'"1.5s"', timedelta(seconds=1.5)), (Color, b'"RED"', Color.RED), (None, b"null", None),
        (store_pb2.Record, b'{"key":"a"}', store_pb2.Record(key="a")), (int | None, b"null", None), (Line, '{"name":"a"}', Line("a")),
    ],
)  # fmt: skip
def test_kept_values_are_read_as_a_type(tp, raw, value):
    assert decode_as(tp, raw) == value


@pytest.mark.parametrize(
    ("tp", "raw", "message"),
    [
        (Line, b'{"name":5}', "name: expected str, got int"),
        (list[Line], b'[{},{"price":"x"}]', "[1].price: expected float, got str"),
        (dict[str, Line], b'{"k":[]}', "['k']: expected Line, got list"),
        (int, b'"x"', "expected int, got str"),
        (Line, b"null", "expected Line, got null"),
        (int, b"null", "expected int, got null"),
        (list[str], b'{"value":["a"]}', "expected list, got dict"),
        (Row, b'{"name":"a","size":[]}', "size: expected int, got array"),
        (Row, b"{}", "object missing required field name"),
        (str, b"\xff", "text that is not valid Unicode"),
        (Line, b"{", "not valid JSON: Input data was truncated"),
        (store_pb2.Record, b'{"key":5}', "key: expected str, got int"),
    ],
)
def test_a_kept_value_that_does_not_fit_names_the_field(tp, raw, message):
    with pytest.raises(InvalidArgument) as caught:
        decode_as(tp, raw)
    assert str(caught.value) == message


def test_what_no_reader_knows_is_a_schema_error_and_what_is_no_json_refused():
    with pytest.raises(SchemaError):
        decode_as(Line | Odd, b"{}")
    for value in (object(), {1, 2}, float("nan"), {"a": object()}, "\ud800"):
        with pytest.raises(InvalidArgument):
            encode_value(value)


@settings(max_examples=100, deadline=None)
@given(
    st.binary(max_size=20),
    st.sampled_from([Line, Row, Odd, int, list[Line], dict[str, int], Color, Typed, str, int | str]),
)
def test_any_kept_bytes_are_read_or_refused(raw, tp):
    with contextlib.suppress(InvalidArgument):
        decode_as(tp, raw)
