"""Serving one core service in this process: under the supervisor, or alone in the foreground."""

from __future__ import annotations

import asyncio
import importlib
import logging
import secrets
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from micro._version import __version__
from micro.context import CORE_NAMESPACE
from micro.plugin import discovery
from micro.registry.api import Registry
from micro.registry.driver import Node, ServiceRecord
from micro.registry.remote import RemoteRegistry
from micro.rpc.driver import Limits, Transport
from micro.rpc.server import Server
from micro.server import wiring
from micro.server.host import ProcessHost
from micro.server.registration import Registration, Trusted

if TYPE_CHECKING:
    from pathlib import Path

    from micro.plugin.hooks import Hooks
    from micro.plugin.profile import Profile
    from micro.rpc.credentials import TokenSource
    from micro.rpc.tls import TlsContext
    from micro.service.core import Core
from micro.service.record import endpoints_of

# Services whose `address` in the profile is no gRPC door, and which open that one themselves.
OPENS_ITS_OWN = frozenset({"api", "proxy"})
# Seconds for calls under way when a service stops. Those to the core take milliseconds: what is open after this are
# watches, which end by nothing else, and resume by themselves. The edge's own doors drain by their drivers' settings.
GRACE = 1.0
KEEPALIVE = "20"  # seconds between pings that our nodes allow their callers
_log = logging.getLogger("micro.server")


class Serving:
    """One core service, from its settings to its registration. Belongs to one loop.

    `addresses` is where the other core services are, live; `pinned` where this one was in its last life.
    """

    def __init__(
        self,
        name: str,
        profile: Profile,
        data: Path,
        *,
        addresses: Mapping[str, str],
        token: TokenSource,
        pinned: Mapping[str, str] | None = None,
        alive: int = -1,
        leaving: Callable[[], bool] = bool,
    ) -> None:
        self.name = name
        self.hooks = _hooks(profile)
        self._profile = profile
        self._pinned = dict(pinned or {})
        self._transport = transport_of(profile)
        self._caller = wiring.caller(self._transport, addresses, token)
        self._guard = wiring.guard(name, data, self._caller)
        self.host = ProcessHost(
            name,
            profile,
            data,
            addresses=addresses,
            pinned=self._pinned,
            transport=self._transport,
            caller=self._caller,
            guard=self._guard,
            hooks=self.hooks,
            alive=alive,
            leaving=leaving,
        )
        self._core: Core | None = None
        self._server: Server | None = None
        self._registration: Registration | None = None
        self._unfollowing: asyncio.Task[None] | None = None
        self._unlisting: asyncio.Task[None] | None = None
        self._address = ""

    def imports(self) -> None:
        """Import what the service needs, so that it starts at once when its turn comes; opens nothing."""
        importlib.import_module(f"micro.{self.name}.service")
        plugin = self._profile.plugin(self.name)
        for name in discovery.load(self.name, plugin).imports if plugin else ():
            importlib.import_module(name)

    async def start(self) -> dict[str, str]:
        """Build the service and open its doors; gives their addresses, the one under its own name for people."""
        if self.hooks is not None:
            self.hooks.starting(self.name)
        await self._transport.open()
        await self._guard.start()
        module = importlib.import_module(f"micro.{self.name}.service")
        core: Core = await module.build(self.host)
        self._core = core
        _heed()
        server = self._server = self._made(core)
        for handler, one in core.handlers:
            server.add(one, handler)
        wiring.furnish(server, core, self.host.interface)
        key = f"{self.name}.rpc" if self.name in OPENS_ITS_OWN else self.name
        door = self._pinned.get(key) or self._door()
        self._address = await server.start(door, tls=self._tls(), wrap=core.wrap)
        if core.ready is not None:
            await core.ready()
        await self._checked()
        _heed()
        return {key: self._address, **core.addresses}

    def _door(self) -> str:
        return "127.0.0.1:0" if self.name in OPENS_ITS_OWN else str(self.host.table["address"])

    def _made(self, core: Core) -> Server:
        interceptors = self.hooks.gather("call_interceptor", name=self.name) if self.hooks is not None else []
        limits: Mapping[str, Any] = self.host.table.get("limits") or {}
        return Server(
            self.name,
            transport=self._transport,
            guard=self._guard,
            namespace=CORE_NAMESPACE,
            limits=Limits(**limits) if limits else None,
            core=True,
            interceptors=interceptors,
        )

    def _tls(self) -> TlsContext | None:
        table = self.host.table.get("tls")
        if not table or self.name in OPENS_ITS_OWN:
            return None
        from micro.rpc.tls import server_context

        return server_context(table["cert"], table["key"], client_ca=table.get("client_ca"))

    async def _checked(self) -> None:
        if self.hooks is not None:
            for check in self.hooks.gather("readiness_check", name=self.name):
                await check

    def register(self, told: Callable[[], Any]) -> None:
        """Keep the service in the registry; `told` is called when it is there for the first time."""
        assert self._core is not None
        if self.hooks is not None:
            self.hooks.tell("service_ready", name=self.name, address=self._address)
        registry: Registry | Trusted = Trusted(RemoteRegistry(caller=self._caller))
        if self.name == "registry":
            from micro.registry.service import own

            registry = own(self._core)
        self._registration = Registration(registry, self._record(), told)
        if self._core.elected is None:
            self._registration.start()
        else:
            self._core.elected(self._elected)
            told()  # one that stands by is there, too

    def _elected(self, serves: bool) -> None:
        """Be in the registry while this one of several servers serves."""
        assert self._registration is not None
        if serves:
            self._registration.start()
        else:
            self._unlisting = asyncio.create_task(self._registration.stop())

    def _record(self) -> ServiceRecord:
        assert self._server is not None
        node = Node(
            f"{self.name}-{secrets.token_hex(8)}",
            str(self.host.table.get("advertise") or self._address),
            {"protocol": "grpc", "keepalive": KEEPALIVE, "interface": "1", "version": __version__},
        )
        return ServiceRecord(self.name, endpoints=endpoints_of(self._server.endpoints), nodes=[node])

    async def unfollow(self) -> None:
        """Follow auth no more, and decide by what is known: a watch of ours would keep it from stopping. Idempotent."""
        if self._unfollowing is None:
            self._unfollowing = asyncio.create_task(self._guard.close(), name="unfollow")
        await asyncio.shield(self._unfollowing)

    async def stop(self) -> None:
        """Drain: leave the registry, finish the calls under way, close what was opened.

        Safe after a start that failed; a step that fails is logged, and the others are still taken.
        """
        if self.hooks is not None:
            self.hooks.tell("service_stopping", name=self.name)
        core, server = self._core, self._server
        steps = [
            self._registration.stop if self._registration is not None else None,
            self.unfollow,
            core.drain if core is not None else None,
            partial(server.stop, grace=GRACE) if server is not None else None,
            core.close if core is not None else None,
            self._caller.close,
            self._transport.close,
        ]
        for step in steps:
            if step is not None:
                try:
                    await step()
                except Exception:  # whatever a service's own clean-up raises
                    _log.exception("%s did not stop cleanly", self.name)


def _heed() -> None:
    """End the start here if that was asked for meanwhile: some client libraries of drivers swallow a cancellation."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _hooks(profile: Profile) -> Hooks | None:
    if not profile.hooks:
        return None
    from micro.plugin import hooks

    return hooks.load(profile.hooks)


def transport_of(profile: Profile) -> Transport:
    """Make the transport that the profile names; not opened."""
    cls: Any = discovery.load("transport", profile.transport)
    made: Transport = cls()
    return made
