"""What all core services' processes share, imported once before they are forked."""

from __future__ import annotations

import importlib

from micro.plugin import discovery
from micro.plugin.profile import Profile

# Nothing here that only one service needs (apsw, argon2, cryptography, aiohttp), and nothing that starts a thread.
SHARED = (
    "asyncio",
    "ctypes",
    "json",
    "logging",
    "uvloop",
    "msgspec",
    "google.protobuf.message",
)


def load(profile: Profile) -> None:
    """Import what the children share. The transport is every child's; plugins are not imported here."""
    for name in SHARED:
        importlib.import_module(name)
    if discovery.is_embedded("transport", profile.transport) and profile.transport != "grpcio":
        discovery.load("transport", profile.transport)
