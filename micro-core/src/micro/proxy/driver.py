"""What a data plane provides: a door for strangers whose calls go where a dispatcher sends them. No I/O here."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from msgspec import Struct, field

from micro.plugin.driver import Driver
from micro.rpc.driver import Dispatcher, Http1, Limits, Transport, edge

if TYPE_CHECKING:
    import ssl


class Listen(Struct):
    """A door to be opened: where, by which transport, within which limits; `http1` answers plain HTTP on it."""

    address: str
    transport: Transport
    limits: Limits = field(default_factory=edge)
    tls: ssl.SSLContext | None = None
    http1: Http1 | None = None


class DataPlane(Driver, defines=1):
    """Carries the calls of clients outside to the services inside.

    What may pass, and where it goes, the dispatcher decides call by call; what a data plane brings is the door.
    """

    @abstractmethod
    async def start(self, listen: Listen, dispatcher: Dispatcher) -> list[str]:
        """Open the door and give the bound addresses; OSError for a taken one. Once."""

    @abstractmethod
    async def drain(self, *, grace: float) -> None:
        """Take no more calls, let those under way finish for up to `grace` seconds, then cut. Idempotent."""
