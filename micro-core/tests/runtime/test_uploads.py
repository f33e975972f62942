"""Uploads go on where they broke off; nothing is used that has another digest, and what is half is removed in time."""

import asyncio
import gzip
import hashlib
import io
import os
import random
import tarfile
import time

import pytest

from micro import limits
from micro.context import Account
from micro.errors import (
    Aborted,
    FailedPrecondition,
    InvalidArgument,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)
from micro.proto import runtime_pb2 as pb
from micro.rpc.nghttp2 import Nghttp2Transport
from micro.runtime import api, source, uploads
from micro.runtime.api import Runtime
from micro.runtime.remote import RemoteRuntime
from micro.runtime.service import SourceHandler
from micro.runtime.uploads import Uploads
from micro.store import Store
from micro.store.memory import MemoryStore
from micro.testing.platform import Platform, until
from micro.testing.served import PLATFORM, Served

from .local import Local


def packed(content=b"print()", zipped=True):
    """Give a tar and its digest."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo("main.py")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    data = gzip.compress(buffer.getvalue(), mtime=0) if zipped else buffer.getvalue()
    return data, hashlib.sha256(data).hexdigest()


async def pieces(data, size=1000, fail=None):
    for at in range(0, len(data), size):
        yield data[at : at + size]
    if fail is not None:
        raise fail


def files(folder):
    return sorted(path.name for path in (folder / "micro" / "uploads").iterdir())


@pytest.fixture
def kept(tmp_path):
    return Uploads(tmp_path)


async def begun(kept, data, digest, until=2500):
    with pytest.raises(Unavailable):
        await kept.put("micro", "a", "1", pieces(data[:until], fail=Unavailable("cut")), digest=digest, encoding="gzip")
    return kept.size("micro", digest)


async def test_what_broke_off_goes_on_and_is_the_source_whole(kept, tmp_path):
    data, digest = packed(os.urandom(9000))
    assert kept.size("micro", digest) == 0
    assert await begun(kept, data, digest) == 2500
    assert files(tmp_path) == [f".put.{digest}"]
    id = await kept.put("micro", "a", "1", pieces(data[2500:]), digest=digest, encoding="gzip", offset=2500)
    assert id == "source://a:1"
    assert kept.path("micro", "a", "1").read_bytes() == data
    assert files(tmp_path) == ["a@1.tar"]
    assert kept.size("micro", digest) == 0
    assert oct(kept.path("micro", "a", "1").stat().st_mode)[-3:] == "600"


async def test_it_may_go_on_from_earlier_and_not_from_later(kept):
    data, digest = packed(os.urandom(9000))
    await begun(kept, data, digest)
    for offset in (2501, -1):
        with pytest.raises(FailedPrecondition, match="2500 bytes"):
            await kept.put("micro", "a", "1", pieces(b"x"), digest=digest, encoding="gzip", offset=offset)
    assert await kept.put("micro", "a", "1", pieces(data[700:]), digest=digest, encoding="gzip", offset=700)
    assert kept.path("micro", "a", "1").read_bytes() == data


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data, digest: (data, "0" * 64, "gzip"), "another digest"),
        (lambda data, digest: (data[:-1], digest, "gzip"), "another digest"),
        (lambda data, digest: (data, digest.upper(), "gzip"), "not a SHA-256"),
        (lambda data, digest: (data, "../" + digest[3:], "gzip"), "not a SHA-256"),
        (lambda data, digest: (data, digest, "zstd"), "zstd"),
        (lambda data, digest: (*packed(zipped=False), "gzip"), "not gzip"),
        (lambda data, digest: (b"junk", hashlib.sha256(b"junk").hexdigest(), ""), "not a whole tar"),
        (lambda data, digest: (b"", hashlib.sha256(b"").hexdigest(), ""), "empty"),
    ],
    ids=["digest", "cut", "upper", "path", "encoding", "plain", "junk", "empty"],
)
async def test_what_is_not_what_was_said_is_refused_and_leaves_nothing(kept, tmp_path, change, words):
    old, digest = packed(b"old")
    await kept.put("micro", "a", "1", pieces(old), digest=digest, encoding="gzip")
    data, digest, encoding = change(*packed(os.urandom(5000)))
    with pytest.raises(InvalidArgument, match=words):
        await kept.put("micro", "a", "1", pieces(data), digest=digest, encoding=encoding)
    assert files(tmp_path) == ["a@1.tar"]
    assert kept.path("micro", "a", "1").read_bytes() == old


async def test_who_comes_last_goes_on_and_the_one_before_writes_nothing_more(kept):
    data, digest = packed(os.urandom(9000))
    gate = asyncio.Event()

    async def slow():
        yield data[:1000]
        await gate.wait()
        yield b"rubbish"

    first = asyncio.create_task(kept.put("micro", "a", "1", slow(), digest=digest, encoding="gzip"))
    while kept.size("micro", digest) < 1000:
        await asyncio.sleep(0)

    async def rest():
        yield data[1000:2000]
        gate.set()
        await asyncio.wait([first])
        yield data[2000:]

    assert await kept.put("micro", "a", "1", rest(), digest=digest, encoding="gzip", offset=1000)
    with pytest.raises(Aborted):
        await first
    assert kept.path("micro", "a", "1").read_bytes() == data


async def test_too_much_is_refused_at_once_and_leaves_nothing(kept, tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "UPLOAD", 2000)
    data, digest = packed(os.urandom(9000))
    with pytest.raises(ResourceExhausted):
        await kept.put("micro", "a", "1", pieces(data), digest=digest, encoding="gzip")
    assert files(tmp_path) == []
    data, digest = packed(bytes(5000))  # small, and large unpacked
    assert len(data) < 2000
    with pytest.raises(InvalidArgument, match="more than"):
        await kept.put("micro", "a", "1", pieces(data), digest=digest, encoding="gzip")
    assert files(tmp_path) == []


async def test_halves_are_removed_in_time_and_when_there_are_many(kept, tmp_path, monkeypatch):
    made = [packed(os.urandom(5000)) for _ in range(10)]
    for number, (data, digest) in enumerate(made):
        await begun(kept, data, digest)
        half = tmp_path / "micro" / "uploads" / f".put.{digest}"
        os.utime(half, (time.time() - 100 + number,) * 2)
    assert len(files(tmp_path)) == uploads.HALVES
    assert [kept.size("micro", digest) > 0 for _, digest in made] == [False, False, *[True] * 8]
    old = tmp_path / "micro" / "uploads" / f".put.{made[-1][1]}"
    os.utime(old, (time.time() - uploads.KEPT - 1,) * 2)
    kept.sweep()
    assert len(files(tmp_path)) == uploads.HALVES - 1
    assert not old.exists()
    (tmp_path / "micro" / "uploads" / ".a@1.abcd").write_text("x")
    (tmp_path / "micro" / "uploads" / ".check.abcd").mkdir()
    Uploads(tmp_path).open()
    assert len(files(tmp_path)) == uploads.HALVES - 1


# -- through the wire


@pytest.fixture
async def world(tmp_path):
    driver = Local(Store(MemoryStore()), tmp_path / "data")
    async with Served(Nghttp2Transport()) as world:
        await world.serve("runtime", [("Source", SourceHandler(Runtime(driver)))])
        world.uploads = driver.sources.uploads
        yield world


def remote(world, account=PLATFORM, **options):
    driver = RemoteRuntime(caller=world.caller(account))
    driver.capabilities = frozenset({"source", "resume"})
    return Runtime(driver, **options)


def folder(tmp_path, size=3 * limits.MIB):
    path = tmp_path / "hello"
    path.mkdir()
    (path / "main.py").write_text("print()")
    (path / "data.bin").write_bytes(random.Random(1).randbytes(size))
    (path / "text.txt").write_text("all work and no play\n" * 100_000)
    return path


async def test_a_folder_is_uploaded_packed_and_unpacks_the_same(world, tmp_path):
    path = folder(tmp_path)
    assert await remote(world, namespace="shop").upload(path, "hello") == "source://hello:latest"
    archive = world.uploads.path("shop", "hello", "latest")
    assert archive.stat().st_size < 3.2 * limits.MIB
    target = tmp_path / "target"
    target.mkdir()
    source.unpack(archive, target)
    assert (target / "data.bin").read_bytes() == (path / "data.bin").read_bytes()
    with (tmp_path / "again").open("wb") as file:
        assert source.pack_into(path, file) == hashlib.sha256(archive.read_bytes()).hexdigest()


async def test_a_cut_upload_goes_on_from_where_it_was(world, tmp_path, monkeypatch):
    runtime = remote(world)
    offsets = []
    put = runtime.driver.put

    async def cut(archive):
        async for chunk in archive:
            yield chunk
            while not any(world.uploads.size("micro", d) >= limits.MIB for d in digests):
                await asyncio.sleep(0.01)
            raise Unavailable("cut")

    digests = set()

    async def once_cut(namespace, name, version, archive, *, digest, **options):
        digests.add(digest)
        offsets.append(options["offset"])
        archive = cut(archive) if len(offsets) == 1 else archive
        return await put(namespace, name, version, archive, digest=digest, **options)

    monkeypatch.setattr(runtime.driver, "put", once_cut)
    monkeypatch.setattr(api.random, "uniform", lambda *_: 0.05)
    assert await runtime.upload(folder(tmp_path), "hello") == "source://hello:latest"
    assert offsets == [0, limits.MIB]


async def test_only_accounts_upload_each_to_its_own_namespace_and_chunks_are_bounded(world):
    data, digest = packed()
    for work in (remote(world, None).stat(digest), remote(world, None).put("a", "1", pieces(data), digest=digest)):
        with pytest.raises(Unauthenticated, match="An account is required"):
            await work
    ann = Account("ann", issuer="shop")
    with pytest.raises(PermissionDenied):
        await remote(world, ann, namespace="micro").put("a", "1", pieces(data), digest=digest)
    shop = remote(world, ann, namespace="shop")
    assert await shop.put("a", "1", pieces(data), digest=digest, encoding="gzip")
    assert world.uploads.path("shop", "a", "1").is_file()
    assert not world.uploads.path("micro", "a", "1").exists()
    with pytest.raises(InvalidArgument, match="not a SHA-256"):
        await shop.stat("x")
    with pytest.raises(ResourceExhausted, match="a chunk of"):
        await shop.put("a", "1", pieces(bytes(2 * limits.MIB), 2 * limits.MIB), digest=digest)
    caller = world.caller(PLATFORM)
    for first in ([], [pb.PutRequest(data=b"x")]):
        stream = await caller.stream("runtime", "Source.Put", pb.PutRequest, pb.PutResponse)
        async with stream:
            for message in first:
                await stream.send(message)
            stream.end()
            with pytest.raises(InvalidArgument, match="No service was sent"):
                await stream.receive()


async def test_a_runtime_that_cannot_resume_gets_the_whole(world, tmp_path):
    runtime = remote(world)
    runtime.driver.capabilities = frozenset({"source"})
    with pytest.raises(Unimplemented):
        await runtime.stat("0" * 64)
    await runtime.upload(folder(tmp_path), "hello")
    assert world.uploads.path("micro", "hello", "latest").stat().st_size > 5 * limits.MIB


# -- from the command line


def test_the_command_line_sends_the_whole_to_a_server_that_does_not_resume(tmp_path):
    from micro.cli.source import upload

    class Old:
        namespace = "shop"
        sent = b""

        def core(self, *_):
            raise Unimplemented("unknown service Source.Stat")

        def core_stream(self, service, endpoint, requests, response):
            assert (service, endpoint) == ("runtime", "Source.Upload")
            for request in requests:
                self.sent += request.data
            yield response(id="source://hello:1")

    old = Old()
    assert upload(old, folder(tmp_path, 1000), "hello", "1") == "source://hello:1"
    with tarfile.open(fileobj=io.BytesIO(old.sent)) as tar:
        assert tar.getnames() == ["data.bin", "main.py", "text.txt"]


def test_the_command_line_uploads_packed_to_the_namespace_it_runs_in(tmp_path):
    path = folder(tmp_path, 1000)
    (path / "main.py").write_text("import time\nprint('up', flush=True)\ntime.sleep(600)\n")
    platform = Platform(tmp_path / "platform").start()
    try:
        platform.micro("--namespace", "shop", "run", str(path))
        until(lambda: "running" in platform.micro("--namespace", "shop", "status"), what="hello")
        (archive,) = (platform.data / "runtime" / "shop" / "uploads").iterdir()
        assert archive.read_bytes()[:2] == source.GZIP
    finally:
        platform.end()
