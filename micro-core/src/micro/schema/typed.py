"""Values that are kept, not called with: store records, events, config. bytes and str as they are, all else JSON."""

from __future__ import annotations

import re
from typing import Any, TypeVar, overload

import msgspec

from micro.schema.extras import SchemaError
from micro.schema.free import write_value
from micro.schema.kinds import Single
from micro.schema.message import Data, MessageType, message_of, refusal
from micro.schema.mismatch import Mismatch, expected

T = TypeVar("T")
_FAULTS = (Mismatch, ValueError, AttributeError, OverflowError, RecursionError, msgspec.MsgspecError)
_AT = re.compile(r"(?P<text>.*?)(?: - at \$\.?(?P<path>\S*))? ?", re.DOTALL)


def encode_value(value: Any) -> bytes:
    """Give the bytes of a value; dataclasses and msgspec Structs go by their fields. Raises InvalidArgument."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    try:
        return value.encode() if isinstance(value, str) else msgspec.json.encode(write_value(value))
    except _FAULTS as problem:
        raise refusal(problem) from problem


@overload
def decode_as(tp: type[T], data: Data) -> T: ...
@overload
def decode_as(tp: Any, data: Data) -> Any: ...
def decode_as(tp: Any, data: Data) -> Any:
    """Read a value as a type: bytes and str as they are, anything else JSON, checked against the type.

    What does not fit raises InvalidArgument with the path of the field. Besides what can travel as a message, every type that
    msgspec knows will do (Struct, TypedDict, Literal, Decimal, nested lists, …). `Any` takes whatever JSON says.
    """
    raw = data.encode() if isinstance(data, str) else data
    if tp is bytes:
        return bytes(raw)
    try:
        if tp is str:
            return str(raw, "utf-8")
        return _decode(tp, raw)
    except _FAULTS as problem:
        raise refusal(problem) from problem


def _decode(tp: Any, raw: Data) -> Any:
    parsed = msgspec.json.decode(raw)
    if tp is Any or tp is object:
        return parsed
    kind = _travelling(tp)
    if kind is None or (isinstance(kind, Single) and kind.plan.fields[0].card == "oneof"):
        return _by_msgspec(tp, parsed)
    if parsed is None:
        if tp in (None, type(None)) or _takes_none(kind):
            return None
        raise expected(getattr(tp, "__name__", str(tp)), None)
    return kind.read_bare(parsed) if isinstance(kind, Single) else kind.from_plain(parsed)


def _travelling(tp: Any) -> MessageType[Any] | None:
    try:
        return message_of(tp)
    except SchemaError:
        return None


def _takes_none(kind: MessageType[Any]) -> bool:
    return isinstance(kind, Single) and kind.plan.fields[0].nullable


def _by_msgspec(tp: Any, parsed: Any) -> Any:
    try:
        return msgspec.convert(parsed, tp, strict=False)
    except TypeError as problem:
        raise SchemaError(f"{tp}: {problem}") from problem
    except msgspec.ValidationError as problem:
        found = _AT.fullmatch(str(problem).replace("`", ""))
        assert found is not None
        text = found["text"].strip()
        raise Mismatch(text[:1].lower() + text[1:], found["path"] or "") from problem
