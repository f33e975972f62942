"""SqliteStore is a store, and keeps what it acknowledged."""

import asyncio
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from contextlib import aclosing, closing
from pathlib import Path

import apsw
import pytest

from micro.errors import Aborted, Code, DataLoss, FailedPrecondition, NotFound, Unavailable
from micro.plugin.driver import Reset, Synced
from micro.store.api import Store
from micro.store.database import SCHEMA, Database, Page, code_of
from micro.store.driver import Delete, Put, Table
from micro.store.memory import MemoryStore
from micro.store.sqlite import SqliteSettings, SqliteStore
from micro.store.writer import SMALL
from micro.testing.store import StoreSuite

TABLE = Table("micro", "micro")


class TestSqliteStore(StoreSuite):
    @pytest.fixture
    async def driver(self, tmp_path: Path) -> AsyncIterator[SqliteStore]:
        async with SqliteStore(data=tmp_path) as driver:
            yield driver


def sqlite(folder: Path) -> Store:
    return Store(SqliteStore(data=folder), plugin="sqlite")


async def test_records_and_versions_outlive_the_process(tmp_path: Path) -> None:
    async with sqlite(tmp_path) as store:
        await store.write("a", b"1", metadata={"n": 1})
        await store.write("gone", b"1")
        await store.delete("gone")
        await store.write("brief", b"1", ttl=0.05)
        last = await store.write("timed", b"1", ttl=60)
        expires = (await store.read("timed")).expires
    await asyncio.sleep(0.1)
    async with sqlite(tmp_path) as store:
        assert await store.list() == ["a", "timed"]
        assert (await store.read("a")).metadata == {"n": 1}
        assert (await store.read("timed")).expires == expires
        assert await store.write("gone", b"2") > last
        assert (await store.databases(), await store.tables()) == (["micro"], ["micro"])


@pytest.mark.parametrize("ttl", [0.001, 0.25, 1.499, 86_400.007])
@pytest.mark.parametrize("kind", [MemoryStore, SqliteStore])
async def test_a_record_is_there_to_its_last_millisecond(tmp_path: Path, kind: type, ttl: float) -> None:
    now = 1_700_000_000.5
    options = {"data": tmp_path} if kind is SqliteStore else {}
    async with Store(kind(clock=lambda: now, **options), plugin="clocked") as store:
        version = await store.write("a", b"1", ttl=ttl)
        begun, now = now, now + ttl - 0.0005
        assert (await store.read("a")).version == version
        assert await store.list() == ["a"]
        now = begun + ttl + 0.0005
        with pytest.raises(NotFound):
            await store.read("a")
        assert await store.list() == []
        assert await store.write("a", b"2", if_version=0) == version + 2  # that it expired is a change, too


async def test_a_watch_over_a_restart_misses_nothing(tmp_path: Path) -> None:
    async with sqlite(tmp_path) as store:
        old = await store.write("a", b"1")
        last = await store.write("a", b"2")
    async with sqlite(tmp_path) as store:
        async with aclosing(store.watch(after=last)) as events:
            assert isinstance(await anext(events), Synced)
        async with aclosing(store.watch(after=old)) as events:
            assert isinstance(await anext(events), Reset)


async def test_the_files_are_the_owners_alone(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    async with sqlite(folder) as store:
        await store.write("a", b"1")
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}
    assert modes == {"store.db": 0o600, "store.db-wal": 0o600, "store.db-shm": 0o600}
    assert [file.name for file in folder.iterdir()] == ["store.db"]  # a clean stop leaves one whole file


async def test_a_newer_file_is_refused_with_both_numbers(tmp_path: Path) -> None:
    async with sqlite(tmp_path):
        pass
    with sqlite3.connect(tmp_path / "store.db") as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    connection.close()
    with pytest.raises(FailedPrecondition, match=rf"schema {SCHEMA + 1}.* up to {SCHEMA}"):
        await sqlite(tmp_path).open()


async def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_bytes(b"not a database" * 100)
    with pytest.raises(DataLoss):
        await sqlite(tmp_path).open()


async def test_a_folder_that_cannot_be_written_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = Store(SqliteStore(SqliteSettings(path=str(tmp_path / "file" / "store.db"))), plugin="sqlite")
    with pytest.raises(Unavailable):
        await store.open()


