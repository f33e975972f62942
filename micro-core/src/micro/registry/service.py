"""The core service `registry`: a portable Registry behind the wire, with its callers' rights."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from micro.context import CORE_NAMESPACE, CORE_SERVICES, Account
from micro.errors import NotFound, PermissionDenied, ResourceExhausted, Unavailable
from micro.plugin.driver import Change, Reset, Synced
from micro.plugin.watch import finish
from micro.proto import registry_pb2 as pb
from micro.registry import wire
from micro.registry.announce import Announcer
from micro.registry.api import Registry
from micro.registry.driver import ALL, Node, NodeKey, ServiceRecord
from micro.registry.view import View
from micro.rpc import access
from micro.rpc.streaming import shared
from micro.service.core import Core

if TYPE_CHECKING:
    from micro.service.core import Host

_FEW = 16  # records of what exists that are made once for all who begin to watch; more would push out changes
_SHARED = 256  # results that are made once for all watchers; older ones are made anew for who lags


async def build(host: Host) -> Core:
    """Open the profile's registry and serve it."""
    driver, plugin = host.driver("registry")
    registry = Registry(driver, plugin=plugin, domain=ALL)  # type: ignore[arg-type] # `micro.registry` holds them
    await registry.open()
    announcer = Announcer(host.caller, host.addresses)

    async def close() -> None:
        await announcer.close()
        await registry.close()

    return Core(
        [("Registry", RegistryHandler(registry, announcer))],
        close=close,
        capabilities=lambda: registry.capabilities,
        plugin=plugin,
    )


def own(core: Core) -> Registry:
    """Give the registry that a core made by `build` serves, to register its own process in: nobody else can be asked.

    The namespace is `micro`, the owner the service `registry`.
    """
    handler = next(one for name, one in core.handlers if name == "Registry")
    assert isinstance(handler, RegistryHandler)
    return handler._at(CORE_NAMESPACE, Account("registry", type="service", scopes=("service",)))


class RegistryHandler:
    """Who serves what, where. A namespace is a domain; its members read, its admins register."""

    def __init__(self, registry: Registry, announcer: Announcer) -> None:
        self._registry = registry
        self._announcer = announcer
        self._results: dict[tuple[int, str, str], pb.Result] = {}

    def _at(self, domain: str, owner: Account | None = None) -> Registry:
        """Give the registry at a domain, for an owner of nodes or for one who may touch all."""
        return self._registry.domain(domain, owner=f"{owner.issuer}/{owner.id}" if owner else "")

    async def get_service(self, request: pb.GetRequest) -> pb.GetResponse:
        """Give a service's versions with their nodes."""
        domain = _readable(request.options, request.service)
        try:
            found = await self._at(domain).get(request.service)
        except NotFound:
            raise NotFound("service not found") from None
        return pb.GetResponse(services=[wire.record_out(record) for record in found])

    async def list_services(self, request: pb.ListRequest) -> pb.ListResponse:
        """Give all services of a domain."""
        found = await self._at(_readable(request.options, "")).services()
        return pb.ListResponse(services=[wire.record_out(record) for record in found])

    async def register(self, request: pb.Service) -> pb.EmptyResponse:
        """Register nodes for a time; again before it is over, or renew."""
        domain = _domain(request.options)
        account = access.admin(domain)
        if request.name in CORE_SERVICES and not (account.is_core and account.id == request.name):
            raise PermissionDenied(f"the name {request.name} is the platform's")
        registry = self._at(domain, account)
        revision = await registry.register(wire.record_in(request), ttl=wire.ttl_in(request.options))
        self._announcer.registered(request)
        return pb.EmptyResponse(revision=revision)

    async def renew(self, request: pb.RenewRequest) -> pb.RenewResponse:
        """Extend the leases of many nodes at once; gives those to be registered again."""
        domain = request.domain or CORE_NAMESPACE
        registry = self._at(domain, access.admin(domain))
        return pb.RenewResponse(unknown=await registry.renew(request.nodes, ttl=wire.ttl_in(request)))

    async def deregister(self, request: pb.Service) -> pb.EmptyResponse:
        """Remove the listed nodes: one's own, or, for an admin, anybody's."""
        domain = _domain(request.options)
        account = access.admin(domain)
        # a service has an admin's rights, but other services' nodes are none of its business
        anybody = account.is_core or not account.is_service
        registry = self._at(domain, None if anybody else account)
        await registry.deregister(wire.record_in(request))
        self._announcer.deregistered(request)
        return pb.EmptyResponse()

    async def watch(self, request: pb.WatchRequest) -> AsyncIterator[pb.Result | None]:
        """Follow a domain: `create` for what exists, then every change."""
        registry = self._at(_readable(request.options, request.service))
        after = request.after if request.HasField("after") else None
        knows = request.snapshot or after is not None  # a peer that asks for neither would stumble over the marks
        told = None if knows else _Told()  # ours need neither tell a first node from others nor where a gone one was
        first = View() if after is None else None
        yield None  # headers now: what is registered from here on will be told
        events = registry.watch(request.service or None, after=after, resume=False)
        try:
            async for event in events:
                if isinstance(event, Change) and first is None:
                    yield self._result(event, told)
                elif isinstance(event, Change | Synced) and first is not None:
                    first.apply(event)
                elif isinstance(event, Reset):
                    first = View()
                if isinstance(event, Synced) and first is not None:
                    records, first = first.services(), None
                    few = len(records) <= _FEW
                    records.reverse()
                    while records:  # a watcher lasts, what it began with need not
                        record = records.pop()
                        if told is not None:
                            told.learn(record)
                        yield self._shown(record, event.version, keep=few)
                if knows and not isinstance(event, Change):
                    yield _mark(event)
        except ResourceExhausted as err:
            raise Unavailable(err.detail) from err
        finally:
            await finish(events)

    def _result(self, change: Change[ServiceRecord], told: _Told | None) -> pb.Result:
        """Write a change as the wire has it; one message for all watchers that read it the same way."""
        key = NodeKey.parse(change.key)
        action, record = _plain(key, change.item) if told is None else told.take(key, change.item)
        at = (change.version, action, record.nodes[0].address)
        return self._results.get(at) or self._kept(at, _result(action, record, change.version))

    def _shown(self, record: ServiceRecord, version: int, *, keep: bool) -> pb.Result:
        """Write what exists; with `keep` for others, too, who begin to watch before anything changes."""
        if not keep:
            return _result("create", record, version)
        at = (version, "create", f"{record.domain}/{record.name}@{record.version}")
        return self._results.get(at) or self._kept(at, _result("create", record, version))

    def _kept(self, at: tuple[int, str, str], result: pb.Result) -> pb.Result:
        found = self._results[at] = shared(result)
        if len(self._results) > _SHARED:
            del self._results[next(iter(self._results))]
        return found


