"""A snapshot is whole or not there, goes on where it was broken off, and is restored whole or says what is missing."""

import itertools
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from micro.errors import (
    Aborted,
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    ResourceExhausted,
    Unavailable,
    Unimplemented,
)
from micro.store import dump, moving
from micro.store.api import Store
from micro.store.driver import Put, Record
from micro.store.memory import MemoryStore
from micro.store.sqlite import SqliteStore


class Frail(MemoryStore, interface=1):
    """Fails at one scan or one write, counted from now."""

    scans = writes = 0

    async def scan(self, *args: Any, **options: Any) -> list[Record]:
        self.scans -= 1
        if self.scans == 0:
            raise Unavailable("the line is cut")
        return await super().scan(*args, **options)

    async def apply(self, *args: Any, **options: Any) -> list[int]:
        self.writes -= 1
        if self.writes == 0:
            raise Unavailable("the line is cut")
        return await super().apply(*args, **options)


async def filled(count: int, driver: MemoryStore | None = None) -> Store:
    store = Store(driver or MemoryStore(), plugin="memory", table="full")
    for at in range(0, count, 100):
        await store.apply([Put(f"{n:05}", str(n).encode()) for n in range(at, min(at + 100, count))])
    return store


async def contents(store: Store) -> dict[str, bytes]:
    return {record.key: record.value async for record in store.scan()}


async def test_what_was_broken_off_goes_on_where_it_was(tmp_path: Path) -> None:
    driver, file = Frail(), tmp_path / "file"
    store = await filled(2000, driver)
    driver.scans = 3
    with pytest.raises(Unavailable):
        await store.snapshot(file)
    assert [path.name for path in tmp_path.iterdir()] == ["file.part"]
    await store.write("00001", b"new")  # of a page that was read
    await store.delete("00002")
    await store.write("00003x", b"between")
    await store.write("01999", b"last")  # of one that was not
    with (tmp_path / "file.part").open("ab") as part:
        part.write(b'{"is":"record","key":"0')  # a line that was under way
    driver.scans = 0
    taken = await store.snapshot(file)
    assert driver.scans == -3  # four pages and the empty one, of which two were there
    assert (taken.version, taken.records) == (2004, 2000)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    other = store.table("other")
    await other.restore(file)
    assert await contents(other) == await contents(store)


async def test_what_a_store_has_forgotten_is_said(tmp_path: Path) -> None:
    file = tmp_path / "file"

    async def cut(store: Store) -> None:
        head = dump.Head(dump.SCHEMA, store.where.database, store.where.name, "", datetime.now(UTC))
        part = dump.Part(file, head)
        part.changed([], await moving._version(store))
        part.close()

    async with Store(SqliteStore(data=tmp_path / "data"), plugin="sqlite") as store:
        await store.write("a", b"1")
        await cut(store)
    async with Store(SqliteStore(data=tmp_path / "data"), plugin="sqlite") as store:
        assert (await store.snapshot(file)).version == 1  # nothing has changed: one version still
        await cut(store)
        await store.write("b", b"2")
    async with Store(SqliteStore(data=tmp_path / "data"), plugin="sqlite") as store:
        assert (await store.snapshot(file)).version is None
        assert (await store.table("other").restore(file)).version is None


async def test_a_part_of_another_table_is_refused(tmp_path: Path) -> None:
    store = await filled(1)
    for text in (b"anything", b'{"is":"mark","version":1}\n'):
        (tmp_path / "file.part").write_bytes(text)
        with pytest.raises(FailedPrecondition, match="another snapshot"):
            await store.snapshot(tmp_path / "file")
        assert (tmp_path / "file.part").read_bytes() == text
    (tmp_path / "file.part").write_bytes(b"")
    await store.snapshot(tmp_path / "file")
    (tmp_path / "file").rename(tmp_path / "file.part")
    with pytest.raises(FailedPrecondition, match="another snapshot"):
        await store.table("other").snapshot(tmp_path / "file")


async def test_two_do_not_take_one_file_at_once(tmp_path: Path) -> None:
    store, file = await filled(10), tmp_path / "file"
    part = dump.Part(file, dump.Head(1, *store.where, "", datetime.now(UTC)))
    with pytest.raises(FailedPrecondition, match=r"file\.part is being written already"):
        await store.snapshot(file)
    part.close()
    assert (await store.snapshot(file)).records == 10


async def test_a_file_is_the_owners_alone_and_replaced_whole(tmp_path: Path) -> None:
    store, file = await filled(3), tmp_path / "file"
    first = await store.snapshot(str(file))
    assert file.stat().st_mode & 0o777 == 0o600
    await store.write("a", b"1")
    assert (await store.snapshot(file)).sha256 != first.sha256
    (tmp_path / "file.new").mkdir()
    with pytest.raises(InvalidArgument):
        await store.snapshot(file)
    assert (await store.table("other").restore(file)).records == 4


@pytest.mark.parametrize("path", ["", "no/such/folder/file", "\0", 5])
async def test_a_place_that_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: Any) -> None:
    monkeypatch.chdir(tmp_path)
    store = await filled(1)
    for call in (store.snapshot(path), store.restore(path)):
        with pytest.raises(InvalidArgument):
            await call


async def test_a_full_disk_is_told(tmp_path: Path) -> None:
    (tmp_path / "file.new").symlink_to("/dev/full")
    store = await filled(1)
    with pytest.raises(ResourceExhausted, match="No space left"):
        await store.snapshot(tmp_path / "file")
    assert not (tmp_path / "file").exists()
    (tmp_path / "file.new").unlink()
    await store.snapshot(tmp_path / "file")


