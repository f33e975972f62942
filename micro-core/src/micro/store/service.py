"""The core service `store`: a portable Store behind the wire, with its callers' rights."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from micro import limits
from micro.blobs.api import Blobs
from micro.blobs.driver import BlobsDriver
from micro.blobs.service import BlobHandler
from micro.context import CORE_NAMESPACE
from micro.errors import InvalidArgument, NotFound, ResourceExhausted
from micro.plugin.driver import Reset, Synced
from micro.proto import store_pb2 as pb
from micro.rpc import access
from micro.rpc.endpoint import endpoint
from micro.service.core import Core
from micro.store import wire
from micro.store.api import DEFAULT, Store
from micro.store.driver import Delete, Record, StoreDriver

if TYPE_CHECKING:
    from micro.service.core import Host

_CHUNK = limits.PAGE_BYTES  # bytes of one message of a stream


async def build(host: Host) -> Core:
    """Open the profile's store, and its blobs if it has any, and serve them."""
    driver, plugin = host.driver("store")
    assert isinstance(driver, StoreDriver)
    store = Store(driver, plugin=plugin)
    await store.open()
    blobs = _blobs(host, store)
    if blobs is not None:
        await blobs.open()

    async def close() -> None:
        if blobs is not None:
            await blobs.close()
        await store.close()

    return Core(
        [("Store", StoreHandler(store)), ("BlobStore", BlobHandler(blobs))],
        close=close,
        capabilities=lambda: store.capabilities,
        plugin=plugin,
        others={} if blobs is None else {"BlobStore": blobs},
    )


def _blobs(host: Host, store: Store) -> Blobs | None:
    if not host.setting("blobs", "plugin", ""):
        return None
    # what is known of blobs goes straight into this store, not over the wire into ourselves
    driver, plugin = host.driver("blobs", store=store.table("blobs", database=CORE_NAMESPACE))
    assert isinstance(driver, BlobsDriver)
    return Blobs(driver, plugin=plugin)


class StoreHandler:
    """Records in tables. A namespace is a database; its admins may use it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @endpoint(idempotent=True)
    async def read(self, request: pb.ReadRequest) -> pb.ReadResponse:
        """Read a record by its key, or many by a prefix or a suffix."""
        options = request.options
        store = self._at(options)
        if not options.prefix and not options.suffix:
            found = (await store.read_many([request.key]))[0]
            if found is None:
                raise NotFound("not found")
            return pb.ReadResponse(records=[self._out(found)])
        answer = pb.ReadResponse()
        size = 0
        records = store.scan(
            request.key if options.prefix else "",
            suffix=request.key if options.suffix else "",
            descending=options.order == "desc",
            limit=options.offset + options.limit if options.limit else 0,
        )
        skip = options.offset
        async for record in records:
            if skip:
                skip -= 1
                continue
            size += len(record.value)
            if size > limits.MESSAGE - limits.MIB:
                raise ResourceExhausted("the records are more than one message holds; read with a limit, or scan")
            answer.records.append(self._out(record))
        return answer

    async def write(self, request: pb.WriteRequest) -> pb.WriteResponse:
        """Write a record, whole."""
        store = self._at(request.options)
        if not request.HasField("record"):
            raise InvalidArgument("no record specified")
        await store.apply([wire.put_in(request.record, request.record.key)])
        return pb.WriteResponse()

    async def delete(self, request: pb.DeleteRequest) -> pb.DeleteResponse:
        """Delete a record; a missing one is fine."""
        await self._at(request.options).apply([Delete(request.key)])
        return pb.DeleteResponse()

    @endpoint(idempotent=True)
    async def list(self, request: pb.ListRequest) -> AsyncIterator[pb.ListResponse]:
        """Give keys, in one message or several."""
        options = request.options
        records = self._at(options).scan(
            options.prefix,
            suffix=options.suffix,
            descending=options.order == "desc",
            values=False,
            limit=options.offset + options.limit if options.limit else 0,
        )
        answer = pb.ListResponse()
        size = 0
        skip = options.offset
        async for record in records:
            if skip:
                skip -= 1
                continue
            cost = len(record.key.encode()) + 4
            if size + cost > _CHUNK:
                yield answer
                answer, size = pb.ListResponse(), 0
            answer.keys.append(record.key)
            size += cost
        yield answer  # the original sends one also when there are none

    @endpoint(idempotent=True)
    async def databases(self, request: pb.DatabasesRequest) -> pb.DatabasesResponse:
        """Give all databases."""
        access.admin(CORE_NAMESPACE)
        return pb.DatabasesResponse(databases=await self._store.databases())

    @endpoint(idempotent=True)
    async def tables(self, request: pb.TablesRequest) -> pb.TablesResponse:
        """Give the tables of a database."""
        return pb.TablesResponse(tables=await self._table(request.database, "").tables())

    async def apply(self, request: pb.ApplyRequest) -> pb.ApplyResponse:
        """Do up to 100 operations on different keys, all or none."""
        store = self._table(request.database, request.table)
        return pb.ApplyResponse(versions=await store.apply([wire.op_in(op) for op in request.ops]))

    @endpoint(idempotent=True)
    async def scan(self, request: pb.ScanRequest) -> AsyncIterator[pb.ScanPage]:
        """Go through records by key, or give just those of `keys`."""
        store = self._table(request.database, request.table)
        page = pb.ScanPage()
        size = count = 0
        async for record in _found(store, request):
            if request.limit and count == request.limit:
                page.more = True
                break
            if len(page.records) >= limits.PAGE or (size and size + len(record.value) > _CHUNK):
                yield page
                page, size = pb.ScanPage(), 0
            page.records.append(self._out(record))
            size += len(record.value)
            count += 1
        yield page

    async def watch(self, request: pb.WatchRequest) -> AsyncIterator[pb.WatchResponse]:
        """Follow a table: what exists, `synced`, then changes."""
        store = self._table(request.database, request.table)
        after = request.after if request.HasField("after") else None
        answer = pb.WatchResponse()
        size = 0
        synced = False
        async for event in store.watch(request.prefix, after=after, resume=False):
            if isinstance(event, Synced | Reset):
                synced = isinstance(event, Synced)
                if synced:
                    answer.synced = True
                else:
                    answer = pb.WatchResponse(reset=True)
                answer.version = event.version
            else:
                answer.changes.append(wire.change_out(event, self._now()))
                size += 64 + len(event.item.value if event.item else b"")
                if not synced and size < _CHUNK // 4:
                    continue  # what exists goes in large messages
            yield answer
            answer, size = pb.WatchResponse(), 0

    def _at(self, options: Any) -> Store:
        return self._table(options.database, options.table)

    def _table(self, database: str, table: str) -> Store:
        """Give the store at a table that the caller may use; both names default to `micro`."""
        access.admin(database or DEFAULT)
        return self._store.table(table or DEFAULT, database=database or DEFAULT)

    def _out(self, record: Record) -> pb.Record:
        return wire.record_out(record, self._now())

    def _now(self) -> float:
        return self._store.driver.clock()


async def _found(store: Store, request: pb.ScanRequest) -> AsyncIterator[Record]:
    if request.keys:
        for record in await store.read_many(request.keys):
            if record is not None:
                yield record
        return
    records = store.scan(
        request.prefix,
        suffix=request.suffix,
        after=request.after or None,
        descending=request.descending,
        values=not request.keys_only,
        limit=request.limit + 1 if request.limit else 0,  # one more tells whether there are more
    )
    async for record in records:
        yield record
