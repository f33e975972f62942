"""A store keeps what it acknowledged over a power cut; the same on a setting that syncs less does not, or this shows nothing."""

import asyncio
import os
import random

import apsw
import pytest

from micro.store import database
from micro.store.api import Store
from micro.store.sqlite import SqliteStore
from micro.testing.powercut import Disk

CUTS = int(os.environ.get("MICRO_POWER_CUTS", "50"))
WORKERS, ROUNDS = 8, 60
PADDING = "x" * 2000  # so that the log is folded into the file on the way


async def work(folder, disk):
    """Write rounds of three keys at once, each time a single key and, every third time, no key; mark what was acknowledged."""
    async with Store(SqliteStore(data=folder), plugin="sqlite") as store:
        await asyncio.gather(*(_rounds(store, disk, worker) for worker in range(WORKERS)))


async def _rounds(store, disk, worker):
    for turn in range(ROUNDS):
        async with store.batch() as batch:
            for part in "abc":
                batch.write(f"{worker}/{part}", {"turn": turn, "padding": PADDING})
        disk.mark((f"{worker}/a", turn))
        await store.write(f"{worker}/single", {"turn": turn})
        disk.mark((f"{worker}/single", turn))
        if turn % 3 == 2:
            await store.delete(f"{worker}/single")
            disk.mark((f"{worker}/single", turn + 0.5))


async def found(folder):
    """Open what the power cut left, whole, and give the turn of each key that is there."""
    async with Store(SqliteStore(data=folder), plugin="sqlite") as store:
        return {record.key: record.json()["turn"] async for record in store.scan()}


async def lost(disk, at, folder, rng):
    """Give the acknowledged writes that are not there after a power cut, and what is there by half."""
    folder.mkdir()
    disk.cut(at, folder, rng)
    there = await found(folder)
    connection = apsw.Connection(str(folder / "store.db"))
    assert connection.pragma("integrity_check") == "ok"
    connection.close()
    wanted = dict(disk.marked(at))  # the last of each key
    missing = []
    for key, turn in wanted.items():
        deleted = turn % 1 == 0.5
        has = there.get(key)
        # a write that was under way may be there as well
        good = has is None or has > turn if deleted else has is not None and has >= turn
        if not good and not (has is None and turn % 3 == 2 and key.endswith("single")):  # the delete that came next
            missing.append((key, turn, has))
    torn = [worker for worker in range(WORKERS) if len({there.get(f"{worker}/{part}") for part in "abc"}) != 1]
    return missing, torn


async def cuts(tmp_path, count, seed):
    """Work once, then cut the power so many times; gives all that was lost."""
    rng = random.Random(seed)
    (tmp_path / "data").mkdir()
    with Disk(tmp_path / "data") as disk:
        await work(tmp_path / "data", disk)
    moments = disk.moments(count, rng)
    return [await lost(disk, at, tmp_path / f"cut{number}", rng) for number, at in enumerate(moments)]


@pytest.mark.parametrize("seed", [1, 2])
async def test_no_acknowledged_write_is_lost_and_none_is_there_by_half(tmp_path, seed):
    for missing, torn in await cuts(tmp_path, CUTS // 2, seed):
        assert (missing, torn) == ([], [])


async def test_the_same_with_fewer_syncs_loses_some(tmp_path, monkeypatch):
    monkeypatch.setitem(database.PRAGMAS, "synchronous", 1)
    found = await cuts(tmp_path, CUTS, 3)
    assert sum(bool(missing) for missing, _ in found) > CUTS / 10
    assert not any(torn for _, torn in found)
