"""The registry as users know it: one domain of it, on any driver."""

from __future__ import annotations

import builtins
from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING

from micro import names
from micro.context import CORE_NAMESPACE
from micro.errors import NotFound
from micro.plugin.portable import Portable
from micro.plugin.watch import resuming
from micro.registry import checks
from micro.registry.driver import Event, RegistryDriver, ServiceRecord

if TYPE_CHECKING:
    from micro.durations import Duration

LEASE = 15.0  # seconds of a registration of ours, renewed at a third of it


class Registry(Portable[RegistryDriver]):
    """Registrations of one domain: `registry.domain("shop")` is another one, over the same driver.

    Leases are seconds. An account owns its nodes: another one can neither renew nor replace them. Beyond the errors
    each method names, all raise InvalidArgument, PermissionDenied, ResourceExhausted (too big), Unavailable and
    DeadlineExceeded.
    """

    primitive = "registry"

    def __init__(
        self, driver: RegistryDriver, *, plugin: str = "", domain: str = CORE_NAMESPACE, owner: str = ""
    ) -> None:
        """`domain` `*` reads all; `owner` is whose the registrations are where the driver does not know it itself."""
        super().__init__(driver, plugin=plugin)
        self.where = checks.domain(domain)
        self.owner = owner

    @property
    def capabilities(self) -> frozenset[str]:
        """What the driver can: see RegistryDriver."""
        return self.driver.capabilities

    def domain(self, name: str, *, owner: str | None = None) -> Registry:
        """Give the same registry at another domain. Costs nothing; closing one closes the driver of both."""
        owned = self.owner if owner is None else owner
        return type(self)(self.driver, plugin=self.plugin, domain=name, owner=owned)

    async def register(self, service: ServiceRecord, *, ttl: Duration = LEASE) -> int:
        """Register a version's nodes for `ttl` seconds, 0 for ever; gives the revision.

        Metadata and endpoints replace those that the version had. PermissionDenied for another account's node.
        """
        checks.record(service)
        names.namespace(self.where)
        work = self.driver.register(self.where, service, ttl=checks.ttl(ttl), owner=self.owner)
        return await self._call("register", work)

    async def renew(self, nodes: Sequence[str], *, ttl: Duration = LEASE) -> builtins.list[str]:
        """Give these nodes `ttl` seconds from now, in one call for all; returns those to be registered again."""
        for node in nodes:
            checks.node_id(node)
        names.namespace(self.where)
        work = self.driver.renew(self.where, nodes, ttl=checks.ttl(ttl), owner=self.owner)
        return await self._call("renew", work)

    async def deregister(self, service: ServiceRecord) -> None:
        """Remove the listed nodes of a version; unknown ones are fine."""
        names.service(service.name)
        names.namespace(self.where)
        await self._call("deregister", self.driver.deregister(self.where, service, owner=self.owner))

    async def get(self, name: str) -> builtins.list[ServiceRecord]:
        """Give the versions of a service, each with all its nodes; NotFound when it has none."""
        names.service(name)
        found = await self._call("get", self.driver.get(self.where, name))
        if not found:
            raise NotFound(f"registry.get [{self.plugin}]: not found: service {name!r}")
        return found

    async def services(self) -> builtins.list[ServiceRecord]:
        """Give all versions of all services, sorted by name."""
        return await self._call("services", self.driver.list(self.where))

    def watch(
        self, name: str | None = None, *, after: int | None = None, resume: bool = True
    ) -> AsyncGenerator[Event, None]:
        """Follow the registrations, or one service's: what exists, `Synced`, then changes, node by node.

        A change's key is a NodeKey, its item the version with that one node; a View puts them together. Goes on over
        breaks for ever unless `resume` is False; a Reset says to forget what was told.
        """
        self._require("watch", "watch")
        wanted = names.service(name) if name else ""

        def start(since: int | None) -> AsyncGenerator[Event, None]:
            return self._iterate("watch", self.driver.watch(self.where, name=wanted, after=since))

        return resuming(start, after=after) if resume else start(after)
