"""What the registry has of a service's instances: each puts its name into its node's metadata."""

from __future__ import annotations

from msgspec.structs import replace

from micro.errors import NotFound
from micro.registry.api import Registry
from micro.registry.driver import ServiceRecord


class Nodes:
    """The nodes of one service; without a registry there are none."""

    def __init__(self, registry: Registry | None, namespace: str, name: str) -> None:
        self._registry = registry and registry.domain(namespace)
        self._name = name

    async def of(self, instance: str) -> list[ServiceRecord]:
        """Give an instance's registrations, each with its own nodes only."""
        if self._registry is None:
            return []
        try:
            found = await self._registry.get(self._name)
        except NotFound:
            return []
        records = []
        for record in found:
            nodes = [node for node in record.nodes if node.metadata.get("instance") == instance]
            if nodes:
                records.append(replace(record, nodes=nodes))
        return records

    async def take_out(self, instance: str) -> None:
        """Take an instance's nodes out of the registry."""
        for record in await self.of(instance):
            await self._registry.deregister(record)  # type: ignore[union-attr] # there is one, it gave this
