"""Dataclass ⇄ the plain values that msgspec writes and reads as JSON, compiled once per class.

For each class two functions are written as source and compiled: what a field usually holds is tested inline, all
else goes to the field's converter, which coerces it or says what was expected. There is one path, not a fast and a
right one: 1.5 µs each way for ten fields, JSON text included.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from micro.errors import ServiceError
from micro.schema import scalars
from micro.schema.enums import camel
from micro.schema.extras import INTEGERS
from micro.schema.free import read_struct, write_struct, write_value
from micro.schema.mismatch import Mismatch, each, each_value, expected
from micro.schema.plan import LOCK, FieldPlan, MessagePlan
from micro.schema.shape import Shape
from micro.schema.source import Source

MISSING = object()


class Json(Struct, frozen=True):
    """A class's pair: `write` an object as a dict for JSON, `read` one from a parsed dict. Both raise Mismatch."""

    write: Callable[[Any], dict[str, Any]]
    read: Callable[[Any], Any]


READ: dict[str, Callable[[Any], Any]] = {
    "string": scalars.read_str, "bool": scalars.read_bool, "bytes": scalars.read_bytes, "double": scalars.read_float,
    "float": scalars.read_float32, "timestamp": scalars.read_time, "duration": scalars.read_span,
    "struct": read_struct, "value": lambda value: value,
}  # fmt: skip
_WRITE: dict[str, Callable[[Any], Any]] = {
    "string": scalars.write_str, "bool": scalars.write_bool, "bytes": scalars.write_bytes, "double": scalars.write_float,
    "float": scalars.write_float32, "timestamp": scalars.write_time, "duration": scalars.write_span,
    "struct": write_struct, "value": write_value,
}  # fmt: skip
READ |= {kind: scalars.read_int(kind) for kind in INTEGERS}
_WRITE |= {kind: scalars.write_int(kind) for kind in INTEGERS}


def json_of(plan: MessagePlan) -> Json:
    """Give a plan's pair, compiling it and all it holds the first time."""
    if plan.json is None:
        with LOCK:
            if plan.json is None:
                _compile([each for each in plan.closure()[0] if each.json is None])
    pair: Json = plan.json
    return pair


def reader(shape: Shape) -> Callable[[Any], Any]:
    """Give the converter of one parsed JSON value."""
    if shape.message is not None:
        return json_of(shape.message).read
    return shape.enum.read if shape.enum is not None else READ[shape.kind]


def writer(shape: Shape) -> Callable[[Any], Any]:
    """Give the converter of one value towards JSON."""
    if shape.message is not None:
        return json_of(shape.message).write
    return shape.enum.write if shape.enum is not None else _WRITE[shape.kind]


def read_test(kind: str, v: str) -> str:
    """Give the expression that is true when a parsed value needs its converter."""
    if kind in INTEGERS:
        low, high = scalars.bounds(kind)
        return f"{v}.__class__ is not int or not {low} <= {v} <= {high}"
    if kind == "bool":
        return f"{v} is not True and {v} is not False"
    return {"string": f"{v}.__class__ is not str", "double": f"{v}.__class__ is not float", "value": "False"}.get(
        kind, "True"
    )


def write_test(kind: str, v: str) -> str:
    """Give the expression that is true when a field's value needs its converter."""
    if kind in INTEGERS:
        low, high = scalars.bounds(kind)
        low, high = max(low, -scalars.EXACT), min(high, scalars.EXACT)
        return f"{v}.__class__ is not int or not {low} <= {v} <= {high}"
    if kind == "bool":
        return f"{v} is not True and {v} is not False"
    tests = {
        "string": f"{v}.__class__ is not str",
        "bytes": f"{v}.__class__ is not bytes",
        "double": f"{v}.__class__ is not float or {v} - {v} != 0.0",  # NaN and infinity are text
    }
    return tests.get(kind, "True")