async def test_a_damaged_record_is_told_and_its_neighbours_are_not(tmp_path: Path) -> None:
    async with sqlite(tmp_path) as store:
        for key in ("a", "b", "c"):
            await store.write(key, f"the value of {key}")
    file = tmp_path / "store.db"
    file.write_bytes(file.read_bytes().replace(b"the value of b", b"the valve of b"))
    async with sqlite(tmp_path) as store:
        assert (await store.read("a")).value == b"the value of a"
        with pytest.raises(DataLoss, match="'b'"):
            await store.read("b")
        with pytest.raises(DataLoss, match="'b'"):
            [record async for record in store.scan()]
        assert [record.key async for record in store.scan(after="b")] == ["c"]
        await store.write("b", b"new")  # writing it anew mends it
        assert (await store.read("b")).value == b"new"


async def test_flipped_bits_never_give_a_wrong_value(tmp_path: Path) -> None:
    wanted = {f"key-{n:04}": random.Random(n).randbytes(200) for n in range(300)}
    async with sqlite(tmp_path) as store:
        for key, value in wanted.items():
            await store.write(key, value)
    whole = (tmp_path / "store.db").read_bytes()
    dice = random.Random(7)
    told = 0
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[dice.randrange(len(whole))] ^= 1 << dice.randrange(8)
        path = tmp_path / "damaged.db"
        path.write_bytes(damaged)
        found = read_all(path)
        if isinstance(found, Exception):
            assert isinstance(found, FailedPrecondition) or code_of(found) != Code.UNKNOWN, repr(found)
            told += 1
        else:
            assert all(wanted[key] == value for key, value in found.items())
    assert told > 150


def read_all(path: Path) -> dict[str, bytes] | Exception:
    try:
        database = Database(path, reader=True)
        with closing(database):
            return {r.key: r.value for r in database.scan(TABLE, Page("", "", False, None, 1000), 0)}
    except Exception as exc:
        return exc
    finally:
        for end in ("-wal", "-shm"):
            path.with_name(path.name + end).unlink(missing_ok=True)


WRITER = """
    import asyncio, os, sys
    from pathlib import Path
    from micro.store import Store
    from micro.store.sqlite import SqliteStore

    async def write(store, task):
        for n in range(100_000):
            version = await store.write(f"{task}/{n}", f"{task}/{n}" * 20)
            os.write(1, f"{task}/{n} {version}\\n".encode())

    async def main():
        async with Store(SqliteStore(data=Path(sys.argv[1]))) as store:
            await asyncio.gather(*(write(store, task) for task in range(8)))

    asyncio.run(main())
"""


async def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    acknowledged: dict[str, int] = {}
    for run in range(20):
        folder = tmp_path / str(run)
        process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(WRITER), folder], stdout=subprocess.PIPE)
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(random.randint(1, 400))]
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.readlines()
        process.stdout.close()
        process.wait()
        acknowledged = {key: int(version) for key, version in (line.decode().split() for line in lines)}
        async with sqlite(folder) as store:
            found = {record.key: record async for record in store.scan()}
            lost = [key for key, version in acknowledged.items() if key not in found or found[key].version != version]
            assert lost == []
            assert all(record.value == (record.key * 20).encode() for record in found.values())
            assert await store.write("after", b"") > max(acknowledged.values())


FULL_DISK = """
    import asyncio, resource, sys
    from pathlib import Path
    from micro.errors import Unavailable
    from micro.store import Store
    from micro.store.sqlite import SqliteStore

    async def main():
        async with Store(SqliteStore(data=Path(sys.argv[1])), plugin="sqlite") as store:
            await store.write("before", bytes(1000))
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
            refused = 0
            for n in range(20):
                try:
                    await store.write(f"n{n}", bytes(100_000))
                except Unavailable:
                    refused += 1
            assert refused == 20, refused
            assert (await store.read("before")).value == bytes(1000)
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            await asyncio.sleep(0.15)
            await store.write("after", b"1")
            assert await store.list() == ["after", "before"]

    asyncio.run(main())
"""


