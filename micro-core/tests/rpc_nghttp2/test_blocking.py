"""Calls on a plain socket, against a server on a thread of its own."""

import asyncio
import os
import subprocess
import sys
import threading
import time

import pytest

from micro.errors import Code
from micro.rpc.nghttp2 import BlockingChannel, Nghttp2Transport
from micro.rpc.status import Status
from micro.testing.echo import Echo, Failure, path


class Server(threading.Thread):
    """A listener on its own thread and loop."""

    def __init__(self, address="127.0.0.1:0", tls=None):
        super().__init__(daemon=True)
        self.tls = tls
        self.service = Echo()
        self.address = address
        self.ready = threading.Event()
        self.start()
        assert self.ready.wait(5)

    def run(self):
        asyncio.run(self._serve())

    async def _serve(self):
        self.loop, self.stop = asyncio.get_running_loop(), asyncio.Event()
        listener = Nghttp2Transport().listener(self.service)
        self.address = await listener.start(self.address, tls=self.tls)
        self.ready.set()
        await self.stop.wait()
        await listener.drain(grace=0.2)

    def end(self):
        self.loop.call_soon_threadsafe(self.stop.set)
        self.join(5)


@pytest.fixture(scope="module")
def server():
    server = Server()
    yield server
    server.end()


@pytest.fixture
def channel(server):
    with BlockingChannel(server.address) as channel:
        yield channel


def test_all_kinds_of_call(channel):
    assert channel.unary(path("Unary"), b"hello", timeout=5) == b"hello"
    assert len(list(channel.stream(path("Repeat"), [b"3000 1000"], timeout=5))) == 3000
    assert list(channel.stream(path("Collect"), (bytes(65536) for _ in range(100)))) == [b"6553600"]
    assert list(channel.stream(path("Chat"), (b"%d" % index for index in range(20)))) == [b"%d" % i for i in range(20)]
    assert list(channel.stream(path("Chat"), ())) == []


class Typed:
    """Lines of a pipe, as somebody types them."""

    def __init__(self):
        self.reading, self.typing = os.pipe()
        self.here = []
        self.ended = False

    def fileno(self):
        return self.reading

    def ready(self):
        return bool(self.here) or self.ended

    def take_in(self):
        part = os.read(self.reading, 100)
        self.here += part.splitlines()
        self.ended = not part

    def __iter__(self):
        return self

    def __next__(self):
        if self.here:
            return self.here.pop(0)
        raise StopIteration

    def close(self):
        os.close(self.reading)
        os.close(self.typing)


@pytest.fixture
def typed():
    typed = Typed()
    yield typed
    typed.close()


def test_an_answer_does_not_wait_for_the_next_message(channel, typed):
    answers = channel.stream(path("Chat"), typed, timeout=10)
    for line in (b"one", b"two", b"three"):
        os.write(typed.typing, line + b"\n")
        assert next(answers) == line  # and nothing else was typed
    os.write(typed.typing, b"four\nfive\n")
    assert [next(answers), next(answers)] == [b"four", b"five"]
    typed.ended = True
    assert list(answers) == []


def test_a_call_that_ends_or_runs_out_while_nothing_is_typed_is_over(channel, typed):
    answers = channel.stream(path("Fail"), typed, timeout=10)
    os.write(typed.typing, Failure(Code.ABORTED, "enough", before=1).encode() + b"\n")
    assert next(answers) == b"0"
    with pytest.raises(Status, match="enough"):
        next(answers)
    with pytest.raises(Status) as caught:
        list(channel.stream(path("Chat"), typed, timeout=0.2))
    assert caught.value.code == Code.DEADLINE_EXCEEDED


def test_large_messages_pass_whole(channel):
    body = bytes(range(256)) * (4096 * 5)
    assert channel.unary(path("Unary"), body, timeout=10) == body
    with pytest.raises(Status) as caught:
        channel.unary(path("Unary"), bytes(33 * 1024 * 1024))
    assert caught.value.code == Code.RESOURCE_EXHAUSTED
    assert channel.unary(path("Unary"), b"next", timeout=5) == b"next"


