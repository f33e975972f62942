"""Connections: how they begin, how many there are, how they end."""

import asyncio
import contextlib
import socket

import pytest

from micro.errors import Code
from micro.rpc.driver import Limits
from micro.rpc.nghttp2 import http2
from micro.rpc.status import Status
from micro.testing import attacks
from micro.testing.echo import path

both_loops = True


async def ask(channel, method="Unary", message=b"x", timeout=5):
    return (await channel.unary(path(method), message, timeout=timeout)).message


def status_line(frames):
    """The :status of an answer, which is its first field, by its index in the static table or as it is."""
    (headers,) = [frame for frame in frames if frame.kind == attacks.HEADERS]
    return headers.payload


async def test_ipv6_addresses_are_bound_dialled_and_shown(bench):
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    await bench.listen(address="[::1]:0")
    assert bench.address.startswith("[::1]:")
    assert await ask(bench.dial()) == b"x"
    assert bench.service.calls[-1].peer.startswith("[::1]:")


@pytest.mark.parametrize("bad", ["", "127.0.0.1", ":x", "::1:80", "host:"])
async def test_what_is_no_address_is_refused(bench, bad):
    with pytest.raises(ValueError, match="not host:port"):
        await bench.transport.listener(bench.service).start(bad)


async def test_nothing_else_than_grpc_is_answered(bench):
    await bench.listen()
    async with attacks.RawPeer(bench.address) as peer:
        fields = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/a.B/C"), (b":authority", b"x")]
        json = [*fields, (b"content-type", b"application/json")]
        get = [(b":method", b"GET"), *fields[1:], (b"content-type", b"application/grpc")]
        for stream, request in (
            (1, json),
            (3, fields),
            (5, get),
            (7, [*fields, (b"content-type", b"application/grpc-web")]),
        ):
            await peer.send(attacks.headers(stream, b"".join(attacks.literal(*pair) for pair in request), end=True))
            said = (await peer.frames(attacks.HEADERS))[-1]
            assert said.stream == stream
            assert said.flags & attacks.END_STREAM
    assert bench.service.paths == []


async def test_an_unknown_encoding_is_refused_and_gzip_read(bench):
    import gzip

    await bench.listen()
    async with attacks.RawPeer(bench.address) as peer:
        await peer.send(attacks.call(1, path("Unary"), b"x", [(b"grpc-encoding", b"br")]))
        refused = (await peer.frames(attacks.HEADERS))[-1]
        assert b"12" in refused.payload or refused.flags & attacks.END_STREAM
        body = gzip.compress(b"hello" * 100)
        await peer.send(attacks.headers(3, attacks.request(path("Unary"), [(b"grpc-encoding", b"gzip")])))
        await peer.send(attacks.data(3, attacks.message(body, flag=1), end=True))
        assert (await peer.frames(attacks.DATA))[-1].payload == attacks.message(b"hello" * 100)
    assert bench.service.begun == 1


async def test_http1_without_a_factory_is_told_politely(bench):
    await bench.listen()
    async with attacks.RawPeer(bench.address, hello=b"GET / HTTP/1.1\r\nhost: x\r\n\r\n") as peer:
        said = await peer._reader.read()
    head, _, body = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert f"content-length: {len(body)}".encode() in head


async def test_what_is_spoken_is_told_however_slowly_it_comes(bench):
    class Hello(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):
            self.transport.write(b"got " + data)

    await bench.listen(http1=Hello)
    async with attacks.RawPeer(bench.address, hello=b"") as peer:
        for byte in b"PRI":
            await peer.send(bytes((byte,)))
        await peer.send(b"VATE / HTTP/1.1")
        assert await peer._reader.readexactly(22) == b"got PRIVATE / HTTP/1.1"
    async with attacks.RawPeer(bench.address, hello=b"") as peer:
        for byte in attacks.PREFACE + attacks.settings():
            await peer.send(bytes((byte,)))
        assert (await peer.frames(attacks.SETTINGS))[-1].kind == attacks.SETTINGS


async def test_who_says_nothing_is_cut_off(bench):
    await bench.listen(limits=Limits(preface_timeout=0.2))
    for hello in (b"", attacks.PREFACE[:10], attacks.PREFACE):
        async with attacks.RawPeer(bench.address, hello=hello) as peer:
            assert await peer.hung_up(within=3)


