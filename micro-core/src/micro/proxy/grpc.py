"""The embedded data plane: a listener of this process's own transport."""

from __future__ import annotations

from micro.plugin.settings import Seconds, Settings, setting
from micro.proxy.driver import DataPlane, Listen
from micro.rpc.driver import Dispatcher, Listener


class GrpcSettings(Settings):
    """How the proxy's door stops."""

    grace: Seconds = setting(10.0, "that calls under way have to finish when the proxy stops")


class GrpcProxy(DataPlane, interface=1):
    """gRPC in, gRPC out."""

    settings_type = GrpcSettings

    def __init__(self, settings: GrpcSettings | None = None) -> None:
        self.settings = settings or GrpcSettings()
        self._listener: Listener | None = None

    async def start(self, listen: Listen, dispatcher: Dispatcher) -> list[str]:
        self._listener = listen.transport.listener(dispatcher, limits=listen.limits, http1=listen.http1)
        return [await self._listener.start(listen.address, tls=listen.tls)]

    async def drain(self, *, grace: float) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            await listener.drain(grace=grace)

    async def close(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            await listener.close()
