"""What a type annotation means on the wire, or why it cannot travel."""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import types
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal, NewType, TypeVar, Union, get_args, get_origin

from msgspec import Struct

from micro.schema.enums import EnumPlan, snake
from micro.schema.extras import FLOATS, INTEGERS, SchemaError, field

if TYPE_CHECKING:
    from micro.schema.plan import MessagePlan

SCALARS: dict[Any, str] = {
    str: "string", bytes: "bytes", bool: "bool", int: "int64", float: "double",
    datetime: "timestamp", timedelta: "duration", Any: "value", object: "value",
}  # fmt: skip
_SEQUENCES = (list, collections.abc.Sequence, collections.abc.MutableSequence, collections.abc.Iterable)
_MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
# by name, so that refusing a type costs no import of it
_INSTEAD = {
    "decimal.Decimal": "float, int or str", "uuid.UUID": "str", "datetime.date": "datetime or str",
    "datetime.time": "timedelta or str", "builtins.complex": "two floats", "builtins.set": "list", "builtins.frozenset": "list",
    "builtins.tuple": "list", "builtins.bytearray": "bytes", "builtins.memoryview": "bytes", "collections.abc.Set": "list",
    "builtins.NoneType": "T | None",
}  # fmt: skip
_KEYS = ("string", "bool", *INTEGERS)


class Shape(Struct, eq=False):
    """One value's form: its kind, and the enum or message behind it.

    Kinds are protobuf's scalar names, and `enum`, `message`, `timestamp`, `duration`, `value` (free JSON), `struct` (a free
    JSON object).
    """

    kind: str
    python: Any
    enum: EnumPlan | None = None
    message: MessagePlan | None = None


class Arm(Struct, eq=False):
    """One type of a union: a field of a oneof."""

    name: str
    shape: Shape
    extra: field


class Form(Struct, eq=False):
    """What a whole annotation means: `one`, `list`, `map` or `oneof`."""

    card: str
    shape: Shape | None
    extra: field
    nullable: bool = False
    key: Shape | None = None
    arms: tuple[Arm, ...] = ()
    container: type = list


