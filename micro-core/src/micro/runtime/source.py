"""Sources as tars: packing a folder, and unpacking what strangers packed.

Only directories and regular files, with names that stay inside; no links, devices or special bits, whatever the tar
says. Python's own filters are not relied on: they were got round more than once, and 3.11.7 has not the fixes.
"""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from micro import limits
from micro.errors import InvalidArgument

MAX_NAME = 4096  # bytes of a member's name; PATH_MAX
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
            zipped = raw.peek(2)[:2] == b"\x1f\x8b"
            with gzip.GzipFile(fileobj=raw) if zipped else raw as plain, tarfile.open(fileobj=plain, mode="r|") as tar:
                _members(tar, target)
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, UnicodeError, OverflowError) as err:
        raise InvalidArgument(f"the source is not a whole tar: {err}") from err


def _members(tar: tarfile.TarFile, target: Path) -> None:
    total = 0
    for count, member in enumerate(tar):
        if count >= limits.UPLOAD_MEMBERS:
            raise InvalidArgument(f"the source has more than {limits.UPLOAD_MEMBERS} members")
        parts = _parts(member.name)
        if member.isdir():
            target.joinpath(*parts).mkdir(mode=0o700, parents=True, exist_ok=True)
            continue
        if not member.isreg() or member.issparse():
            raise InvalidArgument(f"the source's {_short(member.name)} is neither a file nor a folder")
        if not parts:
            raise InvalidArgument("the source has a file without a name")
        total += member.size
        if member.size < 0 or total > limits.UPLOAD:
            raise InvalidArgument(f"the source has more than {limits.UPLOAD // limits.MIB} MiB")
        _write(tar, member, target.joinpath(*parts))


def _parts(name: str) -> list[str]:
    if name.startswith("/") or "\\" in name or "\0" in name or len(name.encode("utf-8", "surrogateescape")) > MAX_NAME:
        raise InvalidArgument(f"the source has a member named {_short(name)}")
    parts = [part for part in name.split("/") if part not in {"", "."}]
    if ".." in parts or any(len(part) > 1 and part[1] == ":" for part in parts[:1]):
        raise InvalidArgument(f"the source has a member named {_short(name)}")
    return parts


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = 0o700 if member.mode & 0o100 else 0o600
        # never through a link and never over what is there: each name once
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    except FileExistsError:
        raise InvalidArgument(f"the source has {_short(member.name)} twice") from None
    except (NotADirectoryError, OSError) as err:
        raise InvalidArgument(f"the source's {_short(member.name)} cannot be written: {err.strerror}") from err
    with os.fdopen(fd, "wb") as out:
        content = tar.extractfile(member)
        assert content is not None
        left = member.size
        while left > 0 and (part := content.read(min(left, limits.MIB))):
            out.write(part)
            left -= len(part)
        if left:
            raise InvalidArgument(f"the source ends inside {_short(member.name)}")


def _short(name: str) -> str:
    return ascii(name if len(name) <= 60 else name[:57] + "...")
