"""The sources that were uploaded, as files: each is whole and was looked through, or it is the half of one that goes on.

A half lies under the digest of the whole, in its namespace, and is gone an hour after the last byte came.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
import time
from collections.abc import AsyncIterator, Collection
from contextlib import suppress
from pathlib import Path

from micro import limits
from micro.errors import Aborted, FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted

KEPT = 3600.0  # seconds that the half of a source waits for the rest
HALVES = 8  # of one namespace; the oldest that nobody sends to makes way
ENCODINGS = ("", "gzip")
_HALF = ".put."
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Uploads:
    """All namespaces' in one folder, which no other process uses."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._senders: dict[Path, object] = {}  # who sends to a half; the last to come

    def open(self) -> None:
        """Remove what an earlier process was in the middle of; halves stay."""
        for left in self._folder.glob("*/uploads/.*"):
            if not left.name.startswith(_HALF):
                shutil.rmtree(left) if left.is_dir() else left.unlink()
        self.sweep()

    def sweep(self) -> None:
        """Remove the halves that nobody went on with."""
        for half in self._folder.glob(f"*/uploads/{_HALF}*"):
            if half not in self._senders and time.time() - half.stat().st_mtime > KEPT:
                half.unlink()

    def path(self, namespace: str, name: str, version: str) -> Path:
        """Give where an archive is, or would be."""
        return self._folder / namespace / "uploads" / f"{name}@{version}.tar"

    async def take(self, namespace: str, name: str, version: str, archive: AsyncIterator[bytes]) -> str:
        """Take a whole archive; gives its id."""
        target = self._target(namespace, name, version)
        fresh = _beside(target)
        try:
            await self._write(fresh, archive)
            await self._adopt(fresh, target)
        finally:
            fresh.unlink(missing_ok=True)
        return f"source://{name}:{version}"

    async def put(
        self,
        namespace: str,
        name: str,
        version: str,
        archive: AsyncIterator[bytes],
        *,
        digest: str,
        encoding: str = "",
        offset: int = 0,
    ) -> str:
        """Take an archive from a byte on, those before being here; gives its id. What came stays when it breaks off."""
        if encoding not in ENCODINGS:
            raise InvalidArgument(f"encoding {encoding!r} is not known here; send gzip, or none")
        target = self._target(namespace, name, version)
        half = self._half(namespace, digest)
        here = _size(half)
        if not 0 <= offset <= here:
            raise FailedPrecondition(f"{here} bytes of the source are here, it cannot go on from {offset}")
        self._make_room(half)
        me = self._senders[half] = object()
        fresh = _beside(target)
        try:
            await self._write(half, archive, offset=offset, sender=me)
            half.rename(fresh)  # nobody sends to it any more
            if await asyncio.to_thread(_digest, fresh) != digest:
                raise InvalidArgument("the source that came has another digest than was said")
            if encoding and not await asyncio.to_thread(_is_gzip, fresh):
                raise InvalidArgument(f"the source that came is not {encoding}")
            await self._adopt(fresh, target)
        except ResourceExhausted:
            half.unlink(missing_ok=True)  # it will never be whole
            raise
        finally:
            fresh.unlink(missing_ok=True)
            if self._senders.get(half) is me:
                del self._senders[half]
        return f"source://{name}:{version}"

    def keep(self, namespace: str, name: str, version: str) -> str:
        """Keep an archive as it is now, under its digest, which it gives; a later upload leaves it alone. May take long."""
        archive = self.path(namespace, name, version)
        folder = self._kept(namespace)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        held = archive.with_name(f".keep.{os.urandom(4).hex()}")
        try:
            held.hardlink_to(archive)  # this very one, also while another takes its name
            digest = _digest(held)
            held.replace(folder / f"{digest}.tar")
        except FileNotFoundError:
            raise NotFound(f"source 'source://{name}:{version}' was not uploaded") from None
        finally:
            held.unlink(missing_ok=True)  # a link to where it lies already is left where it was
        return digest

    def kept(self, namespace: str, digest: str) -> Path:
        """Give where an archive that was kept is."""
        return self._kept(namespace) / f"{digest}.tar"

    def drop(self, namespace: str, name: str, version: str, digest: str) -> None:
        """Remove an upload, if it is still the archive that was kept under this digest."""
        archive = self.path(namespace, name, version)
        with suppress(FileNotFoundError):
            if archive.samefile(self.kept(namespace, digest)):
                archive.unlink()

    def forget(self, namespace: str, used: Collection[str]) -> None:
        """Remove the archives that were kept, but for those still in use."""
        for archive in self._kept(namespace).glob("*.tar"):
            if archive.stem not in used:
                archive.unlink(missing_ok=True)

    def _kept(self, namespace: str) -> Path:
        return self._folder / namespace / "sources"

    def size(self, namespace: str, digest: str) -> int:
        """Say how many bytes of an archive are here."""
        return _size(self._half(namespace, digest))

    def _target(self, namespace: str, name: str, version: str) -> Path:
        target = self.path(namespace, name, version)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return target

    def _half(self, namespace: str, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise InvalidArgument("digest is not a SHA-256 in lower-case hex")
        return self._folder / namespace / "uploads" / f"{_HALF}{digest}"

    def _make_room(self, half: Path) -> None:
        self.sweep()
        others = sorted((p for p in half.parent.glob(f"{_HALF}*") if p != half), key=lambda p: p.stat().st_mtime)
        idle = [other for other in others if other not in self._senders]
        for other in idle[: max(0, len(others) - HALVES + 1)]:
            other.unlink()
            others.remove(other)
        if len(others) >= HALVES:
            raise ResourceExhausted(f"{HALVES} sources are being uploaded, that is the limit")

    async def _write(
        self, path: Path, archive: AsyncIterator[bytes], *, offset: int = 0, sender: object = None
    ) -> None:
        # unbuffered, so that what came is there when the sender breaks off, and nothing is written after another took over
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600), "wb", buffering=0) as file:
            file.truncate(offset)
            size = file.seek(offset)
            async for chunk in archive:
                self._check_sender(path, sender)
                size += len(chunk)
                if size > limits.UPLOAD:
                    raise ResourceExhausted(f"the source has more than {limits.UPLOAD // limits.MIB} MiB")
                left = memoryview(chunk)
                while left:
                    left = left[file.write(left) :]
        self._check_sender(path, sender)
        if not size:
            os.unlink(path)  # noqa: PTH108 -- a moment, as all that is done here to a file's name
            raise InvalidArgument("the source is empty")

    def _check_sender(self, path: Path, sender: object) -> None:
        if self._senders.get(path) is not sender:
            raise Aborted("another call goes on with this upload")

    @staticmethod
    async def _adopt(fresh: Path, target: Path) -> None:
        """Let an archive be the one to run, after it was read once: a bad one is refused to who sends it."""
        check = target.with_name(f".check.{os.urandom(4).hex()}")
        await asyncio.to_thread(_look_through, fresh, check)
        os.replace(fresh, target)  # noqa: PTH105 -- a moment


def _beside(target: Path) -> Path:
    return target.with_name(f".{target.stem}.{os.urandom(4).hex()}")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_gzip(path: Path) -> bool:
    from micro.runtime.source import GZIP

    with path.open("rb") as file:
        return file.read(len(GZIP)) == GZIP


def _look_through(archive: Path, folder: Path) -> None:
    from micro.runtime import source  # brings what only uploads need

    folder.mkdir(mode=0o700)
    try:
        source.unpack(archive, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