async def test_a_newer_file_is_refused_with_both_numbers(tmp_path: Path) -> None:
    store, file = await filled(1), tmp_path / "file"
    await store.snapshot(file)
    head, _, rest = file.read_bytes().partition(b"\n")
    newer = json.loads(head) | {"schema": dump.SCHEMA + 1, "more": 1}
    file.write_bytes(json.dumps(newer).encode() + b"\n" + rest)
    with pytest.raises(FailedPrecondition, match=rf"schema {dump.SCHEMA + 1}.* up to {dump.SCHEMA}"):
        await store.table("other").restore(file)


@pytest.mark.parametrize(
    "text", [b"", b"\n", b"{}\n", b"[]", b'"x"\n', b'{"is":"end"}\n', b"\xff\xfe", b"SQLite format 3\0"]
)
async def test_what_is_no_snapshot_is_refused(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "file").write_bytes(text)
    with pytest.raises(InvalidArgument, match="not a snapshot"):
        await Store(MemoryStore()).restore(tmp_path / "file")


def damages(whole: bytes) -> Iterator[bytes]:
    dice = random.Random(5)
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[dice.randrange(len(whole))] ^= 1 << dice.randrange(8)
        yield bytes(damaged)
    lines = whole.splitlines(keepends=True)
    for at in range(1, len(lines)):
        yield b"".join(lines[:at])  # cut off
        yield b"".join(lines[:at] + lines[at + 1 :])  # one is missing
        yield b"".join(lines[:at] + lines[at - 1 :])  # one is twice
    for _ in range(50):
        yield whole[: dice.randrange(len(whole))]
    yield whole + b"\n"


async def test_damage_is_told_before_anything_is_written(tmp_path: Path) -> None:
    file = tmp_path / "file"
    store = Store(MemoryStore(), plugin="memory")
    for n in range(20):
        await store.write(f"k{n}", f"value {n}", ttl=90 if n % 2 else None, metadata={"n": n})
    await store.snapshot(file)
    other = store.table("other")
    for damaged in damages(file.read_bytes()):
        file.write_bytes(damaged)
        with pytest.raises((DataLoss, InvalidArgument, FailedPrecondition)):
            await other.restore(file)
    assert await other.tables() == [store.where.name]


async def test_a_restore_that_fails_on_the_way_says_what_is_there_and_goes_on(tmp_path: Path) -> None:
    driver, file = Frail(), tmp_path / "file"
    store = await filled(950, driver)
    await store.snapshot(file)
    other = store.table("other")
    driver.writes = 4
    with pytest.raises(
        Unavailable, match=r"table 'other' is not restored, 300 of 950 records are there: .*the line is cut"
    ):
        await other.restore(file)
    assert len(await other.list()) == 300
    with pytest.raises(FailedPrecondition, match="has records already"):
        await other.restore(file)
    await other.restore(file, skip=300)
    assert driver.writes == -7
    assert await contents(other) == await contents(store)
    with pytest.raises(InvalidArgument):
        await other.restore(file, skip=951)
    with pytest.raises(InvalidArgument):
        await other.restore(file, skip=-1)


@contextmanager
def losing(driver: MemoryStore, key: str) -> Iterator[None]:
    """Acknowledge a write that is not made."""
    apply = driver.apply

    async def without(table: Any, ops: Any) -> list[int]:
        return [await apply(table, [op]) and 1 if op.key != key else 1 for op in ops]

    driver.apply = without  # type: ignore[method-assign]
    yield
    driver.apply = apply  # type: ignore[method-assign]


@pytest.mark.parametrize("key", ["00000", "00050", "00199"])
async def test_what_is_not_there_at_the_end_is_told(tmp_path: Path, key: str) -> None:
    driver = MemoryStore()
    store = await filled(200, driver)
    await store.snapshot(tmp_path / "file")
    with losing(driver, key), pytest.raises(Aborted, match=rf"all records were written: key '{key}|key '"):
        await store.table("other").restore(tmp_path / "file")


async def test_what_the_driver_cannot_keep_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    class Plain(MemoryStore, interface=1):
        capabilities = frozenset({"watch"})

    store = await filled(300)
    await store.snapshot(tmp_path / "plain")
    await store.write("x", b"", metadata={"n": 1})
    await store.snapshot(tmp_path / "file")
    plain = Store(Plain(), plugin="plain")
    with pytest.raises(Unimplemented, match="'metadata'"):
        await plain.restore(tmp_path / "file")
    assert await plain.list() == []
    assert (await plain.restore(tmp_path / "plain")).records == 300  # one by one


async def test_a_driver_that_cannot_follow_gives_what_was_there_for_a_while(tmp_path: Path) -> None:
    class Still(MemoryStore, interface=1):
        capabilities = MemoryStore.capabilities - {"watch"}

    store = await filled(10, Still())
    assert (await store.snapshot(tmp_path / "file")).version is None


async def test_changes_of_any_kind_while_a_table_is_read_are_in_the_file(tmp_path: Path) -> None:
    """A page at a time, and between any two of them changes before, in and after what was read."""
    dice = random.Random(3)
    for run in range(20):
        store = await filled(1500)
        file = tmp_path / str(run)
        part = dump.Part(file, dump.Head(1, "micro", "full", "", datetime.now(UTC)))
        part.changed([], await moving._version(store))
        async for page in moving._pages(store, "", None):
            part.read(page)
            for n in itertools.islice(iter(lambda: dice.randrange(1600), -1), 20):
                await (store.write(f"{n:05}", f"{run}") if dice.random() < 0.6 else store.delete(f"{n:05}"))
            if dice.random() < 0.5:
                await moving._catch_up(store, file, part)
        await moving._catch_up(store, file, part)
        taken = part.finish()
        assert taken.version == await moving._version(store)
        assert [(item.key, item.value, item.version) for item in dump.items(file)] == [
            (record.key, record.value, record.version) async for record in store.scan()
        ]
