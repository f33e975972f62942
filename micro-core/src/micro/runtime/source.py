"""Sources as tars: packing a folder, and unpacking what strangers packed.

Only directories and regular files, with names that stay inside; no links, devices or special bits, whatever the tar
says. Python's own filters are not relied on: they were got round more than once, and 3.11.7 has not the fixes.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
import zlib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import IO, Any

from micro import limits
from micro.errors import InvalidArgument

MAX_NAME = 4096  # bytes of a member's name; PATH_MAX
MAX_EXTENDED = 64 * 1024  # bytes of what a tar says of a member beside its header; tarfile holds it in memory
OVERHEAD = 4096  # bytes of a tar for a member beside its content: headers, padding, long names
MAX_GLOBAL = 100  # what a tar says of all its members
GZIP = b"\x1f\x8b"  # how gzip begins
LEVEL = 1  # of gzip: three times as fast as the default, for a tenth more bytes
IGNORED = (
    ".git*",
    "__pycache__",
    "*.pyc",
    ".venv",
    "venv",
    "node_modules",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
)


def pack(folder: Path) -> Iterator[bytes]:
    """Give a folder as an uncompressed tar, in chunks; raises InvalidArgument when it is too big.

    Left out: what `.microignore` names (patterns, one a line), version control, caches and virtual environments.
    Links are followed where they stay inside the folder, else left out.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        total = 0
        for count, (path, name) in enumerate(_files(folder)):
            total += path.stat().st_size
            if count >= limits.UPLOAD_MEMBERS:
                raise InvalidArgument(f"{folder} has more than {limits.UPLOAD_MEMBERS} files")
            if total > limits.UPLOAD:
                raise InvalidArgument(f"{folder} has more than {limits.UPLOAD // limits.MIB} MiB")
            info = tar.gettarinfo(str(path), name)
            info.uid = info.gid = 0
            info.uname = info.gname = ""
            with path.open("rb") as file:
                tar.addfile(info, file)
            yield from _drained(buffer)
    yield from _drained(buffer)


def pack_into(folder: Path, file: IO[bytes]) -> str:
    """Write a folder as a gzipped tar; gives the SHA-256 of it, the same for the same files."""
    hashed = _Hashed(file)
    with gzip.GzipFile(filename="", fileobj=hashed, mode="wb", compresslevel=LEVEL, mtime=0) as packed:
        for chunk in pack(folder):
            packed.write(chunk)
    return hashed.sha256.hexdigest()


class _Hashed(io.RawIOBase):
    """Passes on what is written, and hashes it."""

    def __init__(self, file: IO[bytes]) -> None:
        self.sha256 = hashlib.sha256()
        self._file = file

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.sha256.update(data)
        return self._file.write(data)


def _drained(buffer: io.BytesIO) -> Iterator[bytes]:
    data = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    for at in range(0, len(data), limits.MIB):
        yield data[at : at + limits.MIB]


def _files(folder: Path) -> Iterator[tuple[Path, str]]:
    ignored = [*IGNORED]
    try:
        lines = (folder / ".microignore").read_text().splitlines()
        ignored += [line.strip().rstrip("/") for line in lines if line.strip() and not line.startswith("#")]
    except OSError:
        pass
    root = folder.resolve()
    for where, folders, files in os.walk(root):
        inside = PurePosixPath(os.path.relpath(where, root))
        folders[:] = sorted(name for name in folders if not _is_ignored(inside / name, ignored))
        for name in sorted(files):
            path = Path(where, name)
            if _is_ignored(inside / name, ignored) or not path.is_file():
                continue
            if root in path.resolve().parents:
                yield path.resolve(), str(inside / name)


def _is_ignored(path: PurePosixPath, patterns: list[str]) -> bool:
    return any(fnmatch(path.name, pattern) or fnmatch(str(path), pattern) for pattern in patterns)


def unpack(archive: Path, target: Path) -> None:
    """Unpack a tar, plain or gzipped, into a new folder; raises InvalidArgument and leaves what is there to be removed."""
    try:
        with archive.open("rb") as raw:
            zipped = raw.peek(2)[:2] == GZIP
            with gzip.GzipFile(fileobj=raw) if zipped else raw as plain:
                bounded = _Bounded(plain, limits.UPLOAD + limits.UPLOAD_MEMBERS * OVERHEAD)
                with tarfile.open(fileobj=bounded, mode="r|", tarinfo=_Member) as tar:  # type: ignore[call-overload]
                    _members(tar, target)
    except (*_BROKEN, gzip.BadGzipFile) as err:
        raise InvalidArgument(f"the source is not a whole tar: {err}") from err


