"""What a hostile or broken server may answer: a client of ours ends its call with a Status, in time, and goes on."""

import asyncio
import contextlib
import random
import time

import pytest

from micro.rpc.driver import Limits, Status
from micro.rpc.nghttp2 import Nghttp2Transport
from micro.testing import attacks as h2
from micro.testing.echo import Echo, path
from micro.testing.rpc import Wire

OK = h2.literal(b":status", b"200") + h2.literal(b"content-type", b"application/grpc")
END = h2.literal(b"grpc-status", b"0")
ANSWER = h2.headers(1, OK) + h2.data(1, h2.message(b"fine")) + h2.headers(1, END, end=True)


@contextlib.asynccontextmanager
async def saying(raw: bytes):
    """A server that says this to whoever has asked something; its address. Whoever called must have hung up after."""
    serving = set()

    async def serve(reader, writer):
        serving.add(asyncio.current_task())
        with contextlib.suppress(OSError):
            writer.write(h2.settings() + h2.frame(h2.SETTINGS, h2.ACK))
            await reader.read(65536)
            await asyncio.sleep(0.01)  # the request is in
            writer.write(raw)
            await writer.drain()
            while await reader.read(65536):
                pass
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    yield f"{host}:{port}"
    server.close()
    if serving:
        _, waiting = await asyncio.wait(serving, timeout=2)
        assert not waiting, "the client has not hung up"
    await server.wait_closed()


async def ask(address: str, timeout: float = 0.3, **limits):
    channel = Nghttp2Transport().channel(address, limits=Limits(**limits))
    try:
        return await channel.unary(path("Unary"), b"x", timeout=timeout)
    finally:
        assert channel.outstanding == 0
        await channel.close()


async def test_a_plain_answer_is_understood():
    async with saying(ANSWER) as address:
        assert (await ask(address)).message == b"fine"


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(h2.headers(1, END, end=True), id="an end without a status of HTTP"),
        pytest.param(h2.headers(1, OK, end=True), id="no grpc-status"),
        pytest.param(
            h2.headers(1, OK + h2.literal(b"grpc-status", b"9" * 6000), end=True), id="a status of 6000 digits"
        ),
        pytest.param(h2.headers(1, OK + h2.literal(b"grpc-status", b"-1"), end=True), id="a negative status"),
        pytest.param(h2.headers(1, OK + h2.literal(b"grpc-status", b""), end=True), id="an empty status"),
        pytest.param(
            h2.headers(1, OK + h2.literal(b"grpc-status", b"5") + h2.literal(b"grpc-message", b"%zz%e4%"), end=True),
            id="a message that is badly coded",
        ),
        pytest.param(
            h2.headers(
                1, OK + h2.literal(b"grpc-status", b"5") + h2.literal(b"grpc-status-details-bin", b"!!"), end=True
            ),
            id="details that are not base64",
        ),
        pytest.param(h2.headers(1, OK) + h2.headers(1, END, end=True), id="no message"),
        pytest.param(
            h2.headers(1, OK) + h2.data(1, h2.message(b"1") + h2.message(b"2")) + h2.headers(1, END, end=True),
            id="two messages",
        ),
        pytest.param(h2.headers(1, OK) + h2.data(1, h2.message(b"x"), end=True), id="an end without trailers"),
        pytest.param(h2.data(1, h2.message(b"x"), end=True), id="data before headers"),
        pytest.param(
            h2.headers(1, OK) + h2.data(1, h2.message(b"x", length=9)) + h2.headers(1, END, end=True),
            id="half a message",
        ),
        pytest.param(h2.headers(1, OK) + h2.data(1, h2.message(b"x", length=2**32 - 1)), id="a message of 4 GiB"),
        pytest.param(h2.headers(1, OK) + h2.data(1, h2.message(b"x", flag=1)), id="compressed by nothing"),
        pytest.param(h2.headers(1, h2.literal(b":status", b"503"), end=True), id="an answer of a plain proxy"),
        pytest.param(
            h2.headers(1, h2.literal(b":status", b"200") + h2.literal(b"content-type", b"text/html")), id="HTML"
        ),
        pytest.param(h2.headers(1, h2.literal(b":status", b"abc"), end=True), id="a status that is no number"),
        pytest.param(h2.headers(1, h2.literal(b":status", b"100")), id="continue, and nothing"),
        pytest.param(h2.reset(1, 0), id="a reset for no reason"),
        pytest.param(h2.reset(1, 2**32 - 1), id="a reset for an unknown reason"),
        pytest.param(h2.frame(h2.GOAWAY, payload=bytes(8)), id="a goaway before the call"),
        pytest.param(h2.frame(h2.GOAWAY, payload=b"\x7f\xff\xff\xff\x00\x00\x00\x02"), id="a goaway and nothing more"),
        pytest.param(h2.window_update(0, 2**31 - 1) * 2, id="a window that overflows"),
        pytest.param(h2.settings((h2.INITIAL_WINDOW_SIZE, 2**31)), id="a window of 2^31"),
        pytest.param(h2.settings((3, 0)), id="no streams allowed"),
        pytest.param(h2.frame(h2.PUSH_PROMISE, h2.END_HEADERS, 1, b"\0\0\0\x02" + h2.request(b"/a.B/C")), id="a push"),
        pytest.param(h2.headers(3, OK), id="an answer to nobody"),
        pytest.param(h2.headers(1, OK + b"\xff\xff\xff\x7f"), id="an index beyond the table"),
        pytest.param(h2.headers(1, OK) + h2.headers(1, OK), id="headers twice"),
        pytest.param(h2.frame(h2.HEADERS, 0, 1, OK), id="headers that never end"),
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", id="HTTP/1.1"),
        pytest.param(bytes(10_000), id="zeros"),
        pytest.param(b"", id="nothing"),
    ],
)
async def test_a_broken_answer_is_a_failed_call(raw):
    async with saying(raw) as address:
        begun = time.monotonic()
        with pytest.raises(Status) as caught:
            await ask(address)
        assert caught.value.code != 0
        assert time.monotonic() - begun < 2


async def test_an_answer_with_too_many_headers_is_refused():
    big = b"".join(h2.literal(b"x-%d" % index, b"v" * 1000) for index in range(15))
    async with saying(h2.headers(1, OK + big) + ANSWER[-40:]) as address:
        with pytest.raises(Status):
            await ask(address, header_bytes=8192)


async def test_noise_is_a_failed_call():
    seed = random.SystemRandom().randrange(2**31)
    print(f"seed {seed}")
    chance = random.Random(seed)
    kinds = [*range(10), 255]
    for _ in range(60):
        noise = b"".join(
            h2.frame(chance.choice(kinds), chance.randrange(256), chance.choice([0, 1, 1, 3]), chance.randbytes(size))
            for size in (chance.choice([0, 4, 5, 8, 40, 300]) for _ in range(chance.randint(1, 10)))
        )
        raw = bytearray(ANSWER + noise if chance.random() < 0.3 else noise + ANSWER)
        raw[chance.randrange(len(raw))] = chance.randrange(256)
        async with saying(bytes(raw)) as address:
            with contextlib.suppress(Status):
                await ask(address, timeout=0.05)


async def test_a_client_that_was_lied_to_calls_the_next_server_well():
    wire = Wire(Nghttp2Transport(), Nghttp2Transport())
    async with saying(bytes(100)) as address:
        with pytest.raises(Status):
            await ask(address)
    await wire.listen(dispatcher=Echo())
    assert (await ask(wire.address)).message == b"x"
    await wire.close()
