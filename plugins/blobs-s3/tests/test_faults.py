"""What S3Blobs says and leaves: wrong credentials, no bucket, large blobs in parts, and what crashes and cancels left."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from micro import limits
from micro.blobs.api import Blobs
from micro.errors import DeadlineExceeded, FailedPrecondition, NotFound, Unauthenticated, Unavailable
from micro.store.api import Store
from micro.store.memory import MemoryStore
from micro.testing.blobs import pattern
from micro.testing.servers import free_port
from micro.testing.servers.s3 import BUCKET, KEY, SECRET, S3Server, client, s3
from micro.testing.store import unique
from micro_blobs_s3 import S3Blobs, S3Settings
from micro_blobs_s3.blobs import PENDING

PART = 5 * limits.MIB


class World:
    """A portable blob store in a prefix of its own, its records, and what is in the bucket."""

    def __init__(self, server: S3Server, **more: Any) -> None:
        self.prefix = unique("p")
        given = {"endpoint": server.url, "bucket": BUCKET, "access_key": KEY, "secret_key": SECRET} | more
        self.settings = S3Settings(**given, region="us-east-1", prefix=self.prefix, part_size=PART)
        self.store = Store(MemoryStore())
        self.raw: Any = client(server.port)
        self.blobs = self.made()

    def made(self) -> Blobs:
        return Blobs(S3Blobs(self.settings, store=self.store), plugin="s3")

    def objects(self) -> list[str]:
        found = self.raw.list_objects_v2(Bucket=BUCKET, Prefix=self.prefix)
        return [each["Key"] for each in found.get("Contents", [])]

    def uploads(self) -> list[str]:
        found = self.raw.list_multipart_uploads(Bucket=BUCKET)
        return [each["Key"] for each in found.get("Uploads", []) if each["Key"].startswith(self.prefix)]

    async def settled(self, objects: int) -> None:
        """Wait until there are so many objects, no uploads, and nothing noted."""
        end = time.monotonic() + 10
        while True:
            noted = await self.store.table(PENDING).list()
            found = (len(self.objects()), self.uploads(), noted)
            if found == (objects, [], []):
                return
            assert time.monotonic() < end, found
            await asyncio.sleep(0.05)


@pytest.fixture
async def world(s3_server: S3Server) -> AsyncIterator[World]:
    made = World(s3_server)
    async with made.blobs:
        yield made


async def test_a_large_blob_goes_in_parts_and_comes_back_whole(world: World) -> None:
    data = pattern(3 * PART + 17)
    blob = await world.blobs.write("big", data, content_type="video/mp4")
    assert (blob.size, await world.blobs.read("big")) == (len(data), data)
    assert await world.blobs.read("big", start=PART - 5, end=PART + 5) == data[PART - 5 : PART + 5]
    head = world.raw.head_object(Bucket=BUCKET, Key=f"{world.prefix}/micro/{blob.etag}")
    assert (head["ContentLength"], head["ContentType"]) == (len(data), "video/mp4")
    await world.blobs.write("even", pattern(2 * PART))
    assert await world.blobs.read("even") == pattern(2 * PART)
    await world.settled(objects=2)


async def test_what_is_replaced_or_deleted_leaves_no_object(world: World) -> None:
    for _ in range(3):
        await world.blobs.write("a", b"1")
    await world.settled(objects=1)
    await world.blobs.delete("a")
    await world.settled(objects=0)


async def test_a_large_body_that_fails_or_is_cancelled_leaves_nothing(world: World) -> None:
    async def body(*, fails: bool) -> AsyncIterator[bytes]:
        yield pattern(2 * PART + 5)
        if fails:
            raise NotFound("the source is gone")
        await asyncio.sleep(60)

    with pytest.raises(NotFound):
        await world.blobs.write("a", body(fails=True))
    writing = asyncio.create_task(world.blobs.write("a", body(fails=False)))
    await asyncio.sleep(0.3)
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    await world.settled(objects=0)


async def test_what_a_crash_left_is_swept_and_what_is_named_stays(world: World) -> None:
    blob = await world.blobs.write("kept", b"1")
    key = f"{world.prefix}/micro/orphan"
    world.raw.put_object(Bucket=BUCKET, Key=key, Body=b"1")
    long_ago = time.time() - 2 * 86_400
    noted = world.store.table(PENDING)
    for etag, name in ((blob.etag, "kept"), ("orphan", "lost")):
        await noted.write(etag, {"namespace": "micro", "key": name, "at": long_ago})
    await noted.write("young", {"namespace": "micro", "key": "writing", "at": time.time()})
    async with world.made() as other:
        end = time.monotonic() + 10
        while await noted.list() != ["young"] or key in world.objects():
            assert time.monotonic() < end, (await noted.list(), world.objects())
            await asyncio.sleep(0.05)
        assert await other.read("kept") == b"1"
    await noted.delete("young")


async def test_wrong_credentials_are_unauthenticated(s3_server: S3Server) -> None:
    for wrong in ({"access_key": "nobody"}, {"secret_key": "a wrong one"}):
        with pytest.raises(Unauthenticated) as caught:
            await World(s3_server, **wrong).blobs.open()
        assert "a wrong one" not in str(caught.value)


async def test_a_bucket_is_made_or_its_lack_told(s3_server: S3Server) -> None:
    name = unique("b")
    with pytest.raises(FailedPrecondition, match=f"no bucket '{name}'"):
        await World(s3_server, bucket=name, create=False).blobs.open()
    async with World(s3_server, bucket=name).blobs as blobs:
        await blobs.write("a", b"1")
        assert await blobs.read("a") == b"1"


async def test_one_that_is_not_there_is_named_with_its_address(s3_server: S3Server) -> None:
    port = free_port()
    begun = time.monotonic()
    with pytest.raises(Unavailable, match=f"127.0.0.1:{port}"):
        await World(s3_server, endpoint=f"http://127.0.0.1:{port}").blobs.open()
    assert time.monotonic() - begun < 5


@pytest.mark.slow
async def test_a_server_that_stalls_and_dies_loses_nothing_that_was_acknowledged(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    server = s3(tmp_path_factory.mktemp("own"))
    server.start()
    try:
        world = World(server, timeout="1s", connect_timeout="1s")
        async with world.blobs as blobs:
            kept = [f"k{n}" for n in range(20)]
            await asyncio.gather(*(blobs.write(key, key.encode()) for key in kept))
            server.pause()
            failures = await asyncio.gather(blobs.write("x", b"1"), blobs.read("k0"), return_exceptions=True)
            assert [type(each) for each in failures] == [DeadlineExceeded, DeadlineExceeded]
            server.resume()
            assert await blobs.read("k0") == b"k0"
            server.kill()
            for call in (blobs.write("x", b"1"), blobs.read("k0")):
                with pytest.raises(Unavailable):
                    await call
            server.start()
            assert [await blobs.read(key) for key in kept] == [key.encode() for key in kept]
            await blobs.write("x", b"1")
    finally:
        server.stop()