async def test_after_an_io_error_nothing_is_acknowledged_until_the_file_is_opened_anew(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", textwrap.dedent(FULL_DISK), tmp_path], check=True, timeout=30)
    async with sqlite(tmp_path) as store:
        assert await store.list() == ["after", "before"]


async def test_the_log_is_folded_into_the_file_as_it_grows(tmp_path: Path) -> None:
    async with sqlite(tmp_path) as store:
        for n in range(60):
            await store.write("a", bytes([n]) * 200_000)
        assert (tmp_path / "store.db-wal").stat().st_size < 12_000_000
        assert (tmp_path / "store.db").stat().st_size > 100_000


async def test_the_writes_of_one_moment_share_a_commit(tmp_path: Path) -> None:
    async with sqlite(tmp_path) as store:
        await store.write("a", b"")
        commits = 0

        def count() -> bool:
            nonlocal commits
            commits += 1
            return False

        driver = store.driver
        assert isinstance(driver, SqliteStore)
        writer = driver._writer
        assert writer is not None
        assert writer._file is not None
        writer._file.connection.set_commit_hook(count)
        await asyncio.gather(*(store.write(f"k{n}", b"") for n in range(500)))
        assert 5 <= commits < 50


async def test_a_conflict_leaves_the_other_writes_of_its_commit_alone(tmp_path: Path) -> None:
    async with sqlite(tmp_path) as store:
        await store.write("a", b"")
        calls = [store.write("a", b"", if_version=0), store.write("b", b"1"), store.delete("x", if_version=9)]
        outcomes = await asyncio.gather(*calls, store.write("c", b"2"), return_exceptions=True)
        assert [type(outcome).__name__ for outcome in outcomes] == ["AlreadyExists", "int", "Aborted", "int"]
        with pytest.raises(NotFound):
            await store.read("x")


async def test_the_writes_of_one_commit_happen_in_their_order(tmp_path: Path) -> None:
    big = bytes(SMALL + 1)
    async with sqlite(tmp_path) as store:
        calls = [
            store.write("a", b"1"),
            store.write("a", b"2"),
            store.write("a", b"3", if_version=2),
            store.delete("a"),
        ]
        calls += [
            store.write("a", b"4", if_version=0),
            store.write("b", b"5"),
            store.write("b", big),
            store.write("c", big),
        ]
        calls += [
            store.write("c", b"6"),
            store.apply([Put("d", b"7"), Delete("c")]),
            store.write("a", b"8", if_version=3),
        ]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(outcomes.pop(), Aborted)
        assert outcomes == [1, 2, 3, None, 5, 6, 7, 8, 9, [10, 11]]
        assert {r.key: (r.value, r.version) async for r in store.scan()} == {
            "a": (b"4", 5),
            "b": (big, 7),
            "d": (b"7", 10),
        }


@pytest.mark.parametrize("count", [1, 3, 4, 5, 15, 16, 17, 37, 99])
async def test_each_number_of_writes_of_one_commit_is_kept_whole(tmp_path: Path, count: int) -> None:
    async with sqlite(tmp_path) as store:
        records = [(f"k{n:02}", f"{n}".encode(), {"n": n} if n % 3 else {}) for n in range(count)]
        await asyncio.gather(*(store.write(key, value, metadata=metadata, ttl=60) for key, value, metadata in records))
    async with sqlite(tmp_path) as store:
        assert [(r.key, r.value, r.metadata) async for r in store.scan()] == records
        assert [r.version async for r in store.scan()] == [*range(1, count + 1)]


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("prefix", ["", "k", "k0", "k1"])
async def test_a_page_takes_as_long_at_the_end_of_a_table_as_at_its_begin(
    tmp_path: Path, prefix: str, descending: bool
) -> None:
    async with sqlite(tmp_path) as store:
        for at in range(0, 5000, 100):
            await store.apply([Put(f"k{n:04}", b"") for n in range(at, at + 100)])
    keys = [key for key in (f"k{n:04}" for n in range(5000)) if key.startswith(prefix)]
    with closing(Database(tmp_path / "store.db", reader=True)) as database:
        found: list[str] = []
        taken: list[int] = []
        steps = 0

        def step() -> bool:
            nonlocal steps
            steps += 1
            return False

        database.connection.set_progress_handler(step, 10)  # instructions
        while page := database.scan(TABLE, Page(prefix, "", descending, found[-1] if found else None, 100), 0):
            found += [record.key for record in page]
            taken.append(steps)
            steps = 0
        assert found == (keys[::-1] if descending else keys)
        assert max(taken) < 2 * taken[0]
        for after in ("a", "k00005", "k2", "z", "k"):
            page = database.scan(TABLE, Page(prefix, "", descending, after, 9), 0)
            wanted = [key for key in found if (key < after if descending else key > after)]
            assert [record.key for record in page] == wanted[:9]


def test_the_library_is_free_of_the_log_bug() -> None:
    assert tuple(map(int, apsw.sqlite_lib_version().split("."))) >= (3, 51, 3)
