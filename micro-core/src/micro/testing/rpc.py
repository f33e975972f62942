"""The RPC suite: what every transport does, whoever is at the other end.

    class TestMine(TransportSuite):
        @pytest.fixture
        def server_transport(self) -> Transport: ...

        @pytest.fixture
        def client_transport(self) -> Transport: ...

What only some can is read from their capabilities and from the facts below.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

from micro.errors import Code
from micro.limits import MIB
from micro.rpc.driver import (
    JSON,
    TAKEN,
    Channel,
    ClientCall,
    Dispatcher,
    Forwarder,
    Headers,
    Limits,
    Listener,
    ServerCall,
    Status,
    Transport,
)
from micro.testing import attacks, echo
from micro.testing.echo import Echo, Failure, path
from micro.testing.suite import Suite

LOCAL = "127.0.0.1:0"
DETAILS = b"\x08\x05\x12\x03why" + bytes(range(256))
MANY = {b"x-one": b"1", b"x-empty": b"", b"x-text": b"a b;c=d, e", b"x-long": b"v" * 2000}
# What grpcio hands to a generic handler without a word.
ODD_PATHS = (
    b"Unary", b"a.B/C", b"A.B.C", b"//a.B/C", b"/a.B/../D.E/F", b"/a.B/C?x=1", b"/a%2eB/C", b"/a.B/C/", b"/", b"*",
    b"/a.B//C", b"/a.B",
)  # fmt: skip


class Wire:
    """Listeners and channels of one test, closed when it ends."""

    def __init__(self, server: Transport, client: Transport) -> None:
        self.server = server
        self.client = client
        self.service = Echo()
        self.address = ""
        self._open: list[Listener | Channel | Forwarder] = []

    async def listen(
        self,
        *,
        address: str = LOCAL,
        limits: Limits | None = None,
        tls: ssl.SSLContext | None = None,
        dispatcher: Dispatcher | None = None,
    ) -> Listener:
        """Start a listener; its address is the wire's from now on."""
        listener = self.server.listener(dispatcher or self.service, limits=limits)
        self.address = await listener.start(address, tls=tls)
        self._open.append(listener)
        return listener

    def dial(self, address: str = "", *, limits: Limits | None = None, tls: ssl.SSLContext | None = None) -> Channel:
        """Make a channel."""
        channel = self.client.channel(address or self.address, limits=limits, tls=tls)
        self._open.insert(0, channel)
        return channel

    def forwarder(self) -> Forwarder:
        """Make a forwarder of the server's transport."""
        forwarder = self.server.forwarder()
        self._open.append(forwarder)
        return forwarder

    async def close(self) -> None:
        """Close all, clients first."""
        for part in self._open:
            await part.close()


async def ask(channel: Channel, method: str, message: bytes = b"", headers: Headers = (), timeout: float = 10) -> bytes:
    """Make a unary call of the test service."""
    return (await channel.unary(path(method), message, headers, timeout=timeout)).message


async def begin(channel: Channel, method: str, *messages: bytes, timeout: float | None = 10) -> ClientCall:
    """Open a call, and send these messages as all there are, unless there are none."""
    call = await channel.open(path(method), timeout=timeout)
    for message in messages:
        await call.write(message)
    if messages:
        call.half_close()
    return call


async def rest(call: ClientCall) -> list[bytes]:
    """Read a call to its end."""
    found = []
    while (message := await call.read()) is not None:
        found.append(message)
    return found


async def failing(awaited: Any) -> Status:
    """Give the Status that something ends with."""
    with pytest.raises(Status) as caught:
        await awaited
    return caught.value


def of(headers: Headers, prefix: bytes) -> list[tuple[bytes, bytes]]:
    """Pick the headers with a prefix."""
    return [
        (key, value.rstrip(b"=") if key.endswith(b"-bin") else value)
        for key, value in headers
        if key.startswith(prefix)
    ]


class _Wired(Suite):
    """What the suites share: the fixtures."""

    @pytest.fixture
    def server_transport(self) -> Transport:
        """Give the side that listens."""
        raise NotImplementedError  # a subclass gives it, as its docstring says

    @pytest.fixture
    def client_transport(self) -> Transport:
        """Give the side that dials."""
        raise NotImplementedError  # a subclass gives it, as its docstring says

    @pytest.fixture
    async def quiet(self, server_transport: Transport, client_transport: Transport) -> AsyncIterator[Wire]:
        """Give a wire on which nothing listens yet."""
        async with server_transport, client_transport:
            wire = Wire(server_transport, client_transport)
            try:
                yield wire
            finally:
                await wire.close()

    @pytest.fixture
    async def wire(self, quiet: Wire) -> Wire:
        """Give a wire with a listener."""
        await quiet.listen()
        return quiet

    @pytest.fixture
    async def channel(self, wire: Wire) -> Channel:
        """Give a channel to the test service."""
        return wire.dial()

    server_is_ours: ClassVar[bool] = True  # its listener shows calls to a dispatcher
    client_is_ours: ClassVar[bool] = True

    async def _stopped(self, wire: Wire, calls: int) -> None:
        """Wait until so many handlers were stopped. Plain grpc.aio shows a reader that is cut off a plain end."""
        service = wire.service
        await service.until(lambda: (service.cancelled if self.server_is_ours else service.over) >= calls)


