"""What a network's driver provides: routes with a time to live, a look-up, a watch, and peers. No I/O here."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import NamedTuple

from msgspec import Struct, field

from micro.plugin.driver import Change, Driver, Reset, Synced

LOCAL = "local"  # the link of a route to a node registered here


class Identity(NamedTuple):
    """What tells one route from another; as text it is the `key` of a Change."""

    service: str
    address: str
    gateway: str
    network: str
    router: str
    link: str

    def __str__(self) -> str:
        return "\n".join(self)


class Route(Struct):
    """One way to a service.

    `address` is the node's, `host:port`; `gateway`, if any, is where calls for it go instead; `network` the namespace;
    `router` who knows the way, `link` over what. The lowest `metric` is taken.
    """

    service: str
    address: str
    gateway: str = ""
    network: str = "micro"
    router: str = ""
    link: str = LOCAL
    metric: int = 1
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def identity(self) -> Identity:
        """All but metric and metadata."""
        return Identity(self.service, self.address, self.gateway, self.network, self.router, self.link)


class Query(Struct):
    """Which routes are wanted; what is empty matches all."""

    service: str = ""
    address: str = ""
    gateway: str = ""
    network: str = ""
    router: str = ""
    link: str = ""

    def matches(self, route: Route | Identity) -> bool:
        """Tell whether a route is wanted."""
        return (
            self.service in {"", route.service}
            and self.address in {"", route.address}
            and self.gateway in {"", route.gateway}
            and self.network in {"", route.network}
            and self.router in {"", route.router}
            and self.link in {"", route.link}
        )


class Peer(Struct):
    """Another network that this one is connected to, and those behind it."""

    id: str
    address: str
    network: str = "micro"
    metadata: Mapping[str, str] = field(default_factory=dict)
    peers: Sequence[Peer] = ()


Event = Change[Route] | Synced | Reset


class NetworkDriver(Driver, defines=1):
    """Knows routes.

    Arguments were validated. Capabilities: `watch`, `peers` (connects to other networks). After `close` every method
    raises FailedPrecondition.
    """

    @abstractmethod
    async def advertise(self, routes: Sequence[Route], *, ttl: float) -> None:
        """Offer routes for `ttl` seconds; again before that is over. Visible to `lookup` on return."""

    @abstractmethod
    async def withdraw(self, routes: Sequence[Route]) -> None:
        """Take back what was advertised; what was not is left alone."""

    @abstractmethod
    async def lookup(self, query: Query) -> list[Route]:
        """Give the routes that match, the lowest metric first."""

    @abstractmethod
    async def peers(self) -> list[Peer]:
        """Give the networks this one is connected to."""

    @abstractmethod
    async def connect(self, address: str) -> None:
        """Connect to another network; idempotent."""

    @abstractmethod
    def watch(self, query: Query, *, after: int | None = None) -> AsyncIterator[Event]:
        """Give the routes there are, `Synced`, then changes; a change's key is the Identity. See plugin/watch.py."""
