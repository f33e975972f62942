from __future__ import annotations

import enum
import keyword
import os
import subprocess
import sys
from dataclasses import dataclass, make_dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest
from google.protobuf import text_format
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from micro.schema import Endpoint, SchemaError, ServiceSchema, UInt32, message_of
from micro.schema import field as number
from micro.schema.enums import hashed

GOLDEN = Path(__file__).parent / "golden_descriptors.txt"


def numbers(cls: type) -> dict[str, int]:
    return {field.name: field.number for field in message_of(cls).fields()}


names = st.lists(
    st.from_regex(r"[a-z][a-z0-9]{0,6}", fullmatch=True).filter(lambda name: not keyword.iskeyword(name)),
    min_size=1,
    max_size=12,
    unique=True,
)


@settings(max_examples=100, deadline=None)
@given(names, st.randoms(use_true_random=False))
def test_a_fields_number_stays_put_whatever_stands_beside_it(fields, random):
    assume(len({hashed(name) for name in fields}) == len(fields))
    before = numbers(make_dataclass("Before", [(name, str) for name in fields]))
    kept = random.sample(fields, random.randint(1, len(fields)))
    after = numbers(make_dataclass("After", [(name, int) for name in kept]))
    assert after == {name: before[name] for name in kept}


@given(st.text())
def test_numbers_have_three_byte_tags_and_avoid_protobufs_own(name):
    assert 16 <= hashed(name) < 2**18
    assert not 19_000 <= hashed(name) <= 19_999


def test_numbers_are_the_published_ones():
    assert {name: hashed(name) for name in ("id", "name", "customer", "total")} == {
        "id": 62432,
        "name": 253762,
        "customer": 229413,
        "total": 196228,
    }


def test_a_message_is_read_by_a_class_that_gained_lost_and_moved_fields():
    old = make_dataclass("Order", [("id", str), ("customer", str), ("total", float)])
    new = make_dataclass("Order", [("note", str), ("total", float), ("id", str)])
    raw = message_of(old).to_proto(old("1", "ann", 9.5))
    assert message_of(new).from_proto(raw) == new("", 9.5, "1")


@dataclass
class Mirrored:
    numbering: ClassVar[str] = "order"
    first: str
    either: int | str
    last: Annotated[int, number(9, kind="uint32", description="the last")]
    after: int = 0


def test_numbering_by_order_and_pins_mirror_an_existing_proto():
    assert numbers(Mirrored) == {"first": 1, "either_int": 2, "either_str": 3, "last": 9, "after": 5}
    last = message_of(Mirrored).fields()[3]
    assert (last.kind, last.description) == ("uint32", "the last")


def test_a_collision_names_both_fields():
    with pytest.raises(SchemaError, match="Order: 'a' and 'b' both have number 3; pin one"):
        message_of(make_dataclass("Order", [("a", Annotated[int, number(3)]), ("b", Annotated[str, number(3)])]))
    pinned = hashed("b")
    with pytest.raises(SchemaError, match="'a' and 'b' both have number"):
        message_of(make_dataclass("Order", [("a", Annotated[int, number(pinned)]), ("b", str)]))


class Color(enum.Enum):
    """Colours."""

    RED = "red"
    BLUE = "blue"


class Signal(enum.IntEnum):
    RED = 1
    GREEN = 2


@dataclass
class Part:
    """One part.

    name: what it is called
    """

    name: str
    parts: list[Part]


@dataclass
class Order:
    id: str
    raw: bytes
    price: float
    paid: bool
    count: Annotated[int, number(5, description="how many")]
    small: UInt32
    when: datetime
    span: timedelta
    free: Any
    object: dict[str, Any]
    color: Color
    signal: Signal
    part: Part
    tags: list[str]
    by_number: dict[int, Part]
    target: Part | int
    note: str | None
    retries: int = 3


SCHEMA = ServiceSchema(
    "order-book",
    [
        Endpoint("Orders", "Place", message_of(Order), message_of(Part), doc="Take one order."),
        Endpoint("Orders", "Watch", message_of(str), message_of(Order), server_streaming=True),
        Endpoint("Orders", "Sum", message_of(float), message_of(list[Order]), client_streaming=True),
        Endpoint("Admin", "Reset", message_of(None), message_of(dict)),
    ],
    handler_docs={"Orders": "Takes orders."},
)


def test_descriptors_are_the_checked_in_ones():
    """A change here changes what every peer of a running service must read: make a new golden file only on purpose."""
    files = FileDescriptorSet.FromString(SCHEMA.files)
    shown = text_format.MessageToString(files.file[-1])
    assert shown == GOLDEN.read_text()


def test_the_digest_is_the_same_in_every_process():
    source = f"import importlib.util as u; s = u.spec_from_file_location('numbers_again', {__file__!r}); m = u.module_from_spec(s); "
    source += "import sys; sys.modules['numbers_again'] = m; s.loader.exec_module(m); print(m.SCHEMA.digest)"
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", source],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )
        assert done.stdout.strip() == SCHEMA.digest


def test_the_digest_follows_fields_and_words():
    endpoint = Endpoint("A", "B", message_of(Part), message_of(None))
    digests = {
        ServiceSchema("a", [endpoint]).digest,
        ServiceSchema("a", [replace(endpoint, doc="Now with words.")]).digest,
        ServiceSchema("a", [replace(endpoint, response=message_of(str))]).digest,
        ServiceSchema("b", [endpoint]).digest,
    }
    assert len(digests) == 4


def test_docs_are_kept_by_handler_method_message_and_field():
    assert SCHEMA.docs == {
        "Orders": "Takes orders.",
        "Orders.Place": "Take one order.",
        "Orders.Place.count": "how many",
        "Order.count": "how many",
        "Order.retries=": "3",
        "Part": "One part.\n\nname: what it is called",
        "Part.name": "what it is called",
    }
