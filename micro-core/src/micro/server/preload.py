"""What all core services' processes share, made once before they are forked.

A child pays twice for what it does itself: in time, ten times over, and in memory, for each function that it runs costs
it about 12 KiB: running one writes to the counts of references in its code, its names and whatever it touches, and each
of these is on a page that until then was shared. docs/performance.md has the figures.
"""

from __future__ import annotations

import importlib
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from micro.context import CORE_SERVICES
from micro.debug.logs import remember_logs
from micro.errors import ConfigError
from micro.plugin import discovery
from micro.plugin.profile import Profile
from micro.server import light

# What at least two of the ten need; `benchmarks/` tells when it is incomplete. Nothing that starts a thread.
SHARED = (
    "micro.server.child",
    "micro.auth.remote",
    "micro.debug.handler",
    "micro.debug.logs",
    "micro.registry.cache",
    "micro.registry.remote",
    "micro.rpc.health",
    "micro.rpc.reflection",
    "micro.rpc.tls",
    "micro.schema.dataclass_json",
    "micro.schema.descriptor_info",
    "micro.schema.free",
    "micro.schema.plan",
    "micro.store.api",
    "micro.store.remote",
    "google.protobuf.descriptor_pb2",
)
# The services themselves: a module that is imported here costs its own pages once, one that a child imports costs every
# page that importing touches. What is big and not ours (apsw, argon2) their drivers bring.
SERVICES = tuple(f"micro.{name}.service" for name in CORE_SERVICES)
STANDING = ("micro.debug.handler", "micro.rpc.health", "micro.rpc.reflection")  # what every process answers
HANDLERS = ("Handler", "Health", "ServerReflection")  # how the names of their handlers' classes end
FASTER = ("uvloop",)  # where there is a wheel
NGHTTP2 = (
    "micro.rpc.nghttp2.transport",
    "micro.rpc.nghttp2.listener",
    "micro.rpc.nghttp2.channel",
    "micro.rpc.nghttp2.forwarder",
    "encodings.idna",
)


def load(profile: Profile) -> None:
    """Import what the children share. The transport is every child's; plugins from elsewhere are not imported here."""
    light.unused()
    light.msgspec()
    chosen = NGHTTP2 if profile.transport == "nghttp2" and discovery.is_embedded("transport", "nghttp2") else ()
    for name in (*SHARED, *SERVICES, *chosen):
        importlib.import_module(name)
    if chosen:
        from micro.rpc.nghttp2 import scrub

        scrub.prepare()
    for name in FASTER:
        if find_spec(name) is not None:
            importlib.import_module(name)
    for name in (*CORE_SERVICES, "blobs"):
        plugin = profile.plugin(name)
        if plugin and discovery.is_embedded(name, plugin):
            _prepare_driver(profile, name, plugin)
    for name in (*SERVICES, *STANDING):
        _learn(sys.modules[name])
    from micro.server import child

    child.logs()  # stderr, which in each child is its own log
    remember_logs()


def keys(folder: Path) -> None:
    """Read the public keys, which each child begins with."""
    from micro.auth.reading import key_set
    from micro.auth.tokens import load_public

    key_set(load_public(str(folder)))


def _prepare_driver(profile: Profile, primitive: str, plugin: str) -> None:
    """Import one of our own drivers with its modules, but for the libraries that only one process needs; read its table."""
    driver = discovery.load(primitive, plugin)
    for name in driver.imports:
        if name.startswith("micro."):
            importlib.import_module(name)
    with suppress(ConfigError):  # the process that it is for says so
        profile.settings(primitive, driver.settings_type)


def _learn(module: ModuleType) -> None:
    """Read the endpoints of a service's handlers, and describe their messages."""
    from micro.rpc.endpoint import learn
    from micro.service.record import endpoints_of

    for value in list(vars(module).values()):
        if isinstance(value, type) and value.__name__.endswith(HANDLERS) and value.__module__.startswith("micro."):
            endpoints_of(learn(value).values())
