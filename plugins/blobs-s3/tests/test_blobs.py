"""S3Blobs is a blob store, whatever the size of its parts; and its life, with an S3 server that is away, silent and back."""

from collections.abc import AsyncIterator

import pytest
from botocore import exceptions as bx

from micro.store.api import Store
from micro.store.memory import MemoryStore
from micro.testing.backend import BackendSuite
from micro.testing.blobs import BlobsSuite
from micro.testing.door import Door
from micro.testing.lifecycle import Make
from micro.testing.servers.s3 import BUCKET, KEY, SECRET, S3Server
from micro_blobs_s3 import S3Blobs, S3Settings

TIMEOUT = 1.0  # seconds that it waits for an answer


def settings(url: str, **more: object) -> S3Settings:
    return S3Settings(endpoint=url, bucket=BUCKET, access_key=KEY, secret_key=SECRET, region="us-east-1", **more)


class TestS3Blobs(BlobsSuite):
    @pytest.fixture
    async def driver(self, s3_server: S3Server) -> AsyncIterator[S3Blobs]:
        async with S3Blobs(settings(s3_server.url), store=Store(MemoryStore())) as driver:
            yield driver


class TestS3BlobsLife(BackendSuite):
    library = (bx.BotoCoreError, bx.ClientError, OSError)
    patience = TIMEOUT + 1.0
    through = ("write",)  # what is known of a blob, the store knows

    def raised(self, cls: type[Exception]) -> Exception:
        if issubclass(cls, bx.ClientError):
            answer = {"Error": {"Code": "SlowDown"}, "ResponseMetadata": {"HTTPStatusCode": 503}}
            return bx.ClientError(answer, "PutObject")
        return super().raised(cls)

    @pytest.fixture
    def target(self, s3_server: S3Server) -> str:
        return f"127.0.0.1:{s3_server.port}"

    @pytest.fixture
    def make(self, door: Door) -> Make:
        given = settings(f"http://{door.address}", connect_timeout=TIMEOUT, timeout=TIMEOUT)
        return lambda: S3Blobs(given, store=Store(MemoryStore()))
