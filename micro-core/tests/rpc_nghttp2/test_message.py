"""gRPC's layer as functions."""

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micro.errors import Code
from micro.rpc.nghttp2 import message as wire
from micro.rpc.status import Status


@given(st.text())
def test_a_message_comes_back_as_it_was_said(text):
    raw = wire.percent(text)
    assert wire.unpercent(raw) == text.encode("utf-8", "replace").decode()
    assert raw == raw.strip()
    assert all(0x20 <= byte <= 0x7E for byte in raw)


@pytest.mark.parametrize(
    ("raw", "text"), [(b"50% x", "50% x"), (b"%", "%"), (b"%4", "%4"), (b"%zz%41", "%zzA"), (b"%C3%A4%ff", "ä\ufffd")]
)
def test_what_is_no_code_stays(raw, text):
    assert wire.unpercent(raw) == text


@given(st.floats(0, 1e9))
def test_a_timeout_is_never_longer_than_asked_for_nor_much_shorter(seconds):
    raw = wire.timeout_header(seconds)
    read = wire.parse_timeout(raw)
    assert len(raw) <= 9
    assert read is not None
    assert read <= max(min(seconds, 99_999_999), 1e-9) * (1 + 1e-9)
    assert read >= min(seconds * 0.99 - 1e-6, 99_999_999)


@pytest.mark.parametrize("bad", [b"", b"1", b"S", b"-1S", b"1.5S", b"123456789S", b"1x", b" 1S", b"\xb2S"])
def test_what_is_no_timeout_is_none(bad):
    assert wire.parse_timeout(bad) is None


@pytest.mark.parametrize(
    "bad",
    [(b"x-a", b"a\r\nb"), (b"x-a", b"a\x00"), (b"x a", b""), (b"X-A", b""), (b"x\n", b""), ("ä".encode(), b"")],
)
def test_a_header_that_would_break_the_wire_is_refused_every_time(bad):
    for _ in range(2):
        with pytest.raises(Status) as caught:
            wire.checked([(b"x-good", b"1"), bad])
        assert (caught.value.code, caught.value.processed) == (Code.INTERNAL, False)


def test_headers_of_the_transport_are_left_out_and_edges_stripped():
    given_ = [
        (b":path", b"/x"),
        (b"te", b"x"),
        (b"host", b"h"),
        (b"grpc-status", b"0"),
        (b"x-a", b" v\t"),
        (b"x-b", b""),
    ]
    assert wire.checked(given_) == [(b"x-a", b"v"), (b"x-b", b"")]
    assert wire.passed_on([(b"grpc-encoding", b"gzip"), (b"user-agent", b"u"), (b"content-length", b"3")]) == [
        (b"grpc-encoding", b"gzip"),
        (b"user-agent", b"u"),
    ]


def test_an_end_goes_there_and_back():
    end = wire.end_headers(5, "näh", b"\x00\xff", [(b"t-a", b"1")])
    status = wire.status_of(end)
    assert (status.code, status.message, status.details, status.trailers) == (5, "näh", b"\x00\xff", [(b"t-a", b"1")])
    assert wire.status_of(wire.OK_TRAILERS) is None
    assert wire.status_of([(b"x", b"1")]).code == Code.INTERNAL
    assert wire.status_of([(b"grpc-status", b"x")]).code == Code.UNKNOWN


def test_a_bomb_is_not_unpacked():
    with pytest.raises(Status) as caught:
        wire.gunzip(gzip.compress(bytes(10_000_000)), 1000)
    assert caught.value.code == Code.RESOURCE_EXHAUSTED
    for broken in (b"", b"no gzip", gzip.compress(b"abc")[:-3]):
        with pytest.raises(Status) as caught:
            wire.gunzip(broken, 1000)
        assert caught.value.code == Code.INTERNAL
    assert wire.gunzip(gzip.compress(b"abc"), 3) == b"abc"
