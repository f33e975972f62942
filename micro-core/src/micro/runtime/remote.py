"""The driver over gRPC: the runtime of the platform around this process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime

from micro.errors import FailedPrecondition, Internal
from micro.plugin.driver import Change, Reset, Synced
from micro.plugin.settings import Settings
from micro.proto import debug_pb2
from micro.proto import runtime_pb2 as pb
from micro.rpc.caller import Caller
from micro.runtime import wire
from micro.runtime.driver import Event, Limits, LogLine, RuntimeDriver, Spec, Status

SERVICE = "runtime"
UPDATE = 90.0  # seconds: the service waits for a new version to run and for the old one to drain


class RemoteRuntime(RuntimeDriver, interface=1):
    """Calls the service `runtime` as the caller's account."""

    settings_type = Settings
    needs = frozenset({"caller"})
    capabilities = frozenset({"source", "images", *(f"limit-{name}" for name in Limits.__struct_fields__)})

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

    async def create(self, namespace: str, spec: Spec, *, force: bool = False) -> None:
        self._check()
        service, options = wire.spec_out(spec)
        options.namespace, options.force = namespace, force
        request = pb.CreateRequest(resource=pb.Resource(service=service), options=options)
        await self._caller.call(SERVICE, "Runtime.Create", request, pb.CreateResponse, timeout=UPDATE)

    async def update(self, namespace: str, spec: Spec) -> None:
        self._check()
        service, _ = wire.spec_out(spec)
        options = pb.UpdateOptions(namespace=namespace, entrypoint=spec.entrypoint, instances=spec.instances)
        request = pb.UpdateRequest(resource=pb.Resource(service=service), options=options)
        await self._caller.call(SERVICE, "Runtime.Update", request, pb.UpdateResponse, timeout=UPDATE)

    async def delete(self, namespace: str, name: str, version: str) -> None:
        self._check()
        resource = pb.Resource(service=pb.Service(name=name, version=version))
        request = pb.DeleteRequest(resource=resource, options=pb.DeleteOptions(namespace=namespace))
        await self._caller.call(SERVICE, "Runtime.Delete", request, pb.DeleteResponse, timeout=UPDATE)

    async def list(self, namespace: str, *, name: str = "", version: str = "") -> list[Status]:
        self._check()
        request = pb.ReadRequest(options=pb.ReadOptions(service=name, version=version, namespace=namespace))
        answer = await self._caller.call(SERVICE, "Runtime.Read", request, pb.ReadResponse, idempotent=True)
        return [wire.status_in(service) for service in answer.services]

    async def logs(
        self,
        namespace: str,
        name: str,
        version: str,
        *,
        since: datetime | None = None,
        count: int = 0,
        follow: bool = False,
    ) -> AsyncIterator[LogLine]:
        self._check()
        request = pb.LogsRequest(service=name, version=version, stream=follow, count=count)
        request.options.namespace = namespace
        if since is not None:
            request.since_ms = round(since.timestamp() * 1000)
            request.since = request.since_ms // 1000
        async for record in self._caller.serve_stream(SERVICE, "Runtime.Logs", request, pb.LogRecord):
            yield wire.line_in(record)

    async def watch(self, namespace: str, *, after: int | None = None) -> AsyncIterator[Event]:
        self._check()
        request = pb.WatchRequest(namespace=namespace, after=after)
        async for answer in self._caller.serve_stream(SERVICE, "Runtime.Watch", request, pb.WatchResponse):
            if answer.reset:
                yield Reset(answer.version)
            for change in answer.changes:
                key = f"{change.service.name}:{change.service.version}"
                gone = change.kind == pb.Change.DELETE
                status = None if gone else wire.status_in(change.service)
                yield Change("delete" if gone else "put", key, change.version, status)
            if answer.synced:
                yield Synced(answer.version)

    async def upload(self, namespace: str, name: str, version: str, archive: AsyncIterator[bytes]) -> str:
        self._check()
        # the call's namespace is whose source it is, where the account may act for others
        stream = await self._caller.stream(
            SERVICE, "Source.Upload", pb.UploadRequest, pb.UploadResponse, namespace=namespace
        )
        async with stream:
            first = True
            async for chunk in archive:
                service = pb.Service(name=name, version=version) if first else None
                await stream.send(pb.UploadRequest(service=service, data=chunk))
                first = False
            stream.end()
            answer = await stream.receive()
        if answer is None:
            raise Internal("the upload was not answered")
        return answer.id

    async def put(
        self,
        namespace: str,
        name: str,
        version: str,
        archive: AsyncIterator[bytes],
        *,
        digest: str,
        encoding: str = "",
        offset: int = 0,
    ) -> str:
        self._check()
        service = pb.Service(name=name, version=version)
        first = pb.PutRequest(service=service, encoding=encoding, digest=digest, offset=offset, namespace=namespace)
        stream = await self._caller.stream(SERVICE, "Source.Put", pb.PutRequest, pb.PutResponse)
        async with stream:
            await stream.send(first)
            async for chunk in archive:
                await stream.send(pb.PutRequest(data=chunk))
            stream.end()
            answer = await stream.receive()
        if answer is None:
            raise Internal("the upload was not answered")
        return answer.id

    async def stat(self, namespace: str, digest: str) -> int:
        self._check()
        request = pb.StatRequest(digest=digest, namespace=namespace)
        answer = await self._caller.call(SERVICE, "Source.Stat", request, pb.StatResponse, idempotent=True)
        return answer.size

    def _check(self) -> None:
        if self._closed:
            raise FailedPrecondition("the runtime is closed")
