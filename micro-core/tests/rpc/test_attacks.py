"""What a hostile HTTP/2 client may try on a listener of ours, each on a server in a process of its own."""

import asyncio
import gzip
import socket

import pytest

from micro.testing import attacks as h2
from micro.testing.attacks import RawPeer
from micro.testing.echo import path

UNARY, CHAT, REPEAT, SLEEP = path("Unary"), path("Chat"), path("Repeat"), path("Sleep")


async def flood(peer: RawPeer, chunk: bytes, times: int) -> bool:
    """Send a chunk again and again; False when the peer hung up or took no more before the end."""
    for _ in range(times):
        if not await peer.send(chunk, within=5):
            return False
        await asyncio.sleep(0)
    return True


async def answer(target, raw: bytes) -> list[h2.Frame]:
    """Say something on a new connection and give what came back until the first answer, or the end."""
    async with RawPeer(target.address) as peer:
        await peer.send(raw)
        return await peer.frames(*h2.ANSWER, within=3)


def streams(count: int, start: int = 1):
    return range(start, start + 2 * count, 2)


async def test_rapid_reset_at_the_public_door_ends_the_connection(public):
    async with public.unharmed(), RawPeer(public.address) as peer:
        for batch in range(100):
            raw = b"".join(h2.headers(s, h2.request(SLEEP)) + h2.reset(s) for s in streams(500, 1 + 1000 * batch))
            if not await peer.send(raw):
                break
        assert await peer.hung_up()


async def test_rapid_reset_inside_costs_time_and_nothing_else(inside):
    async with inside.unharmed(), RawPeer(inside.address) as peer:
        for batch in range(40):
            raw = b"".join(h2.headers(s, h2.request(SLEEP)) + h2.reset(s) for s in streams(500, 1 + 1000 * batch))
            assert await peer.send(raw, within=5)


async def test_resetting_after_the_message_is_rapid_reset_too(public):
    async with public.unharmed(), RawPeer(public.address) as peer:
        for batch in range(60):
            raw = b"".join(h2.call(s, SLEEP, b"30") + h2.reset(s) for s in streams(500, 1 + 1000 * batch))
            if not await peer.send(raw):
                break
        assert await peer.hung_up()


async def test_a_client_that_provokes_resets_by_its_own_mistakes_is_cut_off_or_harmless(public):
    """Made-you-reset: the client breaks each stream, so that it is the server who resets."""
    async with public.unharmed(), RawPeer(public.address) as peer:
        for batch in range(40):
            raw = b"".join(
                h2.headers(s, h2.request(SLEEP)) + h2.window_update(s, 0) for s in streams(500, 1 + 1000 * batch)
            )
            if not await peer.send(raw):
                break
        await peer.send(h2.frame(h2.GOAWAY, payload=bytes(8)))


async def test_continuation_without_end(public):
    async with public.unharmed(), RawPeer(public.address) as peer:
        await peer.send(h2.frame(h2.HEADERS, 0, 1, h2.request(UNARY)))
        more = h2.frame(h2.CONTINUATION, 0, 1, h2.literal(b"x-more", b"v" * 1000))
        await flood(peer, more * 100, 200)
        assert await peer.hung_up()


async def test_empty_continuations_without_end(public):
    async with public.unharmed(), RawPeer(public.address) as peer:
        await peer.send(h2.frame(h2.HEADERS, 0, 1, h2.request(UNARY)))
        await flood(peer, h2.frame(h2.CONTINUATION, 0, 1) * 1000, 200)
        assert await peer.hung_up()


async def test_a_header_list_that_never_ends_is_cut_by_time(public):
    async with public.unharmed(), RawPeer(public.address) as peer:
        await peer.send(h2.frame(h2.HEADERS, 0, 1, h2.request(UNARY)))
        assert await peer.hung_up(within=8)


async def test_a_header_bomb_out_of_the_dynamic_table(public):
    bomb = h2.request(UNARY) + h2.literal(b"x-bomb", b"v" * 4000, indexed=True) + b"\xbe" * 16_000
    async with public.unharmed():
        for _ in range(20):
            async with RawPeer(public.address) as peer:
                await peer.send(h2.headers(1, bomb, end=True))
                assert not any(f.kind == h2.DATA for f in await peer.frames(h2.HEADERS, within=0.5))


