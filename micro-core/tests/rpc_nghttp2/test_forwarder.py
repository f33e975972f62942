"""What is particular to passing frames on; that calls pass at all is the RPC suite's."""

import asyncio

import pytest

from micro.errors import Code
from micro.rpc.driver import TAKEN, Dispatcher
from micro.rpc.nghttp2 import http2
from micro.rpc.nghttp2.connection import HIGH
from micro.rpc.status import Status
from micro.testing import attacks
from micro.testing.echo import Echo, path

both_loops = True


class Front(Dispatcher):
    """Sends everything on, at once or after a while."""

    def __init__(self, forwarder, address, wait=0.0):
        self.forwarder = forwarder
        self.address = address
        self.wait = wait
        self.codes = []
        self.tasks = []

    def open(self, call):
        if self.wait:
            self.tasks.append(asyncio.ensure_future(self.later(call)))
        else:
            self.forward(call)
        return TAKEN

    async def later(self, call):
        await asyncio.sleep(self.wait)
        self.forward(call)

    def words(self, _call, code, text):
        return code, f"front: {text}", b"details"

    def forward(self, call):
        self.forwarder.forward(call, self.address, call.headers, done=self.codes.append)


@pytest.fixture
async def front(bench):
    await bench.listen()
    front = Front(bench.forwarder(), bench.address)
    front.listener = await bench.listen(front)
    return front


async def test_a_call_may_be_taken_over_after_its_messages_came(bench, front):
    front.wait = 0.05
    channel = bench.dial()
    assert (await channel.unary(path("Unary"), b"early", timeout=5)).message == b"early"
    call = await channel.open(path("Collect"), timeout=5)
    for _ in range(5):
        await call.write(bytes(50_000))
    await asyncio.sleep(0.1)
    call.half_close()
    assert await call.read() == b"250000"
    assert await call.read() is None
    assert front.codes == [0, 0]


async def test_a_call_that_ended_before_is_not_sent(bench, front):
    front.wait = 0.1
    with pytest.raises(Status) as caught:
        await bench.dial().unary(path("Unary"), b"x", timeout=0.03)
    assert caught.value.code == Code.DEADLINE_EXCEEDED
    await asyncio.gather(*front.tasks)
    assert front.codes == [Code.CANCELLED]
    assert bench.service.begun == 0


async def test_compressed_messages_pass_as_they_are(bench, front):
    import gzip

    body = gzip.compress(b"hello" * 100)
    async with attacks.RawPeer(bench.address) as peer:
        await peer.send(attacks.headers(1, attacks.request(path("Unary"), [(b"grpc-encoding", b"gzip")])))
        await peer.send(attacks.data(1, attacks.message(body, flag=1), end=True))
        assert (await peer.frames(attacks.DATA))[-1].payload == attacks.message(b"hello" * 100)


async def test_a_back_that_dies_midway_ends_the_call_and_is_found_again(bench, front):
    back = bench.transport.listener(bench.service)
    front.address = await back.start("127.0.0.1:0")
    channel = bench.dial()
    call = await channel.open(path("Repeat"), timeout=10)
    await call.write(b"100000 1000")
    assert await call.read() is not None
    await back.close()
    with pytest.raises(Status) as caught:
        while await call.read() is not None:
            pass
    assert caught.value.code in {Code.UNAVAILABLE, Code.CANCELLED}
    again = bench.transport.listener(bench.service)
    await again.start(front.address)
    assert (await channel.unary(path("Unary"), b"again", timeout=5)).message == b"again"
    await channel.close()
    await again.close()


async def test_what_the_back_refused_unseen_is_refused_unseen(bench, front):
    async def refusing(reader, writer):
        peer = http2.server(front.listener.limits)
        while data := await reader.read(65536):
            peer.receive_data(data)
            for event in peer.events():
                if type(event) is http2.RequestReceived:
                    peer.reset_stream(event.stream_id, http2.REFUSED_STREAM)
            writer.write(peer.data_to_send())
        writer.close()

    server = await asyncio.start_server(refusing, "127.0.0.1", 0)
    front.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    with pytest.raises(Status) as caught:
        await bench.dial().unary(path("Unary"), b"x", timeout=5)
    assert (caught.value.code, caught.value.processed) == (Code.UNAVAILABLE, False)
    assert front.codes == [Code.UNAVAILABLE]
    await front.forwarder.close()
    server.close()
    await asyncio.sleep(0.01)


async def test_little_lies_between_a_slow_reader_and_its_writer(bench, front):
    channel = bench.dial()
    call = await channel.open(path("Repeat"), timeout=20)
    await call.write(b"500 65536")
    assert await call.read() is not None
    before = -1
    while before != bench.service.sent:
        before = bench.service.sent
        await asyncio.sleep(0.1)
    (link,) = front.listener.links
    assert link.http2.queued_body_size() <= HIGH + link.limits.window
    count = 1
    while await call.read() is not None:
        count += 1
    assert count == 500


async def test_a_vanished_caller_frees_both_sides(bench, front):
    async with attacks.RawPeer(bench.address) as peer:
        for stream in range(1, 41, 2):
            await peer.send(attacks.headers(stream, attacks.request(path("Chat"))))
        await bench.service.until(lambda: bench.service.begun == 20)
        peer.abort()
    await bench.service.until(lambda: bench.service.cancelled == 20)
    assert front.codes == [Code.CANCELLED] * 20
    pool = front.forwarder._pools[front.address]
    assert pool.outstanding == 0
    assert not pool._links[0].streams


async def test_the_deadline_holds_while_the_back_is_dialled(bench, front):
    async def silent(reader, writer):
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    front.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    with pytest.raises(Status) as caught:
        call = await bench.dial().open(path("Chat"), timeout=0.2)
        call._timer.cancel()  # so that the front's is what ends it
        await call.read()
    assert caught.value.code == Code.DEADLINE_EXCEEDED
    assert (caught.value.message, caught.value.details) == ("front: deadline exceeded", b"details")
    assert front.codes == [Code.DEADLINE_EXCEEDED]
    await front.forwarder.close()
    server.close()
    await asyncio.sleep(0.01)


async def test_a_draining_front_ends_what_outlasts_the_grace(bench, front):
    call = await bench.dial().open(path("Chat"), timeout=20)
    await call.headers()
    await front.listener.drain(grace=0.1)
    with pytest.raises(Status) as caught:
        await call.read()
    assert (caught.value.code, caught.value.message) == (Code.UNAVAILABLE, "front: the server is shutting down")
    assert front.codes == [Code.UNAVAILABLE]
    await bench.service.until(lambda: bench.service.cancelled == 1)  # a cut is no end of the requests


async def test_many_addresses_keep_few_connections(bench, monkeypatch):
    from micro.rpc.nghttp2 import forwarder as module

    monkeypatch.setattr(module, "MAX_POOLS", 2)
    front = Front(bench.forwarder(), "")
    await bench.listen(front)
    channel = bench.dial()
    backs = []
    for _ in range(4):
        back = bench.transport.listener(Echo())
        backs.append(back)
        front.address = await back.start("127.0.0.1:0")
        assert (await channel.unary(path("Unary"), b"x", timeout=5)).message == b"x"
    assert len(front.forwarder._pools) == 2
    for back in backs:
        await back.close()
