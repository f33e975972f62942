"""How containers reach the platform: at their network's gateway, from which connections go on to the platform's door."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Mapping
from contextlib import suppress

from micro.errors import Unavailable
from micro.plugin.tables import is_loopback
from micro_runtime_docker.network import Network

PIECE = 256 * 1024  # bytes passed on at once
DOOR = "network"  # the core service whose door services use
_log = logging.getLogger(__name__)


class Bridge:
    """`variables` are what a container is told of the platform.

    The door listens on this machine's loopback, as a rule, which containers do not reach; so the gateway listens at the same port,
    and lets none in but containers of its network. Where the door listens elsewhere, containers are told that.
    """

    def __init__(self, network: Network, platform: str, addresses: Mapping[str, str]) -> None:
        self.variables: dict[str, str] = {}
        self._network = network
        self._platform = platform
        self._addresses = addresses
        self._subnet: ipaddress.IPv4Network | ipaddress.IPv6Network | None = None
        self._server: asyncio.Server | None = None
        self._ways: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Say where the platform is, and open the way there if it needs one; without a door there is nothing to say."""
        door = self._addresses.get(DOOR, "")
        if self._server is not None or not (door or self._platform):
            return
        where = self._platform or await self._reached(door)
        # whatever a container listens on is its own: it is found by its address on the network
        self.variables = {"MICRO_PROXY": where, "MICRO_SERVICE_ADDRESS": ":0"}

    async def close(self) -> None:
        """Close the way, and cut what goes through it."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for way in self._ways:
            way.cancel()
        await asyncio.gather(*self._ways, return_exceptions=True)

    async def _reached(self, door: str) -> str:
        """Give the address at which containers reach the door."""
        host, _, port = door.rpartition(":")
        everywhere = host.strip("[]") in {"0.0.0.0", "::"}  # noqa: S104 - it is looked for, not bound
        if not everywhere and not is_loopback(door):
            return door
        gateway, subnet = await self._network.place()
        if not gateway:
            return door  # the host's network, or none
        if not everywhere:
            self._subnet = ipaddress.ip_network(subnet) if subnet else None
            try:
                self._server = await asyncio.start_server(self._pass, gateway, int(port))
            except OSError as err:
                raise Unavailable(
                    f"containers cannot be let in at {gateway}:{port}, the gateway of network {self._network.name!r}: "
                    f"{err.strerror}; name runtime.platform if the engine is elsewhere"
                ) from err
        return f"{gateway}:{port}"

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._ways.add(task)
        task.add_done_callback(self._ways.discard)
        onward: asyncio.StreamWriter | None = None
        try:
            peer = ipaddress.ip_address(writer.get_extra_info("peername")[0])
            if self._subnet is not None and peer not in self._subnet:
                _log.warning("%s is no container of network %r, and not let in", peer, self._network.name)
                return
            host, _, port = self._addresses[DOOR].rpartition(":")
            answers, onward = await asyncio.open_connection(host.strip("[]"), int(port))
            async with asyncio.TaskGroup() as both:
                both.create_task(_copy(reader, onward))
                both.create_task(_copy(answers, writer))
        except* OSError:
            pass  # one side is gone, and so is the way
        finally:
            for each in (writer, onward):
                if each is not None:
                    each.close()


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while piece := await source.read(PIECE):
        sink.write(piece)
        await sink.drain()
    with suppress(OSError):
        sink.write_eof()
