"""What the building blocks take for durations, instants and files, and how they refuse what is none."""

import os
from datetime import UTC, datetime, timedelta

import pytest

from micro import Client, durations, events, store
from micro.blobs import Blobs
from micro.blobs.memory import MemoryBlobs
from micro.errors import InvalidArgument
from micro.events import Events, Start
from micro.events.memory import MemoryEvents


class Clock:
    async def tick(self) -> int:
        return 1


@pytest.mark.parametrize(("given", "wanted"), [(2, 2.0), (0.5, 0.5), (timedelta(minutes=1), 60.0), (0, 0.0)])
def test_a_duration_is_seconds_or_a_timedelta(given, wanted):
    assert durations.seconds(given, "ttl") == wanted
    assert durations.maybe(given, "ttl") == wanted
    assert durations.maybe(None, "ttl") is None


@pytest.mark.parametrize("given", ["5s", True, [1], datetime(2026, 1, 1, tzinfo=UTC)])
def test_what_is_no_duration_is_refused_by_name(given):
    with pytest.raises(InvalidArgument, match=r"delay is .*, wanted seconds or a timedelta"):
        durations.seconds(given, "delay")


async def test_every_wait_takes_a_timedelta(micro):
    long = timedelta(hours=1)
    async with micro.service(Clock()):
        await store.write("a", "1", ttl=long)
        await store.update("a", lambda _: "2", str, ttl=long)
        async with store.batch() as batch:
            batch.write("b", "1", ttl=long)
        for key in "ab":
            assert 3500 < ((await store.read(key)).expires - datetime.now(UTC)).total_seconds() <= 3600
        clock = Client("clock", timeout=timedelta(seconds=5))
        assert (await clock.call("Clock.Tick", timeout=timedelta(seconds=5)))["value"] == 1
        assert await clock.of(Clock).tick(timeout=timedelta(seconds=5)) == 1
        async with events.consume("t", group="g", ack_wait=timedelta(seconds=30)) as deliveries:
            await events.publish("t", "1")
            assert await (await anext(deliveries)).nack(timedelta(seconds=0))


async def test_every_wait_refuses_text(micro):
    async with micro.service(Clock()):
        refused = pytest.raises(InvalidArgument, match="is str '5s', wanted seconds or a timedelta")
        with refused:
            await store.write("a", "1", ttl="5s")
        with refused:
            events.consume("t", ack_wait="5s")
        with refused:
            await Client("clock").call("Clock.Tick", timeout="5s")
        with refused:
            Client("clock", timeout="5s")


async def test_a_group_begins_at_an_instant():
    events = Events(MemoryEvents())
    begin = datetime.now(UTC)
    for n in range(3):
        await events.publish("t", str(n), timestamp=begin + timedelta(seconds=n))
    async with events.consume("t", group="g", start=begin + timedelta(seconds=2)) as deliveries:
        assert (await anext(deliveries)).payload == b"2"
    await events.seek("t", "g", begin + timedelta(seconds=1))
    async with events.consume("t", group="g") as deliveries:
        assert (await anext(deliveries)).payload == b"1"


@pytest.mark.parametrize(
    ("start", "words"),
    [
        ("earliest", r"start is str 'earliest', wanted Start\.NEW, Start\.OLDEST, Start\(sequence=…\) or a datetime"),
        (7, "start is int 7, wanted Start"),
        (None, "start is NoneType None, wanted Start"),
        (datetime(2026, 1, 1), "start has no time zone"),  # noqa: DTZ001 - that is what is refused
        (Start(sequence="7"), "start is at the sequence '7', wanted a number"),
        (Start(since="yesterday"), "start is str 'yesterday', wanted a datetime"),
    ],
)
async def test_what_is_no_beginning_is_refused(start, words):
    with pytest.raises(InvalidArgument, match=words):
        events.consume("t", group="g", start=start)
    if start is not None:
        with pytest.raises(InvalidArgument, match=words):
            await events.seek("t", "g", start)


async def test_history_since_something_else_is_refused():
    events = Events(MemoryEvents())
    with pytest.raises(InvalidArgument, match="since is str '2026', wanted a datetime"):
        await events.read("t", since="2026")


class Name(os.PathLike):
    def __init__(self, path):
        self.path = path

    def __fspath__(self):
        return str(self.path)


@pytest.mark.parametrize("kind", [str, Name, lambda path: path])
async def test_a_file_is_named_by_text_or_a_path(tmp_path, kind):
    blobs = Blobs(MemoryBlobs())
    await blobs.write("a", b"123")
    await blobs.download("a", kind(tmp_path / "a"))
    assert (tmp_path / "a").read_bytes() == b"123"


async def test_what_names_no_file_is_refused():
    blobs = Blobs(MemoryBlobs())
    await blobs.write("a", b"123")
    for path in (5, b"a", "", None):
        with pytest.raises(InvalidArgument, match="wanted a file's name"):
            await blobs.download("a", path)


async def test_a_blob_is_written_from_any_path_and_never_from_text(tmp_path):
    blobs = Blobs(MemoryBlobs())
    (tmp_path / "a").write_bytes(b"123")
    await blobs.write("a", Name(tmp_path / "a"))
    assert await blobs.read("a") == b"123"
    for data in (str(tmp_path / "a"), 5, None):
        with pytest.raises(InvalidArgument, match="wanted bytes, an async iterable of them, or a Path"):
            await blobs.write("a", data)
