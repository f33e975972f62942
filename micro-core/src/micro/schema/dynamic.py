"""Schemas of services we did not write: from the FileDescriptorSet of `Debug.Schema`, or from the registry's Value trees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from micro.errors import InvalidArgument
from micro.schema.extras import SchemaError
from micro.schema.info import EndpointInfo, FieldInfo, MessageInfo
from micro.schema.message import MessageType, message_of

_KINDS = {
    "string": "string", "bool": "bool", "int32": "int32", "int64": "int64", "uint32": "uint32", "uint64": "uint64",
    "float32": "float", "float64": "double", "[]uint8": "bytes", "int": "int64", "uint": "uint64",
}  # fmt: skip
_SPECIAL = {
    ("Timestamp", ("seconds", "nanos")): "timestamp", ("Duration", ("seconds", "nanos")): "duration",
    ("Struct", ("fields",)): "struct",
}  # fmt: skip


class Node(Protocol):
    """A node of a Value tree: ours, or the registry's message."""

    @property
    def name(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def values(self) -> Any: ...


class DynamicSchema:
    """A service's endpoints from its descriptors, with its docs where it sent any.

    The bytes may be anything: what is no set of descriptors raises InvalidArgument. `endpoints` are keyed `Handler.Method`.
    """

    def __init__(self, files: bytes, docs: Mapping[str, str] | None = None) -> None:
        from google.protobuf.descriptor_pb2 import FileDescriptorSet
        from google.protobuf.message import DecodeError

        from micro.schema.descriptor_info import info_of
        from micro.schema.descriptors import pool_of

        try:
            every = list(FileDescriptorSet.FromString(files).file)
            pool = pool_of(every)
            services = list(pool.FindFileByName(every[-1].name).services_by_name.values()) if every else []
        except (DecodeError, SchemaError, KeyError, TypeError) as problem:
            raise InvalidArgument(f"not a set of descriptors: {problem}") from problem
        texts = dict(docs or {})
        self.endpoints: dict[str, EndpointInfo] = {}
        self._methods: dict[str, Any] = {}
        for service in services:
            for method in service.methods:
                one = EndpointInfo(
                    handler=service.name,
                    method=method.name,
                    request=info_of(method.input_type, texts),
                    response=info_of(method.output_type, texts),
                    client_streaming=method.client_streaming,
                    server_streaming=method.server_streaming,
                    doc=texts.get(f"{service.name}.{method.name}", ""),
                )
                self.endpoints[one.name] = one
                self._methods[one.name] = method

    def request_type(self, endpoint: str) -> MessageType[Any]:
        """Give the request as a message, for peers that speak protobuf alone."""
        return self._type(self._methods[endpoint].input_type)

    def response_type(self, endpoint: str) -> MessageType[Any]:
        """Give the response as a message."""
        return self._type(self._methods[endpoint].output_type)

    @staticmethod
    def _type(descriptor: Any) -> MessageType[Any]:
        from google.protobuf.message_factory import GetMessageClass

        try:
            return message_of(GetMessageClass(descriptor))
        except RecursionError as problem:  # protobuf makes the classes of a message's fields by recursion
            raise InvalidArgument(f"{descriptor.name} is nested too deeply") from problem


def endpoint_of_values(name: str, request: Node, response: Node, metadata: Mapping[str, str]) -> EndpointInfo:
    """Read an endpoint of the registry: `Handler.Method`, its Value trees, its metadata."""
    handler, _, method = name.rpartition(".")
    stream = metadata.get("stream") == "true"
    return EndpointInfo(
        handler=handler,
        method=method,
        request=message_of_values(request),
        response=message_of_values(response),
        server_streaming=stream,
        doc=metadata.get("description", ""),
    )


def message_of_values(node: Node) -> MessageInfo:
    """Read a message's description from its Value tree, which has neither numbers nor the names of enums."""
    if _SPECIAL.get((node.type, tuple(each.name for each in node.values))) == "struct":
        return MessageInfo("Struct", free=True)
    return MessageInfo(node.type or node.name, tuple(_field(each) for each in node.values))


def _field(node: Node) -> FieldInfo:
    info = FieldInfo(node.name, "value")
    plain = node.type
    if plain.startswith("map[") and "]" in plain:
        key, _, plain = plain[4:].partition("]")
        info.key = _KINDS.get(key, "string")
    elif plain.startswith("[]") and plain not in _KINDS:
        info.repeated, plain = True, plain[2:]
    special = _SPECIAL.get((plain, tuple(each.name for each in node.values)))
    if special is not None or plain in _KINDS:
        info.kind = special or _KINDS[plain]
        return info
    if plain in {"Timestamp", "Duration", "Struct"} and (info.repeated or info.key):
        info.kind = plain.lower()
        return info
    # a name without fields is an enum, an empty message, or one that the tree had no level left for: any JSON
    info.type_name = "" if plain == "Value" else plain
    if node.values:
        info.kind, info.message = "message", message_of_values(node)
    return info
