"""Where services are, for a door: all registrations of the platform, followed; known without asking."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence

from micro.context import CORE_NAMESPACE
from micro.errors import NotFound
from micro.plugin.driver import Change
from micro.registry.api import Registry
from micro.registry.cache import Cache
from micro.registry.driver import Event, NodeKey, ServiceRecord
from micro.rpc.balance import Target
from micro.rpc.driver import node_keepalive
from micro.rpc.resolve import Resolver, missing

MISSES = 1024  # names remembered as served by nobody
MISS = 0.5  # seconds that such a memory lasts
_KEPT = 8192  # resolved names


class Routes(Resolver):
    """Targets of all namespaces, from something that is followed; the core's also as their supervisor tells.

    A namespace sees its own services and nobody else's: the core's are in `micro` alone. A name that was not told is
    asked for, so that who registers and calls at once is served.
    """

    def __init__(self, addresses: Mapping[str, str]) -> None:
        self._addresses = addresses
        self._known: dict[tuple[str, str], Sequence[Target]] = {}
        self._missing: dict[tuple[str, str], float] = {}

    @abstractmethod
    async def open(self) -> None:
        """Start following; does not wait: what comes later is followed then."""

    @abstractmethod
    def _told(self, service: str, namespace: str) -> Sequence[Target]:
        """Give what following has told."""

    @abstractmethod
    async def _ask(self, service: str, namespace: str) -> Sequence[Target]:
        """Ask where a service is; none is an empty list, or NotFound."""

    def known(self, service: str, namespace: str) -> Sequence[Target] | None:
        key = (namespace, service)
        found = self._known.get(key)
        if found is None:
            found = self._told(service, namespace)
            if not found:
                address = self._addresses.get(service) if namespace == CORE_NAMESPACE else None
                return (Target(address),) if address else None
            if len(self._known) >= _KEPT:
                self._known.clear()
            self._known[key] = found
        return found

    async def find(self, service: str, namespace: str) -> Sequence[Target]:
        key = (namespace, service)
        now = time.monotonic()
        if self._missing.get(key, 0.0) > now:
            raise missing(service)
        try:
            found = await self._ask(service, namespace)
        except NotFound:
            found = []
        if not found:
            if len(self._missing) >= MISSES:
                self._missing = {name: until for name, until in self._missing.items() if until > now}
            if len(self._missing) < MISSES:
                self._missing[key] = now + MISS
            raise missing(service)
        return found

    def changed(self, service: str = "", namespace: str = "") -> None:
        """Forget what was made of what was told: of one service, or of all."""
        if service:
            self._known.pop((namespace, service), None)
            self._missing.pop((namespace, service), None)
        else:
            self._known.clear()


class RegistryRoutes(Routes):
    """Targets from one watch over all domains. While the registry is away, what was known last holds."""

    def __init__(self, registry: Registry, addresses: Mapping[str, str]) -> None:
        """`registry` is at the domain `*`."""
        super().__init__(addresses)
        self._registry = registry
        self._cache = Cache(registry, told=self._event)

    async def open(self) -> None:
        self._cache.start()

    async def close(self) -> None:
        await self._cache.close()

    def _told(self, service: str, namespace: str) -> Sequence[Target]:
        return targets([one for one in self._cache.get(service) if one.domain == namespace])

    async def _ask(self, service: str, namespace: str) -> Sequence[Target]:
        return targets(await self._registry.domain(namespace).get(service))

    def _event(self, event: Event) -> None:
        if isinstance(event, Change):
            key = NodeKey.parse(event.key)
            self.changed(key.name, key.domain)
        else:
            self.changed()


def targets(records: Sequence[ServiceRecord]) -> list[Target]:
    """Give the nodes that speak gRPC, each address once."""
    found: dict[str, Target] = {}
    for record in records:
        for node in record.nodes:
            if node.metadata.get("protocol", "grpc") == "grpc":
                ours = "interface" in node.metadata
                found[node.address] = Target(node.address, ours, node_keepalive(node.metadata), node.id)
    return list(found.values())