class Reader:
    """Reads one field's annotation; `message` gives the plan of a nested dataclass, `enum` that of an enum."""

    def __init__(
        self,
        where: str,
        message: Callable[[type], MessagePlan],
        enum: Callable[[type[enum.Enum]], EnumPlan],
    ) -> None:
        self.where = where
        self._message = message
        self._enum = enum

    def form(self, annotation: Any, name: str) -> Form:
        """Read a field's annotation."""
        plain, extra, nullable, choices = unwrap(annotation)
        if choices:
            return Form("oneof", None, extra, nullable, arms=self._arms(choices, name, extra))
        origin = get_origin(plain) or plain
        if origin in _SEQUENCES or (origin is tuple and len(get_args(plain)) == 2 and get_args(plain)[1] is ...):
            return self._list(plain, extra, nullable, tuple if origin is tuple else list)
        if origin in _MAPPINGS:
            return self._map(plain, extra, nullable)
        return Form("one", self.shape(plain, extra.kind), extra, nullable)

    def shape(self, plain: Any, kind: str | None) -> Shape:
        """Read the type of one value."""
        if isinstance(plain, type) and issubclass(plain, enum.Enum):
            shape = Shape("enum", plain, enum=self._enum(plain))
        elif isinstance(plain, type) and dataclasses.is_dataclass(plain):
            shape = Shape("message", plain, message=self._message(plain))
        elif _hashable(plain) and plain in SCALARS:
            shape = Shape(SCALARS[plain], plain)
        else:
            raise self.refuse(plain)
        if kind is None:
            return shape
        if kind not in {"int64": INTEGERS, "double": FLOATS}.get(shape.kind, ()):
            raise SchemaError(
                f"{self.where}: kind {kind} is for {'float' if kind in FLOATS else 'int'}, not {show(plain)}"
            )
        return Shape(kind, plain)

    def refuse(self, found: Any, instead: str = "") -> SchemaError:
        """Say that a type cannot travel, and what would do."""
        return SchemaError(f"{self.where}: {show(found)} cannot travel; use {instead or _instead(found)}")

    def _list(self, plain: Any, extra: field, nullable: bool, container: type) -> Form:
        if nullable:
            raise self.refuse(
                plain | None, "a list that is empty by default: an absent list and an empty one look alike"
            )
        shape, kind = self._item((get_args(plain) or (Any,))[0], extra.kind, "a list's item")
        return Form("list", shape, extra.merged(kind), container=container)

    def _map(self, plain: Any, extra: field, nullable: bool) -> Form:
        args = get_args(plain) or (str, Any)
        key_type, key_extra, key_nullable, key_choices = unwrap(args[0])
        value_type, _, _, value_choices = unwrap(args[1])
        if key_type is str and not key_choices and not value_choices and value_type in (Any, object):
            return Form("one", Shape("struct", dict), extra, nullable)
        if nullable:
            raise self.refuse(
                plain | None, "a dict that is empty by default: an absent map and an empty one look alike"
            )
        key = (
            None
            if key_nullable or key_choices or key_type not in (str, int, bool)
            else self.shape(key_type, key_extra.kind)
        )
        if key is None or key.kind not in _KEYS:
            raise SchemaError(f"{self.where}: a map's keys are str, int or bool to travel, not {show(args[0])}")
        shape, kind = self._item(args[1], extra.kind, "a map's value")
        return Form("map", shape, extra.merged(kind), key=key)

    def _item(self, annotation: Any, kind: str | None, role: str) -> tuple[Shape, field]:
        plain, extra, nullable, choices = unwrap(annotation)
        if choices or (nullable and plain not in (Any, object)):
            raise SchemaError(
                f"{self.where}: {role} of several types or None cannot travel; use a dataclass that holds it"
            )
        origin = get_origin(plain) or plain
        if origin in _MAPPINGS:
            form = self._map(plain, extra, nullable=False)
            if form.card == "one" and form.shape is not None:
                return form.shape, extra
        if origin in _MAPPINGS or origin in _SEQUENCES or origin is tuple:
            raise SchemaError(f"{self.where}: {show(plain)} as {role} cannot travel; use a dataclass that holds it")
        return self.shape(plain, kind or extra.kind), extra

    def _arms(self, choices: tuple[Any, ...], name: str, extra: field) -> tuple[Arm, ...]:
        if extra.number is not None or extra.kind is not None:
            raise SchemaError(
                f"{self.where}: a union has a number and a kind for each of its types; put field() inside"
            )
        arms: list[Arm] = []
        for choice in choices:
            plain, inner, _, _ = unwrap(choice)
            origin = get_origin(plain) or plain
            if origin in _MAPPINGS or origin in _SEQUENCES or origin is tuple or origin in (Any, object):
                raise SchemaError(
                    f"{self.where}: {show(plain)} inside a union cannot travel; use a dataclass that holds it"
                )
            arm = Arm(
                f"{name}_{snake(plain.__name__)}" if isinstance(plain, type) else name,
                self.shape(plain, inner.kind),
                inner,
            )
            if any(arm.name == other.name for other in arms):
                raise SchemaError(f"{self.where}: {show(plain)} stands twice in the union")
            arms.append(arm)
        return tuple(arms)


def unwrap(annotation: Any) -> tuple[Any, field, bool, tuple[Any, ...]]:
    """Give (the bare type, its extras, whether None is allowed, the types of a union of several)."""
    extra, nullable = field(), False
    while True:
        if get_origin(annotation) is Annotated:
            annotation, *rest = get_args(annotation)
            for item in rest:
                if isinstance(item, field):
                    extra = extra.merged(item)
        elif isinstance(annotation, NewType):
            annotation = annotation.__supertype__
        elif get_origin(annotation) in (Union, types.UnionType):
            choices = get_args(annotation)
            rest = [choice for choice in choices if choice is not type(None)]
            nullable = nullable or len(rest) < len(choices)
            if len(rest) > 1:
                return annotation, extra, nullable, tuple(rest)
            annotation = rest[0]
        else:
            return annotation, extra, nullable, ()


def show(annotation: Any) -> str:
    """Give a type as its author wrote it."""
    if isinstance(annotation, type) and get_origin(annotation) is None:
        return annotation.__name__
    return str(annotation).replace("typing.", "")


def _instead(found: Any) -> str:
    origin = get_origin(found)
    if origin is Literal:
        return "an Enum, or str"
    if isinstance(found, TypeVar) or (origin is not None and dataclasses.is_dataclass(origin)):
        return "a dataclass without type parameters"
    for known in (origin, *getattr(found, "__mro__", ())):
        name = f"{getattr(known, '__module__', '')}.{getattr(known, '__qualname__', '')}"
        if name in _INSTEAD:
            return _INSTEAD[name]
    if isinstance(found, type) and hasattr(found, "DESCRIPTOR"):
        return "a dataclass here, or the protobuf message as the whole request"
    return "a dataclass, an Enum, str, bytes, bool, int, float, datetime, timedelta, list, dict or Any"


def _hashable(value: Any) -> bool:
    return isinstance(value, collections.abc.Hashable)