class KindsSuite(_Wired):
    """The four kinds of call, and what travels beside the messages."""

    async def test_a_unary_call_is_answered(self, channel: Channel) -> None:
        assert await ask(channel, "Unary", b"hello \x00\xff") == b"hello \x00\xff"

    async def test_an_empty_message_is_a_message(self, channel: Channel) -> None:
        assert await ask(channel, "Unary", b"") == b""

    async def test_a_client_stream_is_answered_once(self, channel: Channel) -> None:
        call = await begin(channel, "Collect", *[b"12345"] * 300)
        assert await rest(call) == [b"1500"]

    async def test_a_client_stream_without_messages_is_answered(self, channel: Channel) -> None:
        call = await begin(channel, "Collect")
        call.half_close()
        assert await rest(call) == [b"0"]

    async def test_a_server_stream_keeps_its_order(self, channel: Channel) -> None:
        call = await begin(channel, "Repeat", b"300 10")
        answers = await rest(call)
        assert [int.from_bytes(answer[:4], "big") for answer in answers] == list(range(300))

    async def test_a_server_stream_may_be_empty(self, channel: Channel) -> None:
        assert await rest(await begin(channel, "Repeat", b"0 0")) == []

    async def test_a_conversation_goes_back_and_forth(self, channel: Channel) -> None:
        call = await begin(channel, "Chat")
        for index in range(50):
            await call.write(b"%d" % index)
            assert await call.read() == b"%d" % index
        call.half_close()
        assert await call.read() is None

    async def test_a_conversation_without_a_word_ends_well(self, channel: Channel) -> None:
        call = await begin(channel, "Chat")
        call.half_close()
        assert await call.read() is None

    async def test_headers_come_before_any_message(self, channel: Channel) -> None:
        call = await begin(channel, "Chat")
        assert (b"x-hello", b"chat") in await call.headers()
        call.half_close()
        assert await rest(call) == []

    async def test_reading_past_the_end_gives_the_end_again(self, channel: Channel) -> None:
        call = await begin(channel, "Repeat", b"1 1")
        assert len(await rest(call)) == 1
        assert await call.read() is None

    async def test_metadata_travels_both_ways(self, channel: Channel) -> None:
        sent = [*MANY.items(), *((b"t" + key[1:], value) for key, value in MANY.items())]
        reply = await channel.unary(path("Meta"), b"m", sent, timeout=10)
        assert reply.message == b"m"
        assert sorted(of(reply.headers, b"x-")) == sorted(MANY.items())
        assert sorted(of(reply.trailers, b"t-")) == sorted((b"t" + key[1:], value) for key, value in MANY.items())

    async def test_binary_metadata_travels_both_ways(self, channel: Channel) -> None:
        sent = [(b"x-bin", b"AAH+/w"), (b"t-bin", b"/w"), (b"x-none-bin", b"")]
        reply = await channel.unary(path("Meta"), b"", sent, timeout=10)
        assert sorted(of(reply.headers, b"x-")) == [(b"x-bin", b"AAH+/w"), (b"x-none-bin", b"")]
        assert of(reply.trailers, b"t-") == [(b"t-bin", b"/w")]

    async def test_repeated_keys_keep_all_values_in_order(self, channel: Channel) -> None:
        sent = [(b"x-many", b"b"), (b"x-many", b"a"), (b"x-many-bin", b"AQ"), (b"x-many-bin", b"AA")]
        reply = await channel.unary(path("Meta"), b"", sent, timeout=10)
        got = of(reply.headers, b"x-")
        values = b",".join(value for key, value in got if key == b"x-many").replace(b" ", b"")
        binary = b",".join(value for key, value in got if key == b"x-many-bin").replace(b" ", b"")
        assert (values, binary) == (b"b,a", b"AQ,AA")

    async def test_the_odd_metadata_of_gateways_is_no_obstacle(self, channel: Channel) -> None:
        sent = [(b"host", b"example.com"), (b"content-length", b"7"), (b"x-real", b"1")]
        reply = await channel.unary(path("Meta"), b"longer than seven", sent, timeout=10)
        assert (reply.message, of(reply.headers, b"x-")) == (b"longer than seven", [(b"x-real", b"1")])

    async def test_a_header_value_that_would_break_the_wire_is_never_sent(self, wire: Wire, channel: Channel) -> None:
        if not self.client_is_ours:
            # a peer of the interoperability runs is the oracle there, not what is tested
            pytest.skip("a plain client says so in its own way")
        for bad in (b"a\r\nx-evil: 1", b"a\nb", b"a\x00b"):
            with pytest.raises((Status, ValueError, TypeError)):
                await channel.unary(path("Meta"), b"", [(b"x-bad", bad)], timeout=10)
        assert await ask(channel, "Unary", b"still") == b"still"
        assert wire.service.begun == 1

    async def test_a_status_message_survives_whatever_it_says(self, channel: Channel) -> None:
        for text in ("", "plain", "näh\n% 100%25 \u2603 \U0001f600", "{'id': \"x\"}", "a" * 1500):
            status = await failing(ask(channel, "Fail", Failure(Code.NOT_FOUND, text).encode()))
            assert (status.code, status.message) == (Code.NOT_FOUND, text)

    async def test_a_status_message_may_begin_and_end_with_spaces(self, channel: Channel) -> None:
        status = await failing(ask(channel, "Fail", Failure(Code.NOT_FOUND, " at the edges ").encode()))
        assert (status.code, status.message) == (Code.NOT_FOUND, " at the edges ")

    async def test_every_code_crosses(self, channel: Channel) -> None:
        for code in range(1, 17):
            status = await failing(ask(channel, "Fail", Failure(code, "why").encode()))
            assert (status.code, status.message) == (code, "why")

    async def test_details_and_trailers_come_with_a_failure(self, channel: Channel) -> None:
        wanted = Failure(Code.FAILED_PRECONDITION, "no", details=DETAILS, trailers=[(b"t-a", b"1"), (b"t-bin", b"AP8")])
        status = await failing(ask(channel, "Fail", wanted.encode()))
        assert (status.code, status.message, status.details) == (Code.FAILED_PRECONDITION, "no", DETAILS)
        assert of(status.trailers, b"t-") == [(b"t-a", b"1"), (b"t-bin", b"AP8")]

    async def test_messages_before_a_failure_are_not_lost(self, channel: Channel) -> None:
        wanted = Failure(Code.ABORTED, "then this", details=DETAILS, before=20)
        call = await begin(channel, "Fail", wanted.encode())
        found = []
        with pytest.raises(Status) as caught:
            while (message := await call.read()) is not None:
                found.append(message)
        assert found == [b"%d" % index for index in range(20)]
        assert (caught.value.code, caught.value.details) == (Code.ABORTED, DETAILS)

    async def test_trailers_are_there_after_the_end_of_a_stream(self, channel: Channel) -> None:
        call = await begin(channel, "Fail", Failure(Code.OK, trailers=[(b"t-sum", b"3")], before=3).encode())
        assert of(call.trailers, b"t-") == []
        assert len(await rest(call)) == 3
        assert of(call.trailers, b"t-") == [(b"t-sum", b"3")]

    async def test_a_handler_that_raises_fails_its_call_alone(self, channel: Channel) -> None:
        status = await failing(ask(channel, "Raise"))
        assert status.code == Code.UNKNOWN
        assert "on purpose" in status.message
        assert await ask(channel, "Unary", b"next") == b"next"

    async def test_an_unknown_method_is_unimplemented(self, channel: Channel) -> None:
        assert (await failing(ask(channel, "Nope"))).code == Code.UNIMPLEMENTED
        assert (await failing(channel.unary(b"/other.Service/Call", b"", timeout=5))).code == Code.UNIMPLEMENTED

    async def test_an_answer_may_come_before_the_requests_end(self, channel: Channel) -> None:
        call = await channel.open(path("Early"), timeout=10)
        assert await call.read() == b"no need to read"
        assert await call.read() is None
        assert await ask(channel, "Unary", b"next") == b"next"

    async def test_a_hundred_calls_at_once_get_their_own_answers(self, channel: Channel) -> None:
        async def stream(index: int) -> bool:
            call = await begin(channel, "Chat", b"%d" % index)
            return await rest(call) == [b"%d" % index]

        unary = [ask(channel, "Unary", b"%d" % index) for index in range(100)]
        assert await asyncio.gather(*unary) == [b"%d" % index for index in range(100)]
        assert all(await asyncio.gather(*map(stream, range(100))))
        assert channel.outstanding == 0

    @pytest.mark.parametrize("mebibytes", [3, 5])
    async def test_large_messages_pass_whole(self, channel: Channel, mebibytes: int) -> None:
        body = bytes(range(256)) * (4096 * mebibytes)
        assert await ask(channel, "Unary", body) == body

    async def test_large_messages_at_once_do_not_wait_for_each_other_for_ever(self, channel: Channel) -> None:
        bodies = [bytes([index]) * (2 * MIB) for index in range(12)]
        assert await asyncio.gather(*[ask(channel, "Unary", body, timeout=30) for body in bodies]) == bodies

    async def test_a_message_over_the_limit_is_not_sent_or_refused(self, wire: Wire, channel: Channel) -> None:
        status = await failing(ask(channel, "Unary", bytes(32 * MIB + 1)))
        assert status.code == Code.RESOURCE_EXHAUSTED
        assert await ask(channel, "Unary", b"next") == b"next"

    async def test_a_server_refuses_a_message_over_its_limit(self, quiet: Wire) -> None:
        await quiet.listen(limits=Limits(message=MIB))
        channel = quiet.dial()
        assert len(await ask(channel, "Unary", bytes(MIB))) == MIB
        assert (await failing(ask(channel, "Unary", bytes(MIB + 1)))).code == Code.RESOURCE_EXHAUSTED
        assert await ask(channel, "Unary", b"next") == b"next"

    async def test_a_client_refuses_an_answer_over_its_limit(self, wire: Wire) -> None:
        channel = wire.dial(limits=Limits(message=MIB))
        status = await failing(rest(await begin(channel, "Repeat", b"1 %d" % (MIB + 1))))
        assert status.code == Code.RESOURCE_EXHAUSTED
        assert await ask(channel, "Unary", b"next") == b"next"

    async def test_headers_over_the_limit_are_refused_and_others_served(self, quiet: Wire) -> None:
        if not self.server_is_ours:
            # likewise: this is about our listener
            pytest.skip("the limit of a plain peer is its own")
        await quiet.listen(limits=Limits(header_bytes=4096))
        big = [(b"x-%d" % index, b"v" * 1000) for index in range(8)]
        status = await failing(quiet.dial().unary(path("Unary"), b"", big, timeout=5))
        assert status.code in {Code.RESOURCE_EXHAUSTED, Code.UNAVAILABLE, Code.INTERNAL}
        assert await ask(quiet.dial(), "Unary", b"next") == b"next"
        assert quiet.service.begun == 1