def _compile(plans: list[MessagePlan]) -> None:
    source = Source("JSON")
    source.given.update(
        Mismatch=Mismatch, ServiceError=ServiceError, MISSING=MISSING, expected=expected, each=each, each_value=each_value,
        as_list=_as_list, read_list=_read_list, as_dict=_as_dict, read_struct=read_struct,
    )  # fmt: skip
    names = {id(plan): f"{index}_{plan.name}" for index, plan in enumerate(plans)}
    for plan in plans:
        _write_function(source, plan, names)
        _read_function(source, plan, names)
    made = source.run()
    for plan in plans:
        own = names[id(plan)]
        plan.json = Json(made[f"write_{own}"], made[f"read_{own}"])


def _converter(source: Source, shape: Shape, names: dict[int, str], way: str) -> str:
    """Give the name, inside the source, of a shape's converter."""
    if shape.message is not None and id(shape.message) in names:
        return f"{way}_{names[id(shape.message)]}"
    return source.bind(reader(shape) if way == "read" else writer(shape))


def _many(source: Source, field: FieldPlan, convert: str, way: str) -> str:
    """Write the converter of a field's list or map, and give its name."""
    assert field.shape is not None
    test = (read_test if way == "read" else write_test)(field.shape.kind, "x")
    item = "x" if test == "False" else f"{convert}(x)" if test == "True" else f"{convert}(x) if {test} else x"
    name = source.name(way)
    if field.card == "list":
        source.add(
            f"def {name}(v):",
            f"    if v.__class__ is not list: v = {'as_list' if way == 'write' else 'read_list'}(v)",
            f"    try: v = [{item} for x in v]",
            f"    except Mismatch: v = each({convert}, v)",
            f"    return {'tuple(v)' if field.container is tuple and way == 'read' else 'v'}",
        )
        return name
    assert field.key is not None
    key = source.bind((scalars.read_key if way == "read" else scalars.write_key)(field.key.kind))
    test = f"{key}(k) if k.__class__ is not str else k" if field.key.kind == "string" else f"{key}(k)"
    source.add(
        f"def {name}(v):",
        f"    if v.__class__ is not dict: v = {'as_dict' if way == 'write' else 'read_struct'}(v)",
        f"    try: return {{{test}: {item} for k, x in v.items()}}",
        f"    except Mismatch: return each_value({key}, {convert}, v)",
    )
    return name


def _read_list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise expected("list", value)
    return value


def _as_list(value: Any) -> list[Any]:
    if isinstance(value, (str, bytes, dict)) or not hasattr(value, "__iter__"):
        raise expected("list", value)
    return list(value)


def _as_dict(value: Any) -> dict[Any, Any]:
    if not hasattr(value, "items"):
        raise expected("dict", value)
    return dict(value.items())


def _write_function(source: Source, plan: MessagePlan, names: dict[int, str]) -> None:
    own = names[id(plan)]
    body, pairs, unions = [], [], []
    for i, field in enumerate(plan.fields):
        body.append(f"    v{i} = o.{field.name}")
        if field.shape is None:
            unions.append(f"    if v{i} is not None: d.update({_union_writer(source, field, names)}(v{i}))")
            continue
        convert = _converter(source, field.shape, names, "write")
        test = write_test(field.shape.kind, f"v{i}")
        if field.card != "one":
            convert, test = _many(source, field, convert, "write"), "True"
        if field.nullable and test != "False":
            test = f"v{i} is not None" + ("" if test == "True" else f" and ({test})")
        body += source.guarded(field.name, test, f"v{i}", convert)
        pairs.append(f"{field.name!r}: v{i}")
    cls = source.bind(plan.python)
    source.add(
        f"def write_{own}(o):",
        f"    if o.__class__ is not {cls} and not isinstance(o, {cls}): raise expected({plan.name!r}, o)",
        *body,
        *(
            [f"    d = {{{', '.join(pairs)}}}", *unions, "    return d"]
            if unions
            else [f"    return {{{', '.join(pairs)}}}"]
        ),
    )


