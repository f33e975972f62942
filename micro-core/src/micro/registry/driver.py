"""What a registry's driver provides: leased registrations of nodes, and a watch. No I/O here.

A service's version has metadata and endpoints, those of its last registration, and nodes, each under a lease of its
own. Every change of a node is numbered; the numbers rise over all domains, also over a restart.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import NamedTuple, Self

from msgspec import Struct, field

from micro.plugin.driver import Change, Driver, Reset, Synced
from micro.schema.info import Value

__all__ = ["ALL", "Endpoint", "Event", "Node", "NodeKey", "RegistryDriver", "ServiceRecord", "Value"]

ALL = "*"  # as a domain: every one of them


class Node(Struct):
    """A process that serves; `address` is `host:port`."""

    id: str
    address: str
    metadata: Mapping[str, str] = field(default_factory=dict)


class Endpoint(Struct):
    """`Handler.Method`, and what its messages look like as far as that is known."""

    name: str
    request: Value | None = None
    response: Value | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


class ServiceRecord(Struct):
    """One version of a service. As read, its metadata has the key `domain`."""

    name: str
    version: str = "latest"
    metadata: Mapping[str, str] = field(default_factory=dict)
    endpoints: Sequence[Endpoint] = ()
    nodes: Sequence[Node] = ()

    @property
    def domain(self) -> str:
        """The domain it was read from; empty in one that is to be registered."""
        return self.metadata.get("domain", "")


class NodeKey(NamedTuple):
    """What a change is about: one node of one version. As text it is the `key` of a Change."""

    domain: str
    name: str
    version: str
    node: str

    def __str__(self) -> str:
        return f"{self.domain}/{self.name}@{self.version}/{self.node}"

    @classmethod
    def parse(cls, key: str) -> Self:
        """Read a Change's key; only a node's id may hold `/` or `@`."""
        domain, rest = key.split("/", 1)
        service, node = rest.split("/", 1)
        name, version = service.split("@", 1)
        return cls(domain, name, version, node)


Event = Change[ServiceRecord] | Synced | Reset


class RegistryDriver(Driver, defines=1):
    """Keeps registrations.

    Arguments were validated. `domain` is a namespace, or `ALL` for `get`, `list` and `watch`. `owner` names the
    account that registers. Capabilities: `watch`, `durable` (registrations outlive the registry's process).
    After `close` every method raises FailedPrecondition.
    """

    @abstractmethod
    async def register(self, domain: str, service: ServiceRecord, *, ttl: float, owner: str) -> int:
        """Register a version's nodes for `ttl` seconds (0: for ever), visible to `get` on return; gives the revision.

        Metadata and endpoints replace those that the version had. Registering again what is there renews its lease
        and is no change. PermissionDenied for a node that is registered by another owner.
        """

    @abstractmethod
    async def renew(self, domain: str, nodes: Sequence[str], *, ttl: float, owner: str) -> list[str]:
        """Give these nodes `ttl` seconds from now; returns those unknown, or not the owner's: register them again."""

    @abstractmethod
    async def deregister(self, domain: str, service: ServiceRecord, *, owner: str) -> None:
        """Remove the listed nodes of a version; unknown ones are fine.

        PermissionDenied for another owner's node, unless `owner` is empty.
        """

    @abstractmethod
    async def get(self, domain: str, name: str) -> list[ServiceRecord]:
        """Give the versions of a service that have nodes, with all their nodes, sorted; none is an empty list."""

    @abstractmethod
    async def list(self, domain: str) -> list[ServiceRecord]:
        """Give all versions of all services that have nodes, sorted by name, version and domain."""

    @abstractmethod
    def watch(self, domain: str, *, name: str = "", after: int | None = None) -> AsyncIterator[Event]:
        """Give what exists, `Synced`, then changes, node by node; an empty name is all. See micro/plugin/watch.py.

        A change's key is a NodeKey, its item the version as that registration had it with that one node; kinds `put`,
        `delete`, `expire`. An expiry is reported within a second.
        """
