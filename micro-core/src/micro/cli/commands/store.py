"""`micro store`: records."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import click

from micro.cli import output
from micro.cli.framework import COUNT, Command, Group, flags, session, settings
from micro.errors import NotFound
from micro.proto import store_pb2 as pb

if TYPE_CHECKING:
    from micro.store.api import Store
    from micro.store.dump import Snapshot

where = flags(
    click.option("--database", "-d", default="", help="database; the namespace if not given"),
    click.option("--table", "-t", default="", help="table; micro if not given"),
)


def _seconds(text: str) -> int:
    from micro.api.flags import seconds

    try:
        return max(1, round(seconds(text)))
    except ValueError as err:
        raise click.UsageError(f"--expiry: {err}") from None


def _shown(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return repr(value)


def _records(found: list[pb.Record], verbose: bool) -> None:
    form = settings().output
    if not (verbose or form):
        for record in found:
            output.say(_shown(record.value))
        return
    rows = [[r.key, _shown(r.value), f"{r.expiry}s" if r.expiry else "None"] for r in found]
    if form in {"", "wide"}:
        form = "table"
    output.records(rows, ["KEY", "VALUE", "EXPIRY"], form)


@click.group("store", cls=Group, example='micro store write greeting "hello"\nmicro store read greeting')
def store() -> None:
    """Read and write records"""


@store.command("read", cls=Command, example="micro store read greeting\nmicro store read --prefix user/ --verbose")
@click.argument("key", required=False, default="")
@where
@click.option("--prefix", "-p", is_flag=True, help="all whose keys begin so")
@click.option("--suffix", "-s", is_flag=True, help="all whose keys end so")
@click.option("--limit", "-l", type=COUNT, default=0, help="at most so many")
@click.option("--offset", type=COUNT, default=0, help="pass over so many")
@click.option("--order", type=click.Choice(["asc", "desc"]), default="asc", help="of the keys")
@click.option("--verbose", "-v", is_flag=True, help="with key and expiry")
def read(
    key: str, database: str, table: str, prefix: bool, suffix: bool, limit: int, offset: int, order: str, verbose: bool
) -> None:
    """Print values, one a line"""
    if not key and not (prefix or suffix):
        raise click.UsageError("Give a key")
    here = session()
    options = pb.ReadOptions(
        database=database or here.namespace,
        table=table,
        prefix=prefix,
        suffix=suffix,
        limit=limit,
        offset=offset,
        order=order,
    )
    try:
        found = list(
            here.core("store", "Store.Read", pb.ReadRequest(key=key, options=options), pb.ReadResponse).records
        )
    except NotFound:
        found = []
    if not found:
        raise click.ClickException("Not found")
    _records(found, verbose)


@store.command(
    "write", cls=Command, example='micro store write greeting "hello"\nmicro store write session/1 x --expiry 1h'
)
@click.argument("key")
@click.argument("value")
@where
@click.option("--expiry", default="", help="how long it is kept: 30s, 1h")
def write(key: str, value: str, database: str, table: str, expiry: str) -> None:
    """Write a record"""
    here = session()
    record = pb.Record(
        key=key, value=value.encode("utf-8", "surrogateescape"), expiry=_seconds(expiry) if expiry else 0
    )
    options = pb.WriteOptions(database=database or here.namespace, table=table)
    here.core("store", "Store.Write", pb.WriteRequest(record=record, options=options), pb.WriteResponse)


@store.command("list", cls=Command, example="micro store list\nmicro store list user/")
@click.argument("prefix", required=False, default="")
@where
@click.option("--prefix", "-p", "prefix_flag", default="", help="keys that begin so")
@click.option("--suffix", "-s", default="", help="keys that end so")
@click.option("--limit", "-l", type=COUNT, default=0, help="at most so many")
@click.option("--offset", type=COUNT, default=0, help="pass over so many")
@click.option("--order", type=click.Choice(["asc", "desc"]), default="asc", help="of the keys")
def list_(
    prefix: str, prefix_flag: str, database: str, table: str, suffix: str, limit: int, offset: int, order: str
) -> None:
    """Print keys"""
    here = session()
    options = pb.ListOptions(
        database=database or here.namespace,
        table=table,
        prefix=prefix or prefix_flag,
        suffix=suffix,
        limit=limit,
        offset=offset,
        order=order,
    )
    pages = here.core_stream("store", "Store.List", [pb.ListRequest(options=options)], pb.ListResponse)
    if not settings().output and not output.on_terminal():
        for page in pages:
            output.say("\n".join(page.keys)) if page.keys else None
        return
    keys = [key for page in pages for key in page.keys]
    output.records([[key] for key in keys], ["KEY"], settings().output, plain=[0])


@store.command("delete", cls=Command, example="micro store delete greeting")
@click.argument("key")
@where
def delete(key: str, database: str, table: str) -> None:
    """Delete a record"""
    here = session()
    options = pb.DeleteOptions(database=database or here.namespace, table=table)
    here.core("store", "Store.Delete", pb.DeleteRequest(key=key, options=options), pb.DeleteResponse)


@store.command("databases", cls=Command, example="micro store databases")
def databases() -> None:
    """Print the databases"""
    found = session().core("store", "Store.Databases", pb.DatabasesRequest(), pb.DatabasesResponse).databases
    output.records([[name] for name in found], ["DATABASE"], settings().output, plain=[0])


@store.command("tables", cls=Command, example="micro store tables")
@click.option("--database", "-d", default="", help="database; the namespace if not given")
def tables(database: str) -> None:
    """Print a database's tables"""
    here = session()
    request = pb.TablesRequest(database=database or here.namespace)
    found = here.core("store", "Store.Tables", request, pb.TablesResponse).tables
    output.records([[name] for name in found], ["TABLE"], settings().output, plain=[0])


