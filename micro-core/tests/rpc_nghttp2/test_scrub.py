"""What Go gateways and odd clients send reaches the dispatcher, though nghttp2 would refuse it."""

import asyncio

from micro.rpc.nghttp2.scrub import Scrubber, unpack
from micro.testing import attacks
from micro.testing.echo import path

PACKED = {  # from RFC 7541, appendix C
    b"www.example.com": "f1e3c2e5f23a6ba0ab90f4ff",
    b"no-cache": "a8eb10649cbf",
    b"custom-value": "25a849e95bb8e8b4bf",
    b"Mon, 21 Oct 2013 20:13:21 GMT": "d07abe941054d444a8200595040b8166e082a62d1bff",
    b"foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1": (
        "94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007"
    ),
}
GATEWAY = [(b"host", b"example.com"), (b"content-length", b"7"), (b"keep-alive", b"5"), (b"x-real", b"1")]


def indexed_path(value: bytes) -> bytes:
    """A :path that goes into the dynamic table."""
    return b"\x44" + attacks.integer(len(value), 7) + value


def block(path_field: bytes, *extra: bytes) -> bytes:
    rest = [(b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"x"), (b"content-type", b"application/grpc")]
    fields = [attacks.literal(name, value) for name, value in rest]
    return b"".join([*fields[:2], path_field, *fields[2:], *extra])


def test_strings_are_unpacked_as_the_standard_shows():
    assert {unpack(bytes.fromhex(packed)): packed for packed in PACKED.values()} == PACKED


def test_clean_input_passes_untouched_however_it_is_cut():
    raw = (
        attacks.PREFACE
        + attacks.settings()
        + attacks.call(1, b"/a.B/C", b"hello")
        + attacks.call(3, b"/a.B/C", b"x" * 50)
    )
    assert Scrubber(24).feed(raw) is raw
    for step in (1, 2, 3, 7, 20):
        scrubber = Scrubber(24)
        assert b"".join(scrubber.feed(raw[at : at + step]) for at in range(0, len(raw), step)) == raw
        assert not scrubber.since


def test_a_header_block_that_is_not_whole_is_noticed():
    raw = attacks.call(1, b"/a.B/C")
    scrubber = Scrubber(0)
    assert scrubber.feed(raw[:20]) == b""
    assert scrubber.since
    assert scrubber.feed(raw[20:]) == raw
    assert not scrubber.since
    scrubber.feed(attacks.frame(attacks.HEADERS, 0, 3, b"\x82"))
    assert scrubber.since
    scrubber.feed(attacks.frame(attacks.CONTINUATION, attacks.END_HEADERS, 3, b"\x82"))
    assert not scrubber.since


def test_garbage_passes_for_others_to_judge():
    for garbage in (b"\xff" * 40, b"\x40\x7f\xff\xff\xff\xff\xff", b"\x00\x05ab", b"\x44", b"\x0f", b"\x44\x85"):
        frame = attacks.headers(1, garbage)
        assert Scrubber(0).feed(frame) == frame


async def test_a_gateways_content_length_is_metadata(bench):
    await bench.listen()
    async with attacks.RawPeer(bench.address) as peer:
        for stream in (1, 3):
            await peer.send(attacks.call(stream, path("Unary"), b"longer than seven", GATEWAY))
            frames = await peer.frames(attacks.DATA)
            assert frames[-1].payload == attacks.message(b"longer than seven")
    call = bench.service.calls[-1]
    assert (call.header(b"content-length"), call.header(b"host")) == (b"7", b"example.com")
    assert set(GATEWAY) <= set(call.headers)


async def test_a_content_length_in_the_table_is_known_there_too(bench):
    await bench.listen()
    length = b"\x5c\x017"  # name by static index, into the dynamic table
    async with attacks.RawPeer(bench.address) as peer:
        await peer.send(attacks.headers(1, block(indexed_path(path("Unary")), length)))
        await peer.send(attacks.data(1, attacks.message(b"not seven"), end=True))
        await peer.frames(attacks.DATA)
        # Both fields from the dynamic table now: the path is the older.
        await peer.send(attacks.headers(3, block(b"\xbf", b"\xbe")))
        await peer.send(attacks.data(3, attacks.message(b"again not seven"), end=True))
        frames = await peer.frames(attacks.DATA)
    assert frames[-1].payload == attacks.message(b"again not seven")
    assert [call.header(b"content-length") for call in bench.service.calls] == [b"7", b"7"]


async def test_odd_paths_are_shown_as_they_came_from_the_table_too(bench):
    await bench.listen()
    odd = [b"Unary", b"A.B.C", b"*", b"xy", b"a.B/C"]
    async with attacks.RawPeer(bench.address) as peer:
        stream = 1
        for one in odd:
            for field in (indexed_path(one), b"\xbe"):
                await peer.send(attacks.headers(stream, block(field), end=True))
                assert (await peer.frames(attacks.HEADERS))[-1].stream == stream
                stream += 2
    assert bench.service.paths == [one for one in odd for _ in range(2)]


async def test_a_packed_odd_path_is_unpacked(bench):
    await bench.listen()
    packed = bytes.fromhex(PACKED[b"custom-value"])
    async with attacks.RawPeer(bench.address) as peer:
        await peer.send(attacks.headers(1, block(b"\x44" + bytes((0x80 | len(packed),)) + packed), end=True))
        await peer.frames(attacks.HEADERS)
    assert bench.service.paths == [b"custom-value"]


async def test_padding_and_priority_are_no_hindrance(bench):
    await bench.listen()
    fields = attacks.request(b"Odd", [(b"content-length", b"3")])
    payload = b"\x04" + b"\x00\x00\x00\x00\x10" + fields + bytes(4)
    async with attacks.RawPeer(bench.address) as peer:
        await peer.send(attacks.frame(attacks.HEADERS, attacks.END_HEADERS | attacks.PADDED | 0x20 | 1, 1, payload))
        await peer.frames(attacks.HEADERS)
    assert bench.service.paths == [b"Odd"]


async def test_our_own_client_is_not_looked_at(bench):
    listener = await bench.listen()
    channel = bench.dial()
    for body in (b"one", b"two"):
        assert (await channel.unary(path("Unary"), body, timeout=5)).message == body
    (link,) = listener.links
    assert link._scrubber is None


async def test_a_header_list_that_never_ends_is_cut(bench):
    from micro.rpc.driver import Limits

    await bench.listen(limits=Limits(preface_timeout=0.3))
    async with attacks.RawPeer(bench.address) as peer:
        whole = attacks.headers(1, attacks.request(path("Unary")))
        for at in range(20):
            if not await peer.send(whole[at : at + 1]):
                break
            await asyncio.sleep(0.02)
        assert await peer.hung_up(within=3)
