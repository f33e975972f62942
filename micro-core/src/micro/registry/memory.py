"""The embedded driver: registrations in this process, journalled where there is a data folder."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from pathlib import Path

from msgspec.structs import replace

from micro.errors import FailedPrecondition, PermissionDenied
from micro.plugin.driver import Change, file_code
from micro.plugin.settings import Settings, setting
from micro.plugin.watch import Feed
from micro.registry import checks
from micro.registry.driver import ALL, Event, Node, NodeKey, RegistryDriver, ServiceRecord
from micro.registry.journal import Journal, Line

SWEEP = 0.25  # seconds between looks for leases that ran out
EPOCH = 1_000_000  # revisions begin at microseconds since 1970, so those of an earlier process are always lower


class MemorySettings(Settings):
    """What the embedded registry remembers."""

    journal: bool = setting(True, "keep registrations in <data>/registry.db over a restart")


class MemoryRegistry(RegistryDriver, interface=1):
    """Dicts under leases.

    On start the journal's registrations come back with a full lease: a registry that was away must not make
    everybody else disappear.
    """

    settings_type = MemorySettings
    needs = frozenset({"data"})
    capabilities = frozenset({"watch"})

    def __init__(
        self,
        settings: MemorySettings | None = None,
        *,
        data: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        settings = settings or MemorySettings()
        self.clock = clock
        self._journal = Journal(data / "registry.db") if data is not None and settings.journal else None
        if self._journal is not None:
            self.capabilities = self.capabilities | {"durable"}
        self._services: dict[str, dict[tuple[str, str], _Version]] = {}  # by name, then domain and version
        self._leases: dict[tuple[str, str], _Lease] = {}  # by domain and node
        self._due: list[tuple[float, tuple[str, str]]] = []  # a heap; one entry a lease, moved when it comes up
        self._feed: Feed[ServiceRecord] = Feed(int(clock() * EPOCH), weigh=_weigh)
        self._sweeper: asyncio.Task[None] | None = None
        self._closed = False

    async def open(self) -> None:
        if self._journal is not None:
            revision, lines = self._journal.load()
            self._feed = Feed(max(self._feed.version, revision + 1), weigh=_weigh)
            for line in lines:
                if line.service is not None:
                    self._put(line.domain, line.service, line.service.nodes[0], line.ttl, line.owner)
            self._compact()
        self._sweeper = asyncio.create_task(self._sweep())

    async def close(self) -> None:
        self._closed = True
        self._feed.end()
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        if self._journal is not None:
            self._journal.close()

    def error_code(self, exc: Exception) -> int:
        return file_code(exc)  # of the journal

    async def register(self, domain: str, service: ServiceRecord, *, ttl: float, owner: str) -> int:
        self._begin()
        for node in service.nodes:
            self._owned(domain, node.id, owner)
        for node in service.nodes:
            self._put(domain, service, node, ttl, owner)
        return self._feed.version

    async def renew(self, domain: str, nodes: Sequence[str], *, ttl: float, owner: str) -> list[str]:
        self._begin()
        unknown = []
        for node in nodes:
            lease = self._leases.get((domain, node))
            if lease is None or lease.owner != owner:
                unknown.append(node)
            else:
                self._extend(lease, ttl)
        return unknown

    async def deregister(self, domain: str, service: ServiceRecord, *, owner: str) -> None:
        self._begin()
        found = [self._leases.get((domain, node.id)) for node in service.nodes]
        leases = [lease for lease in found if lease and lease.key[1:3] == (service.name, service.version)]
        for lease in leases:
            if owner:
                self._owned(domain, lease.key.node, owner)
        for lease in leases:
            self._remove(lease, "delete")

    async def get(self, domain: str, name: str) -> list[ServiceRecord]:
        self._begin()
        return list(self._records(domain, name))

    async def list(self, domain: str) -> list[ServiceRecord]:
        self._begin()
        return [record for name in sorted(self._services) for record in self._records(domain, name)]

    def watch(self, domain: str, *, name: str = "", after: int | None = None) -> AsyncIterator[Event]:
        self._begin()

        def wanted(change: Change[ServiceRecord]) -> bool:
            key = NodeKey.parse(change.key)
            return domain in {ALL, key.domain} and name in {"", key.name}

        return self._feed.watch(lambda: self._snapshot(name), after=after, wanted=wanted)

    def _begin(self) -> None:
        if self._closed:
            raise FailedPrecondition("the registry is closed")
        self._expire()

    def _owned(self, domain: str, node: str, owner: str) -> None:
        lease = self._leases.get((domain, node))
        if lease is not None and lease.owner != owner:
            raise PermissionDenied(f"node {node!r} is another account's")

    def _records(self, domain: str, name: str) -> Iterator[ServiceRecord]:
        for (where, _), found in sorted(self._services.get(name, {}).items(), key=lambda item: item[0]):
            if domain in {ALL, where}:
                yield found.record(where, found.nodes.values())

    def _snapshot(self, name: str) -> Sequence[Change[ServiceRecord]]:
        leases: Iterable[_Lease] = self._leases.values()
        if name:  # who follows one service does not pay for all the others
            versions = self._services.get(name, {}).items()
            leases = (self._leases[domain, node] for (domain, _), version in versions for node in version.nodes)
        return [Change("put", str(one.key), one.revision, self._record_of(one)) for one in leases]

    def _record_of(self, lease: _Lease) -> ServiceRecord:
        domain, name, version, _ = lease.key
        return self._services[name][domain, version].record(domain, [lease.node])

    def _put(self, domain: str, service: ServiceRecord, node: Node, ttl: float, owner: str) -> None:
        key = NodeKey(domain, service.name, service.version, node.id)
        lease = self._leases.get((domain, node.id))
        if lease is not None and lease.key != key:
            self._remove(lease, "delete")  # the node serves something else now
            lease = None
        versions = self._services.setdefault(service.name, {})
        version = versions.setdefault((domain, service.version), _Version())
        changed = version.describe(service)
        if lease is None:
            lease = self._leases[domain, node.id] = _Lease(key, node, owner)
            changed = True
        changed = changed or lease.node != node
        lease.node = version.nodes[node.id] = node
        self._extend(lease, ttl)
        if changed:
            lease.revision = self._feed.version + 1
            record = self._record_of(lease)
            self._feed.publish(Change("put", str(key), lease.revision, record))
            self._write(Line(lease.revision, domain, node.id, record, ttl, owner))

    def _remove(self, lease: _Lease, kind: str) -> None:
        domain, name, version, node = lease.key
        del self._leases[domain, node]
        versions = self._services[name]
        del versions[domain, version].nodes[node]
        if not versions[domain, version].nodes:
            del versions[domain, version]
            if not versions:
                del self._services[name]
        revision = self._feed.version + 1
        self._feed.publish(Change(kind, str(lease.key), revision))
        self._write(Line(revision, domain, node))

    def _extend(self, lease: _Lease, ttl: float) -> None:
        lease.ttl = ttl
        lease.due = self.clock() + ttl if ttl else 0.0
        if lease.due and not (lease.queued and lease.queued <= lease.due):
            self._queue(lease)

    def _queue(self, lease: _Lease) -> None:
        lease.queued = lease.due
        heapq.heappush(self._due, (lease.due, (lease.key.domain, lease.key.node)))

    def _expire(self) -> None:
        now = self.clock()
        while self._due and self._due[0][0] <= now:
            at, where = heapq.heappop(self._due)
            lease = self._leases.get(where)
            if lease is None or lease.queued != at:
                continue
            lease.queued = 0.0
            if lease.due and lease.due <= now:
                self._remove(lease, "expire")
            elif lease.due:
                self._queue(lease)

    def _write(self, line: Line) -> None:
        if self._journal is not None:
            self._journal.append(line)
            if self._journal.stale:
                self._compact()

    def _compact(self) -> None:
        if self._journal is not None:
            lines = [
                Line(one.revision, one.key.domain, one.key.node, self._record_of(one), one.ttl, one.owner)
                for one in self._leases.values()
            ]
            self._journal.rewrite(self._feed.version, lines)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP)
            self._expire()


def _weigh(change: Change[ServiceRecord]) -> int:
    """Give the bytes that a change keeps in memory; what registrations share is counted for each."""
    return 200 + (checks.size(change.item) if change.item is not None else 0)


class _Lease:
    """One node's."""

    __slots__ = ("due", "key", "node", "owner", "queued", "revision", "ttl")

    def __init__(self, key: NodeKey, node: Node, owner: str) -> None:
        self.key = key
        self.node = node
        self.owner = owner
        self.ttl = 0.0
        self.due = 0.0  # 0: never
        self.queued = 0.0  # where its entry in the heap stands; 0: none
        self.revision = 0


class _Version:
    """What a version's last registration said of it, and its nodes."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self._said = ServiceRecord("")

    def describe(self, service: ServiceRecord) -> bool:
        """Take over metadata and endpoints; tells whether they differ."""
        metadata = {key: value for key, value in service.metadata.items() if key != "domain"}
        said = ServiceRecord(service.name, service.version, metadata, tuple(service.endpoints))
        changed = said != self._said
        self._said = said
        return changed

    def record(self, domain: str, nodes: Iterable[Node]) -> ServiceRecord:
        return replace(self._said, metadata={**self._said.metadata, "domain": domain}, nodes=list(nodes))
