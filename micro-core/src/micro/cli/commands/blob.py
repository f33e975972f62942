"""`micro blob`: files under keys."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from typing import IO, TYPE_CHECKING, TypeVar

import click

from micro.cli import output
from micro.cli.framework import Command, Group, session, settings
from micro.errors import NotFound
from micro.proto import store_pb2 as pb

if TYPE_CHECKING:
    from micro.blobs.api import Blobs

T = TypeVar("T")
PIECE = 256 * 1024  # bytes read at a time


@click.group("blob", cls=Group, example="micro blob put logo logo.png\nmicro blob get logo copy.png")
def blob() -> None:
    """Keep files under keys"""


@blob.command(
    "put", cls=Command, example="micro blob put logo logo.png --content-type image/png\nmicro blob put notes -"
)
@click.argument("key")
@click.argument("file", metavar="FILE|-", type=click.File("rb"))
@click.option("--content-type", default="", help="such as image/png")
@click.option("--public", is_flag=True, help="marked for whoever serves blobs to anybody")
def put(key: str, file: IO[bytes], content_type: str, public: bool) -> None:
    """Write a file, which is seen whole or not at all; the one that was there until then"""
    spinner = output.Spinner(f"Writing {key}")

    async def pieces() -> AsyncIterator[bytes]:
        size = 0
        while piece := await asyncio.to_thread(file.read, PIECE):
            size += len(piece)
            spinner.turn(f"Writing {key}: {size / 1_000_000:.1f} MB")
            yield piece

    try:
        _with_blobs(lambda there: there.write(key, pieces(), content_type=content_type, public=public))
    finally:
        spinner.done()


@blob.command("get", cls=Command, example="micro blob get logo copy.png\nmicro blob get notes | less")
@click.argument("key")
@click.argument("file", default="-")
def get(key: str, file: str) -> None:
    """Print a blob, or write it into a file, which is there whole or not at all"""

    async def taken(there: Blobs) -> None:
        if file != "-":
            await there.download(key, file)
            return
        async with there.stream(key) as chunks:
            await _print(chunks)

    try:
        _with_blobs(taken)
    except NotFound:
        raise click.ClickException("Blob not found") from None
    except OSError as err:
        raise click.ClickException(f"Cannot write {file}: {err.strerror}") from err


@blob.command("list", cls=Command, example="micro blob list\nmicro blob list images/ -o wide")
@click.argument("prefix", default="")
def list_(prefix: str) -> None:
    """Print keys; on a terminal with size, type, whether public, and when it was written"""
    found = _with_blobs(lambda there: there.list(prefix))
    rows = [
        [each.key, str(each.size), each.content_type, "public" if each.public else "private", f"{each.modified:%FT%TZ}"]
        for each in found
    ]
    output.records(rows, ["KEY", "SIZE", "TYPE", "ACCESS", "MODIFIED"], settings().output, plain=[0])


@blob.command("url", cls=Command, example="micro blob url logo\nmicro blob url logo --expires 10m")
@click.argument("key")
@click.option("--expires", default="1h", help="how long it is good: a second to seven days")
def url(key: str, expires: str) -> None:
    """Print an address from which whoever has it can read a blob for a while"""
    from micro.api.flags import seconds

    try:
        lasts = seconds(expires)
    except ValueError as err:
        raise click.UsageError(f"--expires: {err}") from None
    output.say(_with_blobs(lambda there: there.url(key, expires=lasts)))


@blob.command("delete", cls=Command, example="micro blob delete logo")
@click.argument("key")
def delete(key: str) -> None:
    """Delete a blob"""
    if not _with_blobs(lambda there: there.delete(key)):
        raise click.ClickException("Blob not found")


async def _print(chunks: AsyncIterable[bytes]) -> None:
    async for chunk in chunks:
        await asyncio.to_thread(sys.stdout.buffer.write, chunk)
    sys.stdout.buffer.flush()


def _with_blobs(work: Callable[[Blobs], Awaitable[T]]) -> T:
    """Work with the namespace's blobs."""
    from micro.blobs.api import Blobs
    from micro.blobs.remote import RemoteBlobs
    from micro.service.process import connect

    here = session()
    # refused and unreachable are told as every command tells them
    asked = pb.BlobScanRequest(options=pb.BlobListOptions(namespace=here.namespace), limit=1)
    here.core("store", "BlobStore.Scan", asked, pb.BlobScanResponse)

    async def run() -> T:
        async with connect(here.address, token=here.token, namespace=here.namespace) as process:
            return await work(Blobs(RemoteBlobs(caller=process.caller), plugin="remote", namespace=here.namespace))

    return asyncio.run(run())


COMMANDS = {"blob": blob}
