from __future__ import annotations

import enum
import json
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from micro.errors import InvalidArgument
from micro.proto import auth_pb2, events_pb2, registry_pb2, store_pb2
from micro.schema import Float32, Int32, UInt64, message_of


class Color(enum.Enum):
    RED = "red"


@dataclass
class Line:
    name: str
    price: float


@dataclass
class Order:
    id: str
    count: Int32
    big: UInt64
    ratio: Float32
    paid: bool
    raw: bytes
    color: Color
    when: datetime
    span: timedelta
    note: str | None
    target: int | Line
    lines: list[Line]
    tags: list[str]
    labels: dict[str, Line]
    numbers: dict[int, int]
    free: Any = None
    extra: dict[str, Any] = field(default_factory=dict)


KINDS = [message_of(tp) for tp in (
    Order, store_pb2.Record, store_pb2.ReadRequest, registry_pb2.Service, auth_pb2.CreateRequest, events_pb2.Event,
    str, int, list[Line], dict[str, int], int | Line, dict, None, datetime, Color, Line | None,
)]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"id": 5}, "id: expected str, got int"),
        ({"count": "x"}, "count: expected int, got str"),
        ({"count": True}, "count: expected int, got bool"),
        ({"count": 1.5}, "count: expected int, got float"),
        ({"count": 2**31}, "count: out of range for int32: -2147483648 to 2147483647"),
        ({"big": -1}, "big: out of range for uint64: 0 to 18446744073709551615"),
        ({"ratio": 1e39}, "ratio: out of range for float"),
        ({"ratio": [1]}, "ratio: expected float, got list"),
        ({"paid": 1}, "paid: expected bool, got int"),
        ({"raw": "*"}, "raw: not base64"),
        ({"color": "GREEN"}, "color: no such Color; one of COLOR_UNSPECIFIED, RED"),
        ({"when": "yesterday"}, "when: not a time like 2026-01-31T12:00:00Z"),
        ({"when": "2026-01-31T12:00:00"}, "when: a time needs its zone, like 2026-01-31T12:00:00Z"),
        ({"when": 5}, "when: expected a time like 2026-01-31T12:00:00Z, got int"),
        ({"span": "1h"}, 'span: expected a duration like "1.5s", got str'),
        ({"span": "9999999999999s"}, "span: out of range for a duration: ten thousand years"),
        ({"note": {}}, "note: expected str, got dict"),
        ({"lines": {}}, "lines: expected list, got dict"),
        ({"lines": [{}, {"price": "much"}]}, "lines[1].price: expected float, got str"),
        ({"lines": [None]}, "lines[0]: expected Line, got null"),
        ({"tags": ["a", 1]}, "tags[1]: expected str, got int"),
        ({"labels": {"a": {"name": []}}}, "labels['a'].name: expected str, got list"),
        ({"numbers": {"x": 1}}, "numbers['x']: expected int, got str"),
        ({"target_line": {"name": 1}}, "target_line.name: expected str, got int"),
        ({"target_line": {}, "target_int": 1}, "target: only one of target_int, target_line may be there"),
        ({"target": 5}, "target: give it as one of target_int, target_line"),
        ({"extra": []}, "extra: expected dict, got list"),
        ([], "expected Order, got list"),
    ],
)
def test_the_field_that_does_not_fit_is_named(body, message):
    with pytest.raises(InvalidArgument) as caught:
        message_of(Order).from_json(json.dumps(body))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": 5}, "id: expected str, got int"),
        ({"id": "\ud800"}, "text that is not valid Unicode"),
        ({"count": 2**40}, "count: out of range for int32: -2147483648 to 2147483647"),
        ({"count": "5"}, "count: expected int, got str"),
        ({"lines": [Line("a", 1.0), Line("b", None)]}, "lines[1].price: expected float, got null"),
        ({"lines": 5}, "lines: expected list, got int"),
        ({"labels": {"a": "b"}}, "labels['a']: expected Line, got str"),
        ({"labels": []}, "labels: expected dict, got list"),
        (
            {"when": datetime.fromisoformat("2026-01-01")},
            "when: a naive datetime is no moment; use datetime.now(UTC) or give it a tzinfo",
        ),
        ({"color": "nope"}, "color: expected Color, got str"),
        ({"target": b""}, "target: expected int or Line, got bytes"),
        ({"free": object()}, "free: expected JSON, got object"),
        ({"free": [float("nan")]}, "free[0]: NaN and infinity are no JSON"),
        ({"extra": {1.5: {}, "a": {"b": {1, 2}}}}, "extra['a']['b']: expected JSON, got set"),
    ],
)
@pytest.mark.parametrize("form", ["to_json", "to_proto"])
def test_an_objects_own_mistake_is_named_alike_in_both_forms(change, message, form):
    kind = message_of(Order)
    order = kind.from_json(b"{}")
    for name, value in change.items():
        setattr(order, name, value)
    with pytest.raises(InvalidArgument) as caught:
        getattr(kind, form)(order)
    assert str(caught.value) == message


