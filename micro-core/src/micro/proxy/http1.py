"""Plain HTTP on the proxy's port, answered as the gateway does, for clients without gRPC."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from micro.api.door import Door
    from micro.api.gateway import Gateway
    from micro.api.handler import Streaming
    from micro.rpc.driver import Dispatcher, Transport


class Http1:
    """Makes the protocol of a connection that does not begin as HTTP/2 does.

    The gateway's part of the code is imported when the first one comes: most proxies never see any.
    """

    def __init__(self, dispatcher: Dispatcher, transport: Transport, routes: Streaming) -> None:
        """`dispatcher` forwards by an Onward; `routes` tell which endpoints stream."""
        self._dispatcher = dispatcher
        self._transport = transport
        self._routes = routes
        self._door: Door | None = None
        self._gateway: Gateway | None = None

    def __call__(self) -> asyncio.Protocol:
        door = self._door
        if door is None:
            door = self._door = self._made()
        return door()

    def _made(self) -> Door:
        from micro.api.cors import Cors
        from micro.api.door import Door
        from micro.api.gateway import Gateway
        from micro.api.handler import HttpHandler
        from micro.api.resolve import Resolver

        self._gateway = Gateway(self._dispatcher, self._transport)
        handler = HttpHandler(self._gateway, self._routes, cors=Cors(), resolver=Resolver())
        handler.door = Door(handler)
        return handler.door

    async def close(self) -> None:
        """End what is left of it."""
        if self._door is not None:
            await self._door.shutdown(0.01)
        if self._gateway is not None:
            await self._gateway.close()
