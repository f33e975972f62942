"""The way to a server on a socket of this machine: shut, held up, cut and open, as that on a port is."""

import asyncio

import pytest

from micro.testing.door import UNIX, Door


async def echo(reader, writer):
    try:
        while piece := await reader.read(100):
            writer.write(piece)
    finally:
        writer.close()


@pytest.fixture
async def target(tmp_path):
    server = await asyncio.start_unix_server(echo, tmp_path / "socket")
    yield f"{UNIX}{tmp_path}/socket"
    server.close()


def connected(address):
    return asyncio.open_unix_connection(address.removeprefix(UNIX))


async def test_it_passes_holds_up_cuts_and_shuts(target):
    async with Door(target) as door:
        reader, writer = await connected(door.address)
        writer.write(b"one")
        assert await reader.readexactly(3) == b"one"
        door.stall()
        writer.write(b"two")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readexactly(3), 0.1)
        await door.open()
        await door.cut()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(3)
        writer.close()
        await door.shut()
        with pytest.raises(OSError):
            await connected(door.address)
        await door.open()
        reader, writer = await connected(door.address)
        await door.cut(after=2)
        writer.write(b"three")
        assert await reader.read() == b"th"
        writer.close()