def _union_writer(source: Source, field: FieldPlan, names: dict[int, str]) -> str:
    """Write the converter of a union: the one arm that the value's class picks, as a dict of one."""
    name = source.name("union")
    lines = [f"def {name}(v):"]
    for exact in (True, False):  # an exact class first: True is an int too
        for arm in field.arms:
            cls = source.bind(arm.shape.python)
            test = f"v.__class__ is {cls}" if exact else f"isinstance(v, {cls})"
            convert = _converter(source, arm.shape, names, "write")
            lines += [f"    if {test}:", *source.guarded(arm.name, "True", "v", convert, indent="        ")]
            lines.append(f"        return {{{arm.name!r}: v}}")
    wanted = " or ".join(arm.shape.python.__name__ for arm in field.arms)
    source.add(*lines, f"    raise expected({wanted!r}, v).under({field.name!r})")
    return name


def _read_function(source: Source, plan: MessagePlan, names: dict[int, str]) -> None:
    own = names[id(plan)]
    body, arguments = [], []
    for i, field in enumerate(plan.fields):
        if field.shape is None:
            body += _read_union(source, field, i, names)
        else:
            body += _read_field(source, field, i, names)
        arguments.append(f"{field.name}=v{i}" if field.kw_only else f"v{i}")
    cls = source.bind(plan.python)
    positional = [a for a in arguments if "=" not in a]
    call = f"{cls}({', '.join([*positional, *(a for a in arguments if '=' in a)])})"
    source.add(
        f"def read_{own}(d):",
        f"    if d.__class__ is not dict: raise expected({plan.name!r}, d)",
        "    get = d.get",
        *body,
        f"    try: return {call}",
        "    except ServiceError: raise",
        "    except (TypeError, ValueError) as problem: raise Mismatch(str(problem)) from problem",
    )


def _read_field(source: Source, field: FieldPlan, i: int, names: dict[int, str]) -> list[str]:
    assert field.shape is not None
    convert = _converter(source, field.shape, names, "read")
    test = read_test(field.shape.kind, f"v{i}")
    if field.card != "one":
        convert, test = _many(source, field, convert, "read"), "True"
    other = camel(field.name)
    absent = "MISSING" if field.shape.kind == "value" and field.card == "one" else "None"
    lines = [f"    v{i} = get({field.name!r}{', MISSING' if absent == 'MISSING' else ''})"]
    if other != field.name:
        lines.append(f"    if v{i} is {absent}: v{i} = get({other!r}{', MISSING' if absent == 'MISSING' else ''})")
    default = source.bind(field.default) + "()"
    lines.append(f"    if v{i} is {absent}: v{i} = {default}")
    lines += source.guarded(field.name, test, f"v{i}", convert, word="elif")
    return lines


def _read_union(source: Source, field: FieldPlan, i: int, names: dict[int, str]) -> list[str]:
    """Take the one arm that is there; two, or the union's own name, are a mistake worth words."""
    arms = ", ".join(arm.name for arm in field.arms)
    lines = [f"    v{i} = MISSING"]
    for arm in field.arms:
        convert = _converter(source, arm.shape, names, "read")
        other = camel(arm.name)
        lines += [
            f"    x = get({arm.name!r})" + (f" if {arm.name!r} in d else get({other!r})" if other != arm.name else ""),
            "    if x is not None:",
            f"        if v{i} is not MISSING: raise Mismatch({f'only one of {arms} may be there'!r}).under({field.name!r})",
            *source.guarded(arm.name, "True", "x", convert, indent="        "),
            f"        v{i} = x",
        ]
    default = source.bind(field.default) + "()"
    advice = f"give it as one of {arms}"
    return [
        *lines,
        f"    if v{i} is MISSING:",
        f"        if get({field.name!r}) is not None: raise Mismatch({advice!r}).under({field.name!r})",
        f"        v{i} = {default}",
    ]