class _Bounded:
    """A stream that is refused once more was read than any source has, so that a small archive is not a large one."""

    def __init__(self, stream: Any, limit: int) -> None:
        self._stream = stream
        self._left = limit

    def read(self, size: int) -> bytes:
        data: bytes = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise InvalidArgument(f"the source has more than {limits.UPLOAD // limits.MIB} MiB")
        return data


_BROKEN = (tarfile.TarError, EOFError, zlib.error, RecursionError, OverflowError, ValueError)
_EXTENDED = frozenset(
    {tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK}
)


class _Member(tarfile.TarInfo):
    """A member whose headers can be held in memory: those beside the first are small, and no file has holes."""

    def _proc_member(self, tar: tarfile.TarFile) -> Any:  # tarfile says that subclasses may override it
        if self.type in _EXTENDED and not 0 <= self.size <= MAX_EXTENDED:
            raise InvalidArgument(f"the source has a header of {self.size} bytes, the limit is {MAX_EXTENDED}")
        if self.type == tarfile.GNUTYPE_SPARSE:
            self._refuse()
        return super()._proc_member(tar)  # type: ignore[misc] # not in typeshed

    def _refuse(self, *_: Any) -> None:
        raise InvalidArgument(f"the source's {short(self.name)} is a file with holes")

    _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _refuse


def _members(tar: tarfile.TarFile, target: Path) -> None:
    total = 0
    for count, member in enumerate(iter(tar.next, None)):
        tar.members.clear()  # type: ignore[attr-defined] # it keeps them all, with what was said of them
        if len(tar.pax_headers) > MAX_GLOBAL:
            raise InvalidArgument("the source says too much of itself")
        if count >= limits.UPLOAD_MEMBERS:
            raise InvalidArgument(f"the source has more than {limits.UPLOAD_MEMBERS} members")
        parts = inside(member.name)
        if member.isdir():
            target.joinpath(*parts).mkdir(mode=0o700, parents=True, exist_ok=True)
            continue
        if not member.isreg():
            raise InvalidArgument(f"the source's {short(member.name)} is neither a file nor a folder")
        if not parts:
            raise InvalidArgument("the source has a file without a name")
        total += member.size
        if member.size < 0 or total > limits.UPLOAD:
            raise InvalidArgument(f"the source has more than {limits.UPLOAD // limits.MIB} MiB")
        content = tar.extractfile(member)
        assert content is not None
        write(member.name, target.joinpath(*parts), content, member.size, executable=bool(member.mode & 0o100))


def inside(name: str) -> list[str]:
    """Give the parts of a member's name; raises InvalidArgument for one that may lead outside."""
    if name.startswith("/") or "\\" in name or "\0" in name or len(name.encode("utf-8", "surrogateescape")) > MAX_NAME:
        raise InvalidArgument(f"the source has a member named {short(name)}")
    parts = [part for part in name.split("/") if part not in {"", "."}]
    if ".." in parts or any(len(part) > 1 and part[1] == ":" for part in parts[:1]):
        raise InvalidArgument(f"the source has a member named {short(name)}")
    return parts


def write(name: str, path: Path, content: IO[bytes], size: int, *, executable: bool) -> None:
    """Write a member's file, which is not there yet."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = 0o700 if executable else 0o600
        # never through a link and never over what is there: each name once
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    except FileExistsError:
        raise InvalidArgument(f"the source has {short(name)} twice") from None
    except (NotADirectoryError, OSError) as err:
        raise InvalidArgument(f"the source's {short(name)} cannot be written: {err.strerror}") from err
    with os.fdopen(fd, "wb") as out:
        left = size
        while left > 0 and (part := content.read(min(left, limits.MIB))):
            out.write(part)
            left -= len(part)
        if left:
            raise InvalidArgument(f"the source ends inside {short(name)}")


def short(name: str) -> str:
    """Give a name as it may be shown: strangers chose it."""
    return ascii(name if len(name) <= 60 else name[:57] + "...")
