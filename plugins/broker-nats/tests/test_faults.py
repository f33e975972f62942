"""What NatsBroker says and tells when NATS restarts, hangs, refuses a log-in, or takes less than a message."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from micro import limits
from micro.broker.api import Broker
from micro.errors import ConfigError, DeadlineExceeded, ResourceExhausted, Unauthenticated, Unavailable
from micro.testing.servers import Server, free_port
from micro.testing.servers.nats import nats, nats_server
from micro.testing.store import unique
from micro_broker_nats import NatsBroker, NatsSettings
from micro_broker_nats.connection import token

__all__ = ["nats_server"]


def broker(port: int, **more: Any) -> Broker:
    given = {"timeout": 1.0, "connect_timeout": 1.0} | more
    return Broker(NatsBroker(NatsSettings(url=f"nats://127.0.0.1:{port}", **given)), plugin="nats")


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Server]:
    server = nats(tmp_path)
    server.start()
    yield server
    server.stop()


async def published(one: Broker, topic: str, payload: str) -> None:
    """Publish until it is taken."""
    async with asyncio.timeout(5):
        while True:
            try:
                await one.publish(topic, payload)
                return
            except (Unavailable, DeadlineExceeded):
                await asyncio.sleep(0.02)


async def following(messages: AsyncIterator[Any]) -> Any:
    return await asyncio.wait_for(anext(messages), 10)


async def test_a_restart_is_told_as_a_gap_and_all_goes_on(own: Server) -> None:
    async with broker(own.port) as one, broker(own.port) as other, one.subscribe("t") as messages:
        received = aiter(messages)
        await other.publish("t", "1")
        assert (await following(received)).payload == b"1"
        own.kill()
        await asyncio.sleep(0.1)
        with pytest.raises((Unavailable, DeadlineExceeded)):
            await other.publish("t", "lost")
        own.start()
        back = time.monotonic()
        await published(one, "t", "2")
        await published(other, "t", "3")
        assert time.monotonic() - back < 5
        told = [await following(received), await following(received)]
        assert [(each.payload, each.lost) for each in told] == [(b"2", -1), (b"3", 0)]


async def test_one_that_hangs_is_given_up_and_goes_on(own: Server) -> None:
    async with broker(own.port) as one, one.subscribe("t") as messages:
        own.pause()
        begun = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            await one.publish("t", "late")
        assert time.monotonic() - begun < 3
        own.resume()
        await published(one, "t", "end")
        received = aiter(messages)
        while (await following(received)).payload != b"end":
            pass


async def test_what_is_confirmed_reaches_who_listens_over_restarts(own: Server) -> None:
    async with broker(own.port) as one, one.subscribe("t") as messages:
        received = aiter(messages)
        for n in range(3):
            await published(one, "t", str(n))
            told = await following(received)
            assert (told.payload, told.lost) == (str(n).encode(), -1 if n else 0)
            own.kill()
            await asyncio.sleep(0.05)
            own.start()


async def test_one_that_is_not_there_is_named_with_its_address() -> None:
    port = free_port()
    begun = time.monotonic()
    with pytest.raises(Unavailable, match=f"127.0.0.1:{port}"):
        await broker(port).open()
    assert time.monotonic() - begun < 4


async def test_who_logs_in_wrongly_is_unauthenticated(tmp_path: Path) -> None:
    server = nats(tmp_path, 'authorization { user: "micro", password: "right" }')
    server.start()
    try:
        async with broker(server.port, user="micro", password="right") as one:
            await one.publish("t", "1")
        for wrong in ({}, {"user": "micro", "password": "a wrong one"}):
            with pytest.raises(Unauthenticated) as caught:
                await broker(server.port, **wrong).open()
            assert "a wrong one" not in str(caught.value)
    finally:
        server.stop()


async def test_a_message_that_the_server_does_not_take_is_exhausted(tmp_path: Path) -> None:
    server = nats(tmp_path)
    config = tmp_path / "nats.conf"
    config.write_text(config.read_text().replace("2097152", "65536"))
    server.start()
    try:
        async with broker(server.port) as one:
            with pytest.raises(ResourceExhausted):
                await one.publish("t", b"x" * (limits.VALUE // 2))
            await one.publish("t", b"small")
    finally:
        server.stop()


async def test_members_of_a_queue_at_two_servers_share_its_messages(nats_server: Server) -> None:
    topic = unique()
    async with (
        broker(nats_server.port) as one,
        broker(nats_server.port) as two,
        one.subscribe(topic, queue="q") as first,
        two.subscribe(topic, queue="q") as second,
    ):
        seen: list[bytes] = []

        async def member(messages: Any) -> None:
            async for message in messages:
                seen.append(message.payload)  # noqa: PERF401 - the other member appends, too

        members = [asyncio.create_task(member(each)) for each in (first, second)]
        await asyncio.gather(*(one.publish(topic, str(n)) for n in range(100)))
        async with asyncio.timeout(10):
            while len(seen) < 100:
                await asyncio.sleep(0.01)
        for each in members:
            each.cancel()
        await asyncio.gather(*members, return_exceptions=True)
        assert sorted(seen) == sorted(str(n).encode() for n in range(100))


def test_no_two_names_are_one_token_and_none_is_a_wildcard() -> None:
    names = [
        "a",
        "ab",
        "a.b",
        "a/b",
        "A",
        "a=2Eb",
        "a%2fb",
        "*",
        ">",
        "?",
        "..",
        "é",
        "e\u0301",
        "$JS",
        " ",
        "a b",
        "_",
        "=",
        "",
    ]
    tokens = [token(name) for name in names]
    assert len(set(tokens)) == len(names)
    assert not [each for each in tokens if set(each) & set(".*> $\t")]


def test_an_address_without_its_scheme_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match="begins with"):
        NatsSettings(url="127.0.0.1:4222")
