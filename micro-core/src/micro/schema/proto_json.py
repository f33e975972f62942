"""Protobuf messages ⇄ the plain values of their JSON, exactly as the original's Go servers emit it.

All fields are present, at zero too, under their proto names; enums by name, 64-bit integers as text, unset messages
null. Left out when unset: members of a oneof, `optional` scalars, and the core's own fields numbered 100 and up, which
are additions that the original's peers do not know. On the way in: either spelling of a name, unknown keys ignored at
any depth, null for "not given". One pair of functions is compiled per message type; protobuf's own `json_format` is
forty times slower.
"""

from __future__ import annotations

import keyword
import sys
import threading
from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from micro.schema import scalars
from micro.schema.dataclass_json import READ, read_test
from micro.schema.free import read_struct
from micro.schema.mismatch import Mismatch, each, each_value, expected
from micro.schema.source import Source
from micro.schema.well_known import WIDE, Pair, kind_of, special_pair

ADDITIONS = 100  # a core message's fields from this number on are ours; the original has none so high
_lock = threading.RLock()
_pairs: dict[Any, Pair] = {}


def pair_of(descriptor: Descriptor) -> Pair:
    """Give a message type's pair, compiling it and all it holds the first time."""
    pair = _pairs.get(descriptor)
    if pair is None:
        with _lock:
            if descriptor not in _pairs:
                _compile(descriptor)
            pair = _pairs[descriptor]
    return pair


def _compile(root: Descriptor) -> None:
    new: dict[Any, str] = {}
    queue = [root]
    for descriptor in queue:
        if descriptor in new or descriptor in _pairs:
            continue
        special = special_pair(descriptor)
        if special is not None:
            _pairs[descriptor] = special
            continue
        new[descriptor] = f"{len(new)}_{descriptor.name}" if _is_plain(descriptor.name) else str(len(new))
        queue += [field.message_type for field in descriptor.fields if field.message_type is not None]
    source = Source(f"JSON of {root.full_name}")
    source.given.update(
        Mismatch=Mismatch, expected=expected, each=each, each_value=each_value, read_struct=read_struct,
        special=scalars.text_of_special, fill_list=_fill_list, fill_map=_fill_map,
    )  # fmt: skip
    for descriptor in new:
        _write_function(source, descriptor, new)
        _fill_function(source, descriptor, new)
    made = source.run()
    for descriptor, name in new.items():
        _pairs[descriptor] = Pair(made[f"write_{name}"], made[f"fill_{name}"])


def _is_core(descriptor: Descriptor) -> bool:
    """Say whether a message is of the wire's own files; no such message exists before their pool does."""
    core = sys.modules.get("micro.proto._pool")
    return core is not None and descriptor.file.pool is core.POOL


def _is_plain(name: str) -> bool:
    """Say whether a name may stand in the source; a descriptor may come from a stranger, and may be a keyword."""
    return name.isidentifier() and name.isascii() and not keyword.iskeyword(name)


def _attribute(field: FieldDescriptor) -> str:
    """Give the expression of a message's field."""
    return f"m.{field.name}" if _is_plain(field.name) else f"getattr(m, {field.name!r})"


def map_entry(field: FieldDescriptor) -> tuple[FieldDescriptor, FieldDescriptor] | None:
    """Give a map's key and value; None where the field is no map."""
    entry = field.message_type
    if entry is None or not entry.GetOptions().map_entry:
        return None
    return entry.fields_by_name["key"], entry.fields_by_name["value"]


def _shown(source: Source, field: FieldDescriptor, v: str, names: dict[Any, str]) -> str:
    """Give the expression of a single value's JSON."""
    kind = kind_of(field)
    if field.message_type is not None:
        own = names.get(field.message_type)
        return f"{f'write_{own}' if own else source.bind(pair_of(field.message_type).write)}({v})"
    if field.enum_type is not None:
        known = {number: value.name for number, value in field.enum_type.values_by_number.items()}
        return f"{source.bind(known)}.get((x_ := {v}), x_)"
    if kind in WIDE:
        return f"str({v})"
    if kind == "double":
        return f"(x_ if (x_ := {v}) - x_ == 0.0 else special(x_))"
    return f"{source.bind(scalars.short_float32)}({v})" if kind == "float" else v