async def test_a_header_list_over_the_limit_is_refused_though_settings_were_never_acknowledged(public):
    big = b"".join(h2.literal(b"x-%d" % index, b"v" * 4000) for index in range(256))
    async with public.unharmed(), RawPeer(public.address) as peer:
        block = h2.request(UNARY) + big
        parts = [block[at : at + 16_000] for at in range(0, len(block), 16_000)]
        raw = h2.frame(h2.HEADERS, h2.END_STREAM, 1, parts[0])
        raw += b"".join(h2.frame(h2.CONTINUATION, 0, 1, part) for part in parts[1:-1])
        raw += h2.frame(h2.CONTINUATION, h2.END_HEADERS, 1, parts[-1])
        await peer.send(raw)
        assert not any(f.kind == h2.DATA for f in await peer.frames(h2.GOAWAY, within=2))


async def test_seventeen_kibibytes_of_headers_do_not_enter_by_the_public_door(public):
    async with public.unharmed():
        got = await answer(public, h2.call(1, UNARY, b"x", [(b"x-%d" % i, b"v" * 1000) for i in range(17)])[: 1 << 14])
        assert not any(f.kind == h2.DATA for f in got)


async def test_many_small_headers_are_a_long_header_list(public):
    async with public.unharmed():
        got = await answer(public, h2.headers(1, h2.request(UNARY) + h2.literal(b"a", b"") * 3000, end=True))
        assert not any(f.kind == h2.DATA for f in got)


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(b"\x3f" + b"\xff" * 8 + b"\x7f", id="a table size of 2^62"),
        pytest.param(b"\x20\x3f\xe1\x1f" * 1000, id="a table size that jumps"),
        pytest.param(b"\x00\x7f" + b"\xff" * 20, id="a length of many bytes"),
        pytest.param(b"\x7f" + b"\x80" * 200 + b"\x00", id="an integer padded with zeros"),
        pytest.param(b"\x80", id="index zero"),
        pytest.param(b"\xff\xff\xff\x7f", id="an index beyond the table"),
        pytest.param(b"\x00\x81\xff\x81\xff", id="huffman padding of eight bits"),
        pytest.param(b"\x00\x83\x00\x00", id="a string cut short"),
        pytest.param(h2.literal(b"X-Upper", b"1"), id="a name in upper case"),
        pytest.param(h2.literal(b"x-\r\ny", b"1"), id="a name with a line break"),
        pytest.param(h2.literal(b"x-value", b"1\r\ny: 2"), id="a value with a line break"),
        pytest.param(h2.literal(b"connection", b"close"), id="a header of HTTP/1.1"),
        pytest.param(h2.literal(b":path", b"/second"), id="a second path"),
        pytest.param(h2.literal(b"", b"x"), id="an empty name"),
    ],
)
async def test_a_broken_header_block_harms_its_own_connection_at_most(public, block):
    async with public.unharmed():
        for _ in range(5):
            got = await answer(public, h2.headers(1, h2.request(CHAT) + block))
            assert not any(f.kind == h2.DATA for f in got)


@pytest.mark.parametrize(
    ("chunk", "opening"),
    [
        pytest.param(h2.frame(h2.PING, payload=bytes(8)), b"", id="pings"),
        pytest.param(h2.settings((4, 65535)), b"", id="settings"),
        pytest.param(h2.frame(h2.SETTINGS, h2.ACK), b"", id="acknowledgements of nothing"),
        pytest.param(h2.data(1, b""), h2.headers(1, h2.request(CHAT)), id="empty data"),
        pytest.param(h2.frame(h2.DATA, h2.PADDED, 1, b"\x01\x00"), h2.headers(1, h2.request(CHAT)), id="padding alone"),
        pytest.param(h2.frame(h2.PRIORITY, 0, 3, bytes(5)), b"", id="priorities"),
        pytest.param(h2.window_update(0, 1), b"", id="window updates of the connection"),
        pytest.param(h2.window_update(1, 1), h2.headers(1, h2.request(CHAT)), id="window updates of a stream"),
        pytest.param(h2.frame(0xFA, 0, 0, b"what is this"), b"", id="frames of an unknown kind"),
        pytest.param(h2.reset(1), h2.headers(1, h2.request(CHAT)), id="resets of a closed stream"),
        pytest.param(h2.data(1, h2.message(b"")), h2.headers(1, h2.request(path("Collect"))), id="empty messages"),
    ],
)
async def test_a_flood_by_a_client_that_never_reads(public, chunk, opening):
    async with public.unharmed(), RawPeer(public.address) as peer:
        await peer.send(opening)
        await flood(peer, chunk * 1000, 100)


