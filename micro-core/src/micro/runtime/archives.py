"""Sources that come as an archive from this machine: unpacked by the rules for what strangers upload."""

from __future__ import annotations

import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from micro import limits
from micro.errors import InvalidArgument
from micro.runtime import source

ENDINGS = (".tar.gz", ".tgz", ".tar", ".zip")
_ENCRYPTED = 0x1  # a member's flag
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)


def name_of(path: Path) -> str:
    """Give an archive's name without its ending; empty for what is no archive by its name."""
    ending = next((ending for ending in ENDINGS if path.name.lower().endswith(ending)), "")
    return path.name[: -len(ending)] if ending else ""


@contextmanager
def folder_of(path: Path) -> Iterator[Path]:
    """Give a source's folder: itself, or what an archive holds, as long as it is needed.

    An archive of nothing but one folder is that folder. Raises InvalidArgument for one that is broken, holds links,
    names that lead outside, or more than an upload may.
    """
    if path.is_dir():
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="micro-source-") as made:
        folder = Path(made, "source")
        folder.mkdir(mode=0o700)
        if path.suffix.lower() == ".zip":
            _unzip(path, folder)
        else:
            source.unpack(path, folder)
        inside = list(folder.iterdir())
        yield inside[0] if len(inside) == 1 and inside[0].is_dir() else folder


def _unzip(path: Path, target: Path) -> None:
    if path.stat().st_size > limits.UPLOAD:  # what it holds is listed in memory
        raise InvalidArgument(f"the source has more than {limits.UPLOAD // limits.MIB} MiB")
    try:
        with zipfile.ZipFile(path) as file:
            members = file.infolist()
            if len(members) > limits.UPLOAD_MEMBERS:
                raise InvalidArgument(f"the source has more than {limits.UPLOAD_MEMBERS} members")
            if sum(member.file_size for member in members) > limits.UPLOAD:
                raise InvalidArgument(f"the source has more than {limits.UPLOAD // limits.MIB} MiB")
            for member in members:
                _member(file, member, target)
    except _BROKEN as err:
        raise InvalidArgument(f"the source is not a whole zip: {err}") from err


def _member(file: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> None:
    parts = source.inside(member.filename)
    mode = member.external_attr >> 16  # of Unix; 0 elsewhere
    if member.flag_bits & _ENCRYPTED:
        raise InvalidArgument(f"the source's {source.short(member.filename)} is encrypted")
    if stat.S_IFMT(mode) not in {0, stat.S_IFREG, stat.S_IFDIR}:
        raise InvalidArgument(f"the source's {source.short(member.filename)} is neither a file nor a folder")
    if member.is_dir():
        target.joinpath(*parts).mkdir(mode=0o700, parents=True, exist_ok=True)
        return
    if not parts:
        raise InvalidArgument("the source has a file without a name")
    with file.open(member) as content:  # gives no more than the size that was counted
        source.write(member.filename, target.joinpath(*parts), content, member.file_size, executable=bool(mode & 0o100))
