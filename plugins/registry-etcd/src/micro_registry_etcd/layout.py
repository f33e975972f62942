"""How registrations lie in etcd.

    <prefix>/services/<domain>/<name>/<version>/<node>   a version with that one node, as JSON
    <prefix>/nodes/<domain>/<node>                       whose the node is, and where it is registered
    <prefix>/services/!                                  the key that was last taken away on purpose

Parts are percent-escaped, and no part is empty. Both keys of a node hang on its lease.
"""

from __future__ import annotations

from urllib.parse import quote, unquote

import msgspec
from msgspec import Struct

from micro.registry.driver import NodeKey, ServiceRecord

GONE = b"!"  # no domain begins so


class Held(Struct):
    """What is kept of a node beside its registration."""

    owner: str
    name: str
    version: str
    ttl: float
    lease: int
    digest: str  # of the registration, to see whether another one says the same


class Layout:
    """Keys below one prefix."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix.rstrip("/")
        self.services = f"{self._prefix}/services/".encode()
        self.gone = self.services + GONE

    def record(self, key: NodeKey) -> bytes:
        """Give the key of a registration."""
        return self.services + "/".join(quote(part, safe="") for part in key).encode()

    def some(self, *parts: str) -> bytes:
        """Give the prefix of all registrations of a domain, or of a domain's service."""
        return self.services + "".join(f"{quote(part, safe='')}/" for part in parts).encode()

    def node(self, domain: str, node: str) -> bytes:
        """Give the key of a node."""
        return f"{self._prefix}/nodes/{quote(domain, safe='')}/{quote(node, safe='')}".encode()

    def parse(self, key: bytes) -> NodeKey:
        """Read a registration's key."""
        return NodeKey(*(unquote(part) for part in key[len(self.services) :].decode().split("/")))


def read(value: bytes) -> ServiceRecord:
    """Read a registration."""
    return msgspec.json.decode(value, type=ServiceRecord)
