"""What every store does, shown through the portable class."""

from __future__ import annotations

import asyncio
import functools
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path

import pytest

from micro import limits
from micro.errors import (
    Aborted,
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
)
from micro.plugin.driver import Change, Reset, Synced
from micro.store.api import Store
from micro.store.driver import Delete, Event, Op, Put, Record, Scalar, StoreDriver, Table
from micro.testing import hostile, suite

AWKWARD = [
    " ", "a", "A", "a/b", "a//b", "/", "..", "../b", "a.b", "a%2fb", "a%", "a_", "a*", "a?", "a[b]", "{a}", "a:b", "a'b",
    'a"b', "a\\b", "a|b", "a,b", "$1", "é", "e\u0301", "日本", "\ud7ff", "\ue000", "\uffff", "😀", "\U0010ffff", "k" * 1024,
]  # fmt: skip
DATABASE = "suite"
needs = functools.partial(suite.needs, of="store")


def unique(name: str = "t") -> str:
    """Make a name that no other test, run or crashed run has used."""
    return f"{name}-{uuid.uuid4().hex}"


@dataclass
class Person:
    """What the model layer's tests keep."""

    id: str
    name: str
    age: int = 0
    email: str | None = None


class StoreSuite(suite.Suite):
    """A store's behaviour. A subclass gives the fixture `driver`, opened."""

    tolerance = 0.25  # seconds that clocks of the driver and of this process may differ

    @pytest.fixture
    async def driver(self) -> AsyncIterator[StoreDriver]:
        """Give an open driver; another one on the same data is not needed."""
        raise NotImplementedError
        yield

    @pytest.fixture
    async def store(self, driver: StoreDriver) -> Store:
        """Give the portable class over it, at a table of the test's own."""
        return Store(driver, plugin="suite", database=DATABASE, table=unique())

    async def pass_time(self, driver: StoreDriver, seconds: float) -> None:
        """Let time go by; a driver with a clock of the test's moves that."""
        await asyncio.sleep(seconds)

    # records

    async def test_what_was_written_is_read(self, store: Store) -> None:
        version = await store.write("a", b"\x00\xff")
        record = await store.read("a")
        assert (record.key, record.value, record.version, record.expires) == ("a", b"\x00\xff", version, None)

    async def test_a_value_may_be_empty(self, store: Store) -> None:
        await store.write("a", b"")
        assert (await store.read("a")).value == b""

    async def test_a_write_replaces_the_whole_record(self, store: Store) -> None:
        await store.write("a", b"long value")
        await store.write("a", b"x")
        assert (await store.read("a")).value == b"x"

    async def test_an_absent_key_is_not_found(self, store: Store) -> None:
        with pytest.raises(NotFound):
            await store.read("a")

    async def test_many_are_read_in_the_order_asked_for(self, store: Store) -> None:
        await store.write("a", b"1")
        await store.write("b", b"2")
        found = await store.read_many(["b", "x", "a"])
        assert [r and r.value for r in found] == [b"2", None, b"1"]

    async def test_deleting_twice_is_deleting_once(self, store: Store) -> None:
        await store.write("a", b"1")
        await store.delete("a")
        await store.delete("a")
        with pytest.raises(NotFound):
            await store.read("a")
        assert await store.list() == []

    async def test_awkward_keys_stay_apart(self, store: Store) -> None:
        for number, key in enumerate(AWKWARD):
            await store.write(key, str(number))
        for number, key in enumerate(AWKWARD):
            assert (await store.read(key)).value == str(number).encode()
        assert await store.list() == sorted(AWKWARD)

    async def test_awkward_tables_stay_apart(self, store: Store) -> None:
        tables = [f"{store.where.name}{end}" for end in AWKWARD if len(end) < 100]
        for table in tables:
            await store.table(table).write("k", table)
        for table in tables:
            assert [(r.key, r.value) async for r in store.table(table).scan()] == [("k", table.encode())]
        assert set(tables) <= set(await store.tables())

    @hostile.pairs
    async def test_hostile_names_are_apart(self, driver: StoreDriver, pair: tuple[str, str]) -> None:
        key = unique()

        async def put(place: hostile.Place, value: bytes) -> None:
            await driver.apply(Table(*place), [Put(key, value)])

        found = await hostile.places(pair, put)
        for left in range(len(found)):
            gone = dict(list(found.items())[:left])
            for place, value in found.items():
                (record,) = await driver.read(Table(*place), [key])
                there = [each.value for each in await driver.scan(Table(*place), prefix=key)]
                kept = [] if place in gone else [value]
                assert ([record.value] if record else [], there) == (kept, kept), place
            await driver.apply(Table(*list(found)[left]), [Delete(key)])
        for database in {database for database, _ in found}:
            assert len(set(pair) & set(await driver.tables(database))) in {0, 2}

    async def test_databases_stay_apart(self, store: Store) -> None:
        base = unique("d")
        names = [base, f"{base}a", f"{base}.a", f"{base}-a", f"{base}_a", base.upper()]
        for name in names:
            await store.table("t", database=name).write("k", name)
        for name in names:
            other = store.table("t", database=name)
            assert (await other.read("k")).value == name.encode()
            assert await other.tables() == ["t"]
        assert set(names) <= set(await store.databases())

    @pytest.mark.parametrize(
        "key",
        ["", "a\x00b", "a\nb", "\x7f", "\ud800", "k" * 1025],
        ids=["empty", "nul", "newline", "delete", "surrogate", "long"],
    )
    async def test_a_bad_key_is_refused(self, store: Store, key: str) -> None:
        with pytest.raises(InvalidArgument):
            await store.write(key, b"")
        with pytest.raises(InvalidArgument):
            await store.read(key)
        with pytest.raises(InvalidArgument):
            await store.delete(key)

    async def test_the_largest_value_fits_and_one_byte_more_does_not(self, store: Store) -> None:
        largest = bytes(limits.VALUE)
        await store.write("a", largest)
        assert (await store.read("a")).value == largest
        with pytest.raises(ResourceExhausted):
            await store.write("a", largest + b"x")

    async def test_a_hundred_calls_at_once_all_arrive(self, store: Store) -> None:
        await asyncio.gather(*(store.write(f"k{n:02}", str(n)) for n in range(100)))
        found = await asyncio.gather(*(store.read(f"k{n:02}") for n in range(100)))
        assert [int(r.value) for r in found] == list(range(100))
        assert len({r.version for r in found}) == 100

    async def test_a_cancelled_call_leaves_the_store_whole(self, store: Store) -> None:
        for n in range(20):
            task = asyncio.create_task(store.write("a", str(n)))
            await asyncio.sleep(0)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await store.write("a", b"last")
        assert (await store.read("a")).value == b"last"

    # versions and conditions

    async def test_versions_rise_and_never_go_back(self, store: Store) -> None:
        first = await store.write("a", b"1")
        second = await store.write("b", b"1")
        await store.delete("a")
        await store.delete("b")
        third = await store.write("a", b"1")
        assert 0 < first < second < third - 2

    async def test_deleting_nothing_takes_no_version(self, store: Store) -> None:
        first = await store.write("a", b"1")
        assert await store.apply([Delete("x")]) == [0]
        assert await store.write("a", b"1") == first + 1

    @needs("conditions")
    async def test_a_create_loses_to_an_earlier_one(self, store: Store) -> None:
        await store.write("a", b"1", if_version=0)
        with pytest.raises(AlreadyExists):
            await store.write("a", b"2", if_version=0)
        assert (await store.read("a")).value == b"1"

    @needs("conditions")
    async def test_a_write_at_an_old_version_is_aborted(self, store: Store) -> None:
        old = await store.write("a", b"1")
        new = await store.write("a", b"2", if_version=old)
        with pytest.raises(Aborted):
            await store.write("a", b"3", if_version=old)
        assert (await store.read("a")).version == new
        with pytest.raises(Aborted):
            await store.write("absent", b"", if_version=new)

    @needs("conditions")
    async def test_a_deletion_at_an_old_version_is_aborted(self, store: Store) -> None:
        old = await store.write("a", b"1")
        new = await store.write("a", b"2")
        with pytest.raises(Aborted):
            await store.delete("a", if_version=old)
        await store.delete("a", if_version=new)
        with pytest.raises(Aborted):
            await store.delete("a", if_version=new)

    @needs("conditions")
    async def test_of_many_creates_one_wins(self, store: Store) -> None:
        tries = [store.write("a", str(n), if_version=0) for n in range(30)]
        results = await asyncio.gather(*tries, return_exceptions=True)
        assert sorted(type(r).__name__ for r in results) == ["AlreadyExists"] * 29 + ["int"]

    @needs("conditions")
    async def test_updates_at_once_lose_nothing(self, store: Store) -> None:
        async def add() -> None:
            for _ in range(5):
                await store.update("n", lambda n: str(int(n or 0) + 1), str)

        await asyncio.gather(*(add() for _ in range(10)))
        assert (await store.read("n")).value == b"50"

    # batches

    @needs("batch")
    async def test_a_batch_happens_whole(self, store: Store) -> None:
        await store.write("old", b"1")
        async with store.batch() as batch:
            batch.write("a", b"1")
            batch.write("b", b"2")
            batch.delete("old")
        assert await store.list() == ["a", "b"]
        assert batch.versions == sorted(batch.versions)
        assert [r and r.version for r in await store.read_many(["a", "b"])] == batch.versions[:2]

    @needs("batch", "conditions")
    async def test_a_batch_with_a_failing_condition_changes_nothing(self, store: Store) -> None:
        version = await store.write("a", b"1")
        ops: list[Op] = [Put("b", b"2"), Delete("a"), Put("c", b"3", if_version=version)]
        with pytest.raises(Aborted):
            await store.apply(ops)
        assert [(r.key, r.value) async for r in store.scan()] == [("a", b"1")]
        assert await store.write("a", b"1") == version + 1

    async def test_a_batch_left_by_an_error_does_nothing(self, store: Store) -> None:
        with pytest.raises(ZeroDivisionError):
            async with store.batch() as batch:
                batch.write("a", b"1")
                raise ZeroDivisionError
        assert await store.list() == []

    @needs("batch")
    async def test_a_batch_is_never_seen_half(self, store: Store) -> None:
        keys = [f"k{n}" for n in range(20)]

        async def write() -> None:
            for n in range(30):
                await store.apply([Put(key, str(n).encode()) for key in keys])

        writing = asyncio.create_task(write())
        while not writing.done():
            seen = {record.value if record else None for record in await store.read_many(keys)}
            assert len(seen) == 1
            await asyncio.sleep(0)
        await writing

    async def test_a_bad_batch_is_refused(self, store: Store) -> None:
        bad: list[list[Op]] = [[], [Put("a", b""), Delete("a")]]
        for ops in bad:
            with pytest.raises(InvalidArgument):
                await store.apply(ops)
        with pytest.raises(ResourceExhausted):
            await store.apply([Put(f"k{n}", b"") for n in range(limits.BATCH + 1)])
        with pytest.raises(ResourceExhausted):
            await store.apply([Put(f"k{n}", bytes(limits.VALUE)) for n in range(5)])

    @needs("batch")
    async def test_the_largest_batch_fits(self, store: Store) -> None:
        await store.apply([Put(f"k{n:03}", b"x") for n in range(limits.BATCH)])
        await store.apply([Put(f"v{n}", bytes(limits.VALUE)) for n in range(limits.BATCH_BYTES // limits.VALUE)])
        assert len(await store.list()) == limits.BATCH + 4

    # expiry and metadata

    @needs("expiry")
    async def test_a_record_is_gone_when_its_time_is_up(self, store: Store, driver: StoreDriver) -> None:
        first = await store.write("a", b"1", ttl=0.15)
        await store.write("b", b"1", ttl=60)
        await self.pass_time(driver, 0.2)
        with pytest.raises(NotFound):
            await store.read("a")
        assert await store.list() == ["b"]
        assert [record.key async for record in store.scan()] == ["b"]
        if "conditions" in store.capabilities:
            with pytest.raises(Aborted):
                await store.write("a", b"2", if_version=first)
            assert await store.write("a", b"2", if_version=0) > first

    @needs("expiry")
    async def test_a_record_tells_when_it_expires(self, store: Store, driver: StoreDriver) -> None:
        before = driver.clock()
        await store.write("a", b"1", ttl=90)
        after = driver.clock()
        expires = (await store.read("a")).expires
        assert expires is not None
        assert expires.tzinfo is UTC
        assert before - self.tolerance <= expires.timestamp() - 90 <= after + self.tolerance

    @needs("expiry")
    async def test_a_new_write_forgets_the_old_expiry(self, store: Store, driver: StoreDriver) -> None:
        await store.write("a", b"1", ttl=0.05)
        await store.write("a", b"2")
        await self.pass_time(driver, 0.1)
        record = await store.read("a")
        assert (record.value, record.expires) == (b"2", None)

    @needs("expiry")
    @pytest.mark.parametrize("ttl", [0, -1, float("nan"), float("inf"), 1e12])
    async def test_a_bad_time_to_live_is_refused(self, store: Store, ttl: float) -> None:
        await store.write("fine", b"", ttl=1)
        with pytest.raises(InvalidArgument):
            await store.write("a", b"", ttl=ttl)

    @needs("metadata")
    async def test_metadata_keeps_its_types(self, store: Store) -> None:
        metadata: dict[str, Scalar] = {
            "s": "é",
            "i": -(2**62),
            "f": 0.1,
            "t": True,
            "n": False,
            "whole": 2.0,
            "empty": "",
        }
        await store.write("a", b"", metadata=metadata)
        found = (await store.read("a")).metadata
        assert found == metadata
        assert {k: type(v) for k, v in found.items()} == {k: type(v) for k, v in metadata.items()}
        assert [record.metadata async for record in store.scan()] == [metadata]
        await store.write("a", b"")
        assert (await store.read("a")).metadata == {}

    async def test_too_much_metadata_is_refused(self, store: Store) -> None:
        with pytest.raises(ResourceExhausted):
            await store.write("a", b"", metadata={str(n): n for n in range(limits.RECORD_METADATA_ENTRIES + 1)})
        with pytest.raises(ResourceExhausted):
            await store.write("a", b"", metadata={"a": "x" * limits.RECORD_METADATA})
        with pytest.raises(InvalidArgument):
            await store.write("a", b"", metadata={"a": 2**63})

    # order

    async def test_keys_are_listed_in_byte_order(self, store: Store) -> None:
        keys = ["b", "a", "B", "ab", "a/", "é", "z", "😀", "\uffff"]
        for key in keys:
            await store.write(key, b"")
        ordered = sorted(keys, key=str.encode)
        assert await store.list() == ordered
        assert await store.list(order="desc") == ordered[::-1]
        assert await store.list(limit=3, offset=2) == ordered[2:5]
        assert await store.list(limit=3, offset=2, order="desc") == ordered[::-1][2:5]
        assert await store.list(offset=100) == []

    async def test_prefixes_and_suffixes_are_taken_literally(self, store: Store) -> None:
        keys = ["a%b", "a_b", "a*b", "axb", "axxb", "a?b", "a[x]b", "b", "\ud7ffx", "\ue000x", "\U0010ffffx"]
        for key in keys:
            await store.write(key, b"")
        for part in ["a", "a%", "a_", "a*", "ax", "a?", "a[x]", "\ud7ff", "\ue000", "\U0010ffff", "zz"]:
            assert await store.list(part) == sorted(k for k in keys if k.startswith(part))
        for part in ["b", "%b", "_b", "*b", "xb", "?b", "x]b"]:
            assert await store.list(suffix=part) == sorted(k for k in keys if k.endswith(part))
        assert await store.list("a", suffix="xb", limit=1, offset=1) == ["axxb"]

    async def test_a_scan_goes_on_after_a_key(self, store: Store) -> None:
        for key in ("a1", "a2", "a3", "b1"):
            await store.write(key, key)
        assert [r.key async for r in store.scan("a", after="a1")] == ["a2", "a3"]
        assert [r.key async for r in store.scan("a", after="a3", descending=True)] == ["a2", "a1"]
        assert [r.key async for r in store.scan(after="a25")] == ["a3", "b1"]
        assert [r.key async for r in store.scan("a", after="b")] == []
        assert [r.value async for r in store.scan("a", values=False)] == [b"", b"", b""]

    async def test_a_scan_goes_over_its_pages(self, store: Store) -> None:
        keys = [f"k{n:04}" for n in range(2 * limits.PAGE + 1)]
        for at in range(0, len(keys), limits.BATCH):
            await asyncio.gather(*(store.write(key, key) for key in keys[at : at + limits.BATCH]))
        assert [r.value.decode() async for r in store.scan()] == keys
        assert [r.key async for r in store.scan(descending=True, values=False)] == keys[::-1]
        assert await store.list(suffix="0") == keys[::10]
        assert [r.key async for r in store.scan(limit=limits.PAGE + 1)] == keys[: limits.PAGE + 1]

    async def test_a_page_is_bounded_by_its_bytes(self, store: Store, driver: StoreDriver) -> None:
        for n in range(5):
            await store.write(str(n), bytes(limits.PAGE_BYTES // 2))
        page = await driver.scan(store.where, limit=limits.PAGE)
        assert [r.key for r in page] == ["0", "1"]
        assert [r.key async for r in store.scan()] == ["0", "1", "2", "3", "4"]

    # watching

    @needs("watch")
    async def test_a_watch_gives_what_exists_then_what_changes(self, store: Store) -> None:
        await store.write("a", b"1")
        await store.write("b", b"2")
        await store.delete("a")
        async with aclosing(store.watch()) as events:
            assert shown(await anext(events)) == ("put", "b", b"2")
            assert isinstance(await anext(events), Synced)
            version = await store.write("c", b"3")
            change = await anext(events)
            assert shown(change) == ("put", "c", b"3")
            assert change.version == version
            await store.delete("c")
            assert shown(await anext(events)) == ("delete", "c", None)

    @needs("watch")
    async def test_a_watch_sees_its_prefix_alone(self, store: Store) -> None:
        async with aclosing(store.watch("a*")) as events:
            assert isinstance(await anext(events), Synced)
            for key in ("a", "ab", "a*b", "b"):
                await store.write(key, b"")
            await store.write("a*c", b"")
            assert [shown(await anext(events))[1] for _ in range(2)] == ["a*b", "a*c"]

    @needs("watch", "expiry")
    async def test_a_watch_reports_expiry(self, store: Store, driver: StoreDriver) -> None:
        async with aclosing(store.watch()) as events:
            assert isinstance(await anext(events), Synced)
            first = await store.write("a", b"1", ttl=0.2)
            assert shown(await anext(events))[0] == "put"
            await self.pass_time(driver, 0.2)
            change = await asyncio.wait_for(anext(events), 3)
            assert shown(change) == ("expire", "a", None)
            assert change.version > first

    @needs("watch")
    async def test_a_watch_resumes_after_a_version(self, store: Store) -> None:
        await store.write("a", b"1")
        seen = await store.write("b", b"2")
        async with aclosing(store.watch()) as events:  # some drivers keep changes from the first watch on
            await synced(events)
        await store.write("c", b"3")
        await store.delete("a")
        async with aclosing(store.watch(after=seen)) as events:
            found = await synced(events)
        assert [shown(change) for change in found] == [("put", "c", b"3"), ("delete", "a", None)]

    @needs("watch")
    async def test_a_watch_from_a_version_unknown_begins_anew(self, store: Store) -> None:
        version = await store.write("a", b"1")
        async with aclosing(store.watch(after=version + 1000)) as events:
            assert isinstance(await anext(events), Reset)
            assert [shown(change) for change in await synced(events)] == [("put", "a", b"1")]

    @needs("watch")
    async def test_a_watch_sees_every_change_in_order(self, store: Store) -> None:
        async def write(key: str) -> None:
            for n in range(20):
                await store.write(key, str(n))

        seen: dict[str, list[int]] = {key: [] for key in "abcde"}
        async with aclosing(store.watch()) as events:
            assert isinstance(await anext(events), Synced)
            writing = [asyncio.create_task(write(key)) for key in seen]
            while any(19 not in values for values in seen.values()):
                change = await asyncio.wait_for(anext(events), 10)
                assert isinstance(change, Change)
                if change.item is not None:
                    seen[change.key].append(int(change.item.value))
            await asyncio.gather(*writing)
        for values in seen.values():
            assert values == sorted(values)

    @needs("watch")
    async def test_watches_beside_writes_miss_nothing(self, store: Store) -> None:
        async def watch() -> set[str]:
            keys: set[str] = set()
            async with aclosing(store.watch()) as events:
                async for event in events:
                    if isinstance(event, Change):
                        keys.add(event.key)
                    if len(keys) == 100:
                        return keys
            raise AssertionError("the watch ended")

        async def write() -> None:
            for n in range(100):
                await store.write(f"k{n}", b"")

        async with asyncio.timeout(20):
            watching = [asyncio.create_task(watch()) for _ in range(4)]
            await write()
            seen = await asyncio.gather(*watching)
        assert all(len(keys) == 100 for keys in seen)

    @needs("watch", "batch")
    async def test_a_watch_reports_each_change_of_a_batch(self, store: Store) -> None:
        await store.write("a", b"1")
        async with aclosing(store.watch()) as events:
            await synced(events)
            versions = await store.apply([Put("b", b"2"), Delete("a"), Delete("absent")])
            found = [await anext(events), await anext(events)]
        assert [shown(change) for change in found] == [("put", "b", b"2"), ("delete", "a", None)]
        assert [change.version for change in found] == versions[:2]

    # values and models

    async def test_values_are_read_as_types(self, store: Store) -> None:
        await store.write("p", Person("1", "ann", 30))
        assert await store.get("p", Person) == Person("1", "ann", 30)
        assert (await store.get("p"))["name"] == "ann"
        await store.write("s", "text")
        assert await store.get("s", str) == "text"
        assert await store.get("s", bytes) == b"text"
        await store.write("n", [1, 2.5, None, {"a": True}])
        assert await store.get("n") == [1, 2.5, None, {"a": True}]
        assert await store.get("absent", int, 5) == 5
        with pytest.raises(NotFound):
            await store.get("absent", int)
        with pytest.raises(InvalidArgument):
            await store.get("n", Person)

    @needs("conditions", "batch")
    async def test_objects_are_found_by_their_fields(self, store: Store) -> None:
        people = store.collection(Person, indexes=["name"], unique=["email"])
        await people.save(Person("1", "ann", 30, "a@x"))
        await people.save(Person("2", "bob", 20, "b@x"))
        await people.save(Person("3", "ann", 10))
        assert (await people.get("2")).name == "bob"
        assert [p.id for p in await people.find(name="ann", order_by="age")] == ["3", "1"]
        assert [p.id for p in await people.find(order_by="-age", limit=2)] == ["1", "2"]
        assert [p.id for p in await people.find(email="b@x")] == ["2"]
        assert [p.id for p in await people.find(age=10)] == ["3"]
        assert (await people.count(), await people.count(name="ann")) == (3, 2)

    @needs("conditions", "batch")
    async def test_indexes_follow_their_objects(self, store: Store) -> None:
        people = store.collection(Person, indexes=["name"], unique=["email"])
        await people.save(Person("1", "ann", 30, "a@x"))
        with pytest.raises(AlreadyExists):
            await people.save(Person("2", "bob", 20, "a@x"))
        await people.save(Person("1", "eve", 31, "e@x"))
        assert await people.find(name="ann") == []
        assert [p.age for p in await people.find(name="eve")] == [31]
        await people.save(Person("2", "bob", 20, "a@x"))
        await people.delete("1")
        await people.delete("1")
        await people.delete("2")
        assert await store.list() == []
        with pytest.raises(NotFound):
            await people.get("1")

    @needs("conditions", "batch")
    async def test_of_many_who_want_a_unique_value_one_gets_it(self, store: Store) -> None:
        people = store.collection(Person, indexes=["name"], unique=["email"])
        saving = [people.save(Person(str(n), "ann", n, "the@one")) for n in range(20)]
        outcomes = await asyncio.gather(*saving, return_exceptions=True)
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["AlreadyExists"] * 19 + ["int"]
        (winner,) = await people.find()
        assert [winner] == await people.find(email="the@one") == await people.find(name="ann")

    # into a file and back

    @needs("metadata")
    async def test_a_table_goes_into_a_file_and_comes_back(self, store: Store, tmp_path: Path) -> None:
        for number, key in enumerate(AWKWARD):
            await store.write(
                key, bytes([number % 256]) * number, metadata={"n": number, "s": key[:9], "t": True, "f": 2.0}
            )
        taken = await store.snapshot(tmp_path / "file")
        other = store.table(unique())
        restored = await other.restore(tmp_path / "file")
        assert (taken.records, restored) == (len(AWKWARD), taken)
        assert taken.version == (
            max([r.version async for r in store.scan()]) if "watch" in store.capabilities else None
        )
        assert [plain(r) async for r in other.scan()] == [plain(r) async for r in store.scan()]

    async def test_what_is_of_a_prefix_goes_into_a_file_and_comes_back_alone(
        self, store: Store, tmp_path: Path
    ) -> None:
        for key in ("a", "b/1", "b/2", "c"):
            await store.write(key, key)
        assert (await store.snapshot(tmp_path / "file", prefix="b/")).records == 2
        await store.write("b/2", "new")
        await store.write("b/3", "new")
        await store.delete("c")
        with pytest.raises(FailedPrecondition):
            await store.restore(tmp_path / "file")
        await store.restore(tmp_path / "file", replace=True)
        assert [(r.key, r.value) async for r in store.scan()] == [("a", b"a"), ("b/1", b"b/1"), ("b/2", b"b/2")]

    @needs("watch", "batch")
    async def test_a_file_is_of_one_version_though_others_write(self, store: Store, tmp_path: Path) -> None:
        ends = ["a", "z"]  # written together: one version has them alike
        await store.apply([Put(key, b"0") for key in ends])
        for at in range(0, 1200, 100):
            await store.apply([Put(f"k{n:04}", b"0") for n in range(at, at + 100)])
        done = asyncio.Event()

        async def write() -> None:
            for n in range(1, 2000):  # four changes each: what a driver remembers is more
                await store.apply([*(Put(key, str(n).encode()) for key in ends), Put(f"k{n % 1200:04}x", b"")])
                await store.delete(f"k{n % 1200:04}x")
                await asyncio.sleep(0)
                if done.is_set():
                    return

        writing = asyncio.create_task(write())
        taken = await store.snapshot(tmp_path / "file")
        done.set()
        await writing
        assert taken.version is not None
        other = store.table(unique())
        await other.restore(tmp_path / "file")
        a, z = [record and record.value for record in await other.read_many(ends)]
        assert a == z
        assert taken.records == len(await other.list())

    @needs("expiry")
    async def test_a_record_comes_back_for_the_rest_of_its_time(
        self, store: Store, driver: StoreDriver, tmp_path: Path
    ) -> None:
        await store.write("brief", b"1", ttl=0.5)
        await store.write("long", b"1", ttl=90)
        await store.snapshot(tmp_path / "file")
        await self.pass_time(driver, 0.6)
        other = store.table(unique())
        await other.restore(tmp_path / "file")
        (record,) = [record async for record in other.scan()]
        assert record.expires is not None
        assert abs(record.expires.timestamp() - driver.clock() - 89.4) < 4 * self.tolerance

    # its life

    async def test_closing_twice_is_closing_once(self, store: Store) -> None:
        await store.write("a", b"1")
        await store.close()
        await store.close()

    async def test_a_closed_store_refuses(self, store: Store) -> None:
        await store.close()
        with pytest.raises(FailedPrecondition):
            await store.write("a", b"1")
        with pytest.raises(FailedPrecondition):
            await store.read("a")
        with pytest.raises(FailedPrecondition):
            await store.list()


def plain(record: Record) -> tuple[str, bytes, dict[str, Scalar]]:
    """Give what of a record does not depend on its table."""
    return record.key, record.value, dict(record.metadata)


def shown(event: Event) -> tuple[str, str, bytes | None]:
    """Give a change's kind, key and value."""
    assert isinstance(event, Change)
    return event.kind, event.key, event.item.value if event.item else None


async def synced(events: AsyncIterator[Event]) -> list[Change[Record]]:
    """Take what a watch gives until it says `Synced`."""
    found: list[Change[Record]] = []
    async for event in events:
        if isinstance(event, Synced):
            return found
        assert isinstance(event, Change)
        found.append(event)
    raise AssertionError("the watch ended")
