"""Registries that are each wrong in one way: the suite must tell every one of them. Run by test_suite_bites.py."""

from collections.abc import AsyncIterator, Sequence

import pytest
from msgspec.structs import replace

from micro.plugin.driver import Change, Reset, Synced
from micro.registry.driver import ALL, Event, NodeKey, RegistryDriver, ServiceRecord
from micro.registry.memory import MemoryRegistry
from micro.testing.bites import suites
from micro.testing.registry import RegistrySuite


class Clock:
    """Seconds that pass when told to."""

    now = 1_000_000_000.0

    def __call__(self) -> float:
        return self.now


class LeaseIgnored(MemoryRegistry, interface=1):
    async def register(self, domain: str, service: ServiceRecord, *, ttl: float, owner: str) -> int:
        return await super().register(domain, service, ttl=0, owner=owner)


class RenewalIgnored(MemoryRegistry, interface=1):
    async def renew(self, domain: str, nodes: Sequence[str], *, ttl: float, owner: str) -> list[str]:
        self._begin()
        return [node for node in nodes if (domain, node) not in self._leases]


class RenewalOnlyLengthens(MemoryRegistry, interface=1):
    def _extend(self, lease, ttl: float) -> None:
        if not lease.due or self.clock() + ttl > lease.due:
            super()._extend(lease, ttl)


class RenewalOfAnybody(MemoryRegistry, interface=1):
    async def renew(self, domain: str, nodes: Sequence[str], *, ttl: float, owner: str) -> list[str]:
        for node in nodes:
            lease = self._leases.get((domain, node))
            if lease is not None:
                lease.owner = owner
        return await super().renew(domain, nodes, ttl=ttl, owner=owner)


class RenewalSaysNothing(MemoryRegistry, interface=1):
    async def renew(self, domain: str, nodes: Sequence[str], *, ttl: float, owner: str) -> list[str]:
        await super().renew(domain, nodes, ttl=ttl, owner=owner)
        return []


class NodesOfAnybody(MemoryRegistry, interface=1):
    def _owned(self, domain: str, node: str, owner: str) -> None: ...


class DeregistrationOfTheName(MemoryRegistry, interface=1):
    async def deregister(self, domain: str, service: ServiceRecord, *, owner: str) -> None:
        for found in await self.get(domain, service.name):
            await super().deregister(domain, found, owner=owner)


class DeregistrationWhateverTheVersion(MemoryRegistry, interface=1):
    async def deregister(self, domain: str, service: ServiceRecord, *, owner: str) -> None:
        for found in await self.get(domain, service.name):
            await super().deregister(domain, replace(service, version=found.version), owner=owner)


class DomainsMixed(MemoryRegistry, interface=1):
    async def get(self, domain: str, name: str) -> list[ServiceRecord]:
        return await super().get(ALL, name)


class DomainsMixedInLists(MemoryRegistry, interface=1):
    async def list(self, domain: str) -> list[ServiceRecord]:
        return await super().list(ALL)


class DomainsMixedInWatches(MemoryRegistry, interface=1):
    def watch(self, domain: str, *, name: str = "", after: int | None = None) -> AsyncIterator[Event]:
        return super().watch(ALL, name=name, after=after)


class DomainUntold(MemoryRegistry, interface=1):
    async def get(self, domain: str, name: str) -> list[ServiceRecord]:
        return [replace(one, metadata={"schema": "abc"}) for one in await super().get(domain, name)]


class FirstDescriptionStays(MemoryRegistry, interface=1):
    async def register(self, domain: str, service: ServiceRecord, *, ttl: float, owner: str) -> int:
        for found in await self.get(domain, service.name):
            if found.version == service.version:
                service = replace(service, metadata=found.metadata, endpoints=found.endpoints)
        return await super().register(domain, service, ttl=ttl, owner=owner)


class LastNodeAlone(MemoryRegistry, interface=1):
    async def get(self, domain: str, name: str) -> list[ServiceRecord]:
        return [replace(one, nodes=list(one.nodes)[-1:]) for one in await super().get(domain, name)]


