"""The driver over gRPC: the store of the platform around this process."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence

from micro import limits
from micro.errors import FailedPrecondition, NotFound
from micro.plugin.driver import Reset, Synced
from micro.plugin.settings import Settings
from micro.proto import debug_pb2
from micro.proto import store_pb2 as pb
from micro.rpc.caller import Caller
from micro.store import wire
from micro.store.driver import Event, Op, Record, StoreDriver, Table

SERVICE = "store"


class RemoteStore(StoreDriver, interface=1):
    """Calls the service `store` as the caller's account.

    Works without `open`, which only asks the service what its driver can: until then everything is claimed and the
    service refuses what it cannot.
    """

    settings_type = Settings
    needs = frozenset({"caller"})
    capabilities = frozenset({"conditions", "batch", "watch", "expiry", "metadata", "durable"})

    def __init__(self, settings: Settings | None = None, *, caller: Caller) -> None:
        self._caller = caller
        self._closed = False

    async def open(self) -> None:
        info = await self._caller.call(
            SERVICE, "Debug.Info", debug_pb2.InfoRequest(), debug_pb2.InfoResponse, idempotent=True
        )
        self.capabilities = frozenset(info.capabilities)

    async def close(self) -> None:
        self._closed = True  # the caller is whose it was

    async def read(self, table: Table, keys: Sequence[str]) -> list[Record | None]:
        self._check()
        if len(keys) == 1:
            return [await self._read_one(table, keys[0])]
        request = pb.ScanRequest(database=table.database, table=table.name, keys=keys)
        found = {record.key: record async for record in self._scan(request)}
        return [found.get(key) for key in keys]

    async def apply(self, table: Table, ops: Sequence[Op]) -> list[int]:
        self._check()
        request = pb.ApplyRequest(database=table.database, table=table.name, ops=[wire.op_out(op) for op in ops])
        answer = await self._caller.call(SERVICE, "Store.Apply", request, pb.ApplyResponse)
        return list(answer.versions)

    async def scan(
        self,
        table: Table,
        *,
        prefix: str = "",
        suffix: str = "",
        descending: bool = False,
        after: str | None = None,
        limit: int = limits.PAGE,
        values: bool = True,
    ) -> list[Record]:
        self._check()
        request = pb.ScanRequest(
            database=table.database,
            table=table.name,
            prefix=prefix,
            suffix=suffix,
            descending=descending,
            after=after or "",
            limit=limit,
            keys_only=not values,
        )
        page: list[Record] = []
        size = 0
        async for record in self._scan(request):
            page.append(record)
            size += len(record.value)
            if size >= limits.PAGE_BYTES:
                break
        return page

    async def watch(self, table: Table, *, prefix: str = "", after: int | None = None) -> AsyncIterator[Event]:
        self._check()
        request = pb.WatchRequest(database=table.database, table=table.name, prefix=prefix, after=after)
        answers = self._caller.serve_stream(SERVICE, "Store.Watch", request, pb.WatchResponse)
        async for answer in answers:
            if answer.reset:
                yield Reset(answer.version)
            for change in answer.changes:
                yield wire.change_in(change, time.time())
            if answer.synced:
                yield Synced(answer.version)

    async def databases(self) -> list[str]:
        self._check()
        answer = await self._caller.call(
            SERVICE, "Store.Databases", pb.DatabasesRequest(), pb.DatabasesResponse, idempotent=True
        )
        return list(answer.databases)

    async def tables(self, database: str) -> list[str]:
        self._check()
        request = pb.TablesRequest(database=database)
        answer = await self._caller.call(SERVICE, "Store.Tables", request, pb.TablesResponse, idempotent=True)
        return list(answer.tables)

    async def _read_one(self, table: Table, key: str) -> Record | None:
        request = pb.ReadRequest(key=key, options=pb.ReadOptions(database=table.database, table=table.name))
        try:
            answer = await self._caller.call(SERVICE, "Store.Read", request, pb.ReadResponse, idempotent=True)
        except NotFound as err:
            if err.detail != "not found":  # the service itself may be what was not found
                raise
            return None
        return wire.record_in(answer.records[0], time.time())

    async def _scan(self, request: pb.ScanRequest) -> AsyncIterator[Record]:
        async for page in self._caller.serve_stream(SERVICE, "Store.Scan", request, pb.ScanPage):
            for record in page.records:
                yield wire.record_in(record, time.time())

    def _check(self) -> None:
        if self._closed:
            raise FailedPrecondition("the store is closed")
