"""Real backends for whole platforms: Redis, S3, NATS and etcd, and a profile that names them."""

from __future__ import annotations

from pathlib import Path

from micro.testing.platform import Platform
from micro.testing.servers import Server
from micro.testing.servers.etcd import etcd
from micro.testing.servers.nats import nats
from micro.testing.servers.redis import redis
from micro.testing.servers.s3 import KEY, SECRET, s3

SEALING = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="  # the key of secrets, the same at each server
PROFILE = """
[profile.shared]
extends = "local"
[profile.shared.store]
plugin = "redis"
url = "redis://127.0.0.1:{redis}/0"
timeout = "2s"
[profile.shared.blobs]
plugin = "s3"
endpoint = "http://127.0.0.1:{s3}"
access_key = "{key}"
secret_key = "{secret}"
[profile.shared.broker]
plugin = "nats"
url = "nats://127.0.0.1:{nats}"
timeout = "2s"
[profile.shared.events]
plugin = "nats"
url = "nats://127.0.0.1:{nats}"
timeout = "2s"
[profile.shared.registry]
plugin = "etcd"
endpoints = ["http://127.0.0.1:{etcd}"]
timeout = "2s"
[profile.shared.config]
secret_key = "{sealing}"
[profile.shared.auth]
admin_secret = "the admin of all servers"
"""


class Backends:
    """One of each, and the servers that share them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.platforms: list[Platform] = []
        self.config = folder / "micro.toml"
        self.all: dict[str, Server] = {
            name: make(self._folder(name))
            for name, make in (("redis", redis), ("nats", nats), ("etcd", etcd), ("s3", s3))
        }

    def _folder(self, name: str) -> Path:
        made = self.folder / name
        made.mkdir()
        return made

    def start(self) -> None:
        """Start the backends, and write the profile."""
        for server in self.all.values():
            server.start()
        ports = {name: server.port for name, server in self.all.items()}
        self.config.write_text(PROFILE.format(**ports, key=KEY, secret=SECRET, sealing=SEALING))

    def platform(self, name: str) -> Platform:
        """Make, not start, a server that shares them."""
        made = Platform(self._folder(name), profile="shared", extra=["--config", str(self.config)])
        self.platforms.append(made)
        return made

    def stop(self) -> None:
        """End the servers, then the backends."""
        for platform in self.platforms:
            platform.end()
        for server in self.all.values():
            server.stop()