class _Told:
    """What one watcher was told: it makes a first node a `create`, a further one an `update`."""

    def __init__(self) -> None:
        self._versions: dict[tuple[str, str, str], dict[str, Node]] = {}

    def learn(self, record: ServiceRecord) -> None:
        """Note what existed."""
        self._versions[record.domain, record.name, record.version] = {node.id: node for node in record.nodes}

    def take(self, key: NodeKey, item: ServiceRecord | None) -> tuple[str, ServiceRecord]:
        """Note a change; gives its action, and the record to be sent with it."""
        known = self._versions.setdefault(key[:3], {})
        if item is not None:
            action = "update" if known else "create"
            known[key.node] = item.nodes[0]
            return action, item
        gone = known.pop(key.node, None) or Node(key.node, "")
        if not known:
            del self._versions[key[:3]]
        return "delete", _without(key, gone)


def _plain(key: NodeKey, item: ServiceRecord | None) -> tuple[str, ServiceRecord]:
    return ("delete", _without(key, Node(key.node, ""))) if item is None else ("update", item)


def _without(key: NodeKey, gone: Node) -> ServiceRecord:
    return ServiceRecord(key.name, key.version, {"domain": key.domain}, (), [gone])


def _result(action: str, record: ServiceRecord, revision: int) -> pb.Result:
    return pb.Result(action=action, service=wire.record_out(record), timestamp=int(time.time()), revision=revision)


def _mark(event: Synced | Reset) -> pb.Result:
    """Write an event that is no change; peers read the service unchecked, so there is one."""
    synced = isinstance(event, Synced)
    return pb.Result(service=pb.Service(), revision=event.version, synced=synced, reset=not synced)


def _domain(options: pb.Options) -> str:
    return options.domain or CORE_NAMESPACE


def _readable(options: pb.Options, name: str) -> str:
    """Give the domain that the caller may read; the core's own services are anybody's who has an account."""
    domain = _domain(options)
    if domain == CORE_NAMESPACE and name in CORE_SERVICES:
        access.account()
    else:
        access.member(domain)
    return domain
