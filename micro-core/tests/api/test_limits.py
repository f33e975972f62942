"""What strangers can send, hold open or leave half done at the gateway, and what it costs them."""

import asyncio
import logging

import pytest

from micro.api import door as doors

HOST = b"Host: x\r\n"


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


class TestHeaders:
    async def test_each_has_its_limit(self, world):
        assert status(await world.raw(b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n" + HOST + b"\r\n")) == 414
        assert (
            status(await world.raw(b"GET /helloworld HTTP/1.1\r\n" + HOST + b"X: " + b"y" * 9000 + b"\r\n\r\n")) == 431
        )
        many = b"".join(b"X%d: y\r\n" % n for n in range(70))
        assert status(await world.raw(b"GET /helloworld HTTP/1.1\r\n" + HOST + many + b"\r\n")) == 431
        long = b"".join(b"X%d: %s\r\n" % (n, b"y" * 7000) for n in range(5))
        close = b"Connection: close\r\n"
        assert status(await world.raw(b"GET /helloworld HTTP/1.1\r\n" + HOST + close + long + b"\r\n")) == 431
        fair = b"".join(b"X%d: %s\r\n" % (n, b"y" * 7000) for n in range(3))
        assert status(await world.raw(b"GET /helloworld HTTP/1.1\r\n" + HOST + close + fair + b"\r\n")) == 200

    @pytest.mark.parametrize(
        "request_",
        [
            b"GET /helloworld HTTP/1.1\r\n\r\n",
            b"GET /helloworld HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            b"POST /helloworld HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"POST /helloworld HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            b"POST /helloworld HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc",
            b"GET /a\x00b HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET / HTTP/1.1\nHost: x\n\n",
            b"GET /helloworld HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n",
            b"GET /helloworld HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n",
            b"GET /helloworld HTTP/1.1\r\nHost: a\r\nX : 1\r\n\r\n",
            b"GET /helloworld HTTP/1.1\r\nHost: a\r\n\xff: 1\r\n\r\n",
            b"POST /helloworld HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
            b"POST /helloworld HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"GET /hello world HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET ftp://x/helloworld HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
            b"POST /helloworld HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        ],
    )
    async def test_what_cannot_be_read_is_refused_on_one_line_of_the_log(self, world, request_, caplog):
        with caplog.at_level(logging.INFO):
            answer = await world.raw(request_)
        assert status(answer) == 400
        assert b"Traceback" not in answer
        assert not [record for record in caplog.records if record.exc_info]
        assert b"aiohttp" not in answer

    async def test_an_absolute_target_is_a_path(self, world):
        answer = await world.raw(b"GET http://x/helloworld?name=y HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b"Hello y" in answer

    async def test_methods_that_mean_nothing_here_are_refused(self, world):
        assert status(await world.raw(b"GET /helloworld\r\n\r\n")) == 505
        assert status(await world.raw(b"TRACE / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")) == 405

    async def test_a_header_that_does_not_end_is_cut(self, world, monkeypatch):
        monkeypatch.setattr(doors, "HEADER_TIME", 0.2)
        assert await world.raw(b"GET /helloworld HTTP/1.1\r\nHost: x\r\nX: y") == b""

    async def test_one_whose_first_bytes_come_before_it_is_listened_to_is_cut_as_well(self, world, monkeypatch):
        class Hasty(doors.Connection):
            def connection_made(self, transport):
                super().connection_made(transport)
                self.data_received(b"GET /helloworld HTTP/1.1\r\nHost: x\r\nX: y")

        monkeypatch.setattr(doors, "Connection", Hasty)
        monkeypatch.setattr(doors, "HEADER_TIME", 0.2)
        assert await world.raw(b"") == b""

    async def test_silence_is_cut_too(self, world, monkeypatch):
        monkeypatch.setattr(doors, "IDLE", 0.2)
        assert await world.raw(b"") == b""


class TestBodies:
    @pytest.fixture
    def settings(self):
        return {"max_body": 100_000, "max_bodies": 150_000}

    async def test_one_too_large_is_refused_before_it_is_read(self, world):
        head = b"POST /helloworld HTTP/1.1\r\nHost: x\r\nContent-Length: 100001\r\n\r\n"
        assert status(await world.raw(head)) == 413

    async def test_one_of_unknown_length_is_cut_where_it_is_too_large(self, world):
        head = b"POST /helloworld HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        chunk = b"%x\r\n%s\r\n" % (50_000, b" " * 50_000)
        assert status(await world.raw(head + chunk * 3)) == 413

    async def test_all_of_them_together_have_a_limit(self, world):
        head = b"POST /helloworld HTTP/1.1\r\nHost: x\r\nContent-Length: 90000\r\n\r\n"
        first = asyncio.create_task(world.raw(head + b" " * 1000))
        door = await self.held(world)
        assert status(await world.raw(head)) == 503
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        while door.held:
            await asyncio.sleep(0.01)

    async def held(self, world):
        import gc

        (found,) = [
            each for each in gc.get_objects() if isinstance(each, doors.Door) and each.body_limit == 100_000
            and each._server is not None
        ]  # fmt: skip
        while not found.held:
            await asyncio.sleep(0.01)
        return found

    async def test_half_a_body_is_waited_for_no_longer_than_a_while(self, world, monkeypatch):
        monkeypatch.setattr(doors, "BODY_PAUSE", 0.2)
        head = b"POST /helloworld HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345"
        assert status(await world.raw(head)) == 408

    async def test_a_body_in_drops_is_refused(self, world, monkeypatch):
        monkeypatch.setattr(doors, "BODY_TIME", 0.2)
        host, _, port = world.core.addresses["api"].rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /helloworld HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(6):
            writer.write(b" ")
            await asyncio.sleep(0.05)
        assert status(await asyncio.wait_for(reader.read(), 5)) == 408
        writer.close()

    async def test_who_waits_to_be_told_is_told(self, world):
        host, _, port = world.core.addresses["api"].rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /helloworld HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\nExpect: 100-continue\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 100")
        writer.write(b'{"name":"x"}')
        await reader.readline()
        assert b" 200 " in await reader.readline()
        writer.close()


class TestConnections:
    @pytest.fixture
    def settings(self):
        return {"max_connections": 2}

    async def test_beyond_their_limit_they_are_sent_away(self, world):
        host, _, port = world.core.addresses["api"].rpartition(":")
        held = [await asyncio.open_connection(host, int(port)) for _ in range(2)]
        await asyncio.sleep(0)
        assert status(await world.raw(b"")) == 503
        for _, writer in held:
            writer.close()

    async def test_pipelined_requests_are_answered_in_order(self, world):
        one = b"GET /helloworld?name=n%d HTTP/1.1\r\nHost: x\r\n%s\r\n"
        asked = b"".join(one % (n, b"" if n < 49 else b"Connection: close\r\n") for n in range(50))
        answer = await world.raw(asked)
        assert [b"Hello n%d " % n in answer for n in range(50)] == [True] * 50
        assert answer.index(b"Hello n3 ") < answer.index(b"Hello n4 ")


class TestDrain:
    async def test_calls_under_way_finish_and_nobody_new_comes(self, world):
        asking = asyncio.create_task(world.raw(b"GET /helloworld?name=x&wait=0.3 HTTP/1.1\r\nHost: x\r\n\r\n"))
        while not world.helloworld.seen:
            await asyncio.sleep(0.01)
        await world.core.drain()
        assert b"Hello x" in await asking
        with pytest.raises(OSError):
            await world.raw(b"")
        assert not (world.data / "api.sock").exists()
