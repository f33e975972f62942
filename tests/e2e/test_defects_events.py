"""What the platform's forerunner got wrong with events (D18 of the list): the same action, a safe outcome, on a real platform."""

import asyncio
import json
import uuid
from pathlib import Path

import pytest

import micro
from micro.events.driver import Start
from micro.testing.events import following, none_comes

pytestmark = pytest.mark.e2e


@pytest.fixture
async def events(platform):
    admin = json.loads((platform.data / "admin.json").read_text())
    async with micro.connect(platform.address("proxy"), id=admin["id"], secret=admin["secret"]) as process:
        yield process.events


@pytest.fixture
def topic():
    return f"d18-{uuid.uuid4().hex}"


async def test_d18_many_at_once_who_publish_and_consume_lose_nothing(events, topic):
    async def publish(worker):
        for n in range(10):
            await events.publish(topic, f"{worker}.{n}")

    async def consume(deliveries):
        return [(await following(deliveries)).payload for _ in range(200)]

    groups = [events.consume(topic, str, group=f"g{n}") for n in range(4)]
    for each in groups:
        await each.__aenter__()
    *_, one, two, three, four = await asyncio.gather(
        *(publish(worker) for worker in range(20)), *(consume(deliveries) for deliveries in groups)
    )
    for each in groups:
        await each.__aexit__(None, None, None)
    assert sorted(one) == sorted(f"{worker}.{n}" for worker in range(20) for n in range(10))
    assert one == two == three == four
    assert [(g.pending, g.lag, g.lost) for g in await events.groups(topic)] == [(0, 0, 0)] * 4


async def test_d18_a_subscriber_that_died_is_forgotten(platform, events, topic):
    def open_files():
        return len([*Path(f"/proc/{platform.pids()['events']}/fd").iterdir()])

    before = open_files()
    for _ in range(30):
        context = events.driver.consume("micro", topic, group="g")
        consumer = await context.__aenter__()
        consumer._stream.cancel()  # nothing is said: it is cut
        consumer._reader.cancel()
    async with asyncio.timeout(20):
        while True:  # nobody is left who would get it: it waits for one that lives
            receipt = await events.publish(topic, "x")
            async with events.consume(topic, str, group="g") as deliveries:
                delivery = await following(deliveries)
                if delivery.event.sequence == receipt.sequence:
                    break
    assert open_files() <= before + 4


async def test_d18_the_first_delivery_to_settle_by_hand_comes_at_once(events, topic):
    await events.publish(topic, "x")
    begun = asyncio.get_running_loop().time()
    async with events.consume(topic, group="g", start=Start.OLDEST, ack_wait=3600, manual=True) as deliveries:
        assert await (await following(deliveries)).ack()  # within 10 s: the wait for an ack is an hour
    assert asyncio.get_running_loop().time() - begun < 20


async def test_d18_past_its_limit_an_event_is_kept_with_why_and_can_be_had_again(events, topic):
    await events.publish(topic, "poison", id="p")
    async with events.consume(topic, group="g", start=Start.OLDEST, max_deliveries=2, manual=True) as deliveries:
        for number in (1, 2):
            delivery = await following(deliveries)
            assert delivery.number == number
            await delivery.nack(0)
        assert await none_comes(deliveries)
        async with asyncio.timeout(10):
            while not (letters := await events.read(f"{topic}.dlq")):
                await asyncio.sleep(0.02)
        ((letter,), metadata) = letters, letters[0].event.metadata
        assert (letter.payload, metadata["dead-id"], metadata["dead-deliveries"]) == (b"poison", "p", "2")
        assert metadata["dead-cause"] == "delivered 2 times without being settled"
        await events.replay(topic, ["p"])
        again = await following(deliveries)
        assert (again.payload, again.number) == (b"poison", 1)
        await again.ack()


async def test_d18_a_group_has_its_events_in_order_and_each_key_one_after_the_other(events, topic):
    for n in range(0, 60, 20):
        await events.publish_many(topic, [str(m) for m in range(n, n + 20)])
    async with events.consume(topic, str, group="one", start=Start.OLDEST) as deliveries:
        assert [(await following(deliveries)).payload for _ in range(60)] == [str(n) for n in range(60)]
    keyed = f"{topic}-keyed"
    for n in range(40):
        await events.publish(keyed, str(n), key="ab"[n % 2])
    seen, working = {"a": [], "b": []}, set()

    async def member():
        async with events.consume(keyed, str, group="g", start=Start.OLDEST, keyed=True) as deliveries:
            while sum(map(len, seen.values())) < 40:
                try:
                    async with asyncio.timeout(1):
                        delivery = await anext(deliveries)
                except TimeoutError:
                    continue
                key = delivery.event.key
                assert key not in working
                working.add(key)
                await asyncio.sleep(0.002)
                working.remove(key)
                seen[key].append(int(delivery.payload))

    await asyncio.gather(*(member() for _ in range(3)))
    assert seen == {"a": [*range(0, 40, 2)], "b": [*range(1, 40, 2)]}
