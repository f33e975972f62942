"""Each driver of the core is a blob store; files outlive their process; the handler keeps to the original's wire."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from micro import blobs as face
from micro.blobs.api import Blobs
from micro.blobs.driver import BlobsDriver
from micro.blobs.file import FileBlobs
from micro.blobs.memory import MemoryBlobs
from micro.blobs.remote import RemoteBlobs
from micro.blobs.service import BlobHandler
from micro.context import Account
from micro.errors import (
    DataLoss,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)
from micro.proto import store_pb2 as pb
from micro.rpc.caller import Caller
from micro.rpc.nghttp2 import Nghttp2Transport
from micro.service.process import Process
from micro.service.surroundings import Surroundings
from micro.store.api import Store
from micro.store.driver import Op, Table
from micro.store.memory import MemoryStore
from micro.testing.blobs import LARGE, BlobsSuite, pattern
from micro.testing.served import PLATFORM, Served


class TestMemoryBlobs(BlobsSuite):
    @pytest.fixture
    async def driver(self) -> AsyncIterator[BlobsDriver]:
        async with MemoryBlobs() as driver:
            yield driver


class TestFileBlobs(BlobsSuite):
    @pytest.fixture
    async def driver(self, tmp_path: Path) -> AsyncIterator[BlobsDriver]:
        async with FileBlobs(store=Store(MemoryStore()), data=tmp_path) as driver:
            yield driver


class TestRemoteBlobs(BlobsSuite):
    @pytest.fixture
    async def driver(self, tmp_path: Path) -> AsyncIterator[BlobsDriver]:
        files = FileBlobs(store=Store(MemoryStore()), data=tmp_path)
        async with Blobs(files, plugin="file") as behind, Served(Nghttp2Transport()) as world:
            await world.serve("store", [("BlobStore", BlobHandler(behind))])
            driver = RemoteBlobs(caller=world.caller(PLATFORM))
            yield driver
            await driver.close()


def files(folder: Path) -> list[Path]:
    return [path for path in (folder / "blobs").rglob("*") if path.is_file()]


async def test_files_are_whole_private_and_one_a_blob(tmp_path: Path) -> None:
    store = Store(MemoryStore())
    async with Blobs(FileBlobs(store=store, data=tmp_path)) as blobs:
        for n in range(3):
            await blobs.write("a", pattern(1000 + n))
        await blobs.write("b", b"1")
        await blobs.delete("b")
        assert [(path.stat().st_size, path.stat().st_mode & 0o777) for path in files(tmp_path)] == [(1002, 0o600)]
    async with Blobs(FileBlobs(store=store, data=tmp_path)) as blobs:
        assert await blobs.read("a") == pattern(1002)


async def test_what_a_crash_left_is_swept_at_the_next_start(tmp_path: Path) -> None:
    store = Store(MemoryStore())
    async with Blobs(FileBlobs(store=store, data=tmp_path)) as blobs:
        await blobs.write("a", b"1")
    (kept,) = files(tmp_path)
    old, new = kept.with_name("0" * 32), kept.with_name("1" * 32)
    for path in (old, new, kept):
        path.write_bytes(b"1")
    for path in (old, kept):
        os.utime(path, (time.time() - 7200, time.time() - 7200))
    async with Blobs(FileBlobs(store=store, data=tmp_path)) as blobs:
        assert set(files(tmp_path)) == {kept, new}  # the new one may be a write under way
        assert await blobs.read("a") == b"1"


async def test_damage_is_told(tmp_path: Path) -> None:
    async with Blobs(FileBlobs(store=Store(MemoryStore()), data=tmp_path)) as blobs:
        for damage in (b"one TWO three", b"one", b""):
            await blobs.write("a", b"one two three")
            (path,) = files(tmp_path)
            path.write_bytes(damage)
            with pytest.raises(DataLoss):
                await blobs.read("a")
        path.unlink()
        with pytest.raises(DataLoss):
            await blobs.read("a")


class Lost(MemoryStore, interface=1):
    """Writes when told to hold, and then answers only when let, or with an error."""

    def __init__(self) -> None:
        super().__init__()
        self.hold = False
        self.error: Exception | None = None
        self.written, self.let = asyncio.Event(), asyncio.Event()

    async def apply(self, table: Table, ops: Sequence[Op]) -> list[int]:
        versions = await super().apply(table, ops)
        if self.hold:
            self.written.set()
            await self.let.wait()
            if self.error:
                raise self.error
        return versions


@pytest.mark.parametrize("error", [None, Unavailable("the store is lost")])
async def test_a_write_that_is_given_up_while_it_is_named_leaves_a_whole_blob(
    tmp_path: Path, error: Exception | None
) -> None:
    driver = Lost()
    async with Blobs(FileBlobs(store=Store(driver), data=tmp_path), plugin="file") as blobs:
        await blobs.write("a", b"old")
        driver.hold, driver.error = True, error
        writing = asyncio.create_task(blobs.write("a", b"new"))
        await driver.written.wait()
        if error is None:
            writing.cancel()
        driver.let.set()
        with pytest.raises((asyncio.CancelledError, Unavailable)):
            await writing
        assert await blobs.read("a") == b"new"
    async with Blobs(FileBlobs(store=Store(driver), data=tmp_path), plugin="file") as blobs:
        assert await blobs.read("a") == b"new"
    assert len(files(tmp_path)) == (1 if error is None else 2)  # the one that it replaced is swept later


async def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "blobs").write_text("")
    with pytest.raises(Unavailable):
        await Blobs(FileBlobs(store=Store(MemoryStore()), data=tmp_path), plugin="file").open()


@pytest.fixture
async def world() -> AsyncIterator[Served]:
    async with Blobs(MemoryBlobs(), plugin="memory") as behind, Served() as world:
        await world.serve("store", [("BlobStore", BlobHandler(behind))])
        yield world


async def write(caller: Caller, *requests: pb.BlobWriteRequest) -> None:
    async with await caller.stream("store", "BlobStore.Write", pb.BlobWriteRequest, pb.BlobWriteResponse) as call:
        for request in requests:
            await call.send(request)
        call.end()
        assert await call.receive() is not None


async def read(caller: Caller, key: str) -> list[bytes]:
    answers = caller.serve_stream("store", "BlobStore.Read", pb.BlobReadRequest(key=key), pb.BlobReadResponse)
    return [answer.blob async for answer in answers]


async def test_the_originals_calls_work(world: Served) -> None:
    caller = world.caller(PLATFORM)
    await write(caller, *(pb.BlobWriteRequest(key="a", blob=b"x" * 1024) for _ in range(100)))
    assert b"".join(await read(caller, "a")) == b"x" * 102_400
    await write(caller, pb.BlobWriteRequest(key="empty"))
    assert await read(caller, "empty") == []
    listed = await caller.call("store", "BlobStore.List", pb.BlobListRequest(), pb.BlobListResponse)
    assert list(listed.keys) == ["a", "empty"]
    await caller.call("store", "BlobStore.Delete", pb.BlobDeleteRequest(key="a"), pb.BlobDeleteResponse)
    with pytest.raises(NotFound, match=r"^Blob not found$") as caught:
        await caller.call("store", "BlobStore.Delete", pb.BlobDeleteRequest(key="a"), pb.BlobDeleteResponse)
    assert caught.value.id == "store.Blob.Delete"
    with pytest.raises(NotFound, match=r"^Blob not found$"):
        await read(caller, "a")
    with pytest.raises(InvalidArgument, match=r"^Missing key$"):
        await read(caller, "")
    with pytest.raises(InvalidArgument, match=r"^Missing key$"):
        await write(caller, pb.BlobWriteRequest(blob=b"x"))
    with pytest.raises(InvalidArgument, match=r"^No blob was sent$"):
        await write(caller)


@pytest.mark.parametrize(
    ("last", "words"),
    [
        (pb.BlobPutRequest(), "missing"),
        (pb.BlobPutRequest(sha256="0" * 64), "not that of the bytes"),
    ],
)
async def test_a_put_that_was_cut_off_or_changed_is_refused(world: Served, last: Any, words: str) -> None:
    caller = world.caller(PLATFORM)
    async with await caller.stream("store", "BlobStore.Put", pb.BlobPutRequest, pb.BlobInfo) as call:
        await call.send(pb.BlobPutRequest(key="a"))
        await call.send(pb.BlobPutRequest(chunk=b"half"))
        await call.send(last)
        call.end()
        with pytest.raises(InvalidArgument, match=words):
            await call.receive()
    with pytest.raises(NotFound):
        await read(caller, "a")


CALLS: list[tuple[str, Any, Any]] = [
    ("BlobStore.List", pb.BlobListRequest(options=pb.BlobListOptions(namespace="mine")), pb.BlobListResponse),
    ("BlobStore.Scan", pb.BlobScanRequest(options=pb.BlobListOptions(namespace="mine")), pb.BlobScanResponse),
    ("BlobStore.Stat", pb.BlobStatRequest(key="a", options=pb.BlobOptions(namespace="mine")), pb.BlobInfo),
    ("BlobStore.Delete", pb.BlobDeleteRequest(key="a", options=pb.BlobOptions(namespace="mine")), pb.BlobDeleteResponse),
]  # fmt: skip


@pytest.mark.parametrize(("endpoint", "request_", "response"), CALLS, ids=[call[0] for call in CALLS])
async def test_a_namespace_is_its_admins_alone(world: Served, endpoint: str, request_: Any, response: Any) -> None:
    await Blobs(RemoteBlobs(caller=world.caller(PLATFORM)), namespace="mine").write("a", b"1")
    for account, error in (
        (None, Unauthenticated),
        (Account("bob", issuer="mine"), Unauthenticated),
        (Account("eve", issuer="other", scopes=("admin",)), PermissionDenied),
    ):
        with pytest.raises(error):
            await world.caller(account).call("store", endpoint, request_, response)
    await world.caller(Account("ann", issuer="mine", scopes=("admin",))).call("store", endpoint, request_, response)


async def test_a_platform_without_blobs_says_so() -> None:
    async with Served() as world:
        await world.serve("store", [("BlobStore", BlobHandler(None))])
        with pytest.raises(Unimplemented, match="names no plugin for blobs"):
            await Blobs(RemoteBlobs(caller=world.caller(PLATFORM))).stat("a")


async def test_the_face_is_the_processs_blobs(world: Served, tmp_path: Path) -> None:
    with Process(Surroundings(name="svc", namespace="mine"), caller=world.caller(PLATFORM)):
        blob = await face.write("a", pattern(LARGE))
        assert (await face.stat("a")).etag == blob.etag
        assert await face.read("a", end=3) == pattern(3)
        async with face.open("a") as chunks:
            assert sum([len(chunk) async for chunk in chunks]) == LARGE
        assert (await face.download("a", tmp_path / "a")).size == LARGE
        assert [found.key for found in await face.list()] == ["a"]
        assert await face.delete("a")
    for name in face.__all__:
        assert getattr(face, name) is not None
