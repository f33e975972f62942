"""A bucket: boto3 on threads of its own, one call of S3 a method."""

from __future__ import annotations

import asyncio
import math
import uuid
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote

from micro import limits
from micro.errors import Code, FailedPrecondition
from micro.plugin.driver import Driver
from micro_blobs_s3.settings import S3Settings

T = TypeVar("T")
PIECE = limits.MIB  # bytes read from an answer at once

# What S3 calls its errors, and what they are. Others go by their HTTP status.
_CODES = {
    "NoSuchBucket": Code.FAILED_PRECONDITION,
    "InvalidBucketName": Code.INVALID_ARGUMENT,
    "KeyTooLongError": Code.INVALID_ARGUMENT,
    "InvalidAccessKeyId": Code.UNAUTHENTICATED,
    "SignatureDoesNotMatch": Code.UNAUTHENTICATED,
    "ExpiredToken": Code.UNAUTHENTICATED,
    "InvalidToken": Code.UNAUTHENTICATED,
    "RequestTimeTooSkewed": Code.UNAUTHENTICATED,
    "EntityTooLarge": Code.RESOURCE_EXHAUSTED,
    "QuotaExceeded": Code.RESOURCE_EXHAUSTED,
    "SlowDown": Code.UNAVAILABLE,
    "RequestTimeout": Code.DEADLINE_EXCEEDED,
}
_STATUS = {
    400: Code.INTERNAL,  # we asked in a wrong way
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.NOT_FOUND,
    409: Code.ABORTED,
    412: Code.ABORTED,
    429: Code.RESOURCE_EXHAUSTED,
    507: Code.RESOURCE_EXHAUSTED,
}


class Bucket(Driver):
    """One bucket of an S3 server. A call that is cancelled goes on in its thread; its answer is nobody's."""

    settings_type = S3Settings

    def __init__(self, settings: S3Settings) -> None:
        self._settings = settings
        self._pool: ThreadPoolExecutor | None = None
        self._client: Any = None

    async def open(self) -> None:
        """Connect, find or make the bucket, and see that it keeps something: a server that answers may not yet."""
        self._pool = ThreadPoolExecutor(self._settings.connections, thread_name_prefix="blobs-s3")
        await self._run(self._connect)
        await self._found()
        probe = self.name("", f".probe-{uuid.uuid4().hex}")
        await self.call("put_object", Key=probe, Body=b"1")
        await self.call("delete_object", Key=probe)

    async def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:  # calls under way end by their own time
            await asyncio.to_thread(pool.shutdown, cancel_futures=True)
        client, self._client = self._client, None
        if client is not None:
            await asyncio.to_thread(client.close)

    def error_code(self, exc: Exception) -> int:
        from botocore import exceptions as bx

        match exc:
            case bx.ClientError():
                answer = getattr(exc, "response", {})
                status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
                named = _CODES.get(answer.get("Error", {}).get("Code", ""))
                return (
                    named
                    if named is not None
                    else _STATUS.get(status, Code.UNAVAILABLE if status >= 500 else Code.INTERNAL)
                )
            case bx.ReadTimeoutError() | bx.ConnectTimeoutError() | TimeoutError():
                return Code.DEADLINE_EXCEEDED
            case (
                bx.NoCredentialsError()
                | bx.PartialCredentialsError()
                | bx.CredentialRetrievalError()
                | bx.TokenRetrievalError()
            ):
                return Code.UNAUTHENTICATED
            case bx.ConnectionError() | bx.HTTPClientError() | bx.IncompleteReadError() | OSError():
                return Code.UNAVAILABLE
            case bx.BotoCoreError():
                return Code.INTERNAL
        return Code.UNKNOWN

    def name(self, namespace: str, etag: str) -> str:
        """Give the key of an object."""
        folder = quote(namespace, safe="")
        folder = folder if folder.strip(".") else folder.replace(".", "%2E")  # servers take no `..` between slashes
        return "/".join(part for part in (self._settings.prefix, folder, etag) if part)

    async def call(self, method: str, **named: Any) -> Any:
        """Make one call of the bucket."""
        return await self._run(lambda: getattr(self._client, method)(Bucket=self._settings.bucket, **named))

    async def url(self, key: str, content_type: str, expires: float) -> str:
        """Sign an address of an object; nothing is asked."""
        given = {"Bucket": self._settings.bucket, "Key": key}
        if content_type:
            given["ResponseContentType"] = content_type
        return await self._run(
            lambda: str(self._client.generate_presigned_url("get_object", Params=given, ExpiresIn=math.ceil(expires)))
        )

    @asynccontextmanager
    async def reading(self, key: str, start: int, end: int) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open an object's bytes from `start` to before `end`, which is after it; ClientError when it is not there."""
        work = asyncio.ensure_future(self.call("get_object", Key=key, Range=f"bytes={start}-{end - 1}"))
        try:
            answer = await asyncio.shield(work)
        except asyncio.CancelledError:
            work.add_done_callback(_closed)
            raise
        body = answer["Body"]
        try:
            yield self._pieces(body, end - start)
        finally:
            body.close()

    async def _pieces(self, body: Any, wanted: int) -> AsyncIterator[bytes]:
        while wanted > 0 and (piece := await self._run(partial(body.read, PIECE))):
            wanted -= len(piece)
            yield piece

    async def _found(self) -> None:
        """See that the bucket is there. What else is wrong the first object tells: an answer to HEAD has no words."""
        from botocore.exceptions import ClientError

        try:
            await self.call("head_bucket")
        except ClientError as exc:
            if exc.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
                return
            if not self._settings.create:
                words = f"there is no bucket {self._settings.bucket!r}: make it, or set create = true"
                raise FailedPrecondition(words) from exc
            await self.call("create_bucket", **self._region())

    def _region(self) -> dict[str, Any]:
        if self._settings.endpoint or self._settings.region in {"", "us-east-1"}:
            return {}
        return {"CreateBucketConfiguration": {"LocationConstraint": self._settings.region}}

    async def _run(self, work: Callable[[], T]) -> T:
        if self._pool is None:
            raise FailedPrecondition("the blob store is closed")
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def _connect(self) -> None:
        import boto3  # half a second; only who opens a bucket needs it
        from botocore.config import Config
        from botocore.handlers import add_expect_header

        given = self._settings
        elsewhere: dict[str, Any] = {}
        if given.endpoint:  # what only resembles S3: no bucket in the host's name, no sums in trailers
            elsewhere = {
                "s3": {"addressing_style": "path"},
                "request_checksum_calculation": "when_required",
                "response_checksum_validation": "when_required",
            }
        options = Config(
            connect_timeout=given.connect_timeout,
            read_timeout=given.timeout,
            retries={"total_max_attempts": 1},  # the portable class repeats what may be repeated
            max_pool_connections=given.connections,
            signature_version="s3v4",  # of addresses, too, whatever the region
            **elsewhere,
        )
        secret = given.secret_key.reveal()
        self._client = boto3.session.Session().client(
            "s3",
            endpoint_url=given.endpoint or None,
            region_name=given.region or None,
            aws_access_key_id=given.access_key or None,
            aws_secret_access_key=secret or None,
            verify=given.ca or None,
            config=options,
        )
        # It would wait to be told to go on; cut off just then, its thread reads on for ever (botocore 1.44). A part is small.
        self._client.meta.events.unregister("before-call.s3", add_expect_header)


def _closed(work: asyncio.Future[Any]) -> None:
    """Close what nobody waits for any more."""
    if not work.cancelled() and work.exception() is None:
        work.result()["Body"].close()
