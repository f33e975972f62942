"""A dataclass inspected once: its fields, their numbers, forms and defaults.

Fields that are not constructor arguments (`init=False`, `ClassVar`) do not travel: they are the class's own business,
and are made anew by `__post_init__`. An `InitVar` needs a default, for there is nothing to read it back from.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import re
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any, get_type_hints

from msgspec import Struct

from micro.schema.enums import EnumPlan, hashed
from micro.schema.extras import INTEGERS, SchemaError, field
from micro.schema.refuse import refuse_alike, refuse_endless, refuse_twins
from micro.schema.scalars import EPOCH, ZERO, bounds
from micro.schema.shape import Arm, Form, Reader, Shape

_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]*", re.ASCII)
_TAKEN = frozenset({"HasField", "WhichOneof", "SetInParent"})  # of protobuf messages; our converters call them
_ZEROS: dict[str, Any] = {
    "string": "",
    "bytes": b"",
    "bool": False,
    "timestamp": EPOCH,
    "duration": ZERO,
    "value": None,
}


class FieldPlan(Struct, eq=False):
    """One field.

    `card` is `one`, `list`, `map` or `oneof`; `optional` says that absence differs from zero (proto3's `optional`);
    `nullable` that absence is None. `default` makes the value of an absent field anew each time; `constant` is that
    value where it is one and cannot change.
    """

    name: str
    number: int
    card: str
    shape: Shape | None
    key: Shape | None
    arms: tuple[ArmPlan, ...]
    container: type
    nullable: bool
    optional: bool
    has_default: bool
    constant: Any
    default: Callable[[], Any]
    kw_only: bool
    description: str

    def shapes(self) -> Iterable[Shape]:
        """Give the shapes of the field's values."""
        return [arm.shape for arm in self.arms] if self.shape is None else [self.shape]


class ArmPlan(Struct, eq=False):
    """One type of a union, as a field of the oneof that bears the field's name."""

    name: str
    number: int
    shape: Shape
    description: str


class MessagePlan(Struct, eq=False):
    """One dataclass. `identity` tells it from others of its name; `json` and `proto` are compiled on first use."""

    name: str
    python: type
    doc: str
    fields: tuple[FieldPlan, ...] = ()
    identity: object = None
    json: Any = None
    proto: Any = None

    def __post_init__(self) -> None:
        self.identity = self.identity or self.python

    def closure(self) -> tuple[list[MessagePlan], list[EnumPlan]]:
        """Give this message and all it holds, in the order of first mention."""
        messages, enums = [self], []
        for plan in messages:
            for shape in (shape for one in plan.fields for shape in one.shapes()):
                if shape.message is not None and shape.message not in messages:
                    messages.append(shape.message)
                if shape.enum is not None and shape.enum not in enums:
                    enums.append(shape.enum)
        return messages, enums


_plans: dict[type, MessagePlan] = {}
_enums: dict[type, EnumPlan] = {}
LOCK = threading.RLock()


def plan_of(cls: type) -> MessagePlan:
    """Give the plan of a dataclass; it is made once. A class that cannot travel raises SchemaError."""
    plan = _plans.get(cls)
    if plan is None:
        with LOCK:
            plan = _plans.get(cls) or _Planner().all(cls)
    return plan


def enum_plan(cls: type[enum.Enum]) -> EnumPlan:
    """Give the plan of an enum; it is made once."""
    with LOCK:
        if cls not in _enums:
            _enums[cls] = EnumPlan(cls)
        return _enums[cls]


class _Planner:
    """Plans one class and what it leads to; nothing is kept when any of them cannot travel."""

    def __init__(self) -> None:
        self.new: dict[type, MessagePlan] = {}

    def all(self, cls: type) -> MessagePlan:
        plan = self.message(cls)
        for each in self.new.values():
            refuse_endless(each, each, ())
        refuse_twins(plan)
        _plans.update(self.new)
        return plan

    def message(self, cls: type) -> MessagePlan:
        known = _plans.get(cls) or self.new.get(cls)
        if known is not None:
            return known
        plan = self.new[cls] = MessagePlan(cls.__name__, cls, _own_doc(cls))
        if not _IDENTIFIER.fullmatch(cls.__name__):
            raise SchemaError(f"{cls.__name__}: a class's name is ASCII letters, digits and _ to travel")
        if getattr(cls, "__parameters__", ()):
            raise SchemaError(f"{cls.__name__}: a generic class cannot travel; use a dataclass without type parameters")
        hints = _hints(cls)
        texts = _attribute_docs(plan.doc)
        numbers = _Numbers(cls)
        plan.fields = tuple(self._field(cls, f, hints[f.name], numbers, texts) for f in _travelling(cls))
        if _init_vars(cls):  # they stand between the constructor's other arguments
            for one in plan.fields:
                one.kw_only = True
        refuse_alike(plan)
        return plan

    def _field(
        self, cls: type, source: dataclasses.Field[Any], hint: Any, numbers: _Numbers, texts: dict[str, str]
    ) -> FieldPlan:
        where = f"{cls.__name__}.{source.name}"
        if not _IDENTIFIER.fullmatch(source.name) or source.name in _TAKEN:
            raise SchemaError(f"{where}: this name cannot travel; use ASCII letters, digits and _, a letter first")
        form = Reader(where, self.message, enum_plan).form(hint, source.name)
        description = form.extra.description or texts.get(source.name, "")
        arms = tuple(_arm(numbers, arm, description) for arm in form.arms)
        number = 0 if arms else numbers.take(source.name, form.extra)
        has_default, constant, default = _default(where, source, form)
        presence = form.card == "one" and (form.nullable or (has_default and not _is_zero(form.shape, constant)))
        return FieldPlan(
            name=source.name, number=number, card=form.card, shape=form.shape, key=form.key, arms=arms,
            container=form.container, nullable=form.nullable, optional=presence, has_default=has_default,
            constant=constant, default=default, kw_only=bool(source.kw_only), description=description,
        )  # fmt: skip


class _Numbers:
    """Gives the fields of one class their numbers."""

    def __init__(self, cls: type) -> None:
        self._cls = cls
        self._by_order = getattr(cls, "numbering", None) == "order" and all(
            f.name != "numbering" for f in _travelling(cls)
        )
        self._taken: dict[int, str] = {}
        self._place = 0

    def take(self, name: str, extra: field) -> int:
        self._place += 1
        number = extra.number or (self._place if self._by_order else hashed(name))
        if number in self._taken:
            raise SchemaError(
                f"{self._cls.__name__}: {self._taken[number]!r} and {name!r} both have number {number}; "
                f"pin one, as in {name}: Annotated[…, field(1)]"
            )
        self._taken[number] = name
        return number


def _arm(numbers: _Numbers, arm: Arm, description: str) -> ArmPlan:
    return ArmPlan(arm.name, numbers.take(arm.name, arm.extra), arm.shape, arm.extra.description or description)


def _travelling(cls: type) -> list[dataclasses.Field[Any]]:
    if not cls.__dict__.get("__dataclass_params__", cls.__dataclass_params__).init:  # type: ignore[attr-defined]
        raise SchemaError(f"{cls.__name__}: a dataclass without its own constructor cannot travel; leave init=True")
    for held in _init_vars(cls):
        if held.default is dataclasses.MISSING:
            raise SchemaError(
                f"{cls.__name__}.{held.name}: an InitVar cannot travel; give it a default, or make it a field"
            )
    return [f for f in dataclasses.fields(cls) if f.init]


def _init_vars(cls: type) -> list[dataclasses.Field[Any]]:
    every: dict[str, Any] = cls.__dataclass_fields__  # type: ignore[attr-defined]
    return [held for held in every.values() if held._field_type is dataclasses._FIELD_INITVAR]  # type: ignore[attr-defined]


def _hints(cls: type) -> dict[str, Any]:
    """Resolve annotations, those given as text too; a class inside a function knows at least itself."""
    own = {base.__name__: base for base in cls.__mro__}
    try:
        return get_type_hints(cls, localns=own, include_extras=True)
    except Exception as problem:  # an annotation is any expression, so it may raise anything
        remedy = "; define it at the module's top" if isinstance(problem, NameError) else ""
        raise SchemaError(f"{cls.__name__}{_culprit(cls, own)}: {problem}{remedy}") from problem


def _culprit(cls: type, own: dict[str, type]) -> str:
    for base in cls.__mro__:
        known = {**vars(sys.modules.get(base.__module__, enum)), **own}
        for name, text in inspect.get_annotations(base).items():
            try:
                get_type_hints(type("probe", (), {"__annotations__": {name: text}}), known, known)
            except Exception:  # as above: the first that raises is the one to name
                return f".{name}"
    return ""


def _default(where: str, source: dataclasses.Field[Any], form: Form) -> tuple[bool, Any, Callable[[], Any]]:
    """Give (whether the class gives one, the constant or MISSING, how to make it)."""
    missing = dataclasses.MISSING
    if source.default is missing and source.default_factory is missing:
        if form.nullable or form.card == "oneof":
            return False, None, lambda: None
        if form.card in {"list", "map"}:
            made = form.container if form.card == "list" else dict
            return False, missing, made
        return (False, *_zero(form.shape))
    given = source.default
    if form.nullable and given is not None and form.shape is not None and form.shape.kind != "value":
        raise SchemaError(
            f"{where}: None and the default cannot be told apart on the wire; give the default None, or leave None out"
        )
    if given is missing:
        factory: Callable[[], Any] = source.default_factory  # type: ignore[assignment]
        return True, missing, factory
    if type(given) is int and form.shape is not None and form.shape.kind in INTEGERS:
        low, high = bounds(form.shape.kind)
        if not low <= given <= high:
            raise SchemaError(f"{where}: the default is out of range for {form.shape.kind}: {low} to {high}")
    return True, given, lambda: given


def _zero(shape: Shape | None) -> tuple[Any, Callable[[], Any]]:
    assert shape is not None
    if shape.kind == "struct":
        return dataclasses.MISSING, dict
    if shape.message is not None:
        plan = shape.message
        return dataclasses.MISSING, lambda: plan.json.read({})
    if shape.enum is not None:
        zero: Any = shape.enum.zero
    else:
        zero = _ZEROS.get(shape.kind, 0.0 if shape.kind in {"double", "float"} else 0)
    return zero, lambda: zero


def _is_zero(shape: Shape | None, value: Any) -> bool:
    """Say whether a default is what protobuf gives an absent field anyway; messages know absence by themselves."""
    assert shape is not None
    if shape.enum is not None:
        return value is shape.enum.zero
    zero = {"string": "", "bytes": b"", "bool": False}.get(shape.kind, 0)
    return type(value) in (str, bytes, bool, int, float) and value == zero and str(value) != "-0.0"


def _own_doc(cls: type) -> str:
    """Give the class's docstring, not the signature that dataclass writes where there is none."""
    doc = cls.__dict__.get("__doc__") or ""
    return "" if doc.startswith(f"{cls.__name__}(") else doc


def _attribute_docs(doc: str) -> dict[str, str]:
    """Read `name: text` lines, also as `:param name: text`, of a class's docstring."""
    found = re.findall(r"^[ \t]*(?::\w+ +)?([A-Za-z]\w*):[ \t]+(\S.*)$", doc, re.MULTILINE)
    return {name: text.strip() for name, text in found}
