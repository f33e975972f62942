"""What a class's author may say about a field: its number, its integer or float kind, its description.

    class Order:
        id: Annotated[str, field(3)]                  # pinned: mirrors an existing .proto
        count: Annotated[int, field(kind="uint32")]   # or simply UInt32
        note: Annotated[str, field(description="shown by --help")]

A class that says `numbering: ClassVar[str] = "order"` numbers its fields 1, 2, 3 … as they stand, a union taking one
number for each of its types. Otherwise a number comes from the field's name and stays put when others come and go.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Struct

INTEGERS = {
    "int32": 32, "int64": 64, "sint32": 32, "sint64": 64, "sfixed32": 32, "sfixed64": 64,
    "uint32": -32, "uint64": -64, "fixed32": -32, "fixed64": -64,
}  # fmt: skip
"""Bits of each integer kind; negative where it has no sign."""
FLOATS = ("double", "float")
MAX_NUMBER = 536_870_911  # protobuf's
RESERVED = range(19_000, 20_000)  # protobuf's own numbers


class SchemaError(TypeError):
    """A type that cannot travel: the class, the field, what was found, and what would do."""


class _Numbered(Struct, frozen=True):
    number: int | None = None


class field(_Numbered, frozen=True, kw_only=True):  # noqa: N801  # reads like dataclasses.field, beside which it stands
    """One field's extras, inside `Annotated`."""

    kind: str | None = None
    description: str = ""

    def __post_init__(self) -> None:
        number, kind = self.number, self.kind
        if number is not None and (not 0 < number <= MAX_NUMBER or number in RESERVED):
            raise SchemaError(f"field({number}): a number is 1 to {MAX_NUMBER}, without 19000 to 19999")
        if kind is not None and kind not in INTEGERS and kind not in FLOATS:
            raise SchemaError(f"field(kind={kind!r}): a kind is one of {', '.join([*INTEGERS, *FLOATS])}")

    def merged(self, other: field) -> field:
        """Give the extras of an inner and an outer annotation together; this one wins."""
        return field(
            self.number if self.number is not None else other.number,
            kind=self.kind or other.kind,
            description=self.description or other.description,
        )


Int32 = Annotated[int, field(kind="int32")]
Int64 = Annotated[int, field(kind="int64")]
UInt32 = Annotated[int, field(kind="uint32")]
UInt64 = Annotated[int, field(kind="uint64")]
SInt32 = Annotated[int, field(kind="sint32")]
SInt64 = Annotated[int, field(kind="sint64")]
Fixed32 = Annotated[int, field(kind="fixed32")]
Fixed64 = Annotated[int, field(kind="fixed64")]
SFixed32 = Annotated[int, field(kind="sfixed32")]
SFixed64 = Annotated[int, field(kind="sfixed64")]
Float32 = Annotated[float, field(kind="float")]
Float64 = Annotated[float, field(kind="double")]
