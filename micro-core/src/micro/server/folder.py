"""The data folder: one server at a time in it, nothing in it that others may read.

lock  server.json  control.sock  api.sock  keys/<kid>.pem  keys/<kid>.pub  keys/<kid>.next  secret.key  admin.json
store.db  blobs/  events/  registry.db  logs/core/<name>.log  logs/<ns>/<service>@<version>.<n>.log
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from micro.errors import MicroError
from micro.service.machine import born
from micro.service.surroundings import data_folder

SCHEMA = 1  # of server.json and admin.json
_PRIVATE = stat.S_IRWXG | stat.S_IRWXO


class FolderError(MicroError):
    """The data folder cannot be used; the text says why."""


def locate(given: str | os.PathLike[str] | None = None, environ: Mapping[str, str] = os.environ) -> Path:
    """Find the data folder: as given, else where this machine's clients look for it."""
    return data_folder({**environ, **({"MICRO_DATA": os.fspath(given)} if given else {})})


def prepare(path: Path) -> None:
    """Make the folder, or close it to others; refuses one that holds somebody else's things."""
    os.umask(0o077)
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (path / "lock").exists():
            strangers = any(entry.name != "lock" for entry in path.iterdir())
            if strangers and not (path / "lock").exists():  # it may appear just now: another one starts
                raise FolderError(f"data folder {path} is not empty, and not a data folder of micro's")
            (path / "lock").touch(0o600)  # first of all, so that whoever comes next knows the folder
        path.chmod(0o700)
        for inner in ("keys", "logs", "logs/core"):
            (path / inner).mkdir(mode=0o700, exist_ok=True)
    except OSError as err:
        raise FolderError(f"data folder {path}: {err.strerror}") from None


class Lock:
    """The claim on a data folder, held as long as the process lives. A server's is exclusive.

    Single services (`micro service store`) share the folder, each under a lock of its own name.
    """

    def __init__(self, path: Path, service: str = "") -> None:
        self._files: list[int] = []
        try:
            self._take(path / "lock", shared=bool(service))
            if service:
                self._take(path / f"lock.{service}", shared=False)
        except FolderError:
            self.release()
            raise

    def _take(self, path: Path, *, shared: bool) -> None:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
            os.close(fd)
            raise FolderError(
                f"data folder {path.parent} is in use by another micro server{f' (pid {holder})' if holder else ''}"
            ) from None
        self._files.append(fd)
        if not shared:
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Give the folder up; idempotent."""
        while self._files:
            os.close(self._files.pop())


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Do something that one process at a time may do, whoever is second waits; the file is its lock, and stays."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def create(path: Path, content: bytes) -> bool:
    """Write a file that must not be there yet, 0600 and on the disk when this returns; False if it is there."""
    part = _part(path, content)
    try:
        os.link(part, path)  # whole or not at all, and never over another
    except FileExistsError:
        return False
    finally:
        part.unlink()
    sync(path.parent)
    return True


def replace(path: Path, content: bytes) -> None:
    """Write a file in one step, 0600; readers see the old or the new one."""
    _part(path, content).replace(path)


def _part(path: Path, content: bytes) -> Path:
    """Write what is to be a file, beside it; a process of the same number may have been killed while it did so."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.unlink(missing_ok=True)
    _write(part, content)
    return part


def _write(path: Path, content: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with open(fd, "wb") as file:  # noqa: PTH123 - a descriptor, made with its mode
        file.write(content)
        file.flush()
        os.fsync(fd)


def sync(folder: Path) -> None:
    """Have on the disk which files a folder has."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def private(path: Path) -> bytes:
    """Read a file that must be ours alone; refuses one that others may read."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    with open(fd, "rb") as file:  # noqa: PTH123 - the descriptor that is examined is the one that is read
        mode = os.fstat(fd).st_mode
        if mode & _PRIVATE:
            raise FolderError(f"{path} can be read by others (mode {stat.S_IMODE(mode):04o}): chmod 600 {path}")
        return file.read()


def read_json(path: Path, schema: int = SCHEMA) -> dict[str, Any]:
    """Read a private JSON object; refuses a newer schema, naming both numbers."""
    try:
        found = json.loads(private(path))
    except ValueError:
        raise FolderError(f"{path} is not JSON") from None
    if not isinstance(found, dict):
        raise FolderError(f"{path} is not a JSON object")
    if found.get("version", schema) > schema:
        raise FolderError(f"{path} has schema version {found['version']}, this micro knows {schema}: upgrade micro")
    return found


def write_server(path: Path, facts: Mapping[str, Any]) -> None:
    """Write `server.json`: who runs here, for the command line on this machine."""
    told = {"version": SCHEMA, **facts, "born": born(facts["pid"])}
    replace(path / "server.json", json.dumps(told, indent=1).encode() + b"\n")


@contextlib.contextmanager
def short(path: Path) -> Iterator[str]:
    """Give a path to a file in a folder that fits a socket's 107 bytes, however long the folder's own is."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