async def test_no_more_connections_than_allowed(bench):
    await bench.listen(limits=Limits(connections=2))
    async with attacks.RawPeer(bench.address) as first, attacks.RawPeer(bench.address) as second:
        for peer in (first, second):
            await peer.frames(attacks.SETTINGS)
        async with attacks.RawPeer(bench.address) as third:
            assert await third.hung_up(within=3)
    for _ in range(100):
        with contextlib.suppress(Status):
            assert await ask(bench.dial()) == b"x"
            break
        await asyncio.sleep(0.02)


async def test_an_idle_connection_is_sent_away_and_the_next_call_dials(bench):
    listener = await bench.listen(limits=Limits(idle=0.1))
    channel = bench.dial()
    assert await ask(channel) == b"x"
    await bench.service.until(lambda: not listener.links)
    assert await ask(channel) == b"x"


async def test_an_old_connection_is_drained_and_no_call_is_lost(bench):
    listener = await bench.listen(limits=Limits(max_age=0.15))
    channel = bench.dial()
    seen, lost = set(), []

    async def work():
        for _ in range(40):
            try:
                assert await ask(channel, "Sleep", b"0.02") == b"slept"
            except Status as status:
                lost.append(status)
            seen.update(link.peer for link in listener.links if hasattr(link, "peer"))

    await asyncio.gather(*[work() for _ in range(8)])
    assert not any(status.processed for status in lost)  # at most caught between our queue and the wire
    assert bench.service.begun == bench.service.over == 320 - len(lost)
    assert bench.service.cancelled == 0
    assert len(seen) > 2


async def test_at_the_limit_of_streams_another_connection_is_dialled(bench):
    listener = await bench.listen(limits=Limits(streams=2))
    channel = bench.dial()
    calls = [await channel.open(path("Chat"), timeout=5) for _ in range(5)]
    for call in calls:
        await call.write(b"hello")
        assert await call.read() == b"hello"
    assert len(listener.links) == 3
    for call in calls:
        call.cancel()
    await bench.service.until(lambda: bench.service.cancelled == 5)
    assert await ask(channel) == b"x"
    assert len(listener.links) == 3


