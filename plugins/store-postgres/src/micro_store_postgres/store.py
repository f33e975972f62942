"""The driver: records as rows, changed by functions of the database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import asyncpg
from asyncpg import exceptions as px

from micro import limits
from micro.errors import Code, ConfigError, FailedPrecondition
from micro.plugin.driver import Reset
from micro.plugin.gather import Call, Gatherer
from micro.plugin.settings import Count, Seconds, Secret, Settings, setting
from micro.store.driver import Event, Op, Record, StoreDriver, Table, after_prefix, conflict
from micro_store_postgres import records, schema
from micro_store_postgres.follow import Follower, Trimmed, Wakes
from micro_store_postgres.pool import Busy, Pool, closed

READERS = 2  # statements that read single records of a table at once: one is made while the other is answered
TOGETHER = 256  # keys of one statement
AWAY = (TimeoutError, ConnectionError, Busy)  # of the server, not of what it was asked
_LOCK = 5_071_624_103  # of who makes the schema; any number that nobody else has


class PostgresSettings(Settings):
    """Where PostgreSQL is."""

    url: str = setting(
        "postgresql://127.0.0.1:5432/micro", "postgresql://, with host, port and database; sslmode= after a ?"
    )
    user: str = setting("", "who connects, if it is not in the url")
    password: Secret[str] = setting(Secret(""), "of the user, if it is not in the url")
    ca: str = setting("", "file of the certificate authorities to trust; with it the server's name is verified, too")
    schema: str = setting("micro", "the schema that holds all, of 1 to 63 bytes")
    connect_timeout: Seconds = setting(2.0, "to connect")
    timeout: Seconds = setting(5.0, "to wait for an answer, and for a free connection")
    connections: Count = setting(
        Count(8), "statements at once; calls of one table that come together are one statement"
    )


class PostgresStore(StoreDriver, interface=1):
    """Records as rows; expiry is by the server's clock.

    Capabilities after `open`: `durable` where the server says that it syncs each commit.
    """

    settings_type = PostgresSettings
    capabilities = frozenset({"conditions", "batch", "watch", "expiry", "metadata"})

    def __init__(self, settings: PostgresSettings | None = None) -> None:
        self._settings = settings or PostgresSettings()
        self.schema = self._settings.schema
        if not 0 < len(self.schema.encode()) < 64 or "\0" in self.schema:
            raise ConfigError(f"schema: a name of 1 to 63 bytes is wanted, found {self.schema!r}")
        self.pool = Pool(self._settings)
        self._named: dict[str, str] = {}
        group: dict[str, Any] = {"most": TOGETHER, "heaviest": limits.BATCH_BYTES, "closed": closed, "away": AWAY}
        self._reads: Gatherer[Table, Sequence[str]] = Gatherer(self._read, lanes=READERS, **group)
        # One at a time: another would wait for the table's row, in the server.
        self._writes: Gatherer[Table, Sequence[Op]] = Gatherer(self._write, lanes=1, distinct=True, **group)
        self._followers: dict[Table, Follower] = {}
        self._wakes: Wakes | None = None
        self._closed = False

    async def open(self) -> None:
        if await self.pool.run(self._prepare):
            self.capabilities = self.capabilities | {"durable"}

    async def close(self) -> None:
        self._closed = True
        if self._wakes is not None:
            await self._wakes.close()
        for follower in list(self._followers.values()):
            await follower.stop()
        await self._reads.close()
        await self._writes.close()
        await self.pool.close()

    def error_code(self, exc: Exception) -> int:
        match exc:
            case px.InvalidAuthorizationSpecificationError():
                return Code.UNAUTHENTICATED
            case px.InsufficientPrivilegeError():
                return Code.PERMISSION_DENIED
            case px.InsufficientResourcesError() | Busy():
                return Code.RESOURCE_EXHAUSTED
            case px.QueryCanceledError() | TimeoutError():
                return Code.DEADLINE_EXCEEDED
            case px.DataCorruptedError() | px.IndexCorruptedError():
                return Code.DATA_LOSS
            case px.InvalidCatalogNameError() | px.ClientConfigurationError():
                return Code.FAILED_PRECONDITION  # no such database, or a url that is none
            case (
                px.PostgresConnectionError() | px.OperatorInterventionError() | px.PostgresSystemError()
                | px.ReadOnlySQLTransactionError() | px.TransactionRollbackError() | asyncpg.InterfaceError() | OSError()
            ):  # fmt: skip
                return Code.UNAVAILABLE  # away, about to go or come, a standby
            case px.InternalClientError():
                return Code.UNAVAILABLE  # the server said farewell on a connection at rest, which cannot be used now
            case px.PostgresError():
                return Code.INTERNAL  # foreign data in our schema
        return Code.UNKNOWN

    async def read(self, table: Table, keys: Sequence[str]) -> list[Record | None]:
        found: list[Record | None] = await self._reads.ask(table, keys, keys)
        return found

    async def apply(self, table: Table, ops: Sequence[Op]) -> list[int]:
        versions: list[int] = await self._writes.ask(table, ops, [op.key for op in ops], records.weight(ops))
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
        how: dict[str, Any] = {
            "suffix": suffix,
            "descending": descending,
            "after": after,
            "limit": limit,
            "values": values,
        }
        return await self.pool.run(lambda connection: self.page(connection, table, prefix=prefix, **how))

    async def watch(self, table: Table, *, prefix: str = "", after: int | None = None) -> AsyncIterator[Event]:
        if self._closed:
            raise closed()
        if self._wakes is None:
            self._wakes = Wakes(self)
        follower = self._followers.get(table)
        if follower is None or follower.ended:
            follower = self._followers[table] = Follower(self, self._wakes, table)
        if after is not None:
            try:
                async for event in follower.watch(prefix, after):
                    yield event
            except Trimmed:
                yield Reset(after)
        async for event in follower.watch(prefix, None):
            yield event

    async def databases(self) -> list[str]:
        return [row[0] for row in await self.fetch(schema.DATABASES)]

    async def tables(self, database: str) -> list[str]:
        return [row[0] for row in await self.fetch(schema.TABLES, database)]

    # what the parts of it use

    def sql(self, statement: str) -> str:
        """Give a statement for this schema."""
        if (named := self._named.get(statement)) is None:
            named = self._named[statement] = schema.named(statement, self.schema)
        return named

    async def fetch(self, statement: str, *arguments: object) -> list[Any]:
        """Run a statement; gives its rows."""
        return await self.pool.run(lambda connection: connection.fetch(self.sql(statement), *arguments))

    async def page(
        self,
        connection: Any,
        table: Table,
        *,
        prefix: str = "",
        suffix: str = "",
        descending: bool = False,
        after: str | None = None,
        limit: int = limits.PAGE,
        values: bool = True,
    ) -> list[Record]:
        """Read a page by a connection."""
        bounds = {">=": prefix} if prefix else {}
        if prefix and (end := after_prefix(prefix)) is not None:
            bounds["<"] = end
        if after is not None:
            beyond = "<" if descending else ">"
            if beyond == ">" or "<" not in bounds or after < bounds["<"]:
                bounds[beyond] = after
        query = schema.scan(bounds=tuple(bounds), suffix=bool(suffix), descending=descending, values=values)
        arguments = [*table, limit, limits.PAGE_BYTES, *bounds.values(), *([suffix] if suffix else [])]
        return [records.record_of(row) for row in await connection.fetch(self.sql(query), *arguments)]

    # opening

    async def _prepare(self, connection: Any) -> bool:
        """See that the schema is there and ours; tells whether commits are synced."""
        if (encoding := await connection.fetchval("SHOW server_encoding")) != "UTF8":
            raise FailedPrecondition(f"the database's encoding must be UTF8, found {encoding}")
        if not await self._made(connection):
            async with connection.transaction():
                await connection.execute(f"SELECT pg_advisory_xact_lock({_LOCK})")
                if not await self._made(connection):
                    await connection.execute(self.sql("CREATE SCHEMA IF NOT EXISTS $schema"))
                    await connection.execute(self.sql(schema.CREATE))
        version = await connection.fetchval(self.sql("SELECT version FROM $schema.meta"))
        if version != schema.VERSION:
            made = f"schema {self.schema!r} is of version {version}, this plugin is for {schema.VERSION}"
            raise FailedPrecondition(f"{made}: install the plugin that made it, or name another schema")
        fsync, commit = [await connection.fetchval(f"SHOW {name}") for name in ("fsync", "synchronous_commit")]
        return bool(fsync == "on" and commit != "off")

    async def _made(self, connection: Any) -> bool:
        made: bool = await connection.fetchval(schema.MADE, self.schema)
        return made

    # reading and writing together

    async def _read(self, table: Table, calls: list[Call[Sequence[str]]]) -> None:
        keys = list({key for call in calls for key in call.keys})
        found = {row["key"]: row for row in await self.fetch(schema.READ, *table, keys)}
        for call in calls:
            if not call.answer.done():
                rows = [found.get(key) for key in call.keys]
                call.answer.set_result([None if row is None else records.record_of(row) for row in rows])

    async def _write(self, table: Table, calls: list[Call[Sequence[Op]]]) -> None:
        made = records.columns([call.asked for call in calls])
        answers: list[int | None] = (await self.fetch(schema.APPLY, *table, *made))[0][0]
        at = 0
        for call in calls:
            versions = answers[at : at + len(call.asked)]
            at += len(versions)
            if call.answer.done():
                continue
            lost = [(op, -1 - n) for op, n in zip(call.asked, versions, strict=True) if n is not None and n < 0]
            if lost:
                op, found = lost[0]
                call.answer.set_exception(conflict(op.key, found, op.if_version or 0))
            else:
                call.answer.set_result(versions)
