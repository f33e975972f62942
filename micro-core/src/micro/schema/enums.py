"""An enum as protobuf has it: names and numbers, the first of them zero, unknown numbers kept."""

from __future__ import annotations

import enum
import hashlib
import re
from typing import Any

from micro.schema.extras import SchemaError
from micro.schema.mismatch import Mismatch, expected
from micro.schema.scalars import bounds, read_int

_LOW, _HIGH = bounds("int32")
_read_number = read_int("int32")
_LOWEST_HASH = 16
_HASHES = 2**18
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


def snake(name: str) -> str:
    """Give `OrderState` as `order_state`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def camel(name: str) -> str:
    """Give protobuf's JSON name: `first_name` as `firstName`."""
    head, *rest = name.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in rest)


def hashed(name: str) -> int:
    """Give the number that belongs to a name: the same in every process, whatever stands beside it."""
    digest = hashlib.blake2s(name.encode(), digest_size=4).digest()
    number = _LOWEST_HASH + int.from_bytes(digest, "big") % (_HASHES - _LOWEST_HASH - 1000)
    return number if number < 19_000 else number + 1000  # 19000-19999 are protobuf's own


class EnumPlan:
    """What is known of one enum.

    `values` are (name, number), zero first; `numbers` and `members` lead from a member to its number and back;
    `zero` is the member numbered zero, or plain 0 where the class has none. Enums whose values are whole numbers
    keep them; the members of others are numbered by their names. On the way in a name, a string member's value, or
    a number is taken; a number that no member has stays an int.
    """

    def __init__(self, cls: type[enum.Enum]) -> None:
        if issubclass(cls, enum.Flag):
            raise SchemaError(f"{cls.__name__}: flags cannot travel; use int")
        if not len(cls):
            raise SchemaError(f"{cls.__name__}: an enum without members cannot travel")
        self.python = cls
        self.name = cls.__name__
        self.doc = _own_doc(cls)
        self.numbers: dict[Any, int] = {member: _number(cls, member) for member in cls}
        self.members: dict[int, Any] = {}
        for member, number in self.numbers.items():
            if number in self.members:
                raise SchemaError(
                    f"{self.name}: {member.name} and {self.members[number].name} both have number {number}"
                )
            self.members[number] = member
        self.names = {number: member.name for number, member in self.members.items()}
        unspecified = f"{snake(self.name).upper()}_UNSPECIFIED"
        self.names.setdefault(0, unspecified)
        self.zero: Any = self.members.get(0, 0)
        self.values = sorted(((name, n) for n, name in self.names.items()), key=lambda pair: pair[1] != 0)
        self._lookup: dict[str, Any] = {m.value: m for m in cls if isinstance(m.value, str)}
        self._lookup |= {unspecified: self.zero, **cls.__members__}
        prefix = f"{snake(self.name).upper()}_"
        self._lookup = {prefix + name: member for name, member in cls.__members__.items()} | self._lookup

    def read(self, value: Any) -> Any:
        """Give the member of a JSON value."""
        if isinstance(value, str):
            if value in self._lookup:
                return self._lookup[value]
            if not value.lstrip("-").isdecimal():
                raise Mismatch(f"no such {self.name}; one of {', '.join(name for name, _ in self.values[:20])}")
        elif not isinstance(value, (int, float)) or isinstance(value, bool):
            raise expected(f"a name of {self.name}", value)
        number = _read_number(value)
        return self.members.get(number, number)

    def number(self, value: Any) -> int:
        """Give the number of a member, or of a number that a peer sent and no member has."""
        if value.__class__ is self.python:
            return self.numbers[value]
        if isinstance(value, int) and not isinstance(value, bool) and _LOW <= value <= _HIGH:
            return int(value)
        if isinstance(value, str) and value in self._lookup:
            return self.number(self._lookup[value])
        raise expected(self.name, value)

    def write(self, value: Any) -> str | int:
        """Give the JSON form: the name, or the bare number where there is none."""
        number = self.number(value)
        shown: str | int = self.names.get(number, number)
        return shown


def _number(cls: type[enum.Enum], member: enum.Enum) -> int:
    if not _IDENTIFIER.fullmatch(member.name):
        raise SchemaError(f"{cls.__name__}.{member.name}: a member's name is ASCII letters, digits and _ to travel")
    if all(isinstance(m.value, int) and not isinstance(m.value, bool) for m in cls):
        number: int = member.value
        if not _LOW <= number <= _HIGH:
            raise SchemaError(f"{cls.__name__}.{member.name}: {number} cannot travel; an enum's numbers have 32 bits")
        return int(number)
    return hashed(member.name)


def _own_doc(cls: type[enum.Enum]) -> str:
    doc = cls.__dict__.get("__doc__") or ""
    return "" if doc == "An enumeration." else doc
