"""Keys of a profile that belong to no driver: the profile's own, every service's, and those of single services."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from micro.plugin.discovery import PRIMITIVES
from micro.plugin.settings import RESERVED, Secret, Settings, duration, setting, size

TABLES = tuple(name for name in PRIMITIVES if name != "transport")
TOP = ("extends", "transport", "insecure", "trusted_addresses", "hooks")


class ConfigKeys(Settings):
    """Config's."""

    secret_key: Secret[str] = setting(Secret(""), "32 bytes in base64 that seal secrets; empty: secret.key's")


SERVICE_KEYS: dict[str, type[Settings]] = {"config": ConfigKeys}

# rpc.driver.Limits' fields, with how each is read.
LIMITS: dict[str, Callable[[object], float]] = {
    "message": size,
    "header_bytes": size,
    "window": size,
    "streams": size,
    "connections": size,
    "reset_burst": size,
    "reset_rate": size,
    "preface_timeout": duration,
    "idle": duration,
    "keepalive": duration,
    "keepalive_timeout": duration,
    "max_age": duration,
    "max_age_grace": duration,
}
TLS = ("cert", "key", "client_ca")


def service_keys(table: str) -> Mapping[str, Any]:
    """Give the settings that a service has besides its driver's, by key."""
    found = SERVICE_KEYS.get(table)
    return found.__settings__ if found is not None else {}


def own_keys(table: str) -> frozenset[str]:
    """Give the keys of a table that are not its driver's."""
    return RESERVED | frozenset(service_keys(table))


def address(value: object) -> str:
    """Read `host:port`; raises ValueError."""
    if not isinstance(value, str):
        raise ValueError(f"expected 'host:port', got {value!r}")
    host, colon, port = value.rpartition(":")
    if not colon or not port.isascii() or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"expected 'host:port' with a port of 0 to 65535, got {value!r}")
    if not host:
        raise ValueError(f"needs a host: '127.0.0.1:{port}' (this machine) or '0.0.0.0:{port}' (every interface)")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise ValueError(f"an IPv6 host stands in brackets, '[::1]:{port}'; got {value!r}")
    return value


def is_loopback(value: str) -> bool:
    """Tell whether an address is reachable from this machine only."""
    host = value.rpartition(":")[0].strip("[]")
    return host in {"localhost", "::1"} or (host.startswith("127.") and host.replace(".", "").isdecimal())


def flag(value: object) -> bool:
    """Read a boolean; raises ValueError."""
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return value == "true"
    raise ValueError(f"expected true or false, got {value!r}")


def strings(value: object) -> list[str]:
    """Read a list of texts, or a comma list as `--set` gives it; raises ValueError."""
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"expected a list of texts, got {value!r}")
    return list(value)


def text(value: object) -> str:
    """Read a text that is not empty; raises ValueError."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"expected a text, got {value!r}")
    return value


def workers(value: object) -> int:
    """Read how many processes a service has; one, so far; raises ValueError."""
    if isinstance(value, bool) or value not in (1, "1"):
        raise ValueError(f"a service has one process so far, got {value!r}")
    return 1


def _limits(value: object) -> dict[str, float]:
    if not isinstance(value, Mapping):
        raise ValueError(f"expected a table, got {value!r}")
    unknown = [key for key in value if key not in LIMITS]
    if unknown:
        raise ValueError(f"unknown limit {unknown[0]!r}; known: {', '.join(sorted(LIMITS))}")
    return {key: LIMITS[key](item) for key, item in value.items()}


def _tls(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping) or not {"cert", "key"} <= set(value) <= set(TLS):
        raise ValueError("expected a table with cert and key (files in PEM), and perhaps client_ca")
    return {key: text(item) for key, item in value.items()}


RESERVED_READERS: dict[str, Callable[[object], Any]] = {
    "plugin": text,
    "address": address,
    "advertise": address,
    "tls": _tls,
    "workers": workers,
    "limits": _limits,
}
