"""Connections to one database, and statements run on them, each within its time."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import asyncpg

from micro.errors import FailedPrecondition

if TYPE_CHECKING:
    from micro_store_postgres.store import PostgresSettings

T = TypeVar("T")
GOING = (asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError)  # the connection is of no more use

# Rows are only ever wanted by their index, whatever is known of how many there are, so a statement is planned once; and versions rise in the order of commits
# because a statement sees what was committed when it began, not when its transaction did.
SESSION = {
    "application_name": "micro",
    "default_transaction_isolation": "read committed",
    "enable_bitmapscan": "off",
    "enable_seqscan": "off",
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
}


class Busy(Exception):
    """All connections are in use."""


class Pool:
    """Keeps up to so many connections; each is used by one statement at a time, the last one given back first.

    A connection on which something went wrong is ended, not kept: nobody gets another's answer.
    """

    def __init__(self, settings: PostgresSettings) -> None:
        self._settings = settings
        self._place = urlsplit(settings.url).netloc.rpartition("@")[2]
        self._free = asyncio.Semaphore(settings.connections)
        self._idle: list[Any] = []
        self._all: set[Any] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False

    async def connect(self) -> Any:
        """Make a connection; ConnectionError names who could not be reached, and why."""
        options: dict[str, Any] = {}
        if self._settings.user:
            options["user"] = self._settings.user
        if self._settings.password:
            options["password"] = self._settings.password.reveal()
        if self._settings.ca:
            options["ssl"] = ssl.create_default_context(cafile=self._settings.ca)
        limit = self._settings.connect_timeout
        session = SESSION | {"statement_timeout": str(round(self._settings.timeout * 1000))}
        try:
            connection = await asyncpg.connect(self._settings.url, timeout=limit, server_settings=session, **options)
        except TimeoutError as exc:
            raise ConnectionError(f"connection to {self._place} was not answered within {limit:g} s") from exc
        except ConnectionRefusedError as exc:
            raise ConnectionError(f"connection to {self._place} refused") from exc
        except OSError as exc:
            raise ConnectionError(f"connection to {self._place} failed: {exc.strerror or exc}") from exc
        if self._closed:
            connection.terminate()
            raise closed()
        self._all.add(connection)
        connection.add_termination_listener(self._all.discard)
        return connection

    async def run(self, work: Callable[[Any], Awaitable[T]]) -> T:
        """Use a connection in a task of its own: who is cancelled leaves at once, and the statement ends by itself."""
        if self._closed:
            raise closed()
        task = asyncio.create_task(self._run(work))
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    async def close(self) -> None:
        """End all connections, and what is waiting for them."""
        self._closed = True
        for connection in list(self._all):
            connection.terminate()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whoever asked may have left

    async def _run(self, work: Callable[[Any], Awaitable[T]]) -> T:
        end = asyncio.get_running_loop().time() + self._settings.timeout
        try:
            async with self._connection() as connection:
                return await self._within(end, connection, work)
        except (asyncio.CancelledError, asyncpg.PostgresError, asyncpg.InterfaceError):
            if self._closed:
                raise closed() from None
            raise

    async def _within(self, end: float, connection: Any, work: Callable[[Any], Awaitable[T]]) -> T:
        """Work until `end`; the connection is ended then, which is sooner than asking a server that may hang to stop."""
        timer = asyncio.get_running_loop().call_at(end, connection.terminate)
        try:
            return await work(connection)
        except (asyncpg.PostgresConnectionError, asyncpg.InterfaceError, AttributeError) as exc:
            ended = connection.is_closed()  # between two steps of its work, the client looks for what it has no more
            if not self._closed and ended and asyncio.get_running_loop().time() >= end:
                raise TimeoutError(f"no answer within {self._settings.timeout:g} s") from None
            if isinstance(exc, AttributeError) and ended:
                raise asyncpg.InterfaceError("the connection was closed meanwhile") from exc
            raise
        finally:
            timer.cancel()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        try:
            async with asyncio.timeout(self._settings.timeout):
                await self._free.acquire()
        except TimeoutError:
            raise Busy(f"all {self._settings.connections} connections are in use") from None
        try:
            connection = self._kept() or await self.connect()
            try:
                yield connection
            except asyncpg.PostgresError as exc:
                if isinstance(exc, GOING):
                    connection.terminate()
                self._keep(connection)  # the server said what is wrong, and it is as good as before
                raise
            except BaseException:
                connection.terminate()
                raise
            self._keep(connection)
        finally:
            self._free.release()

    def _kept(self) -> Any:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        return None

    def _keep(self, connection: Any) -> None:
        if connection.is_closed():
            return
        if connection.is_in_transaction():
            connection.terminate()
        else:
            self._idle.append(connection)


def closed() -> FailedPrecondition:
    """Make what every method of a closed store raises."""
    return FailedPrecondition("the store is closed")
