"""What every process serves beside its own endpoints: Debug, gRPC's health and its reflection."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Struct, field

from micro import limits
from micro.rpc.server import Server


class Facts(Struct):
    """What `Debug.Info` says of a handler's driver."""

    plugin: str = ""
    interface: int = 0
    capabilities: frozenset[str] = frozenset()
    limits: Mapping[str, int] = field(default_factory=lambda: {"message": limits.MESSAGE, "value": limits.VALUE})


def attach(
    server: Server,
    *,
    version: str = "latest",
    facts: Callable[[str], Facts] = lambda _handler: Facts(),
    reflection_needs_account: bool = False,
) -> None:
    """Let a server answer for its process. Before or after its own handlers; before it starts.

    `facts` is asked per handler (`""` is the first); doors that strangers knock at pass `reflection_needs_account`.
    """
    from micro.debug.handler import DebugHandler
    from micro.debug.logs import remember_logs
    from micro.rpc.health import Health
    from micro.rpc.reflection import PACKAGES, ServerReflection

    server.add_hidden(DebugHandler(server, remember_logs(), version=version, facts=facts), "Debug")
    server.add_hidden(Health(server), "Health", package="grpc.health.v1")
    for package in PACKAGES:
        reflection = ServerReflection(server, needs_account=reflection_needs_account)
        server.add_hidden(reflection, "ServerReflection", package=package)
