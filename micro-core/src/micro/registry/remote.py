"""The driver over gRPC: the registry of the platform around this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence

from msgspec.structs import replace

from micro.errors import FailedPrecondition, NotFound
from micro.plugin.driver import Change, Reset, Synced
from micro.plugin.settings import Settings
from micro.plugin.watch import finish
from micro.proto import debug_pb2
from micro.proto import registry_pb2 as pb
from micro.registry import wire
from micro.registry.driver import Event, NodeKey, RegistryDriver, ServiceRecord
from micro.rpc.caller import Caller

SERVICE = "registry"


class RemoteRegistry(RegistryDriver, interface=1):
    """Calls the service `registry` as the caller's account, which is the owner whatever `owner` says.

    Works without `open`, which only asks the service what its driver can. Expiries arrive as deletions.
    """

    settings_type = Settings
    needs = frozenset({"caller"})
    capabilities = frozenset({"watch", "durable"})

    def __init__(self, settings: Settings | None = None, *, caller: Caller) -> None:
        self._caller = caller
        self._closed = False

    async def open(self) -> None:
        info = await self._caller.call(
            SERVICE, "Debug.Info", debug_pb2.InfoRequest(), debug_pb2.InfoResponse, idempotent=True
        )
        self.capabilities = frozenset(info.capabilities)

    async def close(self) -> None:
        self._closed = True  # the caller is whose it was

    async def register(self, domain: str, service: ServiceRecord, *, ttl: float, owner: str) -> int:
        self._check()
        request = wire.record_out(service)
        request.options.CopyFrom(wire.options(domain, ttl))
        answer = await self._caller.call(SERVICE, "Registry.Register", request, pb.EmptyResponse, idempotent=True)
        return answer.revision

    async def renew(self, domain: str, nodes: Sequence[str], *, ttl: float, owner: str) -> list[str]:
        self._check()
        lease = wire.options(domain, ttl)
        request = pb.RenewRequest(domain=domain, nodes=nodes, ttl=lease.ttl, ttl_ms=lease.ttl_ms)
        answer = await self._caller.call(SERVICE, "Registry.Renew", request, pb.RenewResponse, idempotent=True)
        return list(answer.unknown)

    async def deregister(self, domain: str, service: ServiceRecord, *, owner: str) -> None:
        self._check()
        request = wire.record_out(replace(service, endpoints=()))  # its nodes' ids are what counts
        request.options.CopyFrom(wire.options(domain))
        await self._caller.call(SERVICE, "Registry.Deregister", request, pb.EmptyResponse, idempotent=True)

    async def get(self, domain: str, name: str) -> list[ServiceRecord]:
        self._check()
        request = pb.GetRequest(service=name, options=wire.options(domain))
        try:
            answer = await self._caller.call(SERVICE, "Registry.GetService", request, pb.GetResponse, idempotent=True)
        except NotFound as err:
            if err.detail != "service not found":  # the registry itself may be what was not found
                raise
            return []
        return [wire.record_in(service) for service in answer.services]

    async def list(self, domain: str) -> list[ServiceRecord]:
        self._check()
        request = pb.ListRequest(options=wire.options(domain))
        answer = await self._caller.call(SERVICE, "Registry.ListServices", request, pb.ListResponse, idempotent=True)
        return [wire.record_in(service) for service in answer.services]

    async def watch(self, domain: str, *, name: str = "", after: int | None = None) -> AsyncIterator[Event]:
        self._check()
        request = pb.WatchRequest(service=name, options=wire.options(domain), after=after, snapshot=True)
        results = self._caller.serve_stream(SERVICE, "Registry.Watch", request, pb.Result)
        try:
            async for result in results:
                if result.reset:
                    yield Reset(result.revision)
                elif result.synced:
                    yield Synced(result.revision)
                else:
                    for change in _changes(result):
                        yield change
        finally:
            await finish(results)

    def _check(self) -> None:
        if self._closed:
            raise FailedPrecondition("the registry is closed")


def _changes(result: pb.Result) -> Iterator[Change[ServiceRecord]]:
    record = wire.record_in(result.service)
    for node in record.nodes:
        key = str(NodeKey(record.domain, record.name, record.version, node.id))
        if result.action == "delete":
            yield Change("delete", key, result.revision)
        else:
            yield Change("put", key, result.revision, replace(record, nodes=[node]))
