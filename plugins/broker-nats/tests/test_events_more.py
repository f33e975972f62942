"""What is peculiar to NatsEvents: limits, several servers, restarts, clusters, and names."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from micro import limits
from micro.errors import DeadlineExceeded, FailedPrecondition, ResourceExhausted, ServiceError, Unavailable
from micro.events.api import Events
from micro.events.driver import NewEvent, Start
from micro.testing.events import following, none_comes, taken
from micro.testing.servers import Server, free_port
from micro.testing.servers.nats import nats, nats_server
from micro.testing.store import unique
from micro_broker_nats import NatsEvents, NatsEventsSettings
from micro_broker_nats.connection import token
from micro_broker_nats.topic import LONG, short

__all__ = ["nats_server"]
PATIENCE = 15.0  # seconds


def settings(port: int, **more: Any) -> NatsEventsSettings:
    given = {"timeout": 1.0, "connect_timeout": 1.0} | more
    return NatsEventsSettings(url=f"nats://127.0.0.1:{port}", **given)


@asynccontextmanager
async def opened(port: int, **more: Any) -> AsyncIterator[Events]:
    async with Events(NatsEvents(settings(port, **more)), plugin="nats") as events:
        yield events


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Server]:
    server = nats(tmp_path)
    server.start()
    yield server
    server.stop()


async def published(events: Events, topic: str, payload: str, id: str = "") -> None:
    """Publish until it is kept: with an id it is kept once."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await events.publish(topic, payload, id=id)
                return
            except (Unavailable, DeadlineExceeded):
                await asyncio.sleep(0.02)


