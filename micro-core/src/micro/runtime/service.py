"""The core service `runtime`: a driver behind the wire, with its callers' rights."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from micro import limits, names
from micro.context import CORE_NAMESPACE, CORE_SERVICES, Account, current
from micro.errors import InvalidArgument, NotFound, PermissionDenied, ResourceExhausted, Unauthenticated, Unimplemented
from micro.plugin import discovery
from micro.plugin.driver import Reset, Synced
from micro.proto import runtime_pb2 as pb
from micro.rpc import access
from micro.runtime import wire
from micro.runtime.api import Runtime
from micro.service.core import Core

if TYPE_CHECKING:
    from micro.runtime.lease import Lease
    from micro.service.core import Host


async def build(host: Host) -> Core:
    """Open the profile's runtime and serve it."""
    driver, plugin = host.driver("runtime")
    runtime = Runtime(driver, plugin=plugin)  # type: ignore[arg-type] # the group `micro.runtime` holds RuntimeDrivers
    lease = _shared(host, runtime)
    await runtime.open()

    async def drain() -> None:
        if host.leaving():  # the whole server stops: what it runs goes first, while all else is there
            await runtime.driver.end()

    return Core(
        [("Runtime", RuntimeHandler(runtime)), ("Source", SourceHandler(runtime)), ("Build", BuildHandler())],
        drain=drain,
        close=runtime.close,
        capabilities=lambda: runtime.driver.capabilities,
        plugin=plugin,
        elected=lease.hear if lease is not None else None,
    )


def _shared(host: Host, runtime: Runtime) -> Lease | None:
    """Have one server run what is wanted, where several may share the store: an embedded one is this server's alone."""
    if discovery.is_embedded("store", host.setting("store", "plugin", "")):
        return None
    from micro.blobs.api import Blobs
    from micro.blobs.remote import RemoteBlobs
    from micro.runtime.lease import Lease
    from micro.runtime.sources import SHARED

    lease = Lease(host.store("runtime"), host.data, lambda: host.addresses.get("proxy", ""))
    blobs = Blobs(RemoteBlobs(caller=host.caller), plugin="remote", namespace=SHARED)  # not among what users list
    runtime.driver.share(lease, blobs)
    return lease


def _at(runtime: Runtime, namespace: str) -> Runtime:
    return Runtime(runtime.driver, plugin=runtime.plugin, namespace=namespace)


class RuntimeHandler:
    """Runs services. A namespace's admins may; its members may look."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def create(self, request: pb.CreateRequest) -> pb.CreateResponse:
        """Run a service; one that runs already stays as it is, unless forced."""
        namespace = request.options.namespace or CORE_NAMESPACE
        who = access.admin(namespace)
        service = _service(request.resource)
        if namespace == CORE_NAMESPACE and service.name in CORE_SERVICES:
            raise PermissionDenied(f"{service.name} is a core service's name")
        spec = wire.spec_in(service, request.options)
        spec.metadata.setdefault("source", service.source)
        spec.metadata |= {"owner": who.name, "group": who.issuer}
        await _at(self._runtime, namespace).create(spec, force=request.options.force)
        return pb.CreateResponse()

    async def read(self, request: pb.ReadRequest) -> pb.ReadResponse:
        """Say what the services are doing."""
        options = request.options
        namespace = options.namespace or CORE_NAMESPACE
        access.member(namespace)
        found = await _at(self._runtime, namespace).status(options.service, options.version)
        return pb.ReadResponse(services=[wire.status_out(status) for status in found])

    async def update(self, request: pb.UpdateRequest) -> pb.UpdateResponse:
        """Replace a running service; one that does not start leaves the old one serving."""
        namespace = request.options.namespace or CORE_NAMESPACE
        who = access.admin(namespace)
        service = _service(request.resource)
        runtime = _at(self._runtime, namespace)
        known = await runtime.status(service.name, service.version or "latest")
        if not known:
            raise NotFound("not found")
        spec = known[0].spec
        spec.source = service.source or spec.source
        spec.entrypoint = request.options.entrypoint or spec.entrypoint
        spec.instances = request.options.instances or spec.instances
        spec.metadata |= dict(service.metadata) | {"owner": who.name, "group": who.issuer}
        await runtime.replace(spec)
        return pb.UpdateResponse()

    async def delete(self, request: pb.DeleteRequest) -> pb.DeleteResponse:
        """Stop a service and forget it."""
        namespace = request.options.namespace or CORE_NAMESPACE
        access.admin(namespace)
        service = _service(request.resource)
        await _at(self._runtime, namespace).kill(service.name, service.version or "latest")
        return pb.DeleteResponse()

    async def logs(self, request: pb.LogsRequest) -> AsyncIterator[pb.LogRecord | None]:
        """Stream a service's log lines."""
        namespace = request.options.namespace or CORE_NAMESPACE
        access.admin(namespace)
        runtime = _at(self._runtime, namespace)
        version = request.version or "latest"
        if not request.service or not await runtime.status(request.service, version):
            raise NotFound(f"Logs not found for service {request.service}")
        ms = request.since_ms or request.since * 1000
        since = datetime.fromtimestamp(ms / 1000, UTC) if ms > 0 else None
        count = max(0, request.count)
        yield None  # headers now: a service may be quiet for long
        async for line in runtime.logs(
            request.service, version=version, follow=request.stream, since=since, count=count
        ):
            if request.instance in {"", line.instance}:
                yield wire.line_out(line, request.service, version)

    async def watch(self, request: pb.WatchRequest) -> AsyncIterator[pb.WatchResponse]:
        """Stream what becomes of the services."""
        namespace = request.namespace or CORE_NAMESPACE
        access.member(namespace)
        after = request.after if request.HasField("after") else None
        async for event in self._runtime.driver.watch(names.namespace(namespace), after=after):
            if isinstance(event, Synced):
                yield pb.WatchResponse(synced=True, version=event.version)
            elif isinstance(event, Reset):
                yield pb.WatchResponse(reset=True, version=event.version)
            else:
                name, _, version = event.key.rpartition(":")
                gone = pb.Service(name=name, version=version)
                service = gone if event.item is None else wire.status_out(event.item)
                kind = pb.Change.DELETE if event.item is None else pb.Change.PUT
                yield pb.WatchResponse(changes=[pb.Change(kind=kind, service=service, version=event.version)])


