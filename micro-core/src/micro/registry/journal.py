"""The registrations of an embedded registry, kept over a restart: one JSON line a change, only ever appended.

A line is lost with the machine's power, not with the process: whoever misses its registration after that renews,
hears that it is unknown and registers again. That is also why a damaged line is passed over.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import msgspec
from msgspec import Struct

from micro.errors import ConfigError
from micro.registry.driver import ServiceRecord

SCHEMA = 1  # of the file; a newer one is refused
SLACK = 256 * 1024  # bytes of dead lines that a file may hold beyond what lives
_log = logging.getLogger("micro.registry")


class Line(Struct):
    """One node registered, or, without a service, gone."""

    revision: int
    domain: str
    node: str
    service: ServiceRecord | None = None  # with that one node
    ttl: float = 0.0
    owner: str = ""


class _Header(Struct):
    format: str
    schema: int
    revision: int


class Journal:
    """An append-only file. A disk that fails costs the registrations their memory, never their registration."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None
        self._live = 0  # bytes after the last rewrite
        self._size = 0

    def load(self) -> tuple[int, list[Line]]:
        """Read what is alive, in order of revision, and the newest revision seen; a torn last line is dropped."""
        try:
            raw = self._path.read_bytes()
        except FileNotFoundError:
            return 0, []
        lines = raw.split(b"\n")
        revision = self._header(lines[0]).revision if len(lines) > 1 else 0
        alive: dict[tuple[str, str], Line] = {}
        for line in lines[1:-1]:  # after the last newline is nothing, or what a crash tore
            try:
                entry = msgspec.json.decode(line, type=Line)
            except msgspec.DecodeError:
                _log.warning("%s: a damaged line is passed over", self._path)
                continue
            revision = max(revision, entry.revision)
            alive.pop((entry.domain, entry.node), None)
            if entry.service is not None:
                alive[entry.domain, entry.node] = entry
        return revision, list(alive.values())

    def rewrite(self, revision: int, lines: Iterable[Line]) -> None:
        """Replace the file by one that holds just these; all of it or the old one, whenever the process dies."""
        header = _Header("micro-registry", SCHEMA, revision)
        body = b"".join(msgspec.json.encode(line) + b"\n" for line in (header, *lines))
        fresh = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(body)
            fresh.replace(self._path)
            self.close()
            self._file = self._path.open("ab", buffering=0)
        except OSError as err:
            self._give_up(err)
        self._live = self._size = len(body)

    def append(self, line: Line) -> None:
        """Add a change."""
        if self._file is None:
            return
        data = msgspec.json.encode(line) + b"\n"
        try:
            self._file.write(data)
        except OSError as err:
            self._give_up(err)
        self._size += len(data)

    @property
    def stale(self) -> bool:
        """Whether most of the file is of changes that later ones undid."""
        return self._size > 2 * self._live + SLACK

    def close(self) -> None:
        """Close the file; idempotent."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _give_up(self, err: OSError) -> None:
        _log.error("%s: %s; registrations are kept in memory only", self._path, err.strerror)
        self.close()

    def _header(self, line: bytes) -> _Header:
        try:
            header = msgspec.json.decode(line, type=_Header)
        except msgspec.DecodeError:
            raise ConfigError(f"{self._path} is not a registry's journal: move it away") from None
        if header.format != "micro-registry" or header.schema > SCHEMA:
            raise ConfigError(f"{self._path} has schema {header.schema} of {header.format!r}, this core reads {SCHEMA}")
        return header
