from __future__ import annotations

import enum
import json
import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, InitVar, dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, ClassVar, NewType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from micro.errors import InvalidArgument
from micro.schema import Fixed64, Float32, Int32, SInt64, UInt64, message_of

UserId = NewType("UserId", str)


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class State(enum.IntEnum):
    OPEN = 1
    SHUT = 2


class Level(enum.IntEnum):
    LOW = 0
    HIGH = 5


@dataclass
class Circle:
    radius: float


@dataclass
class Square:
    side: int
    label: str = "square"


@dataclass
class Node:
    name: str
    child: Node | None = None
    children: list[Node] = field(default_factory=list)


@dataclass
class Everything:
    text: str
    raw: bytes
    first_name: UserId
    whole: int
    small: Int32
    big: UInt64
    zigzag: SInt64
    fixed: Fixed64
    real: float
    short: Float32
    yes: bool
    color: Color
    state: State
    node: Node
    when: datetime
    span: timedelta
    free: Any
    object: dict[str, Any]
    words: list[str]
    numbers: Sequence[int]
    reals: tuple[float, ...]
    colors: list[Color]
    nodes: list[Node]
    times: list[datetime]
    by_number: dict[int, Node]
    by_flag: dict[bool, str]
    by_name: dict[str, int]
    levels: dict[str, Level]
    spans: dict[str, timedelta]
    shape: Circle | Square | None
    mixed: int | str | bool
    maybe: int | None
    maybe_node: Node | None
    maybe_when: datetime | None
    maybe_color: Color | None
    level: Level = Level.HIGH
    count: int = 7
    greeting: str = "hello"
    epoch: datetime = datetime(2000, 1, 1, tzinfo=UTC)


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
int64 = st.integers(-(2**63), 2**63 - 1)
uint64 = st.integers(0, 2**64 - 1)
real = st.floats(allow_nan=False)
times = st.datetimes(
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))]),
    min_value=datetime.fromisoformat("0002-01-01"),
    max_value=datetime.fromisoformat("9998-01-01"),
)
spans = st.timedeltas(min_value=timedelta(days=-3_000_000), max_value=timedelta(days=3_000_000))
free = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
nodes = st.recursive(
    st.builds(Node, text),
    lambda inner: st.builds(Node, text, st.none() | inner, st.lists(inner, max_size=2)),
    max_leaves=4,
)
shapes = st.none() | st.builds(Circle, real) | st.builds(Square, int64, text)
everything = st.builds(
    Everything,
    text=text, raw=st.binary(max_size=8), first_name=text, whole=int64, small=st.integers(-(2**31), 2**31 - 1), big=uint64,
    zigzag=int64, fixed=uint64, real=real, short=st.floats(width=32, allow_nan=False), yes=st.booleans(),
    color=st.sampled_from(Color), state=st.sampled_from(State), node=nodes, when=times, span=spans, free=free,
    object=st.dictionaries(text, free, max_size=3), words=st.lists(text, max_size=3), numbers=st.lists(int64, max_size=3),
    reals=st.lists(real, max_size=3).map(tuple), colors=st.lists(st.sampled_from(Color), max_size=3),
    nodes=st.lists(nodes, max_size=3), times=st.lists(times, max_size=3), by_number=st.dictionaries(int64, nodes, max_size=3),
    by_flag=st.dictionaries(st.booleans(), text), by_name=st.dictionaries(text, int64, max_size=3),
    levels=st.dictionaries(text, st.sampled_from(Level), max_size=3), spans=st.dictionaries(text, spans, max_size=3),
    shape=shapes, mixed=int64 | text | st.booleans(), maybe=st.none() | int64, maybe_node=st.none() | nodes,
    maybe_when=st.none() | times, maybe_color=st.none() | st.sampled_from(Color), level=st.sampled_from(Level), count=int64,
    greeting=text, epoch=times,
)  # fmt: skip

kind = message_of(Everything)


@settings(max_examples=150, deadline=None)
@given(everything)
def test_what_goes_out_as_json_comes_back_equal(value):
    assert kind.from_json(kind.to_json(value)) == value


