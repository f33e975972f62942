"""Whatever ends a call first, in whatever order the other ends follow: one end counts, and the connection serves on."""

import asyncio
import gc
import itertools

import pytest

from micro.errors import Code
from micro.rpc.driver import TAKEN
from micro.rpc.nghttp2 import http2
from micro.rpc.status import Status
from micro.testing import attacks
from micro.testing.echo import Echo, path

SERVER = {
    "finish": lambda call: call.finish(Code.ABORTED, "finished"),
    "reply": lambda call: call.reply(b"replied"),
    "expire": lambda call: call.expire(),
    "reset": lambda call: call.on_reset(http2.CANCEL),
    "cut": lambda call: call.cut(),
}
CODES = {"finish": Code.ABORTED, "reply": Code.OK, "expire": Code.DEADLINE_EXCEEDED, "cut": Code.UNAVAILABLE}
CLIENT = {
    "cancel": (lambda call: call.cancel(), Code.CANCELLED),
    "expire": (lambda call: call._expire(), Code.DEADLINE_EXCEEDED),
    "reset": (lambda call: (call.on_reset(http2.REFUSED_STREAM), call.link.reset(call.id)), Code.UNAVAILABLE),
    "end": (lambda call: call.on_trailers(((b"grpc-status", b"10"),)), Code.ABORTED),
    "data": (lambda call: call.on_data(b"\x00\xff\xff\xff\xff", False), Code.RESOURCE_EXHAUSTED),
}


class Holder(Echo):
    """Keeps calls to the path Take for the test."""

    def open(self, call):
        if call.path == b"/test.Echo/Take":
            self.taken = call
            return TAKEN
        return super().open(call)


@pytest.mark.parametrize("order", list(itertools.permutations(SERVER, 3)), ids="-".join)
async def test_a_server_ends_a_call_once(bench, order):
    service = Holder()
    listener = await bench.listen(service)
    channel = bench.dial()
    asking = asyncio.ensure_future(channel.unary(b"/test.Echo/Take", b"x" * 100, timeout=3))
    while not hasattr(service, "taken"):
        await asyncio.sleep(0)
    for name in order:
        SERVER[name](service.taken)
    if order[0] == "reset":
        asking.cancel()
    result = (await asyncio.gather(asking, return_exceptions=True))[0]
    if order[0] != "reset":
        assert (result.code if isinstance(result, Status) else Code.OK) == CODES[order[0]]
    assert (await channel.unary(path("Unary"), b"next", timeout=3)).message == b"next"
    assert channel.outstanding == 0
    (link,) = listener.links
    assert not link.streams


@pytest.mark.parametrize("order", list(itertools.permutations(CLIENT, 3)), ids="-".join)
async def test_a_client_ends_a_call_once(bench, order):
    listener = await bench.listen()
    channel = bench.dial()
    call = await channel.open(path("Chat"), timeout=5)
    await call.headers()
    for name in order:
        CLIENT[name][0](call)
    with pytest.raises(Status) as caught:
        await call.read()
    assert caught.value.code == CLIENT[order[0]][1]
    with pytest.raises(Status):
        await call.write(b"late")
    assert (await channel.unary(path("Unary"), b"next", timeout=3)).message == b"next"
    assert channel.outstanding == 0
    assert not bench.link(channel).streams
    await bench.service.until(lambda: not next(iter(listener.links)).streams)


async def test_a_handler_that_ignores_its_cancellation_is_answered_for(bench):
    class Stubborn(Echo):
        async def run(self, call):
            for _ in range(3):
                try:
                    await asyncio.sleep(0.3)
                except asyncio.CancelledError:
                    self.cancelled += 1
            call.reply(b"too late")
            self.over += 1

    service = Stubborn()
    await bench.listen(service)
    with pytest.raises(Status) as caught:
        await bench.dial().unary(path("Unary"), b"", timeout=0.1)
    assert caught.value.code == Code.DEADLINE_EXCEEDED
    await service.until(lambda: service.over == 1)


async def test_a_call_that_is_reset_in_the_same_breath_leaves_nothing(bench):
    listener = await bench.listen()
    call = attacks.headers(1, attacks.request(path("Chat"))) + attacks.data(1, attacks.message(b"x")) + attacks.reset(1)
    async with attacks.RawPeer(bench.address) as peer:
        await peer.send(call)
        await bench.service.until(lambda: len(bench.service.paths) == 1)
        await asyncio.sleep(0)
        assert not listener.running
        (link,) = listener.links
        assert not link.streams
    assert bench.service.begun == 0


async def test_calls_leave_no_cycles_for_the_collector(bench):
    await bench.listen()
    channel = bench.dial()

    async def some(count):
        for _ in range(count):
            await channel.unary(path("Unary"), b"x", timeout=5)
            call = await channel.open(path("Chat"), timeout=5)
            await call.write(b"x")
            await call.read()
            call.half_close()
            assert await call.read() is None

    await some(10)
    bench.service.calls.clear()
    gc.collect()
    gc.disable()
    try:
        await some(100)
        bench.service.calls.clear()
        assert gc.collect() < 100
    finally:
        gc.enable()
