"""Binding a door without looking its address up."""

from __future__ import annotations

import socket


def bound(host: str, port: int) -> socket.socket | None:
    """Bind a socket to a plain IPv4 address; None for any other host, which has to be looked up.

    A loop would look up this one too, and uvloop starts four threads for the first look-up.
    """
    if not host.replace(".", "").isdigit():
        return None
    # the protocol is named because asyncio sends small packets at once only where it is: else they wait 40 ms for others
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setblocking(False)
        sock.bind((host, port))
    except BaseException:
        sock.close()
        raise
    return sock