async def test_windows_that_overflow_end_the_stream_or_the_connection(public):
    async with public.unharmed(), RawPeer(public.address) as peer:
        await peer.send(h2.headers(1, h2.request(CHAT)) + h2.window_update(1, 2**31 - 1) * 2)
        await peer.send(h2.window_update(0, 2**31 - 1) * 2)
        assert await peer.hung_up()


async def test_a_window_of_nothing_holds_bounded_memory(public):
    hello = h2.PREFACE + h2.settings((h2.INITIAL_WINDOW_SIZE, 0))
    async with public.unharmed():
        peers = [RawPeer(public.address, hello=hello) for _ in range(2)]
        for peer in peers:
            await peer.__aenter__()
            await peer.send(b"".join(h2.call(s, REPEAT, b"1000 65536") for s in streams(90)))
        await asyncio.sleep(0.5)
        for peer in peers:
            await peer.__aexit__(None, None, None)


async def test_a_client_that_asks_for_much_and_reads_nothing_holds_bounded_memory(public):
    async with public.unharmed():
        readers = []
        for _ in range(5):
            reader = socket.socket()
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            host, _, port = public.address.rpartition(":")
            reader.connect((host, int(port)))
            wide = h2.settings((h2.INITIAL_WINDOW_SIZE, 2**31 - 1)) + h2.window_update(0, 2**31 - 65536)
            reader.sendall(h2.PREFACE + wide + b"".join(h2.call(s, REPEAT, b"1000 65536") for s in streams(20)))
            readers.append(reader)
        await asyncio.sleep(0.5)
        for reader in readers:
            reader.close()


async def test_more_streams_than_allowed_are_refused(public):
    async with public.unharmed(), RawPeer(public.address) as peer:
        await peer.frames(h2.SETTINGS)
        await peer.send(h2.frame(h2.SETTINGS, h2.ACK))
        await peer.send(b"".join(h2.headers(s, h2.request(CHAT)) for s in streams(5000)))
        await asyncio.sleep(0.3)


@pytest.mark.parametrize(
    "second",
    [
        pytest.param(h2.headers(1, h2.request(UNARY)), id="used again"),
        pytest.param(h2.headers(2, h2.request(UNARY)), id="even"),
        pytest.param(h2.headers(0, h2.request(UNARY)), id="zero"),
        pytest.param(h2.headers(5, h2.request(UNARY)) + h2.headers(3, h2.request(UNARY)), id="going down"),
        pytest.param(h2.data(7, b"to nobody"), id="data to an idle stream"),
        pytest.param(h2.reset(9), id="reset of an idle stream"),
        pytest.param(h2.frame(h2.PUSH_PROMISE, h2.END_HEADERS, 1, bytes(4) + h2.request(UNARY)), id="a push"),
        pytest.param(h2.frame(h2.CONTINUATION, h2.END_HEADERS, 1, h2.request(UNARY)), id="a continuation of nothing"),
        pytest.param(h2.frame(h2.DATA, h2.PADDED, 1, b"\xff"), id="more padding than data"),
        pytest.param(h2.frame(h2.PRIORITY, 0, 1, b"123"), id="a priority of three bytes"),
        pytest.param(h2.frame(h2.WINDOW_UPDATE, 0, 1, b"1"), id="a window update of one byte"),
        pytest.param(h2.frame(h2.SETTINGS, 0, 0, b"12345"), id="settings of five bytes"),
        pytest.param(h2.frame(h2.SETTINGS, 0, 1), id="settings of a stream"),
        pytest.param(h2.settings((h2.INITIAL_WINDOW_SIZE, 2**31)), id="a window of 2^31"),
        pytest.param(h2.settings((h2.MAX_FRAME_SIZE, 1)), id="a frame size of one"),
        pytest.param(h2.frame(h2.DATA, 0, 1, bytes(16_385)), id="a frame that is too long"),
        pytest.param(b"\xff\xff\xff" + h2.frame(h2.DATA, 0, 1)[3:], id="a length of 16 MiB"),
    ],
)
async def test_a_breach_of_the_protocol_harms_its_own_connection_at_most(public, second):
    async with public.unharmed():
        for _ in range(3):
            async with RawPeer(public.address) as peer:
                await peer.send(h2.headers(1, h2.request(CHAT)) + second)
                await peer.frames(h2.GOAWAY, within=0.1)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(h2.message(b"short", length=6), id="longer than what comes"),
        pytest.param(h2.message(b"long", length=3), id="shorter than what comes"),
        pytest.param(h2.message(b"x", length=0xFFFFFFFF), id="four gibibytes"),
        pytest.param(h2.message(b"x", length=0x7FFFFFFF), id="two gibibytes"),
        pytest.param(h2.message(b"x", flag=1), id="compressed by nothing"),
        pytest.param(h2.message(b"x", flag=255), id="an unknown flag"),
        pytest.param(b"\x00\x00\x00", id="a prefix cut short"),
        pytest.param(b"", id="no message"),
        pytest.param(h2.message(b"1") + h2.message(b"2"), id="two for one"),
    ],
)
async def test_a_lie_about_a_message_fails_its_call(public, body):
    async with public.unharmed():
        got = await answer(public, h2.headers(1, h2.request(UNARY)) + h2.data(1, body, end=True))
        assert any(f.kind in h2.ANSWER for f in got)


