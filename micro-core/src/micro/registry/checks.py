"""What the portable class refuses before any I/O: drivers may trust what passed here."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from micro import limits, names
from micro.durations import seconds
from micro.errors import InvalidArgument, ResourceExhausted
from micro.registry.driver import ALL, Endpoint, Node, ServiceRecord, Value

if TYPE_CHECKING:
    from micro.durations import Duration

MAX_TTL = 86_400.0  # seconds; a longer lease is a mistake, 0 is for ever
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*\.?", re.ASCII)
_NUMBERS = re.compile(r"(?:0[xX][0-9A-Fa-f]*|[0-9]+)")
# Where clouds tell a machine its credentials, beside the link-local address that most use.
_METADATA = frozenset({"fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "metadata.google.internal", "metadata"})


def domain(value: str) -> str:
    """Check a domain that is read from: a namespace, or all."""
    return value if value == ALL else names.namespace(value)


def ttl(value: Duration) -> float:
    """Check a lease, and give its seconds; 0 is for ever."""
    value = seconds(value, "ttl")
    if not 0 <= value <= MAX_TTL:
        raise InvalidArgument(f"ttl is {value:g} seconds, 0 (for ever) to {MAX_TTL:g}")
    return value


def record(service: ServiceRecord) -> None:
    """Check a registration."""
    names.service(service.name)
    names.version(service.version)
    if not service.nodes:
        raise InvalidArgument("a registration without a node")
    seen: set[str] = set()
    for node in service.nodes:
        node_id(node.id)
        if node.id in seen:
            raise InvalidArgument(f"node {node.id!r} is twice in one registration")
        seen.add(node.id)
        address(node.address)
    if (bytes_ := size(service)) > limits.REGISTRY_RECORD:
        raise ResourceExhausted(f"the registration has {bytes_} bytes, the limit is {limits.REGISTRY_RECORD}")


def node_id(value: str) -> str:
    """Check a node's id."""
    if not value or len(value) > names.MAX_TOPIC or not value.isprintable():
        raise InvalidArgument(f"node id {value[:40]!a} is empty, too long or not printable")
    return value


def address(value: str) -> str:
    """Check where a node says it is.

    `host:port`, and no address by which a registration could send callers, their tokens in hand, to this machine's
    every door, to a neighbour on the link or to a cloud's metadata service.
    """
    host, _, port = value.rpartition(":")
    if not (port.isascii() and port.isdecimal() and len(port) <= 5 and 0 < int(port) <= 65_535):
        raise InvalidArgument(f"address {value[:80]!a} is not host:port")
    if host == "127.0.0.1":  # what most register, on one machine
        return value
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if bare.lower().rstrip(".") in _METADATA:
        raise InvalidArgument(f"address {value!r} is not a service's")
    try:
        ip = ipaddress.ip_address(bare)
    except ValueError:
        # what looks like a number but is no plain address (octal, hex, short forms) is read differently by others
        last = host.rstrip(".").rpartition(".")[2]
        if bare != host or not _HOST.fullmatch(host) or _NUMBERS.fullmatch(last):
            raise InvalidArgument(f"address {value[:80]!a} is not host:port") from None
        return value
    if ip.version == 6 and bare == host:
        raise InvalidArgument(f"address {value!r} is not host:port; write [{host}]:{port}")
    plain = getattr(ip, "ipv4_mapped", None) or ip
    if plain.is_unspecified or plain.is_link_local or plain.is_multicast or str(plain) in _METADATA:
        raise InvalidArgument(f"address {value!r} is not a service's")
    return value


def size(service: ServiceRecord) -> int:
    """Give the bytes that a registration has on the wire, roughly."""
    return (
        len(service.name)
        + len(service.version)
        + _map(service.metadata)
        + sum(_endpoint(one) for one in service.endpoints)
        + sum(_node(one) for one in service.nodes)
    )


def _endpoint(one: Endpoint) -> int:
    values = (_value(value, 0) for value in (one.request, one.response) if value is not None)
    return 8 + len(one.name) + _map(one.metadata) + sum(values)


def _node(one: Node) -> int:
    return 8 + len(one.id) + len(one.address) + _map(one.metadata)


def _map(entries: Mapping[str, str]) -> int:
    try:
        return sum(6 + len(name.encode()) + len(value.encode()) for name, value in entries.items())
    except UnicodeEncodeError:
        raise InvalidArgument("metadata is not valid UTF-8") from None


def _value(value: Value, depth: int) -> int:
    if depth > 64:  # levels; what describes itself has 6
        raise InvalidArgument("an endpoint's values are nested more than 64 deep")
    return 8 + len(value.name) + len(value.type) + sum(_value(one, depth + 1) for one in value.values)
