from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import InitVar, dataclass, field, make_dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar
from uuid import UUID

import pytest

import micro.schema
from micro.proto import store_pb2
from micro.schema import Endpoint, Int32, SchemaError, ServiceSchema, message_of
from micro.schema.extras import field as number

T = TypeVar("T")


class Flags(enum.Flag):
    A = 1


class Wide(enum.IntEnum):
    HUGE = 2**40


class Bare(enum.Enum):
    pass


@dataclass
class Item:
    name: str


@dataclass
class Page(Generic[T]):
    items: list[T]


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (Decimal, "Decimal cannot travel; use float, int or str"),
        (UUID, "UUID cannot travel; use str"),
        (date, "date cannot travel; use datetime or str"),
        (set[str], "set[str] cannot travel; use list"),
        (tuple[int, str], "tuple[int, str] cannot travel; use list"),
        (complex, "complex cannot travel; use two floats"),
        (type(None), "NoneType cannot travel; use T | None"),
        (Literal["a", "b"], "Literal['a', 'b'] cannot travel; use an Enum, or str"),
        (T, "~T cannot travel; use a dataclass without type parameters"),
        (Page[int], "cannot travel; use a dataclass without type parameters"),
        (Page, "Page: a generic class cannot travel; use a dataclass without type parameters"),
        (Path, "Path cannot travel; use a dataclass, an Enum, str, bytes, bool, int, float"),
        (Callable[[], int], "cannot travel; use a dataclass"),
        (store_pb2.Record, "Record cannot travel; use a dataclass here, or the protobuf message as the whole request"),
        (list[list[int]], "list[int] as a list's item cannot travel; use a dataclass that holds it"),
        (list[int | None], "a list's item of several types or None cannot travel; use a dataclass that holds it"),
        (list[Decimal], "Decimal cannot travel"),
        (dict[str, list[int]], "list[int] as a map's value cannot travel; use a dataclass that holds it"),
        (dict[str, dict[str, int]], "dict[str, int] as a map's value cannot travel; use a dataclass that holds it"),
        (dict[float, int], "a map's keys are str, int or bool to travel, not float"),
        (dict[Item, int], "a map's keys are str, int or bool to travel, not Item"),
        (list[int] | None, "use a list that is empty by default: an absent list and an empty one look alike"),
        (None | dict[str, int], "use a dict that is empty by default: an absent map and an empty one look alike"),
        (int | list[str], "list[str] inside a union cannot travel; use a dataclass that holds it"),
        (int | Int32, "int stands twice in the union"),
        (Annotated[int | str, number(3)], "a union has a number and a kind for each of its types; put field() inside"),
        (Annotated[str, number(kind="int32")], "kind int32 is for int, not str"),
        (Annotated[int, number(kind="float")], "kind float is for float, not int"),
        (Flags, "Flags: flags cannot travel; use int"),
        (Wide, "Wide.HUGE: 1099511627776 cannot travel; an enum's numbers have 32 bits"),
        (Bare, "Bare: an enum without members cannot travel"),
        ("Missing", "Order.price: name 'Missing' is not defined; define it at the module's top"),
    ],
)
def test_a_type_that_cannot_travel_is_refused_with_what_would_do(annotation, words):
    order = make_dataclass("Order", [("id", str), ("price", annotation)])
    with pytest.raises(SchemaError) as caught:
        message_of(order)
    assert words in str(caught.value)
    assert "Order.price" in str(caught.value) or annotation in (Flags, Wide, Bare, Page)


def test_the_message_names_class_field_and_remedy():
    with pytest.raises(TypeError) as caught:
        message_of(make_dataclass("Order", [("price", Decimal)]))
    assert str(caught.value) == "Order.price: Decimal cannot travel; use float, int or str"


@pytest.mark.parametrize(
    "tp", [Decimal, list[Decimal], dict[str, set[int]], int | Decimal, object(), 5, "text", Page[int]]
)
def test_single_values_that_cannot_travel_are_refused_too(tp):
    with pytest.raises(SchemaError, match="cannot travel"):
        message_of(tp)


