"""Looking whether all ports are free, before anything starts."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Mapping

LINGER = 1.0  # seconds that the processes of a killed server may still hold their ports


def split(address: str) -> tuple[str, int]:
    """Split `host:port`, the host without brackets."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def taken(addresses: Mapping[str, str], linger: float = LINGER) -> list[str]:
    """Say of each service's address why it cannot be bound; empty when all can.

    Waits a little for taken ones: a server that was killed a moment ago is still on its way out.
    """
    until = time.monotonic() + linger
    while True:
        problems = _problems(addresses)
        if not problems or time.monotonic() >= until:
            return problems
        time.sleep(0.05)


def _problems(addresses: Mapping[str, str]) -> list[str]:
    problems: list[str] = []
    seen: dict[str, str] = {}
    held: list[socket.socket] = []
    try:
        for service, address in addresses.items():
            if split(address)[1] == 0:
                continue
            if address in seen:
                problems.append(f"{service}: {address} is {seen[address]}'s address too")
                continue
            seen[address] = service
            try:
                held.append(_bound(address))
            except OSError as err:
                problems.append(f"{service}: {address} {_words(err)}")
    finally:
        for sock in held:
            sock.close()
    return problems


def _bound(address: str) -> socket.socket:
    host, port = split(address)
    family, kind, proto, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    sock = socket.socket(family, kind, proto)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # closed connections of a last server do not count
        sock.bind(where)
    except BaseException:
        sock.close()
        raise
    return sock


def _words(err: OSError) -> str:
    if err.errno == errno.EADDRINUSE:
        return "is taken by another program"
    if err.errno == errno.EACCES:
        return "needs more rights: ports below 1024 are the administrator's"
    if err.errno == errno.EADDRNOTAVAIL:
        return "is not an address of this machine"
    return f"cannot be bound: {err.strerror or err}"
