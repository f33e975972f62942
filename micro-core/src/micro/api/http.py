"""The embedded data plane of the gateway: HTTP/1.1, JSON in, JSON out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from micro import limits
from micro.plugin.settings import Count, Seconds, Settings, Size, setting
from micro.proxy.driver import DataPlane, Listen
from micro.rpc.driver import Dispatcher

if TYPE_CHECKING:
    from micro.api.door import Door
    from micro.api.gateway import Gateway
    from micro.api.handler import Streaming


class HttpSettings(Settings):
    """How the gateway answers HTTP."""

    cors_origins: list[str] = setting([], "whose pages may send credentials, such as https://shop.example")
    service_prefix: str = setting("", "that stands before the name of each service in the registry")
    timeout: Seconds = setting(30.0, "for a service's answer")
    max_body: Size = setting(limits.HTTP_BODY, "bytes of one request's body")
    max_bodies: Size = setting(64 * limits.MIB, "bytes of all bodies held at once")
    max_connections: Count = setting(Count(1000), "connections at once")
    grace: Seconds = setting(10.0, "that requests under way have to finish when the gateway stops")


class HttpApi(DataPlane, interface=1):
    """HTTP/1.1 over aiohttp, which is imported when the door opens."""

    settings_type = HttpSettings
    needs = frozenset({"routes"})
    imports = (
        "micro.api.console", "micro.api.cors", "micro.api.door", "micro.api.handler",
        "micro.api.resolve",
    )  # fmt: skip

    def __init__(self, settings: HttpSettings | None = None, *, routes: Streaming) -> None:
        """`routes` tell which endpoints stream."""
        self.settings = settings or HttpSettings()
        self.gateway: Gateway | None = None
        self._routes = routes
        self._door: Door | None = None

    async def start(self, listen: Listen, dispatcher: Dispatcher) -> list[str]:
        """Open the door; the dispatcher is to forward by an `Onward`."""
        from micro.api.cors import Cors
        from micro.api.door import Door
        from micro.api.gateway import Gateway
        from micro.api.handler import HttpHandler
        from micro.api.resolve import Resolver

        settings = self.settings
        self.gateway = Gateway(dispatcher, listen.transport, self._routes)
        handler = HttpHandler(
            self.gateway,
            self._routes,
            cors=Cors(settings.cors_origins),
            resolver=Resolver(settings.service_prefix),
            timeout=settings.timeout,
        )
        door = handler.door = self._door = Door(
            handler, connections=settings.max_connections, body=settings.max_body, bodies=settings.max_bodies
        )
        return [await door.start(listen.address, tls=listen.tls)]

    async def drain(self, *, grace: float) -> None:
        if self._door is not None:
            await self._door.drain(grace=grace)

    async def close(self) -> None:
        door, self._door = self._door, None
        if door is not None:
            await door.close()
        if self.gateway is not None:
            await self.gateway.close()
