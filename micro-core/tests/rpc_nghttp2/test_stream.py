"""Messages put together, and what is acknowledged when."""

import gzip

import pytest

from micro.errors import Code
from micro.rpc.driver import Limits
from micro.rpc.nghttp2 import message as wire
from micro.rpc.nghttp2.stream import Stream
from micro.rpc.status import Status


class FakeLink:
    def __init__(self, **limits):
        self.limits = Limits(**limits)
        self.release_at = max(1, self.limits.window // 4)
        self.acknowledged = 0
        self.scarce = False

    def acknowledge(self, amount, stream_id):
        self.acknowledged += amount


def fed(*parts, **limits):
    stream = Stream(FakeLink(**limits), 1)
    for part in parts:
        stream.on_data(part, False)
    return stream


@pytest.mark.parametrize("step", [1, 2, 4, 5, 6, 7, 64, 1000])
def test_messages_come_whole_however_they_are_cut(step):
    bodies = [b"", b"a", b"bc" * 40, b"", bytes(300)]
    raw = b"".join(map(wire.frame, bodies))
    stream = fed(*[raw[at : at + step] for at in range(0, len(raw), step)])
    assert [stream.take() for _ in bodies] == bodies
    assert not stream.queue
    stream.release()
    assert stream.link.acknowledged == len(raw)


def test_unread_messages_are_not_acknowledged_and_read_ones_are():
    stream = fed(*[wire.frame(bytes(995))] * 10, window=4000)
    assert stream.link.acknowledged == 0
    stream.take()
    assert stream.link.acknowledged == 1000
    stream.discard()
    assert stream.link.acknowledged == 10_000


def test_a_message_larger_than_the_window_is_acknowledged_as_it_comes():
    stream = fed(wire.frame(bytes(50_000))[:40_000], window=4000)
    assert stream.link.acknowledged > 35_000


@pytest.mark.parametrize("packed", [False, True])
def test_a_message_over_the_limit_ends_the_reading(packed):
    body = gzip.compress(bytes(1001)) if packed else bytes(1001)
    stream = Stream(FakeLink(message=1000), 1)
    stream.gzip = packed
    stream.on_data(bytes((packed,)) + len(body).to_bytes(4, "big") + body, False)
    with pytest.raises(Status) as caught:
        raise stream.error or stream.take()
    assert caught.value.code == Code.RESOURCE_EXHAUSTED
    if not packed:
        stream.on_data(bytes(5000), False)
        assert stream.link.acknowledged == 6006


@pytest.mark.parametrize("raw", [b"\x01\x00\x00\x00\x01a", b"\x02\x00\x00\x00\x01a", b"\x00\x00\x00\x00\x02a", b"\x00"])
def test_what_is_no_message_is_an_error(raw):
    stream = Stream(FakeLink(), 1)
    stream.on_data(raw, True)
    assert stream.error.code == Code.INTERNAL


def test_what_was_not_read_can_be_given_on():
    packed = b"\x01\x00\x00\x00\x03abc"
    raw = wire.frame(b"one") + packed + b"\x00\x00\x00\x00\x09part"
    stream = Stream(FakeLink(), 1)
    stream.gzip = True
    stream.on_data(raw, False)
    assert stream.unread() == raw