def test_a_class_that_must_hold_itself_is_refused():
    with pytest.raises(
        SchemaError, match=r"Endless\.inner: Endless would hold itself without end; use Endless \| None"
    ):
        message_of(Endless)
    with pytest.raises(SchemaError, match="without end"):
        message_of(Ping)


@dataclass
class Endless:
    inner: Endless


@dataclass
class Ping:
    pong: Pong


@dataclass
class Pong:
    pings: list[Ping]
    ping: Ping


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ([("a", int | None, 5)], "Order.a: None and the default cannot be told apart on the wire"),
        (
            [("a", int, 2**70)],
            "Order.a: the default is out of range for int64: -9223372036854775808 to 9223372036854775807",
        ),
        ([("a", Int32, -(2**31) - 1)], "Order.a: the default is out of range for int32: -2147483648 to 2147483647"),
        ([("größe", int)], "Order.größe: this name cannot travel; use ASCII letters, digits and _, a letter first"),
        ([("_hidden", int)], "Order._hidden: this name cannot travel"),
        (
            [("first_name", str), ("firstName", str)],
            "Order: 'first_name' and 'firstName' are one name in JSON; rename one",
        ),
        ([("a", InitVar[int])], "Order.a: an InitVar cannot travel; give it a default, or make it a field"),
    ],
)
def test_fields_that_the_wire_would_confuse_are_refused(fields, words):
    with pytest.raises(SchemaError) as caught:
        message_of(make_dataclass("Order", fields))
    assert str(caught.value).startswith(words)


@dataclass
class Good:
    name: str


@dataclass
class Bad:
    good: Good
    price: Decimal


def test_a_refused_class_leaves_nothing_half_made():
    for _ in range(2):
        with pytest.raises(SchemaError, match=r"Bad\.price: Decimal"):
            message_of(Bad)
    assert message_of(Good).from_json(b'{"name": "a"}') == Good("a")


def test_two_classes_of_one_name_are_refused_within_a_service():
    def other() -> type:
        @dataclass
        class Item:
            size: int

        return Item

    twins = make_dataclass("Order", [("a", Item), ("b", other())])
    with pytest.raises(SchemaError, match="two classes are named Item"):
        message_of(twins)
    with pytest.raises(SchemaError, match="two classes are named Item"):
        ServiceSchema("shop", [Endpoint("Shop", "Buy", message_of(Item), message_of(other()))])
    with pytest.raises(SchemaError, match="two classes are named StringValue"):
        fake = make_dataclass("StringValue", [("value", str)])
        ServiceSchema("shop", [Endpoint("Shop", "Buy", message_of(str), message_of(fake))])


def test_a_handler_and_a_message_of_one_name_are_refused():
    with pytest.raises(SchemaError, match=r"a handler and a message are both named Item; rename one"):
        ServiceSchema("shop", [Endpoint("Item", "Buy", message_of(Item), message_of(None))])
    with pytest.raises(SchemaError, match=r"two endpoints are named Shop\.Buy"):
        ServiceSchema("shop", [Endpoint("Shop", "Buy", message_of(Item), message_of(None))] * 2)
    with pytest.raises(SchemaError, match="name is ASCII letters"):
        ServiceSchema("shop", [Endpoint("Shöp", "Buy", message_of(Item), message_of(None))])


@pytest.mark.parametrize("extra", [{"number": 0}, {"number": 19_500}, {"number": 2**29}, {"kind": "int8"}])
def test_a_number_or_kind_that_protobuf_does_not_know_is_refused(extra):
    with pytest.raises(SchemaError, match=r"^field"):
        micro.schema.field(**extra)


def test_dataclasses_with_any_and_plain_containers_do_travel():
    @dataclass
    class Loose:
        a: Any = None
        b: list = field(default_factory=list)
        c: dict = field(default_factory=dict)
        d: object = None
        e: dict[int, Any] = field(default_factory=dict)
        f: list[dict] = field(default_factory=list)
        g: list[Any] = field(default_factory=list)
        h: tuple[str, ...] = ()
        i: Any | None = None

    kind = message_of(Loose)
    value = Loose(1, [1, "a"], {"x": None}, [True], {1: "q"}, [{"z": 1}], [None, 2], ("t",), {"k": []})
    assert kind.from_json(kind.to_json(value)) == value
    assert kind.from_proto(kind.to_proto(value)) == value
