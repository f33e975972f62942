"""What all connections together may hold of messages that nobody reads: bounded, whoever sends, and others go on."""

import asyncio
import contextlib
import time

import pytest

from micro.errors import Code
from micro.rpc.driver import TAKEN, Dispatcher
from micro.rpc.nghttp2 import Nghttp2Transport
from micro.rpc.nghttp2.ledger import TEXT, Ledger, Ledgers
from micro.rpc.status import Status
from micro.testing.echo import path

KIB = 1024
SIZE = 4 * KIB * KIB
READ = 256 * KIB  # bytes that a socket gives at once: what came by the time it is looked at
BODY = bytes(16 * KIB)


class Heap:
    """A stream of the ledger that holds so much until it is shed."""

    def __init__(self, held, moved=False):
        self.held = held
        self.moved = moved

    def weigh(self):
        return self.held, self.moved

    def shed(self):
        self.held = 0


class Link:
    def __init__(self, *streams):
        self.streams = dict(enumerate(streams))


def looked(size, *streams):
    ledger = Ledger(size)
    ledger.links = {Link(each) for each in streams}
    ledger.look()
    return ledger


def test_nothing_is_ended_and_nothing_is_scarce_below_half():
    streams = [Heap(10) for _ in range(40)]
    ledger = looked(800, *streams)
    assert (ledger.scarce, ledger.left) == (False, 100)
    assert sum(each.held for each in streams) == 400


def test_over_half_it_is_scarce_and_nothing_is_ended():
    streams = [Heap(10) for _ in range(70)]
    ledger = looked(800, *streams)
    assert (ledger.scarce, ledger.left) == (True, 100)
    assert all(each.held for each in streams)


def test_over_the_size_the_largest_are_ended_until_a_quarter_is_free():
    large = [Heap(100) for _ in range(8)]
    small = [Heap(1) for _ in range(100)]
    ledger = looked(800, *small, *large)
    assert all(each.held for each in small)
    assert sum(each.held for each in large) == 500
    assert (ledger.scarce, ledger.left) == (True, 200)


def test_those_that_have_not_moved_are_ended_first():
    moving = [Heap(100, moved=True) for _ in range(5)]
    stuck = [Heap(30) for _ in range(10)]
    looked(800, *moving, *stuck)
    assert all(each.held for each in moving)
    assert sum(each.held for each in stuck) == 90


def test_each_loop_has_a_ledger_of_its_own():
    ledgers = Ledgers(SIZE)

    async def here():
        assert ledgers.here() is ledgers.here()
        return ledgers.here()

    assert asyncio.run(here()) is not asyncio.run(here())


class Watched:
    """The most that a transport's streams held at any look at them, and how calls of others went meanwhile."""

    def __init__(self, transport):
        self.ledger = transport._ledgers.here()
        self.most = 0
        self.slowest = 0.0

    def held(self):
        streams = [stream for link in self.ledger.links for stream in link.streams.values()]
        found = 0
        for stream in streams:
            moved = getattr(stream, "moved", None)
            found += stream.weigh()[0]
            if moved is not None:
                stream.moved = moved
        return found

    async def watch(self):
        while True:
            self.most = max(self.most, self.held())
            await asyncio.sleep(0.002)

    async def call(self, channel):
        while True:
            begun = time.monotonic()
            assert (await channel.unary(path("Unary"), b"meanwhile", timeout=10)).message == b"meanwhile"
            self.slowest = max(self.slowest, time.monotonic() - begun)
            await asyncio.sleep(0.01)

    @contextlib.asynccontextmanager
    async def during(self, innocent):
        tasks = [asyncio.ensure_future(self.watch()), asyncio.ensure_future(self.call(innocent))]
        try:
            yield
            assert not any(task.done() for task in tasks), tasks
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        assert SIZE / 4 < self.most <= SIZE + READ
        assert self.slowest < 5


@pytest.fixture
async def small(bench):
    """A bench whose listeners and forwarders may hold little; its own channels are another transport's."""
    bench.small = Nghttp2Transport(unread=SIZE)
    bench.own = bench.transport
    bench.transport = bench.small
    await bench.listen()
    bench.transport = bench.own
    return bench


async def flood(channel, method, ends):
    """Send until the call ends, and note how."""
    call = await channel.open(path(method), timeout=60)
    try:
        for _ in range(4000):
            await call.write(BODY)
        call.half_close()
        while await call.read() is not None:
            pass
        ends.append(0)
    except Status as status:
        ends.append(status.code)
        call.end = status


async def ended(tasks):
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_handlers_that_never_read_cost_a_bounded_sum_over_all_connections(small):
    """30 connections of 20 streams: by their windows alone 150 MiB, of which 4 may lie here."""
    channels = [small.dial() for _ in range(30)]
    ends = []
    watched = Watched(small.small)
    async with watched.during(small.dial()):
        floods = [asyncio.ensure_future(flood(each, "Hold", ends)) for each in channels for _ in range(20)]
        async with asyncio.timeout(60):
            while len(ends) < 400:
                await asyncio.sleep(0.05)
            assert set(ends) == {Code.RESOURCE_EXHAUSTED}
            # who is read goes on to the end, however much he sends
            steady = []
            await flood(small.dial(), "Collect", steady)
            assert steady == [0]
    await ended(floods)
    for channel in channels:
        await channel.close()
    await small.service.until(lambda: small.service.over == small.service.begun)
    await small.service.until(lambda: watched.held() == 0 and not watched.ledger.scarce)


