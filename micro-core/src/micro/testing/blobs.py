"""What every blob store does, shown through the portable class."""

from __future__ import annotations

import asyncio
import functools
import re
import urllib.error
import urllib.request
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest

from micro import limits
from micro.blobs.api import Blobs
from micro.blobs.driver import BlobsDriver
from micro.errors import Aborted, AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from micro.testing import hostile, suite
from micro.testing.store import AWKWARD
from micro.testing.suite import Suite

needs = functools.partial(suite.needs, of="blobs")
LARGE = 3 * limits.MIB + 17  # bytes: several messages, the last one odd


class BlobsSuite(Suite):
    """A blob store's behaviour. A subclass gives the fixture `driver`, opened."""

    @pytest.fixture
    async def driver(self) -> AsyncIterator[BlobsDriver]:
        """Give an open driver."""
        raise NotImplementedError  # a subclass gives it, as its docstring says
        yield

    @pytest.fixture
    async def blobs(self, driver: BlobsDriver) -> Blobs:
        """Give the portable class over it, at a namespace of the test's own."""
        return Blobs(driver, plugin="suite", namespace=f"n{uuid.uuid4().hex}")

    @pytest.mark.parametrize("size", [0, 1, 1000, limits.MIB, LARGE])
    async def test_what_was_written_is_read(self, blobs: Blobs, size: int) -> None:
        data = pattern(size)
        blob = await blobs.write("a/b.bin", data, content_type="text/plain", public=True)
        assert (blob.key, blob.size, blob.content_type, blob.public) == ("a/b.bin", size, "text/plain", True)
        assert blob.sha256 in {"", sha256(data).hexdigest()}
        assert abs(blob.modified - datetime.now(UTC)) < timedelta(seconds=60)
        assert await blobs.read("a/b.bin") == data
        found = await blobs.stat("a/b.bin")
        assert (found.size, found.etag, found.content_type, found.public) == (size, blob.etag, "text/plain", True)

    async def test_streams_and_files_are_written(self, blobs: Blobs, tmp_path: Path) -> None:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"one "
            yield b""
            yield pattern(2 * limits.MIB)

        await blobs.write("stream", pieces())
        assert await blobs.read("stream") == b"one " + pattern(2 * limits.MIB)
        file = tmp_path / "file"
        file.write_bytes(pattern(LARGE))
        await blobs.write("file", file)
        await blobs.download("file", tmp_path / "copy")
        assert (tmp_path / "copy").read_bytes() == pattern(LARGE)
        assert not files_like(tmp_path, "copy.*")

    async def test_a_part_is_read_by_its_bytes(self, blobs: Blobs) -> None:
        data = pattern(LARGE)
        await blobs.write("a", data)
        for start, end in [(0, 0), (0, 5), (5, 10), (100, None), (LARGE - 1, None), (LARGE, None), (LARGE + 5, None)]:
            assert await blobs.read("a", start=start, end=end) == data[start:end]
        assert await blobs.read("a", start=LARGE - 3, end=LARGE + 100) == data[-3:]
        for start, end in [(-1, None), (5, 4)]:
            with pytest.raises(InvalidArgument):
                await blobs.read("a", start=start, end=end)

    async def test_pieces_are_small(self, blobs: Blobs) -> None:
        await blobs.write("a", pattern(LARGE))
        async with blobs.stream("a") as chunks:
            sizes = [len(chunk) async for chunk in chunks]
        assert sum(sizes) == LARGE
        assert max(sizes) <= limits.MIB

    async def test_a_reading_may_be_left_early(self, blobs: Blobs) -> None:
        await blobs.write("a", pattern(LARGE))
        for _ in range(5):
            async with blobs.stream("a") as chunks:
                assert await anext(chunks)
        assert await blobs.read("a") == pattern(LARGE)

    async def test_an_absent_blob_is_not_found(self, blobs: Blobs) -> None:
        for call in (blobs.read("a"), blobs.stat("a")):
            with pytest.raises(NotFound):
                await call
        assert await blobs.delete("a") is False

    async def test_deleting_takes_it_away(self, blobs: Blobs) -> None:
        await blobs.write("a", b"1")
        assert await blobs.delete("a") is True
        assert await blobs.delete("a") is False
        assert await blobs.list() == []
        with pytest.raises(NotFound):
            await blobs.read("a")

    async def test_awkward_keys_stay_apart(self, blobs: Blobs) -> None:
        for number, key in enumerate(AWKWARD):
            await blobs.write(key, str(number).encode())
        for number, key in enumerate(AWKWARD):
            assert await blobs.read(key) == str(number).encode()
        assert [blob.key for blob in await blobs.list()] == sorted(AWKWARD)
        for prefix in ("a", "a/", "a*", "a?", "a_", "a%", "a[", "a.", "..", "/", "é"):
            wanted = sorted(key for key in AWKWARD if key.startswith(prefix))
            assert [blob.key for blob in await blobs.list(prefix)] == wanted
        assert [blob.key async for blob in blobs.scan(after="日本")] == sorted(k for k in AWKWARD if k > "日本")

    @hostile.pairs
    async def test_hostile_names_are_apart(self, driver: BlobsDriver, pair: tuple[str, str]) -> None:
        async def pieces(value: bytes) -> AsyncIterator[bytes]:
            yield value

        async def put(place: hostile.Place, value: bytes) -> None:
            await driver.write(*place, pieces(value))

        async def read(place: hostile.Place) -> bytes:
            async with driver.read(*place) as (_, chunks):
                return b"".join([chunk async for chunk in chunks])

        found = await hostile.places(pair, put)
        for place, value in list(found.items()):
            assert {other: await read(other) for other in found} == found
            listed = {(place[0], blob.key) for blob in await driver.scan(place[0])}
            assert {other for other in found if other[0] == place[0]} <= listed
            assert await driver.delete(*place)
            del found[place]
            with pytest.raises(NotFound):
                await driver.stat(*place)
            assert value

    async def test_a_page_is_full_until_the_last_and_no_longer(self, blobs: Blobs, driver: BlobsDriver) -> None:
        for key in "edcba":
            await blobs.write(key, b"1")
        pages: list[list[str]] = []
        after = None
        while not pages or len(pages[-1]) == 2:
            page = await driver.scan(blobs.namespace, after=after, limit=2)
            pages.append([blob.key for blob in page])
            after = page[-1].key if page else None
        assert pages == [["a", "b"], ["c", "d"], ["e"]]

    async def test_a_list_knows_of_a_blob_what_is_known_of_it(self, blobs: Blobs) -> None:
        await blobs.write("a", b"1", content_type="text/plain", public=True)
        await blobs.write("b", b"22", content_type="image/png")
        assert await blobs.list() == [await blobs.stat("a"), await blobs.stat("b")]

    async def test_replacing_replaces_what_is_known_too(self, blobs: Blobs) -> None:
        await blobs.write("a", b"old", content_type="text/plain", public=True)
        await blobs.write("a", b"newer", content_type="image/png")
        found = await blobs.stat("a")
        assert (found.size, found.content_type, found.public) == (5, "image/png", False)
        await blobs.write("a", b"")
        found = await blobs.stat("a")
        assert (found.size, found.content_type, await blobs.read("a")) == (0, "", b"")

    async def test_namespaces_stay_apart(self, blobs: Blobs) -> None:
        names = [blobs.namespace, f"{blobs.namespace}a", f"{blobs.namespace}.a", blobs.namespace.upper()]
        for name in names:
            await blobs.at(name).write("k", name.encode())
        for name in names:
            assert await blobs.at(name).read("k") == name.encode()
            assert [blob.key for blob in await blobs.at(name).list()] == ["k"]

    @pytest.mark.parametrize("key", ["", "a\x00", "k" * 1025], ids=["empty", "nul", "long"])
    async def test_a_bad_key_is_refused(self, blobs: Blobs, key: str) -> None:
        for call in (blobs.write(key, b""), blobs.read(key), blobs.stat(key), blobs.delete(key)):
            with pytest.raises(InvalidArgument):
                await call

    async def test_conditions_hold(self, blobs: Blobs) -> None:
        first = await blobs.write("a", b"1", if_etag="")
        with pytest.raises(AlreadyExists):
            await blobs.write("a", b"2", if_etag="")
        second = await blobs.write("a", b"1", if_etag=first.etag)
        assert second.etag != first.etag
        for key in ("a", "absent"):
            with pytest.raises(Aborted):
                await blobs.write(key, b"3", if_etag=first.etag)
        assert await blobs.read("a") == b"1"
        results = await asyncio.gather(*(blobs.write("b", b"", if_etag="") for _ in range(8)), return_exceptions=True)
        assert sum(isinstance(result, AlreadyExists) for result in results) == 7

    @needs("urls")
    async def test_an_address_gives_the_blob_to_who_has_no_account_for_a_while(self, blobs: Blobs) -> None:
        await blobs.write("a b/é", b"1", content_type="text/plain")
        first = await blobs.url("a b/é", expires=60)
        assert await asyncio.to_thread(fetched, first) == (b"1", "text/plain")
        assert await asyncio.to_thread(fetched, re.sub(r"(Signature=..)..", r"\1zz", first)) is None
        await blobs.write("a b/é", b"2")
        assert (await asyncio.to_thread(fetched, await blobs.url("a b/é")) or (b"",))[0] == b"2"
        with pytest.raises(NotFound):
            await blobs.url("absent")
        for odd in (0, -1, 8 * 86_400):
            with pytest.raises(InvalidArgument):
                await blobs.url("a b/é", expires=odd)

    async def test_a_failing_body_leaves_what_was_there(self, blobs: Blobs) -> None:
        async def broken() -> AsyncIterator[bytes]:
            yield pattern(LARGE)
            raise NotFound("the source is gone")

        await blobs.write("a", b"old")
        for key in ("a", "new"):
            with pytest.raises(NotFound, match="the source is gone"):
                await blobs.write(key, broken())
        assert await blobs.read("a") == b"old"
        assert [blob.key for blob in await blobs.list()] == ["a"]

    async def test_a_cancelled_write_leaves_what_was_there(self, blobs: Blobs) -> None:
        async def slow() -> AsyncIterator[bytes]:
            yield pattern(1000)
            await asyncio.sleep(60)

        await blobs.write("a", b"old")
        task = asyncio.create_task(blobs.write("a", slow()))
        await asyncio.sleep(0.05)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert await blobs.read("a") == b"old"

    async def test_a_write_cancelled_at_any_moment_leaves_a_whole_blob(self, blobs: Blobs) -> None:
        async def pieces(number: int) -> AsyncIterator[bytes]:
            for _ in range(3):
                yield bytes([number]) * 1000
                await asyncio.sleep(0)

        await blobs.write("a", pieces(0))
        for number in range(1, 40):
            task = asyncio.create_task(blobs.write("a", pieces(number)))
            for _ in range(number):
                await asyncio.sleep(0.0002 * (number % 5))
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            data = await blobs.read("a")
            assert len(data) == 3000
            assert len(set(data)) == 1
            assert data[0] <= number

    async def test_a_hundred_at_once_all_arrive(self, blobs: Blobs) -> None:
        async def pieces(number: int) -> AsyncIterator[bytes]:
            for _ in range(4):
                yield bytes([number]) * 500
                await asyncio.sleep(0)

        await asyncio.gather(*(blobs.write(f"{n:02}", pieces(n)) for n in range(100)))
        found = await asyncio.gather(*(blobs.read(f"{n:02}") for n in range(100)))
        assert found == [bytes([n]) * 2000 for n in range(100)]
        assert [blob.key for blob in await blobs.list()] == [f"{n:02}" for n in range(100)]

    async def test_a_reading_goes_on_in_what_it_began_with(self, blobs: Blobs) -> None:
        await blobs.write("a", b"o" * LARGE)
        async with blobs.stream("a") as chunks:
            read = await anext(chunks)
            await blobs.write("a", b"n" * LARGE)
            async for chunk in chunks:
                read += chunk
        assert read == b"o" * LARGE
        assert await blobs.read("a") == b"n" * LARGE

    async def test_who_reads_while_it_is_replaced_gets_one_or_the_other(self, blobs: Blobs) -> None:
        old, new = b"o" * LARGE, b"n" * LARGE
        await blobs.write("a", old)

        async def write() -> None:
            for n in range(4):
                await blobs.write("a", new if n % 2 == 0 else old)

        writing = asyncio.create_task(write())
        while not writing.done():
            assert set(await blobs.read("a")) in ({ord("o")}, {ord("n")})
            await asyncio.sleep(0)
        await writing

    async def test_a_closed_blob_store_refuses(self, blobs: Blobs) -> None:
        await blobs.write("a", b"1")
        await blobs.close()
        await blobs.close()
        for call in (blobs.read("a"), blobs.write("a", b""), blobs.stat("a"), blobs.delete("a"), blobs.list()):
            with pytest.raises(FailedPrecondition):
                await call


def pattern(size: int) -> bytes:
    """Make bytes that differ from place to place."""
    return bytes(range(251)) * (size // 251) + bytes(range(size % 251))


def files_like(folder: Path, pattern: str) -> list[Path]:
    """Give what a folder has of a pattern."""
    return sorted(folder.glob(pattern))


def fetched(url: str) -> tuple[bytes, str] | None:
    """Read an address as a browser would; None when it is refused."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.read(), answer.headers["Content-Type"]
    except urllib.error.HTTPError as err:
        with err:
            return None
