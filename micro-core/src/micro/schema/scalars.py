"""The JSON form of each scalar, both ways. Strings are accepted for any scalar, numbers never for strings.

`read_*` take what `msgspec.json.decode` gave; `write_*` take a Python value and give what `msgspec.json.encode`
writes rightly. Compiled converters test the usual case inline and come here with the rest.
"""

from __future__ import annotations

import binascii
import math
import operator
import re
import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from micro.schema.extras import INTEGERS
from micro.schema.mismatch import Mismatch, expected

EXACT = 2**53  # JSON numbers beyond are written as text: JavaScript and Go's dynamic maps would round them
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ZERO = timedelta(0)
MAX_FLOAT32 = 3.4028235677973366e38  # the first double that no longer rounds to a float32
_MAX_SPAN = timedelta(seconds=315_576_000_000)  # google.protobuf.Duration's ten thousand years
_SPAN = re.compile(r"([+-]?)([0-9]{1,13})(?:\.([0-9]{0,18}))?s?")
_MICROSECOND = timedelta(microseconds=1)
_SPECIAL = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_MAX_DIGITS = 400  # characters of a number given as text; int() of more takes quadratic time


def bounds(kind: str) -> tuple[int, int]:
    """Give the least and the greatest value of an integer kind."""
    bits = INTEGERS[kind]
    return (0, (1 << -bits) - 1) if bits < 0 else (-(1 << bits - 1), (1 << bits - 1) - 1)


def read_str(value: Any) -> str:
    if not isinstance(value, str):
        raise expected("str", value)
    return value


def write_str(value: Any) -> str:
    return str.__str__(read_str(value))


def read_bool(value: Any) -> bool:
    if value is True or value is False:
        return bool(value)
    if isinstance(value, str) and value.lower() in {"true", "false"}:
        return value.lower() == "true"
    raise expected("bool", value)


def write_bool(value: Any) -> bool:
    if value is True or value is False:
        return bool(value)
    raise expected("bool", value)


def read_int(kind: str) -> Callable[[Any], int]:
    """Make the reader of one integer kind: whole numbers within its range, also as text."""
    low, high = bounds(kind)

    def read(value: Any) -> int:
        number = _whole(value)
        if not low <= number <= high:
            raise Mismatch(f"out of range for {kind}: {low} to {high}")
        return number

    return read


def _whole(value: Any) -> int:
    found = value
    if isinstance(value, str) and len(value) <= _MAX_DIGITS and value.isascii() and "_" not in value:
        try:
            return int(value)
        except ValueError:
            try:
                value = float(value)  # "1e3" is a whole number too
            except ValueError:
                raise expected("int", found) from None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise expected("int", found)


def write_int(kind: str) -> Callable[[Any], int | str]:
    """Make the writer of one integer kind: a number where JSON keeps it whole, else text."""
    low, high = bounds(kind)

    def write(value: Any) -> int | str:
        if isinstance(value, (str, float)) or not hasattr(value, "__index__"):
            raise expected("int", value)
        number = operator.index(value)
        if not low <= number <= high:
            raise Mismatch(f"out of range for {kind}: {low} to {high}")
        return number if -EXACT <= number <= EXACT else str(number)

    return write


def read_float(value: Any) -> float:
    if isinstance(value, str):
        if value in _SPECIAL:
            return _SPECIAL[value]
        try:
            number = float(value) if len(value) <= _MAX_DIGITS and "_" not in value else math.nan
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise expected("float", value)
        return number
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise Mismatch("out of range for double") from None
    raise expected("float", value)


def write_float(value: Any) -> float | str:
    if value.__class__ is not float:
        if isinstance(value, (str, bytes)) or not (hasattr(value, "__float__") or hasattr(value, "__index__")):
            raise expected("float", value)
        try:
            value = float(value)
        except (OverflowError, TypeError, ValueError):
            raise Mismatch("out of range for double") from None
    number: float = value
    return number if math.isfinite(number) else text_of_special(number)


