"""A real etcd."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from micro.testing.servers.server import Server, free_port, program


def etcd(folder: Path, *options: str) -> Server:
    """Make, not start, an etcd of one member."""
    path = program("etcd", "apt-get install --no-install-recommends etcd-server")
    peers: list[int] = []

    def command(folder: Path, port: int) -> list[str]:
        if not peers:
            peers.append(free_port())
        here, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peers[0]}"
        clients = ["--listen-client-urls", here, "--advertise-client-urls", here]
        members = ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
        cluster = ["--initial-cluster", f"default={peer}", "--logger", "zap", "--log-level", "warn"]
        return [path, "--data-dir", str(folder / "etcd"), *clients, *members, *cluster, *options]

    return Server(folder, command, healthy)


def healthy(port: int) -> bool:
    """Ask whether it has a leader; an open port alone says nothing of that."""
    with socket.create_connection(("127.0.0.1", port), 1) as connection:
        connection.settimeout(2)
        connection.sendall(b"GET /health HTTP/1.0\r\n\r\n")
        answer = b""
        while piece := connection.recv(1024):
            answer += piece
    return b'"health":"true"' in answer


@pytest.fixture(scope="session")
def etcd_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Give an etcd for the whole run; a test that stops one makes its own."""
    server = etcd(tmp_path_factory.mktemp("etcd"))
    server.start()
    yield server
    server.stop()
