"""What a blob store's driver provides: streams of bytes under keys. No I/O here."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import AbstractAsyncContextManager
from datetime import datetime

from msgspec import Struct

from micro import limits
from micro.errors import Aborted, AlreadyExists, Unimplemented
from micro.plugin.driver import Driver

CHUNK = 256 * 1024  # bytes of one piece that a driver reads; none gives more than 1 MiB
Body = AbstractAsyncContextManager["tuple[Blob, AsyncIterator[bytes]]"]


class Blob(Struct):
    """What is known of a blob; `etag` is opaque, another at each write; `sha256` in hex, empty if not known."""

    key: str
    size: int
    etag: str
    content_type: str
    public: bool
    modified: datetime
    sha256: str = ""


class BlobsDriver(Driver, defines=1):
    """Keeps blobs.

    Arguments were validated. Capabilities: `conditions` (`if_etag`), `durable`, `urls`. A blob is seen whole or not at all: who
    reads while it is replaced gets the old one to its end. After `close` every method raises FailedPrecondition.
    """

    @abstractmethod
    async def write(
        self,
        namespace: str,
        key: str,
        body: AsyncIterable[bytes],
        *,
        content_type: str = "",
        public: bool = False,
        if_etag: str | None = None,
    ) -> Blob:
        """Write a blob; `if_etag` "" : only if absent. An error in `body` leaves what was there.

        A condition that does not hold raises what `conflict` makes, at the latest when the body has been read.
        """

    @abstractmethod
    def read(self, namespace: str, key: str, *, start: int = 0, end: int | None = None) -> Body:
        """Open a blob: what is known of all of it, and the bytes from `start` to before `end`; NotFound on entering.

        An `end` past the last byte means the last; a `start` past it gives no bytes.
        """

    @abstractmethod
    async def stat(self, namespace: str, key: str) -> Blob:
        """Give what is known of a blob; NotFound."""

    async def url(self, namespace: str, key: str, *, expires: float) -> str:
        """Give an address from which whoever has it can read the blob for `expires` seconds; NotFound.

        What was written under the key later has another address. Capability `urls`.
        """
        raise Unimplemented("this blob store gives no addresses")

    @abstractmethod
    async def delete(self, namespace: str, key: str) -> bool:
        """Delete a blob; False when there was none."""

    @abstractmethod
    async def scan(
        self, namespace: str, *, prefix: str = "", after: str | None = None, limit: int = limits.PAGE
    ) -> list[Blob]:
        """Give a page by key, in byte order; `after` is a key, exclusive. Shorter than `limit` only at the end."""


def conflict(key: str, wanted: str) -> Aborted | AlreadyExists:
    """Make the error of a condition that did not hold."""
    return Aborted(f"blob {key!r} is not the one wanted") if wanted else AlreadyExists(f"blob {key!r} exists")
