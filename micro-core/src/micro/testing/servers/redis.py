"""A real Redis."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from micro.testing.servers.server import Server, program


def redis(folder: Path, *options: str) -> Server:
    """Make, not start, a Redis whose acknowledged writes are on disk."""
    path = program("redis-server", "apt-get install --no-install-recommends redis-server")

    def command(folder: Path, port: int) -> list[str]:
        fixed = ["--bind", "127.0.0.1", "--dir", str(folder), "--daemonize", "no", "--save", ""]
        return [path, "--port", str(port), *fixed, "--appendonly", "yes", "--appendfsync", "always", *options]

    def answers(port: int) -> bool:
        with socket.create_connection(("127.0.0.1", port), 1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))

    return Server(folder, command, answers)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Give a Redis for the whole run; a test that stops or fills one makes its own."""
    server = redis(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()
