"""Addresses as text and as sockets know them."""

from __future__ import annotations


def split(address: str) -> tuple[str, int]:
    """Split `host:port`, `[::1]:port`; raises ValueError for anything else."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit() or (":" in host and not host.startswith("[")):
        raise ValueError(f"address {address!r} is not host:port")
    return host.strip("[]"), int(port)


def text(name: object) -> str:
    """Give a socket's name as `host:port`, an IPv6 host in brackets; "unix" for what has none."""
    if not isinstance(name, tuple) or len(name) < 2:
        return "unix"
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