def test_failures_come_as_they_are(channel):
    wanted = Failure(Code.NOT_FOUND, "näh 100%", details=b"\x00\xff", trailers=[(b"t-a", b"1")], before=2)
    answers = channel.stream(path("Fail"), [wanted.encode()])
    assert [next(answers), next(answers)] == [b"0", b"1"]
    with pytest.raises(Status) as caught:
        next(answers)
    status = caught.value
    assert (status.code, status.message, status.details, status.trailers) == (
        5,
        "näh 100%",
        b"\x00\xff",
        [(b"t-a", b"1")],
    )
    with pytest.raises(Status) as caught:
        channel.unary(path("Nope"), b"")
    assert caught.value.code == Code.UNIMPLEMENTED


def test_a_deadline_ends_the_wait(channel):
    begun = time.monotonic()
    with pytest.raises(Status) as caught:
        channel.unary(path("Sleep"), b"30", timeout=0.2)
    assert caught.value.code == Code.DEADLINE_EXCEEDED
    assert time.monotonic() - begun < 2
    assert channel.unary(path("Unary"), b"next", timeout=5) == b"next"


def test_closing_the_iterator_cancels_the_call(server, channel):
    before = server.service.cancelled
    answers = channel.stream(path("Repeat"), [b"1000000 1000"], timeout=20)
    assert next(answers)
    with pytest.raises(RuntimeError, match="one call at a time"):
        channel.unary(path("Unary"), b"x")
    answers.close()
    assert channel.unary(path("Unary"), b"next", timeout=5) == b"next"
    end = time.monotonic() + 5
    while server.service.cancelled == before:
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_call_that_stays_open_is_answered(channel):
    answers = channel.stream(path("Chat"), [b"one"], half_close=False, timeout=5)
    assert next(answers) == b"one"
    answers.close()


def test_nobody_there_says_so():
    with pytest.raises(Status) as caught:
        BlockingChannel("127.0.0.1:1").unary(b"/a.B/C", b"")
    assert (caught.value.code, caught.value.processed) == (Code.UNAVAILABLE, False)
    assert "connection refused" in caught.value.message


def test_a_server_that_went_is_dialled_anew():
    first = Server()
    with BlockingChannel(first.address) as channel:
        assert channel.unary(path("Unary"), b"x", timeout=5) == b"x"
        first.end()
        second = Server(first.address)
        assert channel.unary(path("Unary"), b"again", timeout=5) == b"again"
        second.end()


def test_calls_pass_through_tls(certificate):
    from micro.rpc.tls import client_context, server_context

    server = Server(tls=server_context(*certificate))
    with BlockingChannel(server.address, client_context(ca=certificate[0])) as channel:
        assert channel.unary(path("Unary"), bytes(300_000), timeout=5) == bytes(300_000)
        assert len(list(channel.stream(path("Repeat"), [b"50 20000"], timeout=5))) == 50
        assert list(channel.stream(path("Chat"), [b"a", b"b"], timeout=5)) == [b"a", b"b"]
    with pytest.raises(Status) as caught:
        BlockingChannel(server.address, client_context()).unary(path("Unary"), b"", timeout=5)
    assert (caught.value.code, caught.value.processed) == (Code.UNAVAILABLE, False)
    server.end()


def test_a_cold_start_imports_next_to_nothing():
    heavy = {"asyncio", "ssl", "typing", "dataclasses", "enum", "re", "inspect", "socket", "logging", "threading"}
    code = "import sys; import micro.rpc.nghttp2.blocking; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    bare = subprocess.run(
        [sys.executable, "-I", "-c", "import sys; print(*sys.modules)"], capture_output=True, text=True, check=True
    )
    assert (set(done.stdout.split()) - set(bare.stdout.split())) & heavy == set()


def test_the_binding_is_whole_for_whoever_imports_it_later():
    code = (
        "import micro.rpc.nghttp2.http2 as h, ngh2;"
        "c = ngh2.Connection(ngh2.Role.CLIENT, ngh2.Configuration(auto_window_update=False));"
        "c.initiate_connection({ngh2.Setting.ENABLE_PUSH: 0}); print(c.data_to_send()[:3])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "b'PRI'"