async def numbers(events: Events, topic: str) -> list[int]:
    """Read what is kept, when the server answers."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return [int(event.payload) for event in await events.read(topic, limit=10_000)]
            except (Unavailable, DeadlineExceeded):
                await asyncio.sleep(0.02)


# -- limits


async def test_a_full_topic_refuses_a_call_whole_and_keeps_what_it_has(nats_server: Server) -> None:
    topic = unique()
    async with opened(nats_server.port, max_events=3) as events:
        await events.publish(topic, "0")
        with pytest.raises(ResourceExhausted, match="is full"):
            await events.publish_many(topic, ["1", "2", "3"])
        assert await numbers(events, topic) == [0]
        await events.publish_many(topic, ["1", "2"])
        with pytest.raises(ResourceExhausted, match=f"topic '{topic}' is full"):
            await events.publish(topic, "3")
        # of those who ask at once each is refused or kept by itself
        told = await asyncio.gather(*(events.publish(topic, "3") for _ in range(5)), return_exceptions=True)
        assert all(isinstance(each, ResourceExhausted) for each in told)
        assert await numbers(events, topic) == [0, 1, 2]
        await events.publish(f"{topic}-other", "0")


async def test_calls_that_go_together_are_refused_apart(nats_server: Server) -> None:
    topic = unique()
    async with opened(nats_server.port, max_events=4) as events:
        told = await asyncio.gather(
            *(events.publish_many(topic, [str(n), str(n)]) for n in range(3)), return_exceptions=True
        )
        assert sum(isinstance(each, ResourceExhausted) for each in told) == 1
        assert sorted(await numbers(events, topic)) in ([0, 0, 1, 1], [0, 0, 2, 2], [1, 1, 2, 2])


async def test_when_asked_to_the_oldest_go_and_who_is_behind_is_told(nats_server: Server) -> None:
    topic = unique()
    async with opened(nats_server.port, max_events=3, discard="old") as events:
        async with events.consume(topic, group="g", window=1) as deliveries:
            await events.publish(topic, "0")
            assert await taken(deliveries, 1) == [b"0"]
        await events.publish_many(topic, [str(n) for n in range(1, 8)])
        assert await numbers(events, topic) == [5, 6, 7]
        (group,) = await events.groups(topic)
        assert (group.lag, group.lost) == (3, 4)
        async with events.consume(topic, group="g", window=1) as deliveries:
            first = await following(deliveries)
            assert (first.payload, first.lost) == (b"5", 4)
            second = await following(deliveries)
            assert (second.payload, second.lost) == (b"6", 0)
        async with events.consume(topic, start=Start(sequence=2)) as named:
            first = await following(named)
            assert (first.payload, first.lost) == (b"5", 4)
        async with events.consume(topic, start=Start.OLDEST) as oldest:
            assert (await following(oldest)).lost == 0


async def test_what_is_too_old_goes_and_settings_may_change(nats_server: Server) -> None:
    topic = unique()
    async with opened(nats_server.port) as events:
        await events.publish(topic, "0")
        assert await numbers(events, topic) == [0]
    async with opened(nats_server.port, retention=0.3) as events:
        await events.publish(topic, "1")
        async with asyncio.timeout(PATIENCE):
            while await numbers(events, topic):
                await asyncio.sleep(0.05)
        receipt = await events.publish(topic, "2")
        assert receipt.sequence == 3


async def test_an_old_id_publishes_nothing_however_it_comes(nats_server: Server) -> None:
    topic = unique()
    async with opened(nats_server.port) as events:
        first = await events.publish_many(topic, [NewEvent(b"0", "a"), NewEvent(b"1"), NewEvent(b"2", "b")])
        again = await asyncio.gather(*(events.publish(topic, "x", id=id) for id in ("a", "b", "a")))
        assert [(each.sequence, each.duplicate) for each in again] == [
            (first[0].sequence, True), (first[2].sequence, True), (first[0].sequence, True),
        ]  # fmt: skip
        together = await asyncio.gather(*(events.publish(topic, str(n), id="new") for n in range(20)))
        assert sum(not each.duplicate for each in together) == 1
        assert len(await events.read(topic)) == 4


async def test_large_events_are_read_in_pages(nats_server: Server) -> None:
    topic = unique()
    async with opened(nats_server.port, timeout=5.0) as events:
        body = b"x" * limits.VALUE
        for n in range(12):
            await events.publish(topic, body, id=str(n), metadata={"m": "é" * 1000})
        found = await events.read(topic)
        assert [event.event.id for event in found] == [str(n) for n in range(12)]
        back = await events.read(topic, descending=True)
        assert [event.event.id for event in back] == [str(n) for n in reversed(range(12))]
        async with events.consume(topic, group="g", start=Start.OLDEST) as deliveries:
            assert sum(len(each) for each in await taken(deliveries, 12)) == 12 * limits.VALUE


# -- several of Micro's servers


async def test_a_group_with_members_at_several_servers_has_each_event_once(nats_server: Server) -> None:
    topic = unique()
    async with opened(nats_server.port) as one, opened(nats_server.port) as two:
        seen: list[int] = []

        async def member(events: Events) -> None:
            async with events.consume(topic, group="g", start=Start.OLDEST, window=16) as deliveries:
                async for delivery in deliveries:
                    seen.append(int(delivery.payload))  # noqa: PERF401 -- the other member appends, too

        members = [asyncio.create_task(member(events)) for events in (one, two, two)]
        await asyncio.gather(*(one.publish(topic, str(n)) for n in range(300)))
        async with asyncio.timeout(PATIENCE):
            while len(seen) < 300:
                await asyncio.sleep(0.01)
        assert sorted(seen) == list(range(300))
        for each in members:
            each.cancel()
        await asyncio.gather(*members, return_exceptions=True)


async def test_what_a_server_had_that_died_comes_to_another_after_its_wait(nats_server: Server) -> None:
    topic = unique()
    options: Any = {"group": "g", "start": Start.OLDEST, "ack_wait": 1.0, "manual": True}
    async with opened(nats_server.port) as one:
        dying = NatsEvents(settings(nats_server.port))
        await dying.open()
        consumption = Events(dying).consume(topic, **options)
        await consumption.__aenter__()
        await one.publish_many(topic, ["0", "1"])
        held = await following(consumption)
        assert held.payload == b"0"
        dying._connection.client._transport._io_writer.transport.abort()  # nothing is said any more
        dying._connection.client.options["allow_reconnect"] = False
        async with one.consume(topic, **options) as deliveries:
            found = {}
            for _ in range(2):
                delivery = await following(deliveries)
                found[delivery.payload] = delivery.number
                assert await delivery.ack()
        assert found == {b"0": 2, b"1": 2}  # nobody could say that the second was only fetched ahead
        await dying.close()


async def test_a_group_is_moved_from_another_server(nats_server: Server) -> None:
    topic = unique()
    async with opened(nats_server.port) as one, opened(nats_server.port) as two:
        await one.publish_many(topic, ["0", "1"])
        async with one.consume(topic, group="g", start=Start.OLDEST, manual=True) as deliveries:
            assert await (await following(deliveries)).ack()
            held = await following(deliveries)
            await two.seek(topic, "g", Start.OLDEST)
            assert not await held.ack()
            again = await following(deliveries)
            assert (again.payload, again.number) == (b"0", 1)
            assert await again.ack()
        await two.seek(topic, "g", None)
        await two.seek(topic, "new", Start(sequence=2))  # moved before anybody consumed it
        with pytest.raises(FailedPrecondition):
            async with one.consume(topic, group="new", ack_wait=3), two.consume(topic, group="new", ack_wait=4):
                pass
        async with one.consume(topic, group="new", ack_wait=3) as deliveries:
            assert await taken(deliveries, 1) == [b"1"]


async def test_two_who_begin_a_group_at_once_begin_one(nats_server: Server) -> None:
    topic = unique()
    async with opened(nats_server.port) as one, opened(nats_server.port) as two:
        await one.publish_many(topic, [str(n) for n in range(6)])
        entering = [each.consume(topic, group="g", start=Start.OLDEST) for each in (one, two)]
        members = await asyncio.gather(*(each.__aenter__() for each in entering))
        found: list[bytes] = []

        async def take(deliveries: Any) -> None:
            while True:
                found.extend(await taken(deliveries, 1))

        taking = [asyncio.create_task(take(each)) for each in members]
        async with asyncio.timeout(PATIENCE):
            while len(found) < 6:
                await asyncio.sleep(0.01)
        for each in taking:
            each.cancel()
        await asyncio.gather(*taking, return_exceptions=True)
        assert sorted(found) == [b"%d" % n for n in range(6)]
        for entered in entering:
            await entered.__aexit__(None, None, None)
        assert [group.name for group in await one.groups(topic)] == ["g"]


async def test_events_of_one_key_are_in_order_wherever_the_members_are(nats_server: Server) -> None:
    topic = unique()
    options: Any = {"group": "g", "start": Start.OLDEST, "keyed": True, "manual": True}
    async with opened(nats_server.port) as one, opened(nats_server.port) as two:
        for n, key in enumerate("aabab"):
            await one.publish(topic, str(n), key=key)
        async with two.consume(topic, **options) as other:
            async with one.consume(topic, **options) as first:
                assert await none_comes(first, 0.3)  # one member at a time receives
                held = [await following(other), await following(other)]
                assert sorted(each.payload for each in held) == [b"0", b"2"]
                assert await none_comes(other, 0.1)
                assert all([await each.nack(0) for each in held])
            found: dict[str, list[int]] = {"a": [], "b": []}
            for _ in range(5):
                delivery = await following(other)
                found[delivery.event.key].append(int(delivery.payload))
                assert await delivery.ack()
        assert found == {"a": [0, 1, 3], "b": [2, 4]}


# -- faults


async def test_restarts_under_load_lose_and_double_nothing_that_was_kept(own: Server) -> None:
    async with opened(own.port) as events:
        seen: list[int] = []

        async def consume() -> None:
            async with events.consume("t", group="g", start=Start.OLDEST, ack_wait=3.0) as deliveries:
                async for delivery in deliveries:
                    seen.append(int(delivery.payload))  # noqa: PERF401 -- it is read meanwhile

        consuming = asyncio.create_task(consume())
        for part in range(3):
            load = [
                asyncio.create_task(published(events, "t", str(n), str(n))) for n in range(part * 50, part * 50 + 50)
            ]
            await asyncio.sleep(0.05)
            own.kill()
            await asyncio.sleep(0.1)
            own.start()
            back = time.monotonic()
            await asyncio.gather(*load)
            assert time.monotonic() - back < 5
        async with asyncio.timeout(PATIENCE):
            while len(set(seen)) < 150:
                await asyncio.sleep(0.02)
        assert sorted(await numbers(events, "t")) == list(range(150))
        consuming.cancel()
        await asyncio.gather(consuming, return_exceptions=True)


async def test_one_that_hangs_is_given_up_and_goes_on(own: Server) -> None:
    async with opened(own.port) as events, events.consume("t", group="g", manual=True) as deliveries:
        await events.publish("t", "0")
        first = await following(deliveries)
        own.pause()
        begun = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            await events.publish("t", "late", id="late")
        assert not await first.ack()  # nobody knows: it may come again
        assert time.monotonic() - begun < 5
        own.resume()
        await published(events, "t", "late", "late")
        found = [await following(deliveries)]
        while found[-1].payload != b"late":
            assert await found[-1].ack()
            found.append(await following(deliveries))
        assert await found[-1].ack()


async def test_one_without_jetstream_says_so(tmp_path: Path) -> None:
    server = nats(tmp_path)
    config = tmp_path / "nats.conf"
    config.write_text("\n".join(line for line in config.read_text().splitlines() if "jetstream" not in line))
    server.start()
    try:
        with pytest.raises(FailedPrecondition, match=f"127.0.0.1:{server.port} keeps no events"):
            await Events(NatsEvents(settings(server.port)), plugin="nats").open()
    finally:
        server.stop()


async def test_a_stream_that_somebody_deleted_is_made_anew(own: Server) -> None:
    async with opened(own.port) as events:
        driver: Any = events.driver
        await events.publish("t", "0")
        await driver._requests.api(f"STREAM.DELETE.{driver._topic('micro', 't').stream}")
        assert await events.read("t") == []
        with pytest.raises(ServiceError):
            await events.publish("t", "1")
        await events.publish("t", "2")
        assert [event.payload for event in await events.read("t")] == [b"2"]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Sequence[Server]]:
    """Three servers that keep events together."""
    ports = [free_port() for _ in range(3)]
    routes = ", ".join(f'"nats-route://127.0.0.1:{port}"' for port in ports)
    servers = []
    for n, port in enumerate(ports):
        (tmp_path / str(n)).mkdir()
        more = f'server_name: n{n}\ncluster {{ name: c, listen: "127.0.0.1:{port}", routes: [{routes}] }}'
        servers.append(nats(tmp_path / str(n), more))
    for server in servers:
        server.start()
    yield servers
    for server in servers:
        server.stop()


async def test_a_cluster_that_loses_a_server_keeps_every_event(cluster: Sequence[Server]) -> None:
    url = ",".join(f"nats://127.0.0.1:{server.port}" for server in cluster)
    driver = NatsEvents(NatsEventsSettings(url=url, replicas=3, timeout=2.0))
    events = Events(driver, plugin="nats")
    async with asyncio.timeout(30):
        while True:  # until they have found one another, and elected
            try:
                await events.open()
                break
            except (Unavailable, DeadlineExceeded):
                await asyncio.sleep(0.1)
    try:
        await published(events, "t", "0", "0")
        async with events.consume("t", group="g", start=Start.OLDEST, ack_wait=2.0) as deliveries:
            info = await driver._requests.api(f"STREAM.INFO.{driver._topic('micro', 't').stream}")
            leader = int(info["cluster"]["leader"].removeprefix("n"))
            load = [asyncio.create_task(published(events, "t", str(n), str(n))) for n in range(1, 40)]
            cluster[leader].kill()
            await asyncio.gather(*load)
            seen = set()
            async with asyncio.timeout(PATIENCE):
                while len(seen) < 40:
                    seen.add(int((await anext(deliveries)).payload))
    finally:
        await events.close()


# -- names


def test_no_two_names_are_one_and_none_is_longer_than_a_stream_may_be() -> None:
    names = ["a", "a.b", "a=2Eb", "A", "*", ">", " ", "é", "x" * 255, "é" * 127, "é" * 126 + "è", "é" * 100, "=H"]
    found = [short(name) for name in names]
    assert len(set(found)) == len(names)
    assert all(len(each) <= LONG for each in found)
    assert not [each for each in found if set(each) & set(".*> /\\~")]
    assert short("a.b") == token("a.b")


async def test_the_longest_names_of_all_are_apart(nats_server: Server) -> None:
    base = unique() + "é" * 100
    async with opened(nats_server.port) as events:
        for topic in (f"{base}1", f"{base}2"):
            await events.publish(topic, topic)
            for group in ("ü" * 127, "ü" * 126 + "u"):
                async with events.consume(topic, group=group, start=Start.OLDEST) as deliveries:
                    assert await taken(deliveries, 1) == [topic.encode()]
            assert [event.payload for event in await events.read(topic)] == [topic.encode()]
            assert len(await events.groups(topic)) == 2
