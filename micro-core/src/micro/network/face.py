"""The functions a service calls: this process's network, in its namespace."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from micro.network.api import Network
    from micro.network.driver import Peer, Route


def _network() -> Network:
    from micro.service.process import current

    return current().network


async def routes(service: str | None = None) -> list[Route]:
    """Give the routes there are, or those to one service: see Network.routes."""
    return await _network().routes(service)


async def peers() -> list[Peer]:
    """Give the networks this one is connected to: see Network.peers."""
    return await _network().peers()