class EndsSuite(_Wired):
    """How calls end before they are done: deadlines, cancellation, peers that go."""

    # What a draining server did not answer, its client knows to be unprocessed.
    drains_unseen: ClassVar[bool] = False

    async def test_a_deadline_ends_the_wait_and_the_handler(self, wire: Wire, channel: Channel) -> None:
        begun = time.monotonic()
        status = await failing(ask(channel, "Sleep", b"30", timeout=0.1))
        assert status.code == Code.DEADLINE_EXCEEDED
        assert 0.08 < time.monotonic() - begun < 1.0
        await self._stopped(wire, 1)

    async def test_a_deadline_ends_a_stream_too(self, wire: Wire, channel: Channel) -> None:
        call = await channel.open(path("Chat"), timeout=0.1)
        assert (await failing(call.read())).code == Code.DEADLINE_EXCEEDED
        await self._stopped(wire, 1)

    async def test_a_handler_knows_how_long_its_caller_waits(self, channel: Channel) -> None:
        assert 4.0 < float(await ask(channel, "Remaining", timeout=5)) <= 5.1  # grpc rounds up
        assert (await channel.unary(path("Remaining"), b"", timeout=None)).message == b"none"
        assert (
            86_000 < float(await ask(channel, "Remaining", timeout=86_400)) <= 86_500
        )  # grpc rounds up to three digits

    async def test_time_that_is_over_already_fails_at_once(self, channel: Channel) -> None:
        assert (await failing(ask(channel, "Sleep", b"30", timeout=0.0))).code == Code.DEADLINE_EXCEEDED

    async def test_a_server_may_bring_the_deadline_nearer(self, channel: Channel) -> None:
        begun = time.monotonic()
        status = await failing(ask(channel, "Shorten", b"0.1", timeout=20))
        assert status.code == Code.DEADLINE_EXCEEDED
        assert time.monotonic() - begun < 2
        self._in_its_words(status, "deadline exceeded")

    def _in_its_words(self, status: Status, text: str) -> None:
        if self.server_is_ours:
            details = bytes([status.code]) + echo.DETAILS
            assert (status.message, status.details) == (f"echo: {text}", details)

    async def test_cancelling_the_caller_cancels_the_handler(self, wire: Wire, channel: Channel) -> None:
        asking = asyncio.ensure_future(ask(channel, "Sleep", b"30", timeout=60))
        await wire.service.until(lambda: wire.service.begun == 1)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await self._stopped(wire, 1)
        await wire.service.until(lambda: channel.outstanding == 0)

    async def test_cancelling_a_stream_cancels_the_handler_and_the_reader(self, wire: Wire, channel: Channel) -> None:
        call = await begin(channel, "Chat")
        await call.headers()
        reading = asyncio.ensure_future(failing(call.read()))
        await asyncio.sleep(0)
        call.cancel()
        assert (await reading).code == Code.CANCELLED
        await self._stopped(wire, 1)
        assert (await failing(call.read())).code == Code.CANCELLED
        assert (await failing(call.write(b"late"))).code == Code.CANCELLED
        call.cancel()

    async def test_a_stream_cut_off_is_never_taken_for_complete(self, wire: Wire, channel: Channel) -> None:
        for count in range(1, 21):
            call = await channel.open(path("Collect"), timeout=10)
            await call.write(b"half of it")
            await wire.service.until(lambda count=count: wire.service.read == count)  # type: ignore[misc]
            call.cancel()
        await self._stopped(wire, 20)
        if self.server_is_ours:
            assert wire.service.completed == 0

    async def test_a_cancelled_status_is_no_cancelled_task(self, channel: Channel) -> None:
        call = await begin(channel, "Fail", Failure(Code.CANCELLED, "the server's own").encode())
        status = await failing(call.read())
        assert (status.code, status.message) == (Code.CANCELLED, "the server's own")

    async def test_cancelling_many_leaves_the_others_alone(self, wire: Wire, channel: Channel) -> None:
        sleeping = [asyncio.ensure_future(ask(channel, "Sleep", b"30", timeout=60)) for _ in range(200)]
        await wire.service.until(lambda: wire.service.begun == 200)
        for one in sleeping:
            one.cancel()
        assert await ask(channel, "Unary", b"still") == b"still"
        await asyncio.gather(*sleeping, return_exceptions=True)
        await self._stopped(wire, 200)

    async def test_deadlines_cancellations_and_ends_may_meet_in_any_order(self, wire: Wire, channel: Channel) -> None:
        chance = random.Random(7)
        await ask(channel, "Unary")

        async def one(index: int) -> None:
            timeout = chance.choice([0.005, 0.01, 0.02, 10])
            method, words = chance.choice([("Sleep", b"0.01"), ("Repeat", b"50 2000"), ("Unary", b"x")])
            call = await channel.open(path(method), timeout=timeout)
            if chance.random() < 0.5:
                asyncio.get_running_loop().call_later(chance.random() * 0.02, call.cancel)
            with contextlib.suppress(Status):
                await call.write(words)
                call.half_close()
                await rest(call)
                assert await call.read() is None, index

        for _ in range(5):
            await asyncio.gather(*map(one, range(60)))
        assert await ask(channel, "Unary", b"after") == b"after"
        await wire.service.until(lambda: wire.service.over == wire.service.begun)
        assert channel.outstanding == 0

    async def test_a_refused_connection_says_so(self, quiet: Wire) -> None:
        with socket.socket() as bound:  # bound and not listening: nobody else gets the port
            bound.bind(("127.0.0.1", 0))
            channel = quiet.dial(f"127.0.0.1:{bound.getsockname()[1]}")
            status = await failing(ask(channel, "Unary", timeout=5))
            assert status.code == Code.UNAVAILABLE
            assert "connection refused" in status.message.lower()
            assert not status.processed

    async def test_a_lost_connection_is_dialled_anew(self, wire: Wire, channel: Channel) -> None:
        listener = wire.server.listener(wire.service)
        address = await listener.start(LOCAL)
        channel = wire.dial(address)
        call = await begin(channel, "Chat")
        await call.headers()
        await listener.close()
        assert (await failing(call.read())).code in {Code.UNAVAILABLE, Code.CANCELLED, Code.INTERNAL}
        await wire.listen(address=address)
        for attempt in range(100):
            with contextlib.suppress(Status):
                assert await ask(channel, "Unary", b"again", timeout=2) == b"again"
                break
            assert attempt < 99
            await asyncio.sleep(0.05)

    async def test_a_taken_port_is_an_error(self, wire: Wire) -> None:
        second = wire.server.listener(Echo())
        with pytest.raises(OSError):
            await second.start(wire.address)
        await second.close()

    async def test_draining_lets_calls_finish(self, quiet: Wire) -> None:
        listener = await quiet.listen()
        channel = quiet.dial()
        asking = [asyncio.ensure_future(ask(channel, "Sleep", b"0.15")) for _ in range(20)]
        await quiet.service.until(lambda: quiet.service.begun == 20)
        begun = time.monotonic()
        await listener.drain(grace=10)
        assert time.monotonic() - begun < 5
        assert await asyncio.gather(*asking) == [b"slept"] * 20
        assert (await failing(ask(quiet.dial(), "Unary", timeout=1))).code == Code.UNAVAILABLE

    async def test_draining_cuts_what_outlasts_the_grace(self, quiet: Wire) -> None:
        listener = await quiet.listen()
        asking = asyncio.ensure_future(failing(ask(quiet.dial(), "Sleep", b"30", timeout=60)))
        await quiet.service.until(lambda: quiet.service.begun == 1)
        begun = time.monotonic()
        await listener.drain(grace=0.1)
        assert time.monotonic() - begun < 3
        assert (await asking).code in {Code.UNAVAILABLE, Code.CANCELLED}
        await self._stopped(quiet, 1)

    async def test_draining_loses_no_call_of_a_busy_client(self, quiet: Wire) -> None:
        listener = await quiet.listen()
        channel = quiet.dial()
        answered, refused, stop = 0, [], asyncio.Event()

        async def work() -> None:
            nonlocal answered
            while not stop.is_set():
                try:
                    await ask(channel, "Unary", b"x", timeout=5)
                    answered += 1
                except Status as status:
                    refused.append(status)
                    await asyncio.sleep(0.01)

        workers = [asyncio.ensure_future(work()) for _ in range(8)]
        await quiet.service.until(lambda: quiet.service.begun > 50)
        await listener.drain(grace=5)
        stop.set()
        await asyncio.gather(*workers)
        assert answered == quiet.service.begun
        if self.drains_unseen:
            assert [status.args for status in refused if status.processed] == []
        assert {status.code for status in refused} <= {Code.UNAVAILABLE, Code.CANCELLED}

    async def test_a_frozen_server_is_noticed_without_a_deadline(self, quiet: Wire) -> None:
        thawed = asyncio.Event()

        async def frozen(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(attacks.settings() + attacks.frame(attacks.SETTINGS, attacks.ACK))
            await thawed.wait()
            writer.close()

        server = await asyncio.start_server(frozen, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        channel = quiet.dial(f"{host}:{port}", limits=Limits(keepalive=0.15, keepalive_timeout=0.15))
        begun = time.monotonic()
        status = await failing(channel.unary(path("Unary"), b"", timeout=None))
        assert status.code == Code.UNAVAILABLE
        assert time.monotonic() - begun < 5
        thawed.set()
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0.01)

    async def test_a_frozen_client_is_noticed(self, quiet: Wire) -> None:
        await quiet.listen(limits=Limits(keepalive=0.15, keepalive_timeout=0.15))
        async with attacks.RawPeer(quiet.address) as peer:
            await peer.send(
                attacks.frame(attacks.SETTINGS, attacks.ACK) + attacks.headers(1, attacks.request(path("Chat")))
            )
            assert await peer.hung_up(within=5)
        await self._stopped(quiet, 1)


class FlowSuite(_Wired):
    """Slow readers, many streams, and what each end may hold for the other."""

    # Bytes that may be under way to a reader that does not read: windows of both ends and the kernel's buffers.
    under_way: ClassVar[int] = 4 * MIB
    opens_more_connections: ClassVar[bool] = False  # at a peer's limit of streams

    async def test_a_slow_server_holds_its_client_back(self, wire: Wire, channel: Channel) -> None:
        call = await channel.open(path("Hold"), timeout=60)
        sent = await self._fill(lambda: call.write(bytes(65536)))
        assert 0 < sent * 65536 <= self.under_way
        assert await ask(channel, "Unary", b"meanwhile") == b"meanwhile"
        wire.service.gate.set()
        await self._blocked
        for _ in range(50):
            await call.write(bytes(65536))
        call.half_close()
        assert await rest(call) == [b"%d" % ((sent + 50) * 65536)]

    _blocked: asyncio.Future[None]

    async def _fill(self, write: Callable[[], Any], most: int = 4000) -> int:
        """Write until it blocks for a while; the blocked write is let finish by whoever reads on."""
        for index in range(most):
            writing = asyncio.ensure_future(write())
            done, _ = await asyncio.wait({writing}, timeout=0.1)
            if not done:
                self._blocked = writing
                return index + 1
            await writing
        raise AssertionError(f"{most} writes without any back-pressure")

    async def test_a_slow_client_holds_its_server_back(self, wire: Wire, channel: Channel) -> None:
        call = await begin(channel, "Repeat", b"500 65536", timeout=60)
        assert await call.read() is not None
        sent = await self._settled(wire)
        assert 0 < sent * 65536 <= self.under_way
        assert await ask(channel, "Unary", b"meanwhile") == b"meanwhile"
        answers = [int.from_bytes(answer[:4], "big") for answer in await rest(call)]
        assert answers == list(range(1, 500))

    async def _settled(self, wire: Wire) -> int:
        before = -1
        while before != wire.service.sent:
            before = wire.service.sent
            await asyncio.sleep(0.1)
        return before

    async def test_readers_that_never_read_do_not_stop_the_others(self, wire: Wire, channel: Channel) -> None:
        calls = [await begin(channel, "Repeat", b"2000 65536", timeout=60) for _ in range(20)]
        for call in calls:
            await call.read()
        assert await ask(channel, "Unary", b"meanwhile", timeout=5) == b"meanwhile"
        for call in calls:
            call.cancel()
        await self._stopped(wire, 20)
        assert await ask(channel, "Unary", b"after", timeout=5) == b"after"

    async def test_handlers_that_never_read_do_not_stop_the_others(self, wire: Wire, channel: Channel) -> None:
        calls = [await channel.open(path("Hold"), timeout=60) for _ in range(20)]
        writers = [asyncio.ensure_future(self._flood(call)) for call in calls]
        await wire.service.until(lambda: wire.service.begun == 20)
        await asyncio.sleep(0.2)
        assert await ask(channel, "Unary", b"meanwhile", timeout=5) == b"meanwhile"
        for call in calls:
            call.cancel()
        await asyncio.gather(*writers)
        await self._stopped(wire, 20)
        assert await ask(channel, "Unary", bytes(MIB), timeout=5) == bytes(MIB)

    async def _flood(self, call: ClientCall) -> None:
        with contextlib.suppress(Status):
            for _ in range(1000):
                await call.write(bytes(65536))

    async def test_a_deadline_passes_while_the_writer_is_held_back(self, wire: Wire, channel: Channel) -> None:
        call = await begin(channel, "Repeat", b"2000 65536", timeout=0.3)
        await call.read()
        await self._stopped(wire, 1)
        assert await ask(channel, "Unary", b"after") == b"after"

    async def test_no_more_streams_are_open_than_the_server_allows(self, quiet: Wire) -> None:
        await quiet.listen(limits=Limits(streams=3))
        async with attacks.RawPeer(quiet.address) as peer:
            await peer.frames(attacks.SETTINGS)
            for stream in range(1, 21, 2):
                await peer.send(attacks.headers(stream, attacks.request(path("Chat"))))
            await quiet.service.until(lambda: quiet.service.begun >= 3)
            await asyncio.sleep(0.2)
            assert quiet.service.begun == 3

    async def test_a_client_at_the_limit_of_streams_gets_its_calls_done(self, quiet: Wire) -> None:
        await quiet.listen(limits=Limits(streams=4))
        channel = quiet.dial()
        await ask(channel, "Unary")  # by now the limit has come
        assert await asyncio.gather(*[self._until_seen(channel) for _ in range(40)]) == [b"slept"] * 40

    async def _until_seen(self, channel: Channel) -> bytes:
        while True:
            try:
                return await ask(channel, "Sleep", b"0.02")
            except Status as status:
                if status.processed:
                    raise

    async def test_open_watches_do_not_starve_calls(self, quiet: Wire) -> None:
        await quiet.listen(limits=Limits(streams=4))
        channel = quiet.dial()
        watches = [await begin(channel, "Chat") for _ in range(4)]
        for watch in watches:
            await watch.headers()
        asking = asyncio.ensure_future(ask(channel, "Unary", b"one more", timeout=5))
        if not self.opens_more_connections:
            done, _ = await asyncio.wait({asking}, timeout=0.2)
            assert not done
            watches[0].cancel()
        assert await asking == b"one more"


class DoorSuite(_Wired):
    """TLS, content types, paths: what differs is a capability."""

    async def test_calls_pass_through_tls(self, quiet: Wire, certificates: Path) -> None:
        from micro.rpc.tls import client_context, server_context

        await quiet.listen(tls=server_context(certificates / "server.pem", certificates / "server.key"))
        channel = quiet.dial(tls=client_context(ca=certificates / "ca.pem"))
        assert await ask(channel, "Unary", bytes(200_000)) == bytes(200_000)
        assert len(await rest(await begin(channel, "Repeat", b"50 20000"))) == 50

    async def test_tls_speaks_http2_by_alpn(self, quiet: Wire, certificates: Path) -> None:
        from micro.rpc.tls import client_context, server_context

        await quiet.listen(tls=server_context(certificates / "server.pem", certificates / "server.key"))
        host, _, port = quiet.address.rpartition(":")
        context = client_context(ca=certificates / "ca.pem")
        _, writer = await asyncio.open_connection(host, int(port), ssl=context)
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async def test_a_certificate_of_nobody_known_is_refused(self, quiet: Wire, certificates: Path) -> None:
        from micro.rpc.tls import client_context, server_context

        await quiet.listen(tls=server_context(certificates / "server.pem", certificates / "server.key"))
        channel = quiet.dial(tls=client_context(ca=certificates / "other-ca.pem"))
        status = await failing(ask(channel, "Unary", timeout=5))
        assert status.code == Code.UNAVAILABLE
        assert not status.processed
        assert quiet.service.begun == 0

    async def test_clients_without_a_certificate_are_refused_where_one_is_asked_for(
        self, quiet: Wire, certificates: Path
    ) -> None:
        if not (self.server_is_ours and self.client_is_ours):
            pytest.skip("the plain peers know no client certificates")
        from micro.rpc.tls import client_context, server_context

        ca = certificates / "ca.pem"
        server = server_context(certificates / "server.pem", certificates / "server.key", client_ca=ca)
        await quiet.listen(tls=server)
        own = client_context(ca=ca, certfile=certificates / "client.pem", keyfile=certificates / "client.key")
        assert await ask(quiet.dial(tls=own), "Unary", b"known") == b"known"
        assert (await failing(ask(quiet.dial(tls=client_context(ca=ca)), "Unary", timeout=5))).code == Code.UNAVAILABLE

    async def test_json_is_told_by_content_type_or_beside_it(self, wire: Wire, channel: Channel) -> None:
        if not self.client_is_ours:
            pytest.skip("a plain client sends protobuf alone")
        reply = await channel.unary(path("Meta"), b"{}", content_type=JSON, timeout=5)
        assert reply.message == b"{}"
        if not self.server_is_ours:
            return
        call = wire.service.calls[-1]
        shown = {"content-types"} <= wire.server.capabilities & wire.client.capabilities
        assert call.content_type == (JSON if shown else b"application/grpc")
        if "content-types" not in wire.client.capabilities:
            assert call.header(b"x-content-type") == b"application/json"
        if shown:
            assert dict(reply.headers).get(b"content-type", JSON) == JSON

    async def test_what_a_gateway_passes_on_from_http1_is_borne(self, wire: Wire) -> None:
        passed_on = [(b"host", b"example.com"), (b"content-length", b"7"), (b"x-real", b"1")]
        async with attacks.RawPeer(wire.address) as peer:
            await peer.send(attacks.call(1, path("Unary"), b"longer than seven", passed_on))
            got = await peer.frames(attacks.DATA, attacks.RST_STREAM, attacks.GOAWAY)
            assert got[-1].payload == attacks.message(b"longer than seven")

    async def test_an_odd_path_is_shown_as_it_came_or_refused(self, wire: Wire) -> None:
        if not self.server_is_ours:
            pytest.skip("a plain peer's paths are its own business")
        for odd in ODD_PATHS:
            wire.service.paths.clear()
            async with attacks.RawPeer(wire.address) as peer:
                await peer.send(attacks.call(1, odd))
                assert await peer.frames(*attacks.ANSWER), odd
            if "raw-paths" in wire.server.capabilities:
                assert wire.service.paths == [odd]
            else:
                assert wire.service.paths in ([], [odd])
        assert await ask(wire.dial(), "Unary", b"next") == b"next"

    async def test_http1_is_refused_where_it_is_no_capability(self, wire: Wire) -> None:
        if not self.server_is_ours:
            pytest.skip("a plain peer has no such argument")
        if "http1" in wire.server.capabilities:
            await self._http1(wire)
            return
        with pytest.raises(Exception, match="HTTP/1"):
            wire.server.listener(wire.service, http1=asyncio.Protocol)

    async def _http1(self, wire: Wire) -> None:
        class Hello(asyncio.Protocol):
            def connection_made(self, transport: Any) -> None:
                self.transport = transport

            def data_received(self, data: bytes) -> None:
                self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(data) + data)
                self.transport.close()

        listener = wire.server.listener(wire.service, http1=Hello)
        address = await listener.start(LOCAL)
        try:
            async with attacks.RawPeer(address, hello=b"GET / HTTP/1.1\r\nhost: x\r\n\r\n") as peer:
                said = await peer._reader.read()
            assert said.endswith(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            assert await ask(wire.dial(address), "Unary", b"and gRPC") == b"and gRPC"
        finally:
            await listener.close()

    async def test_a_caller_is_shown_by_its_address(self, wire: Wire, channel: Channel) -> None:
        if not self.server_is_ours:
            pytest.skip("a plain peer shows calls to nobody")
        await ask(channel, "Unary")
        host, _, port = wire.service.calls[-1].peer.rpartition(":")
        assert host == "127.0.0.1"
        assert 0 < int(port) < 65536


class TransportSuite(KindsSuite, EndsSuite, FlowSuite, DoorSuite):
    """All of it, for one server and one client."""


class _Front(Dispatcher):
    """A dispatcher that sends everything on."""

    def __init__(self, forwarder: Forwarder, address: str) -> None:
        self.forwarder = forwarder
        self.address = address
        self.others: list[str] = []
        self.codes: list[int] = []

    def another(self) -> tuple[str, Callable[[int], None]] | None:
        return (self.others.pop(0), self.codes.append) if self.others else None

    def open(self, call: ServerCall) -> int:
        headers = [pair for pair in call.headers if pair[0] not in {b"content-type", b"te", b"grpc-timeout"}]
        nearer = call.header(b"x-shorten")
        if nearer is not None:
            call.shorten(time.monotonic() + float(nearer))
        onward = [*headers, (b"x-by", b"front")]
        self.forwarder.forward(call, self.address, onward, done=self.codes.append, elsewhere=self.another)
        return TAKEN

    async def run(self, call: ServerCall) -> None:
        raise AssertionError("the call was taken")

    def words(self, _call: ServerCall, code: int, text: str) -> tuple[int, str, bytes]:
        return code, f"front: {text}", DETAILS


class ForwarderSuite(_Wired):
    """A call through a forwarder is a call: client, front, back."""

    under_way: ClassVar[int] = 8 * MIB

    @pytest.fixture
    async def wire(self, quiet: Wire) -> Wire:
        await quiet.listen()
        self.front = _Front(quiet.forwarder(), quiet.address)
        await quiet.listen(dispatcher=self.front)
        return quiet

    async def test_all_four_kinds_pass(self, channel: Channel) -> None:
        assert await ask(channel, "Unary", bytes(3 * MIB)) == bytes(3 * MIB)
        assert len(await rest(await begin(channel, "Repeat", b"500 1000"))) == 500
        assert await rest(await begin(channel, "Collect", *[b"12345"] * 500)) == [b"2500"]
        call = await begin(channel, "Chat")
        for index in range(20):
            await call.write(b"%d" % index)
            assert await call.read() == b"%d" % index
        call.half_close()
        assert await call.read() is None
        assert self.front.codes == [0, 0, 0, 0]

    async def test_headers_are_the_fronts_and_trailers_come_back(self, wire: Wire, channel: Channel) -> None:
        sent = [(b"x-a", b"1"), (b"x-bin", b"AAH+"), (b"t-a", b"2"), (b"t-bin", b"/w")]
        reply = await channel.unary(path("Meta"), b"m", sent, timeout=10)
        assert sorted(of(reply.headers, b"x-")) == [(b"x-a", b"1"), (b"x-bin", b"AAH+"), (b"x-by", b"front")]
        assert of(reply.trailers, b"t-") == [(b"t-a", b"2"), (b"t-bin", b"/w")]

    async def test_failures_come_back_as_they_are(self, channel: Channel) -> None:
        wanted = Failure(Code.NOT_FOUND, "näh 100%", details=DETAILS, trailers=[(b"t-a", b"1")], before=3)
        call = await begin(channel, "Fail", wanted.encode())
        assert [await call.read() for _ in range(3)] == [b"0", b"1", b"2"]
        status = await failing(call.read())
        assert (status.code, status.message, status.details) == (Code.NOT_FOUND, "näh 100%", DETAILS)
        assert of(status.trailers, b"t-") == [(b"t-a", b"1")]
        assert self.front.codes == [Code.NOT_FOUND]

    async def test_an_unreachable_back_is_unavailable(self, wire: Wire, channel: Channel) -> None:
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            self.front.address = f"127.0.0.1:{bound.getsockname()[1]}"
            status = await failing(ask(channel, "Unary", b"x"))
        assert status.code == Code.UNAVAILABLE
        assert "connection refused" in status.message
        assert self.front.codes == [Code.UNAVAILABLE]

    async def test_a_call_that_no_back_has_seen_goes_to_another(self, wire: Wire, channel: Channel) -> None:
        back, dead = self.front.address, [socket.socket() for _ in range(2)]
        for each in dead:
            each.bind(("127.0.0.1", 0))
        try:
            nowhere = [f"127.0.0.1:{each.getsockname()[1]}" for each in dead]
            for body in (b"", b"x", bytes(3 * MIB)):
                self.front.address, self.front.others = nowhere[0], [nowhere[1], back]
                assert await ask(channel, "Unary", body) == body
            self.front.address, self.front.others = nowhere[0], [back]
            assert await rest(await begin(channel, "Collect", *[b"12345"] * 50)) == [b"250"]
            self.front.others = [back]
            call = await begin(channel, "Chat")
            for index in range(5):
                await call.write(b"%d" % index)
                assert await call.read() == b"%d" % index
            call.half_close()
            assert await call.read() is None
            self.front.others = [nowhere[1]]
            assert (await failing(ask(channel, "Unary", b"x"))).code == Code.UNAVAILABLE
        finally:
            for each in dead:
                each.close()
        away, found = Code.UNAVAILABLE, Code.OK
        assert self.front.codes == [away, away, found] * 3 + [away, found] * 2 + [away, away]

    async def test_cancellation_passes_through(self, wire: Wire, channel: Channel) -> None:
        call = await begin(channel, "Chat")
        await call.headers()
        call.cancel()
        await self._stopped(wire, 1)
        await wire.service.until(lambda: len(self.front.codes) == 1)

    async def test_a_deadline_passes_through(self, wire: Wire, channel: Channel) -> None:
        assert 4.0 < float(await ask(channel, "Remaining", timeout=5)) <= 5.1  # grpc rounds up
        assert (await failing(ask(channel, "Sleep", b"30", timeout=0.2))).code == Code.DEADLINE_EXCEEDED
        await self._stopped(wire, 1)

    async def test_a_deadline_that_the_front_brings_nearer_is_answered_in_words(self, channel: Channel) -> None:
        for method in ("Sleep", "Chat"):
            call = await channel.open(path(method), [(b"x-shorten", b"0.1")], timeout=20)
            if method == "Sleep":
                await call.write(b"30")
                call.half_close()
            status = await failing(rest(call))
            assert status.code == Code.DEADLINE_EXCEEDED
            assert status.message in {"front: deadline exceeded", "echo: deadline exceeded"}  # both have it
            assert status.details

    async def test_a_back_that_goes_away_fails_the_call_and_not_the_front(self, wire: Wire) -> None:
        listener = wire.server.listener(wire.service)
        self.front.address = await listener.start(LOCAL)
        channel = wire.dial()
        call = await begin(channel, "Chat")
        await call.headers()
        await listener.close()
        assert (await failing(call.read())).code in {Code.UNAVAILABLE, Code.CANCELLED, Code.INTERNAL}
        assert (await failing(ask(channel, "Unary", timeout=5))).code == Code.UNAVAILABLE

    async def test_a_slow_client_holds_the_back_back(self, wire: Wire, channel: Channel) -> None:
        call = await begin(channel, "Repeat", b"300 65536", timeout=60)
        assert await call.read() is not None
        before = -1
        while before != wire.service.sent:
            before = wire.service.sent
            await asyncio.sleep(0.1)
        assert 0 < before * 65536 <= self.under_way
        assert await ask(channel, "Unary", b"meanwhile", timeout=5) == b"meanwhile"
        assert len(await rest(call)) == 299

    async def test_a_slow_back_holds_the_client_back(self, wire: Wire, channel: Channel) -> None:
        call = await channel.open(path("Hold"), timeout=60)
        sent, blocked = 0, None
        while blocked is None:
            writing = asyncio.ensure_future(call.write(bytes(65536)))
            done, _ = await asyncio.wait({writing}, timeout=0.1)
            sent += 1
            blocked = None if done else writing
            assert sent * 65536 <= self.under_way
        wire.service.gate.set()
        await blocked
        call.half_close()
        assert await rest(call) == [b"%d" % (sent * 65536)]

    async def test_a_hundred_calls_at_once_pass(self, channel: Channel) -> None:
        asking = [ask(channel, "Unary", b"%d" % index) for index in range(100)]
        assert await asyncio.gather(*asking) == [b"%d" % index for index in range(100)]
        assert self.front.codes == [0] * 100
