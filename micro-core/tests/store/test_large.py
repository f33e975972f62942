"""However many records a table has, going through them takes the memory of a few pages, at both ends of the wire."""

import tracemalloc
from pathlib import Path

from micro import limits
from micro.proto import store_pb2 as pb
from micro.rpc.nghttp2 import Nghttp2Transport
from micro.store.api import Store
from micro.store.driver import Put
from micro.store.memory import MemoryStore
from micro.store.remote import RemoteStore
from micro.store.service import StoreHandler
from micro.testing.served import PLATFORM, Served

COUNT = 20_000
KEY = "key/{:01000}"  # all of them are 20 MB, which grow to several times as much where they are gathered
BOUND = 10 * limits.MIB  # what the frames, messages and pages under way may take, of both ends


async def test_all_of_a_large_table_goes_through_a_few_pages(tmp_path: Path) -> None:
    async with Store(MemoryStore(), plugin="large") as store, Served(Nghttp2Transport()) as world:
        await world.serve("store", [("Store", StoreHandler(store))])
        caller = world.caller(PLATFORM)
        remote = Store(RemoteStore(caller=caller), plugin="remote")
        for at in range(0, COUNT, limits.BATCH):
            await store.apply([Put(KEY.format(n), b"") for n in range(at, at + limits.BATCH)])
        tracemalloc.start()
        try:
            answers = caller.serve_stream("store", "Store.List", pb.ListRequest(), pb.ListResponse)
            assert sum([len(answer.keys) async for answer in answers]) == COUNT
            pages = caller.serve_stream("store", "Store.Scan", pb.ScanRequest(), pb.ScanPage)
            assert sum([len(page.records) async for page in pages]) == COUNT
            assert sum([1 async for _ in remote.scan(descending=True)]) == COUNT
            assert (await remote.snapshot(tmp_path / "file")).records == COUNT
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert most < BOUND, f"{most / limits.MIB:.1f} MiB"
