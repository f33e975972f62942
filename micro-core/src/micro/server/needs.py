"""What a core service that was started alone needs of the others, and waiting until they are there.

Under the supervisor a service starts when its wave may; here nobody tells it, so it asks the others whether they answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from micro.context import CORE_SERVICES
from micro.errors import ConfigError, ServiceError, Unavailable
from micro.plugin import discovery
from micro.plugin.profile import Profile
from micro.proto import debug_pb2
from micro.rpc.client import RpcCaller

LIMIT = 30.0  # seconds to wait for all of them together
SOON = 1.0  # seconds until it is said what is waited for
EVERY = 0.1  # seconds between tries
ANSWER = 1.0  # seconds for an answer to one


def needed(name: str, profile: Profile) -> list[str]:
    """Name the services that a service's driver is handed, which it may call while it opens."""
    plugin = profile.plugin(name)
    needs = discovery.load(name, plugin).needs if plugin else frozenset()
    return [other for other in CORE_SERVICES if other in needs and other != name]


async def wait_for(
    others: list[str], name: str, addresses: Mapping[str, str], caller: RpcCaller, *, tell: Callable[[str], object]
) -> None:
    """Return when all answer; `tell` hears what is waited for, once for each that is not there soon.

    Raises Unavailable, naming service, need, address and cause, when the time is over.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    for other in others:
        address = addresses[other]
        if address.endswith(":0"):
            raise ConfigError(
                f"{name} needs {other}, and the profile lets it pick its port ({address}): "
                f"say where it is, --set {other}.address=HOST:PORT"
            )
        told = False
        while cause := await _missing(other, address, caller):
            past = loop.time() - began
            if past >= LIMIT:
                raise Unavailable(f"{name} needs {other} at {address}: {cause}")
            if not told and past >= SOON:
                told = True
                tell(f"{name} waits for {other} at {address}: {cause}")
            await asyncio.sleep(EVERY)


async def _missing(other: str, address: str, caller: RpcCaller) -> str:
    """Say why a service does not answer; empty when it does. Everybody may ask for its health."""
    try:
        await caller.call(
            other, "Debug.Health", debug_pb2.HealthRequest(), debug_pb2.HealthResponse, timeout=ANSWER, retries=0
        )
    except ServiceError as err:
        return err.detail.removesuffix(f": {address}") or type(err).__name__
    return ""
