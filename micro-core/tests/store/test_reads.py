"""Reads that are done together are each their own: in what they give, in how they fail, and in who has gone."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from micro.errors import FailedPrecondition
from micro.store.driver import Table
from micro.store.reads import Reads

TABLE = Table("micro", "t")


@pytest.fixture
def pool():
    with ThreadPoolExecutor(1) as pool:
        yield pool


async def test_who_asks_in_one_moment_is_answered_in_one_and_each_his_own(pool):
    def work(table, keys):
        if keys == ["bad"]:
            raise ValueError("damaged")
        return list(keys)

    groups = []
    reads = Reads(pool, 1, work)
    run = reads._run
    reads._run = lambda group: (groups.append(len(group)), run(group))[1]
    asked = [asyncio.create_task(reads.read(TABLE, [key])) for key in ("a", "bad", "gone", "b")]
    await asyncio.sleep(0)
    asked[2].cancel()
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert [found[0], found[3]] == [["a"], ["b"]]
    assert isinstance(found[1], ValueError)
    assert isinstance(found[2], asyncio.CancelledError)
    assert groups == [4]


async def test_who_asks_while_others_are_read_is_of_the_next_group(pool):
    first, going = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def work(table, keys):
        if keys == ["first"]:
            loop.call_soon_threadsafe(first.set)
            asyncio.run_coroutine_threadsafe(going.wait(), loop).result(10)
        return list(keys)

    reads = Reads(pool, 1, work)
    asked = [asyncio.create_task(reads.read(TABLE, ["first"]))]
    await first.wait()
    asked += [asyncio.create_task(reads.read(TABLE, [key])) for key in ("a", "b")]
    await asyncio.sleep(0)
    going.set()
    assert await asyncio.gather(*asked) == [["first"], ["a"], ["b"]]


async def test_a_pool_that_was_shut_down_is_a_closed_store(pool):
    reads = Reads(pool, 1, lambda table, keys: list(keys))
    pool.shutdown()
    with pytest.raises(FailedPrecondition):
        await reads.read(TABLE, ["a"])
