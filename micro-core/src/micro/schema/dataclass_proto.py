"""Dataclass ⇄ protobuf message, compiled once per class.

`fill(object, message)` writes into a message of any pool, `read(message)` makes the object. The usual case is not checked
here: protobuf's own types refuse, and `micro.schema.message` then asks the JSON converters which field it was.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct

from micro.errors import ServiceError
from micro.schema.dataclass_json import json_of
from micro.schema.free import fill_struct, fill_value, from_struct, from_value
from micro.schema.mismatch import Mismatch, expected
from micro.schema.plan import LOCK, FieldPlan, MessagePlan
from micro.schema.scalars import EPOCH, check_span, write_time
from micro.schema.shape import Shape
from micro.schema.source import Source


class Proto(Struct, frozen=True):
    """A class's pair."""

    fill: Callable[[Any, Any], None]
    read: Callable[[Any], Any]


def fill_time(value: datetime, target: Any) -> None:
    span = write_time(value) - EPOCH
    target.seconds = span.days * 86_400 + span.seconds
    target.nanos = span.microseconds * 1000
    target.SetInParent()


def read_time(message: Any) -> datetime:
    try:
        return EPOCH + timedelta(seconds=message.seconds, microseconds=message.nanos // 1000)
    except OverflowError:
        raise Mismatch("out of range for a time: years 1 to 9999") from None


def fill_span(value: timedelta, target: Any) -> None:
    check_span(value)
    seconds = value.days * 86_400 + value.seconds
    micros = value.microseconds
    if seconds < 0 and micros:  # protobuf wants both of one sign
        seconds, micros = seconds + 1, micros - 1_000_000
    target.seconds = seconds
    target.nanos = micros * 1000
    target.SetInParent()


def read_span(message: Any) -> timedelta:
    try:
        return timedelta(seconds=message.seconds, microseconds=int(message.nanos / 1000))
    except OverflowError:
        raise Mismatch("out of range for a duration") from None


_FILL: dict[str, Callable[[Any, Any], None]] = {
    "timestamp": fill_time, "duration": fill_span,
    "value": lambda value, target: fill_value(target, value), "struct": lambda value, target: fill_struct(target, value),
}  # fmt: skip
_READ: dict[str, Callable[[Any], Any]] = {
    "timestamp": read_time, "duration": read_span, "value": from_value, "struct": from_struct,
}  # fmt: skip


def proto_of(plan: MessagePlan) -> Proto:
    """Give a plan's pair, compiling it and all it holds the first time."""
    json_of(plan)  # makes the values of absent messages
    if plan.proto is None:
        with LOCK:
            if plan.proto is None:
                _compile([each for each in plan.closure()[0] if each.proto is None])
    pair: Proto = plan.proto
    return pair


def _compile(plans: list[MessagePlan]) -> None:
    source = Source("protobuf")
    source.given.update(Mismatch=Mismatch, ServiceError=ServiceError, expected=expected, wrong=_wrong)
    names = {id(plan): f"{index}_{plan.name}" for index, plan in enumerate(plans)}
    for plan in plans:
        _fill_function(source, plan, names)
        _read_function(source, plan, names)
    made = source.run()
    for plan in plans:
        own = names[id(plan)]
        plan.proto = Proto(made[f"fill_{own}"], made[f"read_{own}"])


def _filler(source: Source, shape: Shape, names: dict[int, str]) -> str:
    """Give the name of what fills a message of this shape; empty for what is assigned."""
    if shape.message is not None:
        known = names.get(id(shape.message))
        return f"fill_{known}" if known else source.bind(proto_of(shape.message).fill)
    return source.bind(_FILL[shape.kind]) if shape.kind in _FILL else ""


def _assigned(source: Source, shape: Shape, v: str) -> str:
    """Give the expression of a value as protobuf's assignment takes it."""
    if shape.enum is not None:
        return f"{source.bind(shape.enum.number)}({v})"
    if shape.kind == "string":  # protobuf would take bytes for text, and numbers for truth
        return f"({v} if {v}.__class__ is str else wrong({v}))"
    return f"({v} if {v} is True or {v} is False else wrong({v}))" if shape.kind == "bool" else v


def _wrong(value: Any) -> Any:
    raise expected("another type", value)  # replaced by the JSON converter's words, which know the field


def _taken(source: Source, shape: Shape, v: str, names: dict[int, str]) -> str:
    """Give the expression that makes our value of protobuf's."""
    if shape.message is not None:
        known = names.get(id(shape.message))
        return f"{f'read_{known}' if known else source.bind(proto_of(shape.message).read)}({v})"
    if shape.enum is not None:
        return f"{source.bind(shape.enum.members)}.get((x_ := {v}), x_)"
    return f"{source.bind(_READ[shape.kind])}({v})" if shape.kind in _READ else v


def _fill_function(source: Source, plan: MessagePlan, names: dict[int, str]) -> None:
    cls = source.bind(plan.python)
    lines = [
        f"def fill_{names[id(plan)]}(o, m):",
        f"    if o.__class__ is not {cls} and not isinstance(o, {cls}): raise expected({plan.name!r}, o)",
        "    m.SetInParent()",
    ]
    for field in plan.fields:
        lines += (
            _fill_union(source, field, names) if field.shape is None else _fill_field(source, field, field.shape, names)
        )
    source.add(*lines)


def _fill_field(source: Source, field: FieldPlan, shape: Shape, names: dict[int, str]) -> list[str]:
    fill, name = _filler(source, shape, names), field.name
    if field.card == "list":
        start = [f"    v = o.{name}", "    if v.__class__ is not list and v.__class__ is not tuple: wrong(v)"]
        if fill:
            return [*start, f"    add = m.{name}.add", f"    for x in v: {fill}(x, add())"]
        item = _assigned(source, shape, "x")
        return [*start, f"    m.{name}.extend({'v' if item == 'x' else f'[{item} for x in v]'})"]
    if field.card == "map":
        if fill:
            return [f"    t = m.{name}", f"    for k, x in o.{name}.items(): {fill}(x, t[k])"]
        item = _assigned(source, shape, "x")
        return [
            f"    m.{name}.update(" + (f"o.{name})" if item == "x" else f"{{k: {item} for k, x in o.{name}.items()}})")
        ]
    do = f"{fill}(v, m.{name})" if fill else f"m.{name} = {_assigned(source, shape, 'v')}"
    if field.nullable and shape.kind != "value":
        return [f"    v = o.{name}", f"    if v is not None: {do}"]
    return [f"    v = o.{name}", f"    {do}"]


def _fill_union(source: Source, field: FieldPlan, names: dict[int, str]) -> list[str]:
    lines = [f"    v = o.{field.name}", "    if v is None: pass"]
    for exact in (True, False):  # an exact class first: True is an int too
        for arm in field.arms:
            cls = source.bind(arm.shape.python)
            fill = _filler(source, arm.shape, names)
            do = f"{fill}(v, m.{arm.name})" if fill else f"m.{arm.name} = {_assigned(source, arm.shape, 'v')}"
            lines += [
                f"    elif v.__class__ is {cls}:" if exact else f"    elif isinstance(v, {cls}):",
                f"        {do}",
            ]
    return [*lines, f"    else: raise expected({field.name!r}, v)"]


def _read_function(source: Source, plan: MessagePlan, names: dict[int, str]) -> None:
    cls = source.bind(plan.python)
    positional, keywords = [], []
    for field in plan.fields:
        value = (
            _read_union(source, field, names) if field.shape is None else _read_field(source, field, field.shape, names)
        )
        if field.kw_only:
            keywords.append(f"{field.name}={value}")
        else:
            positional.append(value)
    source.add(
        f"def read_{names[id(plan)]}(m):",
        "    has = m.HasField",
        f"    try: return {cls}({', '.join([*positional, *keywords])})",
        "    except ServiceError: raise",
        "    except (TypeError, ValueError) as problem: raise Mismatch(str(problem)) from problem",
    )


def _read_field(source: Source, field: FieldPlan, shape: Shape, names: dict[int, str]) -> str:
    m = f"m.{field.name}"
    if field.card == "list":
        item = _taken(source, shape, "x", names)
        made = f"list({m})" if item == "x" else f"[{item} for x in {m}]"
        return f"tuple({made})" if field.container is tuple else made
    if field.card == "map":
        item = _taken(source, shape, "x", names)
        return f"dict({m})" if item == "x" else f"{{k: {item} for k, x in {m}.items()}}"
    value = _taken(source, shape, m, names)
    if field.optional or shape.message is not None or shape.kind in _READ:
        return f"{value} if has({field.name!r}) else {source.bind(field.default)}()"
    return value


def _read_union(source: Source, field: FieldPlan, names: dict[int, str]) -> str:
    value = f"{source.bind(field.default)}()"
    for arm in reversed(field.arms):
        value = f"{_taken(source, arm.shape, f'm.{arm.name}', names)} if has({arm.name!r}) else {value}"
    return value
