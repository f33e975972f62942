"""The driver: a key for each node under a lease of its own, and one watch of etcd for all who watch here."""

from __future__ import annotations

import asyncio
import builtins
import hashlib
import math
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from micro.errors import Aborted, Code, FailedPrecondition, PermissionDenied
from micro.plugin.gather import Call, Gatherer
from micro.registry.driver import ALL, Event, Node, NodeKey, RegistryDriver, ServiceRecord
from micro_registry_etcd.layout import Held, Layout, read
from micro_registry_etcd.settings import EtcdSettings

if TYPE_CHECKING:
    from micro_registry_etcd.client import Client
    from micro_registry_etcd.follow import Follower

TRIES = 16  # lost races until a registration gives up
LANES = 4  # groups of look-ups at once
BATCH = 100  # nodes looked up at once; etcd takes 128 operations


class EtcdRegistry(RegistryDriver, interface=1):
    """Registrations in etcd, shared by all servers that use it.

    Leases are etcd's: whole seconds, rounded up, two at least. They go on while no server of ours runs, so what died
    with its server is gone when its lease ends.
    """

    settings_type = EtcdSettings
    imports = ("micro_registry_etcd.client", "micro_registry_etcd.follow")
    capabilities = frozenset({"watch", "durable"})

    def __init__(self, settings: EtcdSettings | None = None) -> None:
        self._settings = settings or EtcdSettings()
        self._layout = Layout(self._settings.prefix)
        self._client: Client | None = None
        self._follower: Follower | None = None
        self._behind: set[asyncio.Task[None]] = set()
        self._gets: Gatherer[str, bytes] | None = None

    async def open(self) -> None:
        from micro_registry_etcd.client import Client, EtcdError  # grpcio: only the process that uses it
        from micro_registry_etcd.follow import Follower

        self._client = Client(self._settings)
        await self._client.open()
        self._follower = Follower(self._client, self._layout)
        self._gets = Gatherer(self._ranged, closed=_closed, away=(EtcdError,), lanes=LANES, most=BATCH, heaviest=BATCH)

    async def close(self) -> None:
        client, self._client = self._client, None
        follower, self._follower = self._follower, None
        gets, self._gets = self._gets, None
        if gets is not None:
            await gets.close()
        if follower is not None:
            await follower.stop()
        for task in list(self._behind):
            task.cancel()
        await asyncio.gather(*self._behind, return_exceptions=True)
        if client is not None:
            await client.close()

    def error_code(self, exc: Exception) -> int:
        from micro_registry_etcd.client import CompactedError, EtcdError

        match exc:
            case EtcdError():
                return Code.UNAVAILABLE if exc.code in {Code.CANCELLED, Code.UNKNOWN} else exc.code
            case CompactedError() | OSError():
                return Code.UNAVAILABLE
            case TimeoutError():
                return Code.DEADLINE_EXCEEDED
        return Code.UNKNOWN

    async def register(self, domain: str, service: ServiceRecord, *, ttl: float, owner: str) -> int:
        self._opened()
        if len(service.nodes) > 1:  # all or none; one is looked at when it is put
            for node in service.nodes:
                await self._held(domain, node.id, owner)
        metadata = {key: value for key, value in service.metadata.items() if key != "domain"}
        said = replace(service, metadata=metadata)
        return max([await self._put(domain, replace(said, nodes=[node]), node, ttl, owner) for node in service.nodes])

    async def renew(self, domain: str, nodes: Sequence[str], *, ttl: float, owner: str) -> list[str]:
        client = self._opened()
        unknown: list[str] = []
        for at in range(0, len(nodes), BATCH):
            some = nodes[at : at + BATCH]
            kvs = await client.get([self._layout.node(domain, node) for node in some])
            found = {node: _held(kv) for node, kv in zip(some, kvs, strict=True) if kv is not None}
            mine = {node: held for node, held in found.items() if held.owner == owner}
            same = {held.lease for held in mine.values() if held.lease and held.ttl == ttl}
            alive = await client.keep(same) if same else set()
            kept = {node for node, held in mine.items() if await self._renewed(domain, node, held, ttl, alive)}
            unknown += [node for node in some if node not in kept]
        return unknown

    async def deregister(self, domain: str, service: ServiceRecord, *, owner: str) -> None:
        self._opened()
        for node in service.nodes:
            revision, held = await self._held(domain, node.id, owner)
            while held is not None and (held.name, held.version) == (service.name, service.version):
                if await self._taken(domain, node.id, held, revision):
                    break
                revision, held = await self._held(domain, node.id, owner)

    async def get(self, domain: str, name: str) -> list[ServiceRecord]:
        if domain == ALL:
            return [record for record in await self.list(ALL) if record.name == name]
        if self._gets is None:
            raise _closed()
        return self._gathered(await self._gets.ask("", self._layout.some(domain, name), [name]))

    async def list(self, domain: str) -> list[ServiceRecord]:
        prefix = self._layout.services if domain == ALL else self._layout.some(domain)
        return self._gathered((await self._opened().range(prefix))[1])

    async def watch(self, domain: str, *, name: str = "", after: int | None = None) -> AsyncIterator[Event]:
        self._opened()
        assert self._follower is not None
        async for event in self._follower.watch(domain, name, after):
            yield event

    def _opened(self) -> Client:
        if self._client is None:
            raise _closed()
        return self._client

    async def _ranged(self, _: str, calls: builtins.list[Call[bytes]]) -> None:
        """Look up together what is asked for at once: a round trip costs more than many ranges."""
        found = await self._opened().ranges([call.asked for call in calls])
        for call, kvs in zip(calls, found, strict=True):
            if not call.answer.done():
                call.answer.set_result(kvs)

    def _gathered(self, kvs: Iterable[Any]) -> builtins.list[ServiceRecord]:
        """Gather versions from their nodes; the newest registration says what the version is."""
        versions: dict[tuple[str, str, str], builtins.list[Any]] = {}
        for kv in kvs:
            if kv.key != self._layout.gone:
                key = self._layout.parse(kv.key)
                versions.setdefault((key.name, key.version, key.domain), []).append(kv)
        return [_gathered(domain, versions[name, version, domain]) for name, version, domain in sorted(versions)]

    async def _held(self, domain: str, node: str, owner: str) -> tuple[int, Held | None]:
        """Give whose a node is, and the revision of that; PermissionDenied if it is another's."""
        kv = (await self._opened().get([self._layout.node(domain, node)]))[0]
        if kv is None:
            return 0, None
        held = _held(kv)
        if owner and held.owner != owner:
            raise PermissionDenied(f"node {node!r} is another account's")
        return int(kv.mod_revision), held

    async def _put(self, domain: str, service: ServiceRecord, node: Node, ttl: float, owner: str) -> int:
        client = self._opened()
        key = NodeKey(domain, service.name, service.version, node.id)
        value = msgspec.json.encode(service)
        digest = hashlib.blake2s(value).hexdigest()
        for _ in range(TRIES):
            revision, held = await self._held(domain, node.id, owner)
            if held is not None and (held.name, held.version) != (service.name, service.version):
                await self._taken(domain, node.id, held, revision)  # the node serves something else now
                continue
            if held is not None and (held.digest, held.ttl) == (digest, ttl):
                if not held.lease or await client.keep([held.lease]):
                    return revision
                continue  # it has just ended
            lease = await client.grant(_seconds(ttl)) if ttl else 0
            new = Held(owner, service.name, service.version, ttl, lease, digest)
            written = await self._written(key, new, value, revision)
            if written:
                if held is not None and held.lease:
                    self._later(held.lease)
                return written
            if lease:
                self._later(lease)
        raise Aborted(f"node {node.id!r} changed {TRIES} times meanwhile")

    async def _written(self, key: NodeKey, held: Held, value: bytes, revision: int) -> int:
        """Put a node if it is still as it was at a revision; gives the new one, or 0."""
        from micro_registry_etcd import etcd_pb2 as pb

        where = self._layout.node(key.domain, key.node)
        ops = [
            pb.RequestOp(put=pb.PutRequest(key=where, value=msgspec.json.encode(held), lease=held.lease)),
            pb.RequestOp(put=pb.PutRequest(key=self._layout.record(key), value=value, lease=held.lease)),
        ]
        answer = await self._opened().call("KV/Txn", pb.TxnRequest(compare=[_unchanged(where, revision)], success=ops))
        return int(answer.header.revision) if answer.succeeded else 0

    async def _taken(self, domain: str, node: str, held: Held, revision: int) -> bool:
        """Take a node away if it is still as it was at a revision, and say that it was on purpose."""
        from micro_registry_etcd import etcd_pb2 as pb

        where = self._layout.node(domain, node)
        record = self._layout.record(NodeKey(domain, held.name, held.version, node))
        ops = [
            pb.RequestOp(put=pb.PutRequest(key=self._layout.gone, value=record)),
            pb.RequestOp(delete_range=pb.DeleteRangeRequest(key=where)),
            pb.RequestOp(delete_range=pb.DeleteRangeRequest(key=record)),
        ]
        answer = await self._opened().call("KV/Txn", pb.TxnRequest(compare=[_unchanged(where, revision)], success=ops))
        if answer.succeeded and held.lease:
            self._later(held.lease)
        return bool(answer.succeeded)

    async def _renewed(self, domain: str, node: str, held: Held, ttl: float, alive: set[int]) -> bool:
        if held.ttl == ttl:
            return not held.lease or held.lease in alive
        client = self._opened()
        key = NodeKey(domain, held.name, held.version, node)
        where, record = await client.get([self._layout.node(domain, node), self._layout.record(key)])
        if where is None or record is None:
            return False
        lease = await client.grant(_seconds(ttl)) if ttl else 0
        changed = replace(held, ttl=ttl, lease=lease)
        done = await self._written(key, changed, record.value, where.mod_revision)
        if held.lease if done else lease:
            self._later(held.lease if done else lease)
        return bool(done)

    def _later(self, lease: int) -> None:
        """End a lease that nothing hangs on any more, while the caller goes on."""
        task = asyncio.create_task(self._opened().revoke(lease))
        self._behind.add(task)
        task.add_done_callback(self._behind.discard)


def _closed() -> FailedPrecondition:
    return FailedPrecondition("the registry is closed")


def _seconds(ttl: float) -> int:
    return max(1, math.ceil(ttl))


def _held(kv: Any) -> Held:
    return msgspec.json.decode(kv.value, type=Held)


def _unchanged(key: bytes, revision: int) -> Any:
    from micro_registry_etcd import etcd_pb2 as pb

    return pb.Compare(result=pb.Compare.EQUAL, target=pb.Compare.MOD, key=key, mod_revision=revision)


def _gathered(domain: str, kvs: Iterable[Any]) -> ServiceRecord:
    said = sorted(kvs, key=lambda kv: kv.mod_revision)
    records = [read(kv.value) for kv in said]
    nodes = [record.nodes[0] for record in sorted(records, key=lambda record: record.nodes[0].id)]
    newest = records[-1]
    return replace(newest, metadata={**newest.metadata, "domain": domain}, nodes=nodes)