@settings(max_examples=150, deadline=None)
@given(everything)
def test_what_goes_out_as_protobuf_comes_back_equal(value):
    assert kind.from_proto(kind.to_proto(value)) == value


@settings(max_examples=50, deadline=None)
@given(everything)
def test_a_value_that_came_by_either_form_is_written_alike(value):
    by_json, by_proto = kind.from_json(kind.to_json(value)), kind.from_proto(kind.to_proto(value))
    assert json.loads(kind.to_json(by_json)) == json.loads(kind.to_json(by_proto))
    assert kind.to_proto(by_json) == kind.to_proto(by_proto)


def test_a_missing_field_takes_its_default_or_its_types_zero_in_both_forms():
    from_json, from_proto = kind.from_json(b"{}"), kind.from_proto(b"")
    assert from_json == from_proto
    assert from_json.text == ""
    assert from_json.when == datetime(1970, 1, 1, tzinfo=UTC)
    assert from_json.span == timedelta(0)
    assert from_json.node == Node("")
    assert from_json.reals == ()
    assert from_json.color == 0
    assert from_json.shape is None
    assert (from_json.level, from_json.count, from_json.greeting) == (Level.HIGH, 7, "hello")
    assert from_json.epoch == datetime(2000, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("body", [b"", b"null", b"{}", b' {"text": null, "node": null, "words": null, "count": null} '])
def test_nothing_and_null_are_the_empty_message(body):
    assert kind.from_json(body) == kind.from_json(b"{}")


def test_the_json_of_a_message_is_what_people_expect():
    order = message_of(Square).to_json(Square(2**53 + 1))
    assert order == b'{"side":"9007199254740993","label":"square"}'
    assert message_of(Square).to_json(Square(2**53)) == b'{"side":9007199254740992,"label":"square"}'
    assert message_of(Circle).to_json(Circle(2)) == b'{"radius":2.0}'
    assert message_of(Circle).to_json(Circle(math.nan)) == b'{"radius":"NaN"}'
    assert message_of(Node).to_json(Node("a")) == b'{"name":"a","child":null,"children":[]}'


def test_times_are_utc_and_durations_short():
    body = {"when": "2026-01-02T03:04:05.5+02:00", "span": "1.50s", "epoch": "2026-01-02T03:04:05.123456789Z"}
    value = kind.from_json(json.dumps(body))
    shown = json.loads(kind.to_json(value))
    assert shown["when"] == "2026-01-02T01:04:05.500000Z"
    assert shown["span"] == "1.5s"
    assert shown["epoch"] == "2026-01-02T03:04:05.123456Z"
    assert value.when.tzinfo is UTC


@pytest.mark.parametrize(
    ("given", "seconds"),
    [("1.5s", 1.5), ("-0.000001s", -0.000001), ("2", 2), (3, 3), (0.25, 0.25), ("0s", 0), ("-1.5s", -1.5), ("7.s", 7)],
)
def test_a_duration_is_text_or_a_number_of_seconds(given, seconds):
    assert kind.from_json(json.dumps({"span": given})).span == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("field", "given", "value"),
    [
        ("whole", "5", 5), ("whole", 5.0, 5), ("whole", "1e3", 1000), ("whole", str(2**62), 2**62), ("whole", 2**62, 2**62),
        ("real", "1.5", 1.5), ("real", 3, 3.0), ("real", "-Infinity", -math.inf), ("yes", "true", True),
        ("color", "BLUE", Color.BLUE), ("color", "blue", Color.BLUE), ("color", "COLOR_BLUE", Color.BLUE), ("color", 9, 9),
        ("color", "COLOR_UNSPECIFIED", 0), ("state", 2, State.SHUT), ("state", "2", State.SHUT), ("state", "OPEN", State.OPEN),
        ("raw", "_-8", b"\xff\xef"), ("raw", "/+8=", b"\xff\xef"), ("firstName", "ann", "ann"), ("mixed_int", 4, 4),
        ("mixedBool", True, True), ("by_number", {"-1": {}}, {-1: Node("")}), ("by_flag", {"true": "x"}, {True: "x"}),
    ],
)  # fmt: skip
def test_input_is_read_leniently(field, given, value):
    found = kind.from_json(json.dumps({field: given, "unknown": {"deep": [1]}, "node": {"name": "n", "more": 1}}))
    name = {"firstName": "first_name", "mixed_int": "mixed", "mixedBool": "mixed"}.get(field, field)
    assert getattr(found, name) == value
    assert type(getattr(found, name)) is type(value)
    assert found.node.name == "n"


