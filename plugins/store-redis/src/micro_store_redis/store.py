"""The driver: records as Redis hashes, changed by scripts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Literal

from redis import exceptions as rx

from micro import limits
from micro.errors import Code, FailedPrecondition
from micro.plugin.driver import Reset
from micro.plugin.gather import Call, Gatherer
from micro.plugin.settings import Count, Seconds, Secret, Settings, setting
from micro.store.driver import Event, Op, Put, Record, StoreDriver, Table, after_prefix, conflict
from micro_store_redis import layout, records, scripts
from micro_store_redis.clients import Client
from micro_store_redis.follow import BLOCK, Follower, Trimmed

LANES = 2  # groups of a table's calls at once: one is made while the other is answered
TOGETHER = 64  # keys of a group: a script must not hold the server up
LOOK = 5_000  # keys that one script looks at: a suffix that few have must not hold the server up
FOLLOWERS = 64  # tables that can be watched at once, each on a connection of its own
_log = logging.getLogger(__name__)


class RedisSettings(Settings):
    """Where Redis is."""

    url: str = setting("redis://127.0.0.1:6379/0", "redis://, rediss:// or unix://, with the user's name and database")
    mode: Literal["single", "sentinel", "cluster"] = setting(
        "single", "one server, a primary that sentinels name, or a cluster"
    )
    nodes: list[str] = setting([], "host:port of the sentinels; of a cluster, of nodes to ask where the url's is away")
    master: str = setting("mymaster", "with mode sentinel: what they call the primary")
    password: Secret[str] = setting(Secret(""), "of the user, if it is not in the url")
    ca: str = setting("", "file of the certificate authorities to trust, for rediss://")
    connect_timeout: Seconds = setting(2.0, "to connect")
    timeout: Seconds = setting(5.0, "to wait for an answer, and for a free connection")
    connections: Count = setting(Count(64), "calls at once")


class Busy(Exception):
    """All connections are in use."""


class RedisStore(StoreDriver, interface=1):
    """Records as Redis hashes; a record's expiry is the key's, by the server's clock.

    Capabilities after `open`: `durable` where the server says that it syncs each write.
    """

    settings_type = RedisSettings
    capabilities = frozenset({"conditions", "batch", "watch", "expiry", "metadata"})

    def __init__(self, settings: RedisSettings | None = None) -> None:
        self._settings = settings or RedisSettings()
        # A reading of the stream waits for news, so its answers may take longer.
        longer = BLOCK + self._settings.timeout
        self._clients = [
            Client(self._settings, size=self._settings.connections, timeout=self._settings.timeout),
            Client(self._settings, size=FOLLOWERS, timeout=longer),
        ]
        self._client, self._waiting = [each.redis for each in self._clients]
        self._read = self._client.register_script(scripts.READ)
        self._apply = self._client.register_script(scripts.APPLY)
        self._scan = self._client.register_script(scripts.SCAN)
        self._sweep = self._client.register_script(scripts.SWEEP_DUE)
        self._server = self._client.register_script(scripts.SERVER)
        self._servers: dict[Table, bytes] = {}  # which one a watched table was on; where replicas take over
        group: dict[str, Any] = {"lanes": LANES, "most": TOGETHER, "heaviest": limits.BATCH_BYTES}
        group |= {"closed": _closed, "away": (rx.TimeoutError, Busy)}
        self._reads: Gatherer[Table, Sequence[str]] = Gatherer(self._read_together, **group)
        self._writes: Gatherer[Table, Sequence[Op]] = Gatherer(self._write_together, **group)
        self._free = asyncio.Semaphore(self._settings.connections)
        self._known: set[Table] = set()  # tables that are in the catalogue
        self._followers: dict[Table, Follower] = {}
        self._closed = False

    async def open(self) -> None:
        with _cancellable():
            await self._client.ping()
            appendonly, policy = await self._config("appendonly", "appendfsync"), await self._config("maxmemory-policy")
        alone = self._settings.mode == "single"  # the others fail over to a replica, which may lack what was synced
        if alone and appendonly == {"appendonly": "yes", "appendfsync": "always"}:
            self.capabilities = self.capabilities | {"durable"}
        if policy.get("maxmemory-policy", "noeviction") != "noeviction":
            _log.warning("redis evicts keys (%s): set maxmemory-policy to noeviction, or records are lost", policy)

    async def close(self) -> None:
        self._closed = True
        for follower in list(self._followers.values()):
            await follower.stop()
        await self._reads.close()
        await self._writes.close()
        for client in self._clients:
            await client.close()

    def error_code(self, exc: Exception) -> int:
        match exc:
            case rx.AuthenticationError():  # a ConnectionError too, so it goes first
                return Code.UNAUTHENTICATED
            case rx.NoPermissionError():
                return Code.PERMISSION_DENIED
            case rx.OutOfMemoryError() | Busy():
                return Code.RESOURCE_EXHAUSTED
            case rx.TimeoutError() | TimeoutError():
                return Code.DEADLINE_EXCEEDED
            case rx.ConnectionError() | rx.ReadOnlyError() | rx.ClusterError() | rx.RedisClusterException() | OSError():
                return Code.UNAVAILABLE  # of a cluster: no quorum, a slot that nobody serves, no node that answers
            case rx.RedisError():
                return Code.INTERNAL  # foreign data under our keys
        return Code.UNKNOWN

    async def read(self, table: Table, keys: Sequence[str]) -> list[Record | None]:
        found: list[Record | None] = await self._reads.ask(table, keys, keys)
        return found

    async def apply(self, table: Table, ops: Sequence[Op]) -> list[int]:
        weight = sum(len(op.value) for op in ops if isinstance(op, Put))
        versions: list[int] = await self._writes.ask(table, ops, [op.key for op in ops], weight)
        return versions

    async def scan(
        self,
        table: Table,
        *,
        prefix: str = "",
        suffix: str = "",
        descending: bool = False,
        after: str | None = None,
        limit: int = limits.PAGE,
        values: bool = True,
    ) -> list[Record]:
        page: list[Record] = []
        left = limits.PAGE_BYTES
        while len(page) < limit and left > 0:
            first, last = _range(prefix, after, descending=descending)
            order = "REV" if descending else ""
            asked: list[str | int] = [first, last, order, limit - len(page), suffix, "1" if values else "0", left, LOOK]
            async with self._slot():
                looked, at, *rows = await self._scan([layout.base(table)], asked)
            found = [records.row_of(rows[n : n + 5]) for n in range(0, len(rows), 5)]
            page += found
            left -= sum(len(record.value) for record in found)
            if looked < LOOK and len(page) < limit and left > 0:
                break
            after = at.decode()
        return page

    async def watch(self, table: Table, *, prefix: str = "", after: int | None = None) -> AsyncIterator[Event]:
        if self._closed:
            raise _closed()
        follower = self._followers.get(table)
        if follower is None or follower.ended:
            follower = self._followers[table] = Follower(self, table)
        if after is not None:
            try:
                async for event in follower.watch(prefix, after):
                    yield event
            except Trimmed:
                yield Reset(after)
        async for event in follower.watch(prefix, None):
            yield event

    async def databases(self) -> list[str]:
        async with self._slot():
            return sorted(map(records.text, await self._client.smembers(layout.DATABASES)))

    async def tables(self, database: str) -> list[str]:
        async with self._slot():
            return sorted(map(records.text, await self._client.smembers(layout.tables(database))))

    async def _read_together(self, table: Table, calls: list[Call[Sequence[str]]]) -> None:
        keys = [key for call in calls for key in call.keys]
        base = layout.base(table)
        async with self._slot():
            if len(keys) == 1:
                rows: Any = [await self._client.hmget(f"{base}:r:{keys[0]}", records.FIELDS)]
            else:
                rows = await self._read([base], keys)
        at = 0
        for call in calls:
            mine = rows[at : at + len(call.keys)]
            at += len(mine)
            if not call.answer.done():
                call.answer.set_result([records.record_of(key, *row) for key, row in zip(call.keys, mine, strict=True)])

    async def _write_together(self, table: Table, calls: list[Call[Sequence[Op]]]) -> None:
        arguments: list[str | bytes | int] = []
        for call in calls:
            arguments.append(len(call.asked))
            for op in call.asked:
                arguments += records.arguments(op)
        async with self._slot():
            if table not in self._known:  # before the first record: it may be in another slot, and twice does no harm
                await self._client.sadd(layout.DATABASES, table.database)
                await self._client.sadd(layout.tables(table.database), table.name)
                self._known.add(table)
            answers = await self._apply([layout.base(table)], arguments)
        for call, (how, *answer) in zip(calls, answers, strict=True):
            if call.answer.done():
                continue
            if how == b"ok":
                call.answer.set_result([int(version) for version in answer])
            elif how == b"conflict":
                lost = call.asked[int(answer[0])]
                call.answer.set_exception(conflict(lost.key, int(answer[1]), lost.if_version or 0))
            else:
                call.answer.set_exception(records.said(records.text(answer[0])))

    async def _moved(self, table: Table) -> bool:
        """Tell whether another server has a table now than when this was asked last."""
        if self._settings.mode == "single":
            return False
        server: bytes = await self._server([layout.base(table)])
        before, self._servers[table] = self._servers.get(table, server), server
        return before != server

    async def _config(self, *names: str) -> dict[str, str]:
        try:
            found: Mapping[Any, Any] = await self._client.config_get(*names)
        except rx.ResponseError:  # managed services refuse to say
            return {}
        return {records.text(name): records.text(value) for name, value in found.items()}

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        """Wait for one of our connections to be free; the pool's own wait raises what a refusal raises too."""
        if self._closed:
            raise _closed()
        with _cancellable():
            if self._free.locked():
                try:
                    await asyncio.wait_for(self._free.acquire(), self._settings.timeout)
                except TimeoutError:
                    raise Busy(f"all {self._settings.connections} connections are in use") from None
            else:
                await self._free.acquire()
            try:
                yield
            finally:
                self._free.release()


@contextmanager
def _cancellable() -> Iterator[None]:
    """Raise a cancellation that was swallowed: before Python 3.12 `wait_for`, by which the client sends, loses one."""
    task = asyncio.current_task()
    asked = task.cancelling() if task is not None else 0
    yield
    if task is not None and task.cancelling() > asked:
        raise asyncio.CancelledError


def _closed() -> FailedPrecondition:
    return FailedPrecondition("the store is closed")


def _range(prefix: str, after: str | None, *, descending: bool) -> tuple[str, str]:
    end = after_prefix(prefix) if prefix else None
    first = f"[{prefix}" if prefix else "-"
    last = "+" if end is None else f"({end}"
    if after is None:
        return first, last
    if descending:
        return first, f"({after}" if end is None or after < end else last
    return (f"({after}" if after >= prefix else first), last
