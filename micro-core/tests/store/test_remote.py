"""RemoteStore is a store, through the service's messages and rights; and the service keeps to the original's wire."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from micro import limits
from micro.context import Account
from micro.errors import InvalidArgument, NotFound, PermissionDenied, ResourceExhausted, Unauthenticated, Unavailable
from micro.plugin.driver import Synced
from micro.proto import store_pb2 as pb
from micro.rpc.caller import Caller
from micro.rpc.nghttp2 import Nghttp2Transport
from micro.store.api import Store
from micro.store.driver import StoreDriver
from micro.store.memory import MemoryStore
from micro.store.remote import RemoteStore
from micro.store.service import StoreHandler
from micro.store.sqlite import SqliteStore
from micro.testing.served import PLATFORM, Served
from micro.testing.store import DATABASE, StoreSuite, shown


@pytest.fixture
async def served() -> AsyncIterator[Store]:
    async with Store(MemoryStore(), plugin="memory") as store:
        yield store


@pytest.fixture
async def world(served: Store) -> AsyncIterator[Served]:
    async with Served() as world:
        await world.serve("store", [("Store", StoreHandler(served))])
        yield world


@pytest.fixture
def wire(world: Served) -> Caller:
    return world.caller(PLATFORM)


class TestRemoteStore(StoreSuite):
    @pytest.fixture
    async def driver(self, wire: Caller) -> AsyncIterator[StoreDriver]:
        driver = RemoteStore(caller=wire)  # the library uses it without open: importing and constructing never fail
        yield driver
        await driver.close()


class TestRemoteStoreOverHttp2(StoreSuite):
    """The whole way: sockets, HTTP/2, the server, and SQLite behind it."""

    @pytest.fixture
    async def driver(self, tmp_path: Path) -> AsyncIterator[StoreDriver]:
        async with Store(SqliteStore(data=tmp_path), plugin="sqlite") as store, Served(Nghttp2Transport()) as world:
            await world.serve("store", [("Store", StoreHandler(store))])
            driver = RemoteStore(caller=world.caller(PLATFORM))
            yield driver
            await driver.close()


async def test_a_watch_goes_on_over_a_restart_of_the_service(served: Store) -> None:
    behind = served.table("t", database=DATABASE)
    async with Served() as world:
        server = await world.serve("store", [("Store", StoreHandler(served))])
        store = Store(RemoteStore(caller=world.caller(PLATFORM)), plugin="remote", database=DATABASE, table="t")
        await behind.write("a", "1")
        async with aclosing(store.watch()) as events:
            assert shown(await anext(events)) == ("put", "a", b"1")
            assert isinstance(await anext(events), Synced)
            await behind.write("b", "2")
            assert shown(await anext(events)) == ("put", "b", b"2")
            following = asyncio.ensure_future(anext(events))
            await server.stop(grace=0)
            await behind.write("c", "3")
            await asyncio.sleep(0.1)
            await world.serve("store", [("Store", StoreHandler(served))])
            assert shown(await asyncio.wait_for(following, 5)) == ("put", "c", b"3")


async def test_nobody_there_is_unavailable() -> None:
    async with Served() as world:
        world.addresses["store"] = "127.0.0.1:1"
        store = Store(RemoteStore(caller=world.caller(PLATFORM)), plugin="remote")
        with pytest.raises(Unavailable):
            await store.write("a", "1")
        with pytest.raises(Unavailable):
            await store.read("a")


class Rights:
    none = None
    stranger = Account("eve", issuer="other", type="user", scopes=("admin",))
    member = Account("bob", issuer="mine", type="user")
    admin = Account("ann", issuer="mine", type="user", scopes=("admin",))
    service = Account("svc", issuer="mine", type="service", scopes=("service",))
    platform = Account("root", issuer="micro", type="user", scopes=("admin",))


CALLS: list[tuple[str, Any, Any]] = [
    ("Store.Read", pb.ReadRequest(key="", options=pb.ReadOptions(database="mine", prefix=True)), pb.ReadResponse),
    ("Store.Write", pb.WriteRequest(record=pb.Record(key="a"), options=pb.WriteOptions(database="mine")), pb.WriteResponse),
    ("Store.Delete", pb.DeleteRequest(key="a", options=pb.DeleteOptions(database="mine")), pb.DeleteResponse),
    ("Store.Tables", pb.TablesRequest(database="mine"), pb.TablesResponse),
    ("Store.Apply", pb.ApplyRequest(database="mine", ops=[pb.Op(key="a", delete=True)]), pb.ApplyResponse),
    ("Store.List", pb.ListRequest(options=pb.ListOptions(database="mine")), pb.ListResponse),
    ("Store.Scan", pb.ScanRequest(database="mine"), pb.ScanPage),
    ("Store.Watch", pb.WatchRequest(database="mine"), pb.WatchResponse),
]  # fmt: skip


async def first(caller: Caller, endpoint: str, request: Any, response: Any) -> Any:
    if endpoint not in {"Store.List", "Store.Scan", "Store.Watch"}:
        return await caller.call("store", endpoint, request, response)
    async with aclosing(caller.serve_stream("store", endpoint, request, response)) as answers:
        return await anext(answers)


@pytest.mark.parametrize(("endpoint", "request_", "response"), CALLS, ids=[call[0] for call in CALLS])
async def test_a_database_is_its_admins_alone(world: Served, endpoint: str, request_: Any, response: Any) -> None:
    for account in (Rights.admin, Rights.service, Rights.platform):
        await first(world.caller(account), endpoint, request_, response)
    refused = {Rights.none: Unauthenticated, Rights.member: Unauthenticated, Rights.stranger: PermissionDenied}
    for account, error in refused.items():
        with pytest.raises(error):
            await first(world.caller(account), endpoint, request_, response)


async def test_only_the_platform_sees_the_databases(world: Served) -> None:
    for account, error in ((Rights.none, Unauthenticated), (Rights.admin, PermissionDenied)):
        with pytest.raises(error):
            await world.caller(account).call("store", "Store.Databases", pb.DatabasesRequest(), pb.DatabasesResponse)


async def call(wire: Caller, endpoint: str, request: Any, response: type[Any]) -> Any:
    return await wire.call("store", endpoint, request, response)


async def test_names_default_to_micro(wire: Caller, served: Store) -> None:
    await call(wire, "Store.Write", pb.WriteRequest(record=pb.Record(key="a", value=b"1")), pb.WriteResponse)
    assert (await served.table("micro", database="micro").read("a")).value == b"1"
    read = await call(wire, "Store.Read", pb.ReadRequest(key="a"), pb.ReadResponse)
    assert (read.records[0].value, read.records[0].version) == (b"1", 1)


async def test_an_absent_key_says_not_found(wire: Caller) -> None:
    with pytest.raises(NotFound, match=r"^not found$"):
        await call(wire, "Store.Read", pb.ReadRequest(key="a"), pb.ReadResponse)
    options = pb.ReadOptions(prefix=True)
    assert not (await call(wire, "Store.Read", pb.ReadRequest(key="a", options=options), pb.ReadResponse)).records


async def test_a_write_without_a_record_is_refused(wire: Caller) -> None:
    with pytest.raises(InvalidArgument, match=r"^no record specified$"):
        await call(wire, "Store.Write", pb.WriteRequest(), pb.WriteResponse)


async def test_reading_goes_by_prefix_and_suffix_with_limit_and_offset(wire: Caller, served: Store) -> None:
    for key in ("a1", "a2", "a3", "b1"):
        await served.write(key, key)

    async def keys(key: str, **options: Any) -> list[str]:
        request = pb.ReadRequest(key=key, options=pb.ReadOptions(**options))
        return [r.key for r in (await call(wire, "Store.Read", request, pb.ReadResponse)).records]

    assert await keys("a", prefix=True) == ["a1", "a2", "a3"]
    assert await keys("1", suffix=True) == ["a1", "b1"]
    assert await keys("a", prefix=True, limit=1, offset=1) == ["a2"]
    assert await keys("a", prefix=True, offset=1, order="desc") == ["a2", "a1"]
    assert await keys("a", prefix=True, order="sideways") == ["a1", "a2", "a3"]


@pytest.mark.parametrize(("seconds", "left"), [(0.3, 1), (1.0, 1), (1.2, 2), (90, 90)])
async def test_what_remains_is_rounded_up(wire: Caller, served: Store, seconds: float, left: int) -> None:
    await served.write("a", b"", ttl=seconds)
    record = (await call(wire, "Store.Read", pb.ReadRequest(key="a"), pb.ReadResponse)).records[0]
    assert record.expiry == left
    assert seconds * 1000 - 250 < record.expiry_ms <= seconds * 1000


async def test_a_go_writers_seconds_are_seconds(wire: Caller, served: Store) -> None:
    await call(wire, "Store.Write", pb.WriteRequest(record=pb.Record(key="a", expiry=60)), pb.WriteResponse)
    expires = (await served.read("a")).expires
    assert expires is not None
    assert abs(expires.timestamp() - served.driver.clock() - 60) < 0.25
    with pytest.raises(InvalidArgument):
        await call(wire, "Store.Write", pb.WriteRequest(record=pb.Record(key="a", expiry=-1)), pb.WriteResponse)


async def test_metadata_keeps_type_and_text(wire: Caller) -> None:
    record = pb.Record(key="a")
    for name, type_, text in (
        ("s", "string", "5"),
        ("i", "int64", "5"),
        ("f", "float64", "0.5"),
        ("b", "bool", "true"),
    ):
        record.metadata[name].type, record.metadata[name].value = type_, text
    await call(wire, "Store.Write", pb.WriteRequest(record=record), pb.WriteResponse)
    found = (await call(wire, "Store.Read", pb.ReadRequest(key="a"), pb.ReadResponse)).records[0]
    assert found.metadata == record.metadata
    record.metadata["i"].value = "five"
    with pytest.raises(InvalidArgument, match="'i'"):
        await call(wire, "Store.Write", pb.WriteRequest(record=record), pb.WriteResponse)


async def test_a_list_comes_in_messages_of_a_megabyte(wire: Caller, served: Store) -> None:
    async def sizes() -> list[int]:
        answers = wire.serve_stream("store", "Store.List", pb.ListRequest(), pb.ListResponse)
        return [answer.ByteSize() async for answer in answers]

    assert await sizes() == [0]  # one message, also when there is nothing
    for n in range(1200):
        await served.write(f"{n:04}".ljust(1000, "x"), b"")
    assert len(await sizes()) == 2
    assert max(await sizes()) <= limits.MIB


async def test_more_than_a_message_holds_is_refused_by_read(wire: Caller, served: Store) -> None:
    for n in range(33):
        await served.write(f"k{n}", bytes(limits.VALUE))
    with pytest.raises(ResourceExhausted):
        await call(wire, "Store.Read", pb.ReadRequest(options=pb.ReadOptions(prefix=True)), pb.ReadResponse)


@pytest.mark.parametrize("table", ["../victim/micro", "..", "/", "a/../b", ".", "%2e%2e"])
async def test_a_table_cannot_lead_out_of_its_database(world: Served, served: Store, table: str) -> None:
    await served.table("micro", database="victim").write("k", "secret")
    caller = world.caller(Rights.admin)
    options = pb.ReadOptions(database="mine", table=table, prefix=True)
    assert not (await call(caller, "Store.Read", pb.ReadRequest(options=options), pb.ReadResponse)).records


@pytest.mark.parametrize("database", ["../victim", "a/b", "..", "a\x00", "é", "-a"])
async def test_a_database_is_a_name(wire: Caller, database: str) -> None:
    with pytest.raises(InvalidArgument):
        await call(wire, "Store.Tables", pb.TablesRequest(database=database), pb.TablesResponse)