class SourceHandler:
    """Takes sources."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def upload(self, requests: AsyncIterator[pb.UploadRequest]) -> pb.UploadResponse:
        """Take one tar in chunks; the first message says which service it is of."""
        who = _uploader()
        first = await anext(aiter(requests), None)
        service, version = _upload_of(first)
        assert first is not None
        namespace = names.namespace(current().namespace if who.is_platform else who.issuer)

        async def chunks() -> AsyncIterator[bytes]:
            yield first.data
            async for message in requests:
                yield message.data

        id = await self._runtime.driver.upload(namespace, service, version, chunks())
        return pb.UploadResponse(id=id)

    async def put(self, requests: AsyncIterator[pb.PutRequest]) -> pb.PutResponse:
        """Take one tar, packed or not, from an offset on; all but data is in the first message."""
        _uploader()
        first = await anext(aiter(requests), None)
        service, version = _upload_of(first)
        assert first is not None
        namespace = _own(first.namespace)

        async def chunks() -> AsyncIterator[bytes]:
            yield _chunk(first.data)
            async for message in requests:
                yield _chunk(message.data)

        runtime = _at(self._runtime, namespace)
        id = await runtime.put(
            service, version, chunks(), digest=first.digest, encoding=first.encoding, offset=first.offset
        )
        return pb.PutResponse(id=id)

    async def stat(self, request: pb.StatRequest) -> pb.StatResponse:
        """Say how many bytes of a tar came before its upload broke off."""
        return pb.StatResponse(size=await _at(self._runtime, _own(request.namespace)).stat(request.digest))


def _uploader() -> Account:
    who = current().account
    if who is None:
        raise Unauthenticated("An account is required to upload source")
    return who


def _own(namespace: str) -> str:
    """Give the namespace to upload to: the caller's own, or another where the caller may."""
    who = _uploader()
    namespace = names.namespace(namespace or who.issuer)
    access.member(namespace)
    return namespace


def _upload_of(first: pb.UploadRequest | pb.PutRequest | None) -> tuple[str, str]:
    """Read service and version of an upload's first message."""
    if first is None or not first.HasField("service") or not first.service.name:
        raise InvalidArgument("No service was sent")
    return names.service(first.service.name), names.version(first.service.version or "latest")


def _chunk(data: bytes) -> bytes:
    if len(data) > limits.MIB:
        raise ResourceExhausted(f"a chunk of {len(data)} bytes, the limit is {limits.MIB}")
    return data


class BuildHandler:
    """Gives built sources; there are none to give: Python services are started from their source."""

    async def read(self, request: pb.Service) -> AsyncIterator[pb.BuildReadResponse | None]:
        """Give a service's build."""
        access.account()
        if not request.name:
            raise InvalidArgument("Missing name")
        if not request.version:
            raise InvalidArgument("Missing version")
        yield None
        raise NotFound("Build not found")


def _service(resource: pb.Resource) -> pb.Service:
    kind = next((n for n in ("namespace", "networkpolicy", "resourcequota", "service") if resource.HasField(n)), "")
    if not kind:
        raise InvalidArgument("blank resource")
    if kind != "service":
        raise Unimplemented(f"this runtime has no {kind}; it runs services")
    if not resource.service.name:
        raise InvalidArgument("blank resource")
    return resource.service