async def test_a_message_announced_and_never_sent_holds_no_memory(public):
    async with public.unharmed(), RawPeer(public.address) as peer:
        announced = h2.message(b"x", length=32 * 1024 * 1024)
        await peer.send(b"".join(h2.headers(s, h2.request(UNARY)) + h2.data(s, announced) for s in streams(90)))
        await asyncio.sleep(0.5)


async def test_large_messages_that_never_end_hold_bounded_memory(public):
    announced = h2.message(b"", length=32 * 1024 * 1024)
    async with public.unharmed(), RawPeer(public.address) as peer:
        await peer.frames(h2.SETTINGS)
        await peer.send(h2.frame(h2.SETTINGS, h2.ACK))
        await peer.send(b"".join(h2.headers(s, h2.request(UNARY)) + h2.data(s, announced) for s in streams(90)))
        room = dict.fromkeys(streams(90), 65_536)
        for _ in range(60):
            for stream in room:
                if room[stream] >= 16_384:
                    room[stream] -= 16_384
                    assert await peer.send(h2.data(stream, bytes(16_384)))
            for update in await peer.frames(within=0.02):
                assert update.kind in {h2.SETTINGS, h2.WINDOW_UPDATE}
                if update.stream in room:
                    room[update.stream] += int.from_bytes(update.payload, "big")


async def test_halves_of_messages_and_resets_leave_nothing_behind(inside):
    half = h2.message(bytes(8000), length=16000)
    async with inside.unharmed(), RawPeer(inside.address) as peer:
        for batch in range(20):
            raw = [
                h2.headers(s, h2.request(UNARY)) + h2.data(s, half) + h2.reset(s) for s in streams(100, 1 + 200 * batch)
            ]
            assert await peer.send(b"".join(raw), within=5)


async def test_a_gzip_bomb_is_refused(public):
    body = h2.message(gzip.compress(bytes(1 << 28), 1, mtime=0), flag=1)
    async with public.unharmed(), RawPeer(public.address) as peer:
        await peer.frames(h2.SETTINGS)
        await peer.send(h2.frame(h2.SETTINGS, h2.ACK))
        await peer.send(h2.headers(1, h2.request(UNARY, [(b"grpc-encoding", b"gzip")])))
        for at in range(0, len(body), 16_000):
            await peer.send(h2.data(1, body[at : at + 16_000], end=at + 16_000 >= len(body)))
            if at % 160_000 == 0:
                await peer.frames(within=0.02)  # lets windows open; the last of them stays ahead of what is sent
        got = await peer.frames(h2.HEADERS, h2.DATA, within=3)
        assert got[-1].kind == h2.HEADERS


