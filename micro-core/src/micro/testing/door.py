"""A way to a real server that can be shut, held up and cut: the hard states of what a driver calls over TCP."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Self

UNIX = "unix://"
_PIECE = 65_536  # bytes read at once


class Door:
    """Listens on a loopback port of its own and passes bytes to `target` (`host:port`) and back, or does not.

    For a target that is a socket's file (`unix:///path`) it is one, too.

        async with Door(f"127.0.0.1:{server.port}") as door:
            driver = RedisStore(RedisSettings(url=f"redis://{door.address}"))
            door.cut()  # connections break in the middle of whatever they carry

    It is open at first. What is passed keeps its order and its pace. Belongs to one loop.
    """

    def __init__(self, target: str) -> None:
        self._target = target
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._left: int | None = None  # bytes of answers until connections are cut
        self._ways: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._server: asyncio.Server | None = None
        self._place = _bound(0)  # never listens: keeps the port while nobody does
        self._port = self._place.getsockname()[1]
        self._folder = Path(tempfile.mkdtemp(prefix="door-")) if target.startswith(UNIX) else None
        self.address = f"127.0.0.1:{self._port}" if self._folder is None else f"{UNIX}{self._folder}/door"
        self.passed = 0  # connections that came through

    async def open(self) -> None:
        """Let all through, from now on."""
        self._flowing.set()
        self._left = None
        if self._server is None:
            if self._folder is not None:
                self._server = await asyncio.start_unix_server(self._pass, self._folder / "door")
            else:
                self._server = await asyncio.start_server(self._pass, sock=_bound(self._port))

    async def shut(self) -> None:
        """Refuse who comes, and cut off who is there."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        await self.cut()

    def stall(self) -> None:
        """Take connections and bytes, and pass nothing on, until `open`."""
        self._flowing.clear()

    async def cut(self, *, after: int = 0) -> None:
        """Reset the connections that there are; or end, `after` so many bytes of answers, the one that carries the next.

        The first is what a crash looks like; the second gives the client half an answer, and no error with it.
        """
        if after:
            self._left = after
            return
        ways = list(self._ways)
        for way in ways:
            _reset(self._ways[way])
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)

    async def close(self) -> None:
        """End it and give its port back."""
        await self.shut()
        self._place.close()
        if self._folder is not None:
            shutil.rmtree(self._folder)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._ways[task] = writer
        try:
            await self._both_ways(reader, writer)
        except asyncio.CancelledError:
            pass  # cut: the stream's own task is asked for no more than that it ends
        finally:
            del self._ways[task]
            writer.close()

    async def _both_ways(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward: asyncio.StreamWriter | None = None
        try:
            await self._flowing.wait()
            answers, onward = await self._onward()
            self.passed += 1
            async with asyncio.TaskGroup() as both:
                both.create_task(self._copy(reader, onward))
                both.create_task(self._copy(answers, writer, counted=True))
        except* OSError:
            _reset(writer)
        except* _CutError:
            pass  # ends in order, so that half an answer arrives
        finally:
            if onward is not None:
                onward.close()

    async def _onward(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._target.startswith(UNIX):
            return await asyncio.open_unix_connection(self._target.removeprefix(UNIX))
        host, _, port = self._target.rpartition(":")
        return await asyncio.open_connection(host, int(port))

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, counted: bool = False) -> None:
        while piece := await source.read(_PIECE):
            await self._flowing.wait()
            if counted and self._left is not None:
                if len(piece) >= self._left:
                    sink.write(piece[: self._left])
                    self._left = None
                    await sink.drain()
                    raise _CutError
                self._left -= len(piece)
            sink.write(piece)
            await sink.drain()
        with contextlib.suppress(OSError):
            sink.write_eof()


class _CutError(Exception):
    """It was the byte after which to cut."""


def _bound(port: int) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.bind(("127.0.0.1", port))
    return made


def _reset(writer: asyncio.StreamWriter) -> None:
    """Break a connection as a crash does, not as a farewell."""
    link = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    writer.transport.abort()
