"""Which service and endpoint a path names at a door that passes calls on; there is one way to write each, and no other.

Whatever a backend would make of an odd path, nobody decides on another reading of it than the one that goes on.
"""

from __future__ import annotations

import re

from micro.context import CORE_SERVICES

_CANONICAL = re.compile(
    rb"/((?:[A-Za-z0-9_][A-Za-z0-9_-]*\.)+)([A-Za-z_][A-Za-z0-9_]*)/([A-Za-z_][A-Za-z0-9_]*)", re.ASCII
)
_NAMELESS = re.compile(rb"/[A-Za-z_][A-Za-z0-9_]*/[A-Za-z_][A-Za-z0-9_]*", re.ASCII)

# What every process has beside its own endpoints, at these services' exact paths.
_EVERYWHERE = frozenset({"grpc.health.v1", "grpc.reflection.v1", "grpc.reflection.v1alpha"})
# Endpoints that answer anybody, whatever token they bear: an expired login must be able to log in again.
_PUBLIC = frozenset({("auth", "Auth.Token"), ("auth", "Auth.Inspect")})


class Plan:
    """What a path names: read once, then remembered.

    `local`: the door's own process answers. `core`: the service is the platform's. `public`: nobody is identified.
    """

    __slots__ = ("core", "endpoint", "local", "public", "service")

    def __init__(self, service: str, endpoint: str, own: str) -> None:
        self.service = service
        self.endpoint = endpoint
        self.local = service == own or service in _EVERYWHERE
        self.core = service in CORE_SERVICES
        self.public = endpoint == "Debug.Health" or (service, endpoint) in _PUBLIC


def read(path: bytes, own: str) -> Plan | None:
    """Read a path at the door of the service `own`; None for one that is not canonical."""
    match = _CANONICAL.fullmatch(path)
    if match is None:
        return None
    return Plan(match[1][:-1].decode(), f"{match[2].decode()}.{match[3].decode()}", own)


def nameless(path: bytes) -> bool:
    """Tell whether a path is canonical but for the service, which it leaves out."""
    return _NAMELESS.fullmatch(path) is not None