async def test_calls_that_a_leaving_peer_never_saw_say_so(bench):
    answered = asyncio.Event()

    async def leaving(reader, writer):
        peer = http2.server(Limits())
        while data := await reader.read(65536):
            peer.receive_data(data)
            if any(type(event) is http2.RequestReceived for event in peer.events()):
                peer.send_goaway(last_stream_id=1)
                answered.set()
            writer.write(peer.data_to_send())
        writer.close()

    server = await asyncio.start_server(leaving, "127.0.0.1", 0)
    channel = bench.dial(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
    first = await channel.open(path("Chat"), timeout=5)
    second = await channel.open(path("Chat"), timeout=5)
    with pytest.raises(Status) as caught:
        await second.read()
    assert (caught.value.code, caught.value.processed) == (Code.UNAVAILABLE, False)
    await answered.wait()
    first.cancel()
    with pytest.raises(Status) as caught:
        await first.read()
    assert caught.value.code == Code.CANCELLED
    await channel.close()
    server.close()
    await asyncio.sleep(0.01)


async def test_a_refused_stream_was_not_processed(bench):
    async def refusing(reader, writer):
        peer = http2.server(Limits())
        while data := await reader.read(65536):
            peer.receive_data(data)
            for event in peer.events():
                if type(event) is http2.RequestReceived:
                    peer.reset_stream(event.stream_id, http2.REFUSED_STREAM)
            writer.write(peer.data_to_send())
        writer.close()

    server = await asyncio.start_server(refusing, "127.0.0.1", 0)
    channel = bench.dial(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
    with pytest.raises(Status) as caught:
        await ask(channel)
    assert (caught.value.code, caught.value.processed) == (Code.UNAVAILABLE, False)
    await channel.close()
    server.close()
    await asyncio.sleep(0.01)


async def test_a_dial_that_gets_no_answer_ends_with_the_call(bench):
    async def silent(reader, writer):
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    channel = bench.dial(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
    with pytest.raises(Status) as caught:
        await ask(channel, timeout=0.2)
    assert (caught.value.code, caught.value.processed) == (Code.DEADLINE_EXCEEDED, False)
    asking = asyncio.ensure_future(ask(channel, timeout=None))
    await asyncio.sleep(0.01)
    await channel.close()
    with pytest.raises(Status) as caught:
        await asking
    assert caught.value.code == Code.UNAVAILABLE
    server.close()
    await asyncio.sleep(0.01)


async def test_headers_that_the_peer_would_not_take_never_leave(bench):
    await bench.listen(limits=Limits(header_bytes=8192))
    channel = bench.dial()
    assert await ask(channel) == b"x"
    with pytest.raises(Status) as caught:
        await channel.unary(path("Unary"), b"", [(b"x-big", b"v" * 9000)], timeout=5)
    assert (caught.value.code, caught.value.processed) == (Code.RESOURCE_EXHAUSTED, False)
    assert await ask(channel) == b"x"
    assert len(channel._pool._links) == 1


async def test_closing_ends_the_calls_of_both_sides(bench):
    listener = await bench.listen()
    channel = bench.dial()
    call = await channel.open(path("Chat"), timeout=5)
    await call.headers()
    asking = asyncio.ensure_future(ask(channel, "Sleep", b"30", timeout=60))
    await bench.service.until(lambda: bench.service.begun == 2)
    await channel.close()
    with pytest.raises(Status):
        await call.read()
    with pytest.raises(Status):
        await asking
    await bench.service.until(lambda: bench.service.cancelled == 2)
    assert channel.outstanding == 0
    with pytest.raises(Status):
        await ask(channel)
    await channel.close()
    await listener.close()
    await listener.close()


async def test_unread_bytes_of_calls_that_ended_do_not_shrink_the_connection(bench, monkeypatch):
    monkeypatch.setattr(http2, "MAX_WINDOW", 512 * 1024)
    await bench.listen()
    channel = bench.dial()
    body = bytes(60_000)
    for _ in range(12):
        early = await channel.open(path("Early"), timeout=5)
        await early.write(body)
        assert await early.read() == b"no need to read"
        cancelled = await channel.open(path("Hold"), timeout=5)
        await cancelled.write(body)
        late = await channel.open(path("Hold"), timeout=0.01)
        with contextlib.suppress(Status):
            await late.write(body)
        answers = await channel.open(path("Repeat"), timeout=5)
        await answers.write(b"3 60000")
        await answers.read()
        answers.cancel()
        cancelled.cancel()
    for _ in range(20):
        assert await ask(channel, message=body) == body


async def test_by_alpn_both_protocols_are_spoken_on_one_port(bench, certificate):
    from micro.rpc.tls import client_context, server_context

    class Hello(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):
            self.transport.write(b"got " + data)

    await bench.listen(tls=server_context(*certificate), http1=Hello)
    assert await ask(bench.dial(tls=client_context(ca=certificate[0]))) == b"x"
    plain = client_context(ca=certificate[0])
    plain.set_alpn_protocols(["http/1.1"])
    host, _, port = bench.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=plain)
    writer.write(b"GET / HTTP/1.1")
    assert await reader.readexactly(18) == b"got GET / HTTP/1.1"
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    with pytest.raises(Status) as caught:
        await ask(bench.dial(tls=plain))
    assert (caught.value.code, caught.value.processed) == (Code.UNAVAILABLE, False)


async def test_a_draining_listener_lets_http1_finish_its_answer(bench):
    from aiohttp import ClientSession, web

    begun = asyncio.Event()

    async def slow(request):
        begun.set()
        await asyncio.sleep(float(request.query["for"]))
        return web.Response(text="done")

    server = web.Server(slow)
    listener = await bench.listen(http1=server)
    async with ClientSession(f"http://{bench.address}") as session:
        async with session.get("/?for=0") as idle:
            assert await idle.text() == "done"
        begun.clear()
        asking = asyncio.ensure_future(session.get("/?for=0.2"))
        await begun.wait()
        loop = asyncio.get_running_loop()
        before = loop.time()
        await listener.drain(grace=10)
        assert loop.time() - before < 3
        async with await asking as answer:
            assert await answer.text() == "done"
    await server.shutdown(0.1)