async def test_who_is_read_has_less_on_the_way_while_much_lies_elsewhere(small, monkeypatch):
    """His window shrinks, and grows again."""
    monkeypatch.setattr(Ledger, "look", lambda _: None)  # which would find that there is not
    ledger = small.small._ledgers.here()
    channel = small.dial()
    call = await channel.open(path("Collect"), timeout=60)
    await call.write(BODY)
    await small.service.until(lambda: small.service.read == 1)
    (link,) = ledger.links
    stream_id, received = next(iter(link.streams)), 1

    async def window():
        nonlocal received
        for _ in range(64):
            await call.write(BODY)
        received += 64
        await small.service.until(lambda: small.service.read == received)
        return link.http2.stream_local_window_size(stream_id)

    whole = await window()
    ledger.scarce = True
    narrow = await window()
    ledger.scarce = False
    assert narrow <= link.limits.window // 4 < link.limits.window // 2 <= whole
    assert await window() >= link.limits.window // 2
    call.half_close()
    assert await call.read() == b"%d" % (received * len(BODY))


async def test_who_is_ended_hears_it_in_words(small):
    ends = []
    calls = [asyncio.ensure_future(flood(small.dial(), "Hold", ends)) for _ in range(40)]
    call = await small.dial().open(path("Hold"), timeout=60)
    with pytest.raises(Status) as caught:
        for _ in range(4000):
            await call.write(BODY)
    assert (caught.value.code, caught.value.message) == (Code.RESOURCE_EXHAUSTED, f"echo: {TEXT}")
    assert caught.value.details
    await ended(calls)


async def test_messages_that_never_end_are_bounded_too(small):
    """Each connection may have one that takes all it needs."""
    channels = [small.dial() for _ in range(30)]
    watched = Watched(small.small)
    async with watched.during(small.dial()):
        calls = []
        for channel in channels:
            call = await channel.open(path("Hold"), timeout=60)
            call.link.http2.send_data(call.id, b"\0" + (30 << 20).to_bytes(4, "big") + bytes(3 << 20))
            call.link.mark()
            calls.append(call)
        await small.service.until(lambda: small.service.cancelled >= 20, within=20)
        assert (await small.dial().unary(path("Unary"), bytes(SIZE // 4), timeout=10)).message == bytes(SIZE // 4)
    for call in calls:
        call.cancel()


async def test_answers_that_nobody_reads_are_bounded_over_all_connections(small):
    small.transport = small.own  # of a service that may hold much
    await small.listen()
    small.transport = small.small
    channels = [small.dial() for _ in range(10)]
    watched = Watched(small.small)
    async with watched.during(small.dial()):
        calls = []
        for channel in channels:
            for _ in range(20):
                call = await channel.open(path("Repeat"), timeout=60)
                await call.write(b"1000 16384")
                call.half_close()
                calls.append(call)
        async with asyncio.timeout(30):
            while sum(call._over for call in calls) < 150:
                await asyncio.sleep(0.05)
        assert {call._end.code for call in calls if call._over} == {Code.RESOURCE_EXHAUSTED}
        call = await channels[0].open(path("Repeat"), timeout=60)
        await call.write(b"1000 16384")
        call.half_close()
        count = 0
        while await call.read() is not None:
            count += 1
        assert count == 1000
    for call in calls:
        call.cancel()
    assert watched.held() == 0


class Front(Dispatcher):
    """Sends everything on."""

    def __init__(self, forwarder, address):
        self.forwarder = forwarder
        self.address = address
        self.codes = []

    def open(self, call):
        self.forwarder.forward(call, self.address, call.headers, done=self.codes.append)
        return TAKEN


@pytest.fixture
async def passed(bench):
    """A front that may hold little before a service that may hold much."""
    await bench.listen()
    bench.small = Nghttp2Transport(unread=SIZE)
    bench.own, bench.transport = bench.transport, bench.small
    bench.front = Front(bench.forwarder(), bench.address)
    await bench.listen(bench.front)
    bench.transport = bench.own
    return bench


async def test_what_lies_between_slow_readers_and_their_writers_is_bounded(passed):
    channels = [passed.dial() for _ in range(10)]
    watched = Watched(passed.small)
    async with watched.during(passed.dial()):
        calls = []
        for channel in channels:
            for _ in range(20):
                call = await channel.open(path("Repeat"), timeout=60)
                await call.write(b"1000 16384")
                call.half_close()
                calls.append(call)
        async with asyncio.timeout(30):
            while passed.front.codes.count(Code.RESOURCE_EXHAUSTED) < 100:
                await asyncio.sleep(0.05)
    for call in calls:
        call.cancel()
    await passed.service.until(lambda: passed.service.over == passed.service.begun)
    assert watched.held() == 0


async def test_what_lies_between_writers_and_slow_services_is_bounded(passed):
    ends = []
    watched = Watched(passed.small)
    async with watched.during(passed.dial()):
        floods = [asyncio.ensure_future(flood(passed.dial(), "Hold", ends)) for _ in range(100)]
        async with asyncio.timeout(30):
            while ends.count(Code.RESOURCE_EXHAUSTED) < 50:
                await asyncio.sleep(0.05)
    await ended(floods)
