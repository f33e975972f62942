"""`message_of`: what a Python type is as a message, with its JSON and protobuf forms.

    orders = message_of(Order)
    orders.from_json(b'{"id": "1"}')        # Order(id="1", …)
    orders.to_proto(Order("1"))             # bytes

Accepted: a dataclass, a protobuf message class, `dict` (free JSON), None (an empty message), and single values, which travel as
the field `value` of a message made for them: str, bytes, bool, int, float, datetime, timedelta, an Enum, list[T], dict[K, T] and
unions. What does not fit raises InvalidArgument with the path of the field; a type that cannot travel, SchemaError.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Hashable
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

import msgspec

from micro.errors import InvalidArgument, ServiceError
from micro.schema.info import FieldInfo, MessageInfo, Value, value_tree
from micro.schema.mismatch import Mismatch

if TYPE_CHECKING:
    from google.protobuf.descriptor_pb2 import FileDescriptorProto

    from micro.schema.descriptors import FileBuilder

T = TypeVar("T")
Data = bytes | bytearray | memoryview | str

LOCAL = "local"  # the package of a message outside any service's schema; it never reaches the wire
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
# what protobuf, msgspec and attribute access raise for a value of the wrong shape
_FAULTS = (
    Mismatch,
    TypeError,
    ValueError,
    AttributeError,
    LookupError,
    OverflowError,
    RecursionError,
    msgspec.MsgspecError,
)


class MessageType(ABC, Generic[T]):
    """One type as a message. Instances are shared, made by `message_of`, and safe in threads; forms are compiled on first use."""

    name: str
    python_type: Any

    def to_json(self, value: T) -> bytes:
        """Write compact JSON, all fields present."""
        try:
            return _encode(self.to_plain(value))
        except _FAULTS as problem:
            raise refusal(problem) from problem

    def from_json(self, data: Data) -> T:
        """Read JSON; nothing, or `null`, is the empty message."""
        try:
            parsed = _decode(data) if data else None
            return self.from_plain({} if parsed is None else parsed)
        except ServiceError:
            raise
        except _FAULTS as problem:
            raise refusal(problem) from problem

    def to_proto(self, value: T) -> bytes:
        """Write protobuf's wire form."""
        try:
            return self._serialized(value)
        except ServiceError:
            raise
        except _FAULTS as problem:
            return self._serialized_again(value, problem)

    def from_proto(self, data: bytes) -> T:
        """Read protobuf's wire form; unknown fields are passed over."""
        try:
            return self._parsed(data)
        except ServiceError:
            raise
        except Exception as problem:  # protobuf's DecodeError and the converters' own; the bytes are a stranger's
            raise refusal(problem, f"not a {self.name} in protobuf form") from problem

    def value_tree(self) -> Value:
        """Give what the registry publishes of the message; not to be changed."""
        return self._tree

    @cached_property
    def _tree(self) -> Value:
        return value_tree(self.info)

    def fields(self) -> tuple[FieldInfo, ...]:
        """Describe the fields, for flags, help and OpenAPI."""
        return self.info.fields

    @cached_property
    def info(self) -> MessageInfo:
        """The message's description."""
        return self._describe()

    @abstractmethod
    def declare(self, builder: FileBuilder) -> str:
        """Add the message to a file that describes a service; give its full name, with a leading dot."""

    def descriptor_files(self) -> list[FileDescriptorProto]:
        """Give the message's own .proto file last, and before it what that needs."""
        from micro.schema.descriptors import FileBuilder

        builder = FileBuilder(f"{LOCAL}/{self.name}.proto", LOCAL)
        self.declare(builder)
        return [*builder.dependencies.values(), builder.finish()]

    def named(self) -> list[tuple[str, object]]:
        """Give the names that the message puts into its service's package, each with what bears it."""
        return []

    @abstractmethod
    def to_plain(self, value: T) -> Any:
        """Give the value as msgspec writes it; raises Mismatch."""

    @abstractmethod
    def from_plain(self, parsed: Any) -> T:
        """Make the value of parsed JSON; raises Mismatch."""

    @abstractmethod
    def _serialized(self, value: T) -> bytes: ...

    @abstractmethod
    def _parsed(self, data: bytes) -> T: ...

    @abstractmethod
    def _describe(self) -> MessageInfo: ...

    def _serialized_again(self, value: T, problem: Exception) -> bytes:
        """Find the field that protobuf refused, by the way of JSON; what JSON coerces is then sent as coerced."""
        again = self.from_json(self.to_json(value))
        try:
            return self._serialized(again)
        except _FAULTS:
            raise refusal(problem) from problem


def refusal(problem: Exception, otherwise: str = "") -> InvalidArgument:
    """Give the caller's error for a value that does not fit."""
    if isinstance(problem, Mismatch):
        return InvalidArgument(str(problem))
    if isinstance(problem, RecursionError):
        return InvalidArgument("nested too deeply")
    if isinstance(problem, UnicodeError):
        return InvalidArgument("text that is not valid Unicode")
    if isinstance(problem, msgspec.MsgspecError):
        return InvalidArgument(f"not valid JSON: {problem}")
    return InvalidArgument(otherwise or f"does not fit its message: {problem}")


_types: dict[Any, MessageType[Any]] = {}
_lock = threading.RLock()


@overload
def message_of(tp: type[T]) -> MessageType[T]: ...
@overload
def message_of(tp: Any) -> MessageType[Any]: ...
def message_of(tp: Any) -> MessageType[Any]:
    """Give a type's message; it is made once. A type that cannot travel raises SchemaError, saying what would do."""
    known = _types.get(tp) if isinstance(tp, Hashable) else None
    if known is None:
        from micro.schema.kinds import make

        with _lock:
            known = _types.get(tp) if isinstance(tp, Hashable) else None
            if known is None:
                known = make(tp)
                if isinstance(tp, Hashable):
                    _types[tp] = known
    return known
