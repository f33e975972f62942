"""A door that is bound without a look-up is like any other."""

import asyncio
import socket

from micro.rpc.bound import bound


async def test_what_is_small_is_sent_at_once() -> None:
    accepted: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
    door = bound("127.0.0.1", 0)
    assert door is not None
    # asyncio's own loop: uvloop sends at once whatever the socket says
    async with await asyncio.start_server(lambda _, writer: accepted.put_nowait(writer), sock=door) as server:
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        there = await accepted.get()
        for end in (writer, there):
            sock = end.get_extra_info("socket")
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
            end.close()


def test_a_host_that_has_to_be_looked_up_is_left_to_the_loop() -> None:
    assert bound("localhost", 0) is None
    assert bound("::1", 0) is None