def test_unknown_enum_numbers_are_kept_both_ways():
    value = kind.from_json(b'{"state": 77, "colors": [5]}')
    assert (value.state, value.colors) == (77, [5])
    assert kind.from_proto(kind.to_proto(value)) == value
    assert json.loads(kind.to_json(value))["state"] == 77


def test_an_optional_zero_differs_from_nothing():
    for maybe in (0, None):
        value = kind.from_json(json.dumps({"maybe": maybe}))
        assert kind.from_proto(kind.to_proto(value)).maybe == maybe
    assert kind.from_proto(kind.to_proto(kind.from_json(b'{"count": 0}'))).count == 0


def test_free_json_takes_dataclasses_enums_times_and_bytes():
    value = kind.from_json(b"{}")
    value.free = {
        "node": Node("a"),
        "color": Color.RED,
        "when": datetime(2026, 1, 1, tzinfo=UTC),
        "raw": b"\xff",
        "t": (1, 2),
    }
    expected = {
        "node": {"name": "a", "child": None, "children": []},
        "color": "RED",
        "when": "2026-01-01T00:00:00Z",
        "raw": "/w==",
        "t": [1, 2],
    }
    assert kind.from_json(kind.to_json(value)).free == expected
    assert kind.from_proto(kind.to_proto(value)).free == expected


@dataclass(frozen=True, slots=True)
class Base:
    id: str
    tags: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Derived(Base):
    _: KW_ONLY
    size: int
    kinds: ClassVar[int] = 3


def test_inherited_frozen_slotted_and_keyword_only_fields_travel():
    derived = message_of(Derived)
    value = Derived("a", ["x"], size=3)
    assert derived.from_json(derived.to_json(value)) == value
    assert derived.from_proto(derived.to_proto(value)) == value
    assert [f.name for f in derived.fields()] == ["id", "tags", "size"]


def test_a_subclass_in_a_fields_place_travels_as_the_fields_class():
    @dataclass
    class Holder:
        base: Base

    holder = message_of(Holder)
    assert holder.from_json(holder.to_json(Holder(Derived("a", size=1)))) == Holder(Base("a"))


@dataclass
class Computed:
    first: str
    shout: InitVar[bool] = False
    last: str = ""
    full: str = field(init=False)

    def __post_init__(self, shout):
        self.full = f"{self.first} {self.last}"
        if not self.first:
            raise ValueError("a name is needed")


def test_fields_that_the_constructor_does_not_take_are_made_anew():
    computed = message_of(Computed)
    assert [f.name for f in computed.fields()] == ["first", "last"]
    assert computed.from_json(b'{"first": "a", "last": "b", "full": "spoofed", "shout": true}').full == "a b"
    assert computed.from_proto(computed.to_proto(Computed("a", last="b"))).full == "a b"


def test_what_a_class_refuses_in_its_constructor_is_the_callers_mistake():
    @dataclass
    class Holder:
        inner: Computed

    with pytest.raises(InvalidArgument, match=r"^inner: a name is needed$"):
        message_of(Holder).from_json(b'{"inner": {}}')
    with pytest.raises(InvalidArgument, match="a name is needed"):
        message_of(Computed).from_proto(b"")


def test_defaults_that_a_factory_makes_are_made_each_time():
    made = iter(range(10))

    @dataclass
    class Fresh:
        id: int = field(default_factory=lambda: next(made))
        names: list[str] = field(default_factory=lambda: ["a"])

    fresh = message_of(Fresh)
    assert [fresh.from_json(b"{}").id, fresh.from_json(b"{}").id] == [0, 1]
    assert fresh.from_json(b"{}").names is not fresh.from_json(b"{}").names
    assert fresh.from_proto(fresh.to_proto(Fresh(0, []))) == Fresh(0, [])