def _write_function(source: Source, descriptor: Descriptor, names: dict[Any, str]) -> None:
    always, sometimes = [], []
    additions = _is_core(descriptor)
    for field in descriptor.fields:
        m = _attribute(field)
        present = f"m.HasField({field.name!r})"
        entry = map_entry(field)
        if entry is not None:
            key, value = entry
            name = {"string": "k", "bool": "('true' if k else 'false')"}.get(kind_of(key), "str(k)")
            shown = f"{{{name}: {_shown(source, value, 'x', names)} for k, x in {m}.items()}}"
            present = m
        elif field.is_repeated:
            shown = f"[{_shown(source, field, 'x', names)} for x in {m}]"
            present = m
        else:
            shown = _shown(source, field, m, names)
            if not field.has_presence:
                present = m
            elif (
                field.containing_oneof is None
                and field.message_type is not None
                and not (additions and field.number >= ADDITIONS)
            ):
                shown = f"{shown} if {present} else None"
        optional = field.containing_oneof is not None or (field.has_presence and field.message_type is None)
        if optional or (additions and field.number >= ADDITIONS):
            sometimes.append(f"    if {present}: d[{field.name!r}] = {shown}")
        else:
            always.append(f"{field.name!r}: {shown}")
    source.add(f"def write_{names[descriptor]}(m):", f"    d = {{{', '.join(always)}}}", *sometimes, "    return d")


def _taken(source: Source, field: FieldDescriptor) -> tuple[str, str]:
    """Give (test, converter) of a single parsed value that is assigned."""
    if field.enum_type is not None:
        return "True", source.bind(_enum_reader(field.enum_type))
    kind = kind_of(field)
    return read_test(kind, "v"), source.bind(READ[kind])


def _enum_reader(enum: Any) -> Callable[[Any], int]:
    numbers = {value.name: value.number for value in enum.values}
    read_number = scalars.read_int("int32")

    def read(value: Any) -> int:
        number: int | None = numbers.get(value) if isinstance(value, str) else None
        if number is not None:
            return number
        if isinstance(value, str) and not value.lstrip("-").isdecimal():
            raise Mismatch(f"no such {enum.name}; one of {', '.join(list(numbers)[:20])}")
        if isinstance(value, (bool, list, dict)):
            raise expected(f"a name of {enum.name}", value)
        return read_number(value)

    return read


def _filler(source: Source, field: FieldDescriptor, names: dict[Any, str]) -> str:
    assert field.message_type is not None
    own = names.get(field.message_type)
    return f"fill_{own}" if own else source.bind(pair_of(field.message_type).fill)


def _fill_function(source: Source, descriptor: Descriptor, names: dict[Any, str]) -> None:
    lines = [
        f"def fill_{names[descriptor]}(d, m):",
        f"    if d.__class__ is not dict: raise expected({descriptor.name!r}, d)",
        "    get = d.get",
        "    m.SetInParent()",
    ]
    for field in descriptor.fields:
        lines.append(f"    v = get({field.name!r})")
        if field.camelcase_name != field.name or field.json_name != field.name:
            lines.append(f"    if v is None: v = get({field.json_name!r})")
        lines += ["    if v is not None:", *_fill_field(source, field, names)]
    source.add(*lines)


def _fill_field(source: Source, field: FieldDescriptor, names: dict[Any, str]) -> list[str]:
    m, name, space = _attribute(field), field.name, "        "
    entry = map_entry(field)
    if entry is not None:
        key, value = entry
        read_key = source.bind(scalars.read_key(kind_of(key)))
        convert = _filler(source, value, names) if value.message_type is not None else _taken(source, value)[1]
        do = f"fill_map({m}, {read_key}, {convert}, {value.message_type is not None}, v)"
    elif field.is_repeated:
        convert = _filler(source, field, names) if field.message_type is not None else _taken(source, field)[1]
        do = f"fill_list({m}, {convert}, {field.message_type is not None}, v)"
    elif field.message_type is not None:
        do = f"{_filler(source, field, names)}(v, {m})"
    else:
        test, convert = _taken(source, field)
        lines = source.guarded(name, test, "v", convert, indent=space)
        return [
            *_only(field),
            *lines,
            f"{space}m.{name} = v" if _is_plain(name) else f"{space}setattr(m, {name!r}, v)",
        ]
    raising = f"{space}except Mismatch as problem: raise problem.under({name!r}) from None"
    return [*_only(field), f"{space}try: {do}", raising]


def _only(field: FieldDescriptor) -> list[str]:
    """Refuse a second member of a oneof."""
    oneof = field.containing_oneof
    if oneof is None or len(oneof.fields) == 1:
        return []
    text = f"only one of {', '.join(each.name for each in oneof.fields)} may be there"
    return [f"        if m.WhichOneof({oneof.name!r}) is not None: raise Mismatch({text!r}).under({field.name!r})"]


def _fill_list(target: Any, convert: Callable[..., Any], is_message: bool, value: Any) -> None:
    if value.__class__ is not list:
        raise expected("list", value)
    if is_message:
        each(lambda item: convert(item, target.add()), value)
    else:
        target.extend(each(convert, value))


def _fill_map(
    target: Any, key: Callable[[Any], Any], convert: Callable[..., Any], is_message: bool, value: Any
) -> None:
    for name, item in read_struct(value).items():
        try:
            if is_message:
                convert(item, target[key(name)])
            else:
                target[key(name)] = convert(item)
        except Mismatch as problem:
            raise problem.under(f"[{name[:40]!r}]") from None
