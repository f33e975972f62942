"""The types of micro.blocking.blobs, written by scripts/blocking.py."""

from collections.abc import AsyncIterable
from collections.abc import Iterator
from contextlib import AbstractContextManager
from micro.durations import Duration
import builtins
import os
from micro.blobs import Blob as Blob
from micro.blobs import Blobs as Blobs
from micro.blobs import BlobsDriver as BlobsDriver

def write(key: str, data: bytes | AsyncIterable[bytes] | os.PathLike[str], *, content_type: str='', public: bool=False, if_etag: str | None=None) -> Blob:
    """Write bytes, a stream of them, or a file: see Blobs.write."""
    ...

def read(key: str, *, start: int=0, end: int | None=None) -> bytes:
    """Read a blob into memory: see Blobs.read."""
    ...

def open(key: str, *, start: int=0, end: int | None=None) -> AbstractContextManager[Iterator[bytes]]:
    """Read a blob in pieces, `async with blobs.open(key) as chunks`: see Blobs.stream."""
    ...

def stat(key: str) -> Blob:
    """Give what is known of a blob: see Blobs.stat."""
    ...

def url(key: str, *, expires: Duration=3600.0) -> str:
    """Give an address of a blob for who has no account: see Blobs.url."""
    ...

def delete(key: str) -> bool:
    """Delete a blob: see Blobs.delete."""
    ...

def list(prefix: str='') -> builtins.list[Blob]:
    """Give the blobs in order of their keys: see Blobs.list."""
    ...

def download(key: str, path: str | os.PathLike[str]) -> Blob:
    """Read a blob into a file: see Blobs.download."""
    ...
