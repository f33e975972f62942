"""Events keep what they acknowledged over a power cut: each published one, and each that a group has done with."""

import asyncio
import os
import random
from pathlib import Path

from micro.events.api import Events
from micro.events.driver import Start
from micro.events.sqlite import SqliteEvents
from micro.store import database
from micro.testing.powercut import Disk

CUTS = int(os.environ.get("MICRO_POWER_CUTS", "50"))
PUBLISHERS, EACH = 6, 50
TOPIC, GROUP = "orders", "g"


def events_in(folder: Path) -> Events:
    return Events(SqliteEvents(data=folder), plugin="sqlite")


async def work(folder, disk, *, early=False):
    """Publish from several sides while a group consumes; mark what was kept, and what was done with.

    `early` is a planted fault: a delivery is said to be done with before that is kept.
    """
    async with events_in(folder) as events:

        async def publish(number):
            for turn in range(EACH):
                receipt = await events.publish(TOPIC, f"{number}/{turn}", key=str(number))
                disk.mark(("kept", receipt.sequence, f"{number}/{turn}"))

        async def consume():
            left = PUBLISHERS * EACH
            async with events.consume(TOPIC, str, group=GROUP, start=Start.OLDEST, manual=True) as deliveries:
                async for delivery in deliveries:
                    done = ("done", delivery.event.sequence, delivery.payload)
                    if early:
                        disk.mark(done)
                    if await delivery.ack() and not early:
                        disk.mark(done)
                    left -= 1
                    if not left:
                        return

        await asyncio.gather(consume(), *(publish(number) for number in range(PUBLISHERS)))


async def lost(disk, at, folder, rng):
    """Give what was acknowledged and is not so after a power cut: published events, and ends of deliveries."""
    (folder / "events").mkdir(parents=True)
    disk.cut(at, folder / "events", rng)
    marked = disk.marked(at)
    kept = {sequence: payload for kind, sequence, payload in marked if kind == "kept"}
    done = {sequence: payload for kind, sequence, payload in marked if kind == "done"}
    async with events_in(folder) as events:
        history, after = {}, 0
        while page := await events.read(TOPIC, str, after=after):
            history |= {one.event.sequence: one.payload for one in page}
            after = page[-1].event.sequence
        given = await still_given(
            events, {sequence for sequence in kept.keys() & history.keys() if sequence not in done}
        )
    assert given.items() <= history.items()
    return {
        sequence for sequence, payload in kept.items() if history.get(sequence) != payload
    }, done.keys() & given.keys()


async def still_given(events, wanted):
    """Give what the group is given: all of `wanted` but one, which was being done with when the power went; oldest first."""
    given = {}
    async with events.consume(TOPIC, str, group=GROUP, start=Start.OLDEST) as deliveries:
        while len(wanted - given.keys()) > 1:
            async with asyncio.timeout(20):
                delivery = await anext(deliveries)
            given[delivery.event.sequence] = delivery.payload
    return given


async def cuts(tmp_path, count, seed, **fault):
    rng = random.Random(seed)
    (tmp_path / "data" / "events").mkdir(parents=True)
    with Disk(tmp_path / "data" / "events") as disk:
        await work(tmp_path / "data", disk, **fault)
    moments = disk.moments(count, rng)
    return [await lost(disk, at, tmp_path / f"cut{number}", rng) for number, at in enumerate(moments)]


async def test_no_kept_event_is_lost_and_none_that_was_done_with_comes_again(tmp_path):
    for missing, again in await cuts(tmp_path, CUTS, 1):
        assert (missing, again) == (set(), set())


async def test_the_same_with_fewer_syncs_loses_some(tmp_path, monkeypatch):
    monkeypatch.setitem(database.PRAGMAS, "synchronous", 1)
    assert any(missing for missing, _ in await cuts(tmp_path, CUTS // 2, 2))


async def test_a_delivery_that_is_said_to_be_done_with_too_early_is_caught(tmp_path):
    assert any(again for _, again in await cuts(tmp_path, CUTS, 3, early=True))
