"""Drivers that are each wrong in one way about the server behind them. Run by test_suite_bites.py."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any, ClassVar

import pytest

from micro.errors import Code, FailedPrecondition, Unimplemented
from micro.plugin.settings import Seconds, Settings, setting
from micro.store.driver import Record, StoreDriver, Table
from micro.testing.backend import BackendSuite
from micro.testing.bites import suites
from micro.testing.door import Door
from micro.testing.lifecycle import Make


class LineSettings(Settings):
    """Where the lines go."""

    server: str = setting("127.0.0.1:1", "host:port")
    timeout: Seconds = setting(Seconds(0.3), "to wait for an answer")


class Right(StoreDriver, interface=1):
    """Asks an empty store, a line a question, on one connection."""

    settings_type = LineSettings

    def __init__(self, settings: LineSettings) -> None:
        self._settings = settings
        self._link: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._lock = asyncio.Lock()
        self._asked = 0
        self._closed = False

    async def open(self) -> None:
        await self._ask("ping")

    async def close(self) -> None:
        self._closed = True
        self._drop()

    def error_code(self, exc: Exception) -> int:
        match exc:
            case TimeoutError():
                return Code.DEADLINE_EXCEEDED
            case OSError():
                return Code.UNAVAILABLE
        return Code.UNKNOWN

    async def read(self, table: Table, keys: Sequence[str]) -> list[Record | None]:
        return [await self._ask(key) for key in keys]

    async def scan(self, table: Table, **how: Any) -> list[Record]:
        await self._ask("scan")
        return []

    async def apply(self, table: Table, ops: Sequence[Any]) -> list[int]:
        raise Unimplemented("it is empty and stays so")

    def watch(self, table: Table, **how: Any) -> AsyncIterator[Any]:
        raise Unimplemented("nothing ever happens")

    async def databases(self) -> list[str]:
        await self._ask("databases")
        return []

    async def tables(self, database: str) -> list[str]:
        await self._ask("tables")
        return []

    async def _ask(self, question: str) -> Any:
        if self._closed:
            raise FailedPrecondition("the store is closed")
        async with asyncio.timeout(self._settings.timeout), self._lock:
            try:
                return await self._exchange(question)
            except BaseException:
                self._drop()
                raise

    async def _exchange(self, question: str) -> Any:
        reader, writer = self._link = self._link or await self._connect()
        self._asked += 1
        writer.write(json.dumps([self._asked, question]).encode() + b"\n")
        line = await reader.readline()
        if not line.endswith(b"\n"):
            raise ConnectionResetError("the server hung up")
        number, answer = json.loads(line)
        if number != self._asked:
            raise ValueError("this answers another question")
        return answer

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, _, port = self._settings.server.rpartition(":")
        return await asyncio.open_connection(host, int(port))

    def _drop(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link[1].close()


class WaitsForEver(Right, interface=1):
    async def _ask(self, question: str) -> Any:
        if self._closed:
            raise FailedPrecondition("the store is closed")
        async with self._lock:
            try:
                return await self._exchange(question)
            except BaseException:
                self._drop()
                raise


class ConnectsLater(Right, interface=1):
    async def open(self) -> None:
        pass


class KeepsWhatIsBroken(Right, interface=1):
    def _drop(self) -> None:
        if self._closed:
            super()._drop()


class KeepsWhatWasCancelled(Right, interface=1):
    """The answer to a call that was cancelled is the next one's."""

    async def _exchange(self, question: str) -> Any:
        try:
            return await super()._exchange(question)
        except asyncio.CancelledError:
            self._link, link = None, self._link
            asyncio.get_running_loop().call_soon(setattr, self, "_link", link)
            raise


class TakesHalfAnAnswer(Right, interface=1):
    async def _exchange(self, question: str) -> Any:
        reader, writer = self._link = self._link or await self._connect()
        self._asked += 1
        writer.write(json.dumps([self._asked, question]).encode() + b"\n")
        return json.loads(await reader.readline())[1]


class RaisesWhatItLikes(Right, interface=1):
    def error_code(self, exc: Exception) -> int:
        return Code.UNKNOWN if isinstance(exc, ConnectionResetError) else super().error_code(exc)


class TriesForEver(Right, interface=1):
    async def _ask(self, question: str) -> Any:
        while True:
            try:
                return await super()._ask(question)
            except OSError:
                await asyncio.sleep(0.05)


class GivesUpForGood(Right, interface=1):
    _gone = False

    async def _connect(self) -> Any:
        if self._gone:
            raise ConnectionRefusedError("it was away")
        try:
            return await super()._connect()
        except OSError:
            self._gone = True
            raise


class IgnoresCancellation(Right, interface=1):
    async def _exchange(self, question: str) -> Any:
        work = asyncio.ensure_future(super()._exchange(question))
        while not work.done():
            with suppress(asyncio.CancelledError):
                await asyncio.shield(work)
        return work.result()


class ClosesWhenAllIsAnswered(Right, interface=1):
    async def close(self) -> None:
        if self._lock.locked():
            await asyncio.Event().wait()
        await super().close()


class FailsByItsLimit(Right, interface=1):
    """A hundred at once are too many, and it says so in its own words."""

    _waiting = 0

    async def _ask(self, question: str) -> Any:
        if self._waiting > 50:
            raise RuntimeError("too many")
        self._waiting += 1
        try:
            return await super()._ask(question)
        finally:
            self._waiting -= 1


class Mutant(BackendSuite):
    """Made by `suites` for each of the above."""

    __test__ = False
    made: ClassVar[type[Right]]
    registered = False
    library = (OSError,)
    patience = 0.5

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.__test__ = True

    @pytest.fixture
    async def target(self) -> AsyncIterator[str]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while line := await reader.readline():
                    writer.write(json.dumps([json.loads(line)[0], None]).encode() + b"\n")
            finally:
                writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            host, port = server.sockets[0].getsockname()
            yield f"{host}:{port}"

    @pytest.fixture
    def make(self, door: Door) -> Make:
        return lambda: self.made(LineSettings(server=door.address))


globals().update(suites(Mutant, Right))