def test_another_class_in_a_messages_place_is_refused():
    for kind, value in [
        (Order, Line("a", 1.0)),
        (store_pb2.Record, "x"),
        (store_pb2.Record, store_pb2.ReadRequest()),
        (None, 5),
    ]:
        for form in ("to_json", "to_proto"):
            with pytest.raises(InvalidArgument, match=r"^expected "):
                getattr(message_of(kind), form)(value)


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(["1", "true", "1s", "RED"])
)
names = st.sampled_from(
    [f.name for f in fields(Order)] + ["target_int", "target_line", "name", "price", "value", "key", "options", "nodes"]
)
shapes = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names | st.text(max_size=3), inner, max_size=5),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(shapes, st.sampled_from(KINDS))
def test_any_json_gives_a_value_or_an_invalid_argument(body, kind):
    try:
        value = kind.from_json(json.dumps(body))
    except InvalidArgument:
        return
    assert kind.from_json(kind.to_json(value)) is not None or value is None
    try:
        kind.from_proto(kind.to_proto(value))
    except InvalidArgument as problem:
        if "beyond 2^53" not in str(problem):
            raise


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=40), st.sampled_from(KINDS))
def test_any_bytes_give_a_value_or_an_invalid_argument(raw, kind):
    for read in (kind.from_json, kind.from_proto):
        try:
            read(raw)
        except InvalidArgument:
            continue


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([f.name for f in fields(Order)]), shapes | st.binary() | st.datetimes() | st.timedeltas())
def test_any_object_is_written_or_refused_and_both_forms_agree(name, value):
    kind = message_of(Order)
    order = kind.from_json(b"{}")
    setattr(order, name, value)
    try:
        json_form = kind.to_json(order)
    except InvalidArgument:
        json_form = None
    try:
        proto_form = kind.to_proto(order)
    except InvalidArgument:
        proto_form = None
    if json_form is None:
        assert proto_form is None or not value  # nothing in any wrong box is nothing
    elif proto_form is not None:
        again, same = kind.to_json(kind.from_proto(proto_form)), kind.to_json(kind.from_json(json_form))
        assert json.loads(again) == json.loads(same)


@pytest.mark.parametrize(
    "body",
    [b"[" * 100_000, b'{"free":' + b"[" * 5000 + b"]" * 5000 + b"}", b"{" * 10, b'"\\ud800"', b"\xff\xfe", b"{'a':1}"],
)
def test_hostile_json_is_an_invalid_argument(body):
    with pytest.raises(InvalidArgument):
        message_of(Order).from_json(body)


def test_json_too_deep_for_protobuf_is_refused_where_it_is_read():
    kind = message_of(Order)
    raw = kind.to_proto(kind.from_json(b'{"free":' + b"[" * 300 + b"]" * 300 + b"}"))
    with pytest.raises(InvalidArgument, match="not a Order in protobuf form"):
        kind.from_proto(raw)


def test_an_endless_object_is_refused():
    loop: list[Any] = []
    loop.append(loop)
    order = message_of(Order).from_json(b"{}")
    order.free = loop
    for form in ("to_json", "to_proto"):
        with pytest.raises(InvalidArgument, match="nested too deeply"):
            getattr(message_of(Order), form)(order)
