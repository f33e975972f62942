"""Registrations as protobuf messages and back; for both ends of the wire."""

from __future__ import annotations

import math

from micro.proto import registry_pb2 as pb
from micro.registry.driver import Endpoint, Node, ServiceRecord, Value

_MOST_TEXTS = 4096
_texts: dict[str, str] = {}


def record_out(record: ServiceRecord) -> pb.Service:
    """Write a version with its nodes."""
    out = pb.Service(name=record.name, version=record.version, metadata=record.metadata)
    for endpoint in record.endpoints:
        one = out.endpoints.add(name=endpoint.name, metadata=endpoint.metadata)
        if endpoint.request is not None:
            _value_out(endpoint.request, one.request)
        if endpoint.response is not None:
            _value_out(endpoint.response, one.response)
    for node in record.nodes:
        out.nodes.add(id=node.id, address=node.address, metadata=node.metadata)
    return out


def record_in(service: pb.Service) -> ServiceRecord:
    """Read a version with its nodes."""
    endpoints = [
        Endpoint(
            one.name,
            _value_in(one.request) if one.HasField("request") else None,
            _value_in(one.response) if one.HasField("response") else None,
            dict(one.metadata),
        )
        for one in service.endpoints
    ]
    nodes = [node_in(node) for node in service.nodes]
    return ServiceRecord(service.name, service.version or "latest", dict(service.metadata), endpoints, nodes)


def node_in(node: pb.Node) -> Node:
    """Read a node; the port apart from the address is of very old peers."""
    address = node.address if not node.port or ":" in node.address else f"{node.address}:{node.port}"
    return Node(node.id, address, dict(node.metadata))


def options(domain: str, ttl: float = 0.0) -> pb.Options:
    """Write a domain and a lease; one that ends is never 0 seconds, which is for ever."""
    return pb.Options(domain=domain, ttl=math.ceil(ttl), ttl_ms=max(1, round(ttl * 1000)) if ttl else 0)


def ttl_in(given: pb.Options | pb.RenewRequest) -> float:
    """Read a lease in seconds; 0 is for ever."""
    return given.ttl_ms / 1000 if given.ttl_ms else float(given.ttl)


def _value_out(value: Value, out: pb.Value) -> None:
    out.name, out.type = value.name, value.type
    for one in value.values:
        _value_out(one, out.values.add())


def _value_in(value: pb.Value) -> Value:
    return Value(_kept(value.name), _kept(value.type), [_value_in(one) for one in value.values])


def _kept(text: str) -> str:
    """Give the same text each time: followers hold few names and fewer types over and over, for all endpoints there are.

    Not by `sys.intern`: to grow its table, a forked process copies it.
    """
    if len(_texts) >= _MOST_TEXTS:
        _texts.clear()
    return _texts.setdefault(text, text)