class HeartbeatsAreChanges(MemoryRegistry, interface=1):
    async def register(self, domain: str, service: ServiceRecord, *, ttl: float, owner: str) -> int:
        for node in service.nodes:
            lease = self._leases.get((domain, node.id))
            if lease is not None and lease.owner == owner:
                self._remove(lease, "delete")
        return await super().register(domain, service, ttl=ttl, owner=owner)


class RevisionsStandStill(MemoryRegistry, interface=1):
    async def register(self, domain: str, service: ServiceRecord, *, ttl: float, owner: str) -> int:
        await super().register(domain, service, ttl=ttl, owner=owner)
        return 1


class _Watched(MemoryRegistry):
    async def _seen(self, domain: str, name: str, after: int | None) -> AsyncIterator[Event]:
        async for event in super().watch(domain, name=name, after=after):
            yield event


class WatchOfAllNames(MemoryRegistry, interface=1):
    def watch(self, domain: str, *, name: str = "", after: int | None = None) -> AsyncIterator[Event]:
        return super().watch(domain, after=after)


class WatchWithoutWhatExists(_Watched, interface=1):
    async def watch(self, domain: str, *, name: str = "", after: int | None = None) -> AsyncIterator[Event]:
        synced = False
        async for event in self._seen(domain, name, after):
            synced = synced or isinstance(event, Synced)
            if synced or not isinstance(event, Change):
                yield event


class WatchWithoutDeletions(_Watched, interface=1):
    async def watch(self, domain: str, *, name: str = "", after: int | None = None) -> AsyncIterator[Event]:
        async for event in self._seen(domain, name, after):
            if not (isinstance(event, Change) and event.kind == "delete"):
                yield event


class WatchWithoutExpiries(_Watched, interface=1):
    async def watch(self, domain: str, *, name: str = "", after: int | None = None) -> AsyncIterator[Event]:
        async for event in self._seen(domain, name, after):
            if not (isinstance(event, Change) and event.kind == "expire"):
                yield event


class WatchNeverSynced(_Watched, interface=1):
    async def watch(self, domain: str, *, name: str = "", after: int | None = None) -> AsyncIterator[Event]:
        async for event in self._seen(domain, name, after):
            if not isinstance(event, Synced):
                yield event


class WatchResumesFromNow(_Watched, interface=1):
    async def watch(self, domain: str, *, name: str = "", after: int | None = None) -> AsyncIterator[Event]:
        resumed = after is not None
        async for event in self._seen(domain, name, None):
            if not resumed:
                yield event
            elif isinstance(event, Synced):
                resumed = False
                yield event


class WatchWithoutResets(_Watched, interface=1):
    async def watch(self, domain: str, *, name: str = "", after: int | None = None) -> AsyncIterator[Event]:
        async for event in self._seen(domain, name, after):
            if not isinstance(event, Reset):
                yield event


class WatchWithShortKeys(_Watched, interface=1):
    async def watch(self, domain: str, *, name: str = "", after: int | None = None) -> AsyncIterator[Event]:
        async for event in self._seen(domain, name, after):
            if not isinstance(event, Change):
                yield event
                continue
            key = NodeKey.parse(event.key)
            yield Change(event.kind, str(key._replace(node=key.node.split("/")[0])), event.version, event.item)


class UsableAfterItsEnd(MemoryRegistry, interface=1):
    async def close(self) -> None:
        await super().close()
        self._closed = False


class Mutant(RegistrySuite):
    made = MemoryRegistry

    @pytest.fixture
    async def driver(self) -> AsyncIterator[RegistryDriver]:
        async with self.made(clock=Clock()) as driver:
            yield driver

    async def pass_time(self, driver: RegistryDriver, seconds: float) -> None:
        assert isinstance(driver, MemoryRegistry)
        driver.clock.now += seconds


globals().update(suites(Mutant, MemoryRegistry))
