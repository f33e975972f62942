"""What all core services' processes share, imported once before they are forked."""

from __future__ import annotations

import importlib
import sys
from importlib.util import find_spec

from micro.context import CORE_SERVICES
from micro.plugin import discovery
from micro.plugin.profile import Profile

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
    "google.protobuf.text_format",  # protobuf's own message classes ask for it when the first one is made
)
# The services themselves, for they are small: a module that is imported here costs its own pages once, one that a
# child imports costs every page that importing touches. What is big (apsw, argon2, aiohttp) their drivers bring.
SERVICES = tuple(f"micro.{name}.service" for name in CORE_SERVICES if name != "api")
FASTER = ("uvloop",)  # where there is a wheel
NGHTTP2 = (
    "micro.rpc.nghttp2.transport",
    "micro.rpc.nghttp2.listener",
    "micro.rpc.nghttp2.channel",
    "micro.rpc.nghttp2.forwarder",
    "encodings.idna",
)


def load(profile: Profile) -> None:
    """Import what the children share. The transport is every child's; plugins are not imported here."""
    _msgspec()
    chosen = NGHTTP2 if profile.transport == "nghttp2" and discovery.is_embedded("transport", "nghttp2") else ()
    for name in (*SHARED, *SERVICES, *chosen):
        importlib.import_module(name)
    for name in FASTER:
        if find_spec(name) is not None:
            importlib.import_module(name)


def _msgspec() -> None:
    """Import msgspec without `typing_extensions`, of which it wants what `typing` has, and which takes 20 ms."""
    if "typing_extensions" in sys.modules:
        return
    sys.modules["typing_extensions"] = None  # type: ignore[assignment]  # how the import system is told: not there
    try:
        importlib.import_module("msgspec")
    finally:
        del sys.modules["typing_extensions"]