def text_of_special(value: float) -> str:
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"  # noqa: PLR0124  # NaN alone differs


def read_float32(value: Any) -> float:
    """Read a number, rounded as it would come back from protobuf."""
    number = read_float(value)
    if math.isfinite(number) and abs(number) >= MAX_FLOAT32:
        raise Mismatch("out of range for float")
    rounded: float = struct.unpack("f", struct.pack("f", number))[0]
    return rounded


def write_float32(value: Any) -> float | str:
    shown = write_float(value)
    return shown if isinstance(shown, str) else short_float32(read_float32(shown))


def short_float32(value: float) -> float | str:
    """Give the shortest decimal that is this float32, as Go prints it: 0.1, not 0.10000000149011612."""
    if not math.isfinite(value):
        return text_of_special(value)
    for digits in (6, 7, 8):
        short = float(f"{value:.{digits}g}")
        if abs(short) < MAX_FLOAT32 and struct.unpack("f", struct.pack("f", short))[0] == value:
            return short
    return float(f"{value:.9g}")


def read_bytes(value: Any) -> bytes:
    if not isinstance(value, str):
        raise expected("base64 text", value)
    plain = value.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return binascii.a2b_base64(plain + "=" * (-len(plain) % 4), strict_mode=True)
    except ValueError:
        raise Mismatch("not base64") from None


def write_bytes(value: Any) -> bytes:
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise expected("bytes", value)
    return bytes(value)


def read_time(value: Any) -> datetime:
    if not isinstance(value, str):
        raise expected("a time like 2026-01-31T12:00:00Z", value)
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise Mismatch("a time needs its zone, like 2026-01-31T12:00:00Z")
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise Mismatch("not a time like 2026-01-31T12:00:00Z") from None


def write_time(value: Any) -> datetime:
    """Give the moment in UTC, which msgspec writes as RFC 3339 with a `Z`."""
    if not isinstance(value, datetime):
        raise expected("datetime", value)
    if value.utcoffset() is None:
        raise Mismatch("a naive datetime is no moment; use datetime.now(UTC) or give it a tzinfo")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise Mismatch("out of range for a time: years 1 to 9999 in UTC") from None


def read_span(value: Any) -> timedelta:
    if isinstance(value, str):
        match = _SPAN.fullmatch(value)
        if match is None:
            raise expected('a duration like "1.5s"', value)
        sign, seconds, fraction = match.groups(default="")
        span = timedelta(seconds=int(seconds), microseconds=int((fraction + "000000")[:6]))
        return check_span(-span if sign == "-" else span)
    try:
        return check_span(timedelta(seconds=read_float(value)))
    except (Mismatch, OverflowError, ValueError):
        raise expected('a duration like "1.5s"', value) from None


def check_span(value: Any) -> timedelta:
    if not isinstance(value, timedelta):
        raise expected("timedelta", value)
    if not -_MAX_SPAN <= value <= _MAX_SPAN:
        raise Mismatch("out of range for a duration: ten thousand years")
    return value


def write_span(value: Any) -> str:
    """Write protobuf's form with no more digits than needed: `1.5s`, `-0.000001s`, `0s`."""
    micros = check_span(value) // _MICROSECOND
    seconds, rest = divmod(abs(micros), 1_000_000)
    fraction = f".{rest:06d}".rstrip("0") if rest else ""
    return f"{'-' if micros < 0 else ''}{seconds}{fraction}s"


def read_key(kind: str) -> Callable[[Any], Any]:
    """Make the reader of a map's keys, which JSON has as text."""
    return {"string": read_str, "bool": read_bool}.get(kind) or read_int(kind)


def write_key(kind: str) -> Callable[[Any], str]:
    """Make the writer of a map's keys."""
    if kind == "string":
        return write_str
    if kind == "bool":
        return lambda key: "true" if write_bool(key) else "false"
    write = write_int(kind)
    return lambda key: str(write(key))
