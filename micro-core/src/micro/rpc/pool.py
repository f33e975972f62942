"""The channels of one loop, one per address, made when first used."""

from __future__ import annotations

import asyncio
import ssl
import time
from typing import TYPE_CHECKING

from micro.rpc.driver import Channel, Limits, Transport

if TYPE_CHECKING:
    from micro.rpc.balance import Target

IDLE = 120.0  # seconds without a new call after which a channel may go, when another one is made


class Pool:
    """Channels by address. A transport opens further connections below a channel when one is full."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self._channels: dict[str, Channel] = {}
        self._used: dict[str, float] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def channel(self, target: Target) -> Channel:
        """Give the channel to a target."""
        return self._channels.get(target.address) or self._make(target)

    def _make(self, target: Target) -> Channel:
        now = time.monotonic()
        for address, channel in list(self._channels.items()):
            if channel.outstanding:
                self._used[address] = now
            elif now - self._used.get(address, now) > IDLE:
                self._close(self._channels.pop(address))
        limits = Limits(keepalive=target.keepalive) if target.keepalive else None
        channel = self.transport.channel(dialled(target.address), limits=limits, tls=_tls(target.address))
        self._channels[target.address] = channel
        self._used[target.address] = now
        return channel

    def _close(self, channel: Channel) -> None:
        task = asyncio.get_running_loop().create_task(channel.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """End all calls and connections."""
        channels, self._channels = list(self._channels.values()), {}
        await asyncio.gather(*(channel.close() for channel in channels), *self._closing, return_exceptions=True)


def encrypted(address: str) -> bool:
    """Tell whether an address means TLS: port 443, none at all, or `https://` before it."""
    if address.startswith("https://"):
        return True
    host, colon, port = address.rpartition(":")
    return not colon or port == "443" or (host.startswith("[") and port.endswith("]"))


def dialled(address: str) -> str:
    """Give an address as transports take it: `host:port`."""
    plain = address.removeprefix("https://").removeprefix("http://").rstrip("/")
    _, colon, port = plain.rpartition(":")
    return plain if colon and not port.endswith("]") else f"{plain}:443"


def _tls(address: str) -> ssl.SSLContext | None:
    if not encrypted(address):
        return None
    from micro.rpc.tls import client_context

    return client_context()
