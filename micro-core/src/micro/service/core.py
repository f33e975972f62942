"""What a core service is given when its process starts, and what it gives back.

Each primitive's `service.py` has `async def build(host: Host) -> Core`. The process's main (micro/server/child.py)
makes the host, awaits `build`, serves the core's handlers with Debug, health and reflection on the service's address,
registers it, reports ready; at the end it drains and awaits `Core.close`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from micro.plugin.driver import Driver
from micro.rpc.caller import Caller
from micro.rpc.driver import Dispatcher, Transport
from micro.rpc.guard import Guard

if TYPE_CHECKING:
    from micro.plugin.hooks import Hooks
    from micro.plugin.portable import Portable
    from micro.store.api import Store


class Host(ABC):
    """One core service's process, as the service sees it.

    `name` of the service; `profile` its profile's name, for showing only; `table` the service's merged table; `data`
    the data folder; `addresses` where the other core services are, as far as they are up (live: it grows and
    changes); `caller` calls as this service; `guard` decides about callers; `hooks` are the profile's, or None.
    `alive` is the read end of a pipe whose write end only the supervisor has, so that it closes when the supervisor is
    gone, however it went; -1 where there is none. Descriptors are not inheritable: pass it on by name. `leaving()` tells
    whether the whole server stops, in order, and this service with it.
    """

    name: str
    profile: str
    table: Mapping[str, Any]
    data: Path
    addresses: Mapping[str, str]
    transport: Transport
    caller: Caller
    guard: Guard
    hooks: Hooks | None = None
    alive: int = -1

    def leaving(self) -> bool:
        """See above."""
        return False

    @abstractmethod
    def driver(self, primitive: str, **parts: Any) -> tuple[Driver, str]:
        """Make, not open, the driver that the profile selects for a primitive; gives it with its plugin's name.

        The parts a driver `needs` are supplied: `data`, `caller`, `keys`, `store` (over remote), or given here.
        """

    @abstractmethod
    def store(self, table: str) -> Store:
        """Give a portable Store over the store service, database `micro`, at this table; opened lazily."""

    @abstractmethod
    def setting(self, primitive: str, key: str, default: Any) -> Any:
        """Read a key of another table of the profile."""


class Core:
    """A core service, built.

    `handlers` are objects whose public methods are endpoints, each with its handler's name (`("Store", obj)`).
    `dispatcher`, for proxy and network, wraps the server's own: `wrap(own) -> Dispatcher`. `addresses` are further
    doors it opened itself (`{"api": "127.0.0.1:8080"}`); the one under its own name is what the banner shows.
    `capabilities` and `plugin` are of its own driver; `others` has further drivers, by the handler that serves them.
    `ready` is awaited before the service says it is ready; `drain` first of all at the end, `close` last. `elected` is given
    what to call with whether this one serves, where one of several servers does: only then it is in the registry.
    """

    def __init__(
        self,
        handlers: Sequence[tuple[str, object]] = (),
        *,
        wrap: Callable[[Dispatcher], Dispatcher] | None = None,
        addresses: Mapping[str, str] | None = None,
        ready: Callable[[], Awaitable[None]] | None = None,
        drain: Callable[[], Awaitable[None]] | None = None,
        close: Callable[[], Awaitable[None]] | None = None,
        capabilities: Callable[[], frozenset[str]] = frozenset,
        plugin: str = "",
        others: Mapping[str, Portable[Any]] | None = None,
        elected: Callable[[Callable[[bool], None]], None] | None = None,
    ) -> None:
        self.handlers = list(handlers)
        self.wrap = wrap
        self.addresses = dict(addresses or {})
        self.ready = ready
        self.drain = drain
        self.close = close
        self.capabilities = capabilities
        self.plugin = plugin
        self.elected = elected
        self.others = dict(others or {})
