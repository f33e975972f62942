"""What a watch has told so far, by service."""

from __future__ import annotations

from msgspec.structs import replace

from micro.plugin.driver import Reset, Synced
from micro.registry.driver import Event, NodeKey, ServiceRecord

_Versions = dict[tuple[str, str], ServiceRecord]  # by domain and version


class View:
    """Registrations, put together from the events of one watch.

    After a Reset the old ones stay until the new ones are whole: a reader never sees a registry half empty. What it
    gives is never changed afterwards, only replaced.
    """

    def __init__(self) -> None:
        self.synced = False  # everything that existed has been told at least once
        self.version = 0
        self._services: dict[str, _Versions] = {}
        self._fresh: dict[str, _Versions] | None = None

    def apply(self, event: Event) -> None:
        """Take an event in."""
        self.version = event.version
        if isinstance(event, Reset):
            self._fresh = {}
        elif isinstance(event, Synced):
            self.synced = True
            if self._fresh is not None:
                self._services, self._fresh = self._fresh, None
        else:
            key = NodeKey.parse(event.key)
            self._change(self._services if self._fresh is None else self._fresh, key, event.item)

    def get(self, name: str) -> list[ServiceRecord]:
        """Give the versions of a service, sorted; none is an empty list."""
        return [record for _, record in sorted(self._services.get(name, {}).items(), key=lambda item: item[0])]

    def services(self) -> list[ServiceRecord]:
        """Give all versions of all services, sorted by name."""
        return [record for name in sorted(self._services) for record in self.get(name)]

    @staticmethod
    def _change(services: dict[str, _Versions], key: NodeKey, item: ServiceRecord | None) -> None:
        versions = services.setdefault(key.name, {})
        at = (key.domain, key.version)
        found = versions.get(at)
        others = [node for node in found.nodes if node.id != key.node] if found else []
        if item is not None:
            versions[at] = replace(item, nodes=[*others, *item.nodes])
        elif found is not None and others:
            versions[at] = replace(found, nodes=others)
        else:
            versions.pop(at, None)
            if not versions:
                del services[key.name]