@pytest.mark.parametrize("value", [b"0n", b"99999999H", b"-1S", b"1x", b"", b"999999999S", b"S", b"1 S", b"\xb2S"])
async def test_an_odd_timeout_is_no_accident(public, value):
    async with public.unharmed():
        got = await answer(public, h2.call(1, UNARY, b"x", [(b"grpc-timeout", value)]))
        assert any(f.kind in h2.ANSWER for f in got)


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param([(b":method", b"GET"), (b":path", UNARY)], id="GET"),
        pytest.param([(b":method", b"CONNECT"), (b":authority", b"x:1")], id="CONNECT"),
        pytest.param([(b":method", b"POST"), (b":path", UNARY)], id="no content type"),
        pytest.param([(b":method", b"POST"), (b":path", UNARY), (b"content-type", b"text/html")], id="another type"),
        pytest.param([(b":method", b"POST"), (b"content-type", b"application/grpc")], id="no path"),
        pytest.param([(b":path", UNARY), (b"content-type", b"application/grpc")], id="no method"),
        pytest.param(
            [(b":method", b"POST"), (b":path", UNARY), (b"content-type", b"application/grpc"), (b"x-bin", b"!!!")],
            id="metadata that is not base64",
        ),
        pytest.param(
            [
                (b":method", b"POST"),
                (b":path", UNARY),
                (b"content-type", b"application/grpc"),
                (b"grpc-encoding", b"br"),
            ],
            id="an unknown encoding",
        ),
    ],
)
async def test_a_request_that_is_no_call_is_answered_as_such(public, fields):
    block = b"".join(h2.literal(*pair) for pair in [(b":scheme", b"http"), *fields])
    async with public.unharmed():
        got = await answer(public, h2.headers(1, block) + h2.data(1, h2.message(b"x"), end=True))
        assert any(f.kind in h2.ANSWER for f in got)


async def test_odd_paths_are_answered(public):
    odd = [b"", b"*", b"/a.B/C\x00", b"/\xff\xfe/\x80", b"/" + b"a" * 8000, b"http://x/a.B/C", b"/a.B/C#d", b"/ /"]
    async with public.unharmed():
        for one in odd:
            assert await answer(public, h2.call(1, one)), one


@pytest.mark.parametrize(
    "hello", [b"", b"PRI * HTTP/2.0\r\n", h2.PREFACE, h2.PREFACE + b"\x00\x00", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"]
)
async def test_a_connection_that_says_too_little_is_cut_by_time(public, hello):
    async with public.unharmed(), RawPeer(public.address, hello=hello) as peer:
        assert await peer.hung_up(within=5)


async def test_settings_that_are_never_acknowledged_are_no_way_round_a_limit(public):
    async with public.unharmed(), RawPeer(public.address) as peer:
        for stream in streams(300):
            await peer.send(h2.headers(stream, h2.request(SLEEP)))
        await asyncio.sleep(0.3)


async def test_a_call_that_comes_byte_by_byte_is_answered(public):
    async with public.unharmed(), RawPeer(public.address, hello=b"") as peer:
        for byte in h2.PREFACE + h2.settings() + h2.call(1, UNARY, b"slowly"):
            await peer.send(bytes((byte,)))
        got = await peer.frames(h2.DATA)
        assert got[-1].payload == h2.message(b"slowly")


async def test_clients_that_vanish_leave_nothing_behind(public):
    async with public.unharmed():
        for index in range(300):
            async with RawPeer(public.address) as peer:
                await peer.send(h2.call(1, REPEAT, b"1000000 100") if index % 2 else h2.headers(1, h2.request(CHAT)))
                if index % 3 == 0:
                    await peer.frames(h2.HEADERS)
                peer.abort()


async def test_a_thousand_connections_come_and_go(public):
    async with public.unharmed():
        for batch in range(10):
            peers = [
                RawPeer(public.address, hello=(b"", h2.PREFACE + h2.settings())[index % 2]) for index in range(100)
            ]
            await asyncio.gather(*(peer.__aenter__() for peer in peers))
            await asyncio.gather(*(peer.__aexit__(None, None, None) for peer in peers))
            await asyncio.sleep(0.01 * batch)
