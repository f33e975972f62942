"""Where services are, and what they say of themselves: the registrations of all namespaces, followed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from micro.context import CORE_NAMESPACE
from micro.proxy.routes import RegistryRoutes
from micro.registry.api import Registry
from micro.registry.driver import Event, ServiceRecord
from micro.rpc.resolve import may_repeat

_KEPT = 8192  # endpoints


class GatewayRoutes(RegistryRoutes):
    """The proxy's routes, and the records behind them."""

    def __init__(self, registry: Registry, addresses: Mapping[str, str]) -> None:
        super().__init__(registry, addresses)
        self._streaming: dict[tuple[str, str, str], bool] = {}

    def _event(self, event: Event) -> None:
        self._streaming.clear()
        super()._event(event)

    def streaming(self, service: str, namespace: str, endpoint: str) -> bool:
        """Tell whether a service registered an endpoint as a stream, in any direction."""
        key = (namespace, service, endpoint)
        found = self._streaming.get(key)
        if found is None:
            found = any(
                one.name == endpoint and one.metadata.get("stream") == "true"
                for record in self.records(service, namespace)
                for one in record.endpoints
            )
            if len(self._streaming) < _KEPT:
                self._streaming[key] = found
        return found

    def idempotent(self, service: str, namespace: str, endpoint: str) -> bool:
        return may_repeat(self.records(service, namespace), endpoint)

    def records(self, service: str, namespace: str) -> list[ServiceRecord]:
        """Give the versions of a service of a namespace, sorted; none is an empty list."""
        return [one for one in self._cache.get(service) if one.domain == namespace]

    async def look_up(self, service: str, namespace: str) -> list[ServiceRecord]:
        """Give the same, and ask when nothing was told: it may have been registered this moment."""
        found = self.records(service, namespace)
        if found:
            return found
        return await self._registry.domain(namespace).get(service)

    def names(self, namespace: str) -> list[str]:
        """Give the services that a namespace can call: its own, and the platform's."""
        return sorted({one.name for one in self._services() if one.domain in {namespace, CORE_NAMESPACE}})

    def _services(self) -> Iterable[ServiceRecord]:
        return self._cache.services()