@store.command("watch", cls=Command, example="micro store watch user/\nmicro store watch -o json")
@click.argument("prefix", metavar="[KEY-PREFIX]", default="")
@where
def watch(prefix: str, database: str, table: str) -> None:
    """Print what is there and then each change, one a line: PUT, DELETE or EXPIRE, the key, the value"""
    here = session()
    request = pb.WatchRequest(database=database or here.namespace, table=table, prefix=prefix)
    for answer in here.core_stream("store", "Store.Watch", [request], pb.WatchResponse):
        for change in answer.changes:
            kind, record = pb.Change.Kind.Name(change.kind), change.record
            words = [kind, record.key] + [_shown(record.value)] * (kind == "PUT")
            if settings().output == "json":
                words = [json.dumps(dict(zip(("kind", "key", "value"), words, strict=False)), ensure_ascii=False)]
            output.say("\t".join(words))
        sys.stdout.flush()


@store.command(
    "snapshot",
    cls=Command,
    example="micro store snapshot micro.snapshot\nmicro store snapshot orders.snapshot -t orders -p order/",
)
@click.argument("file")
@where
@click.option("--prefix", "-p", default="", help="only keys that begin so")
def snapshot(file: str, database: str, table: str, prefix: str) -> None:
    """Write a table's records into a file, all of one version; prints their number, the version and the file's SHA-256"""
    found = _moved(lambda there: there.snapshot(file, prefix=prefix), database, table)
    if found.version is None:
        sys.stderr.write("The store does not know what changed meanwhile: the records are not all of one version.\n")


@store.command(
    "restore",
    cls=Command,
    example="micro store restore micro.snapshot\nmicro store restore orders.snapshot -t orders --replace",
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@where
@click.option("--replace", is_flag=True, help="delete first what is there, of the snapshot's prefix")
@click.option("--skip", type=COUNT, default=0, help="go on after so many records, where it failed")
def restore(file: str, database: str, table: str, replace: bool, skip: int) -> None:
    """Write a snapshot's records into an empty table, and read them back; prints as snapshot does"""
    _moved(lambda there: there.restore(file, replace=replace, skip=skip), database, table)


def _moved(work: Callable[[Store], Awaitable[Snapshot]], database: str, table: str) -> Snapshot:
    """Work with a table and a file, and print what was moved."""
    import asyncio

    from micro.service.process import connect
    from micro.store.api import DEFAULT, Store
    from micro.store.remote import RemoteStore

    here = session()
    database = database or here.namespace
    # refused and unreachable are told as every command tells them
    here.core("store", "Store.Tables", pb.TablesRequest(database=database), pb.TablesResponse)

    async def move() -> Snapshot:
        async with connect(here.address, token=here.token, namespace=here.namespace) as process:
            driver = RemoteStore(caller=process.caller)
            async with Store(driver, plugin="remote", database=database, table=table or DEFAULT) as there:
                return await work(there)

    found = asyncio.run(move())
    row = [str(found.records), str(found.version or ""), found.sha256]
    output.records([row], ["RECORDS", "VERSION", "SHA256"], settings().output)
    return found


COMMANDS = {"store": store}
