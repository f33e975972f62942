"""Values in records: `bytes` and `str` as they are, everything else as JSON."""

from __future__ import annotations

from typing import Any, TypeVar

T = TypeVar("T")


def encode(value: object) -> bytes:
    """Make a record's bytes of a value; raises InvalidArgument for what JSON cannot say."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, str):
        return value.encode()
    from micro.schema.typed import encode_value

    return encode_value(value)


def decode(data: bytes, type_: type[T] | Any) -> T | Any:
    """Read a record's bytes as a type: bytes, str, or anything JSON can hold; InvalidArgument names what misfits."""
    if type_ is bytes:
        return data
    if type_ is str:
        return data.decode()
    from micro.schema.typed import decode_as

    return decode_as(data, type_)
