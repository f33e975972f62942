"""The signing keys of one server: a folder of them, or one made for this process."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from micro.auth.tokens import SigningKey, generate_key, key_pem, load_keys, load_public, public_jwks, settled
from micro.errors import ConfigError


class Keyring:
    """Gives the key that signs: the newest file. A key put into the folder is taken up at once."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._keys: list[SigningKey] = []
        self._stamp = -1
        self._published: tuple[list[SigningKey], dict[str, dict[str, Any]]] = ([], {})

    def open(self) -> None:
        """Read the keys, or make the first; some tenths of a second then, so call it on a thread."""
        if self._folder is None:
            self._keys = self._keys or [generate_key()]
            return
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._read(self._folder)
        if not self._keys:
            _write(self._folder, generate_key())
            self._read(self._folder)

    @property
    def watched(self) -> bool:
        """Whether the keys may change by another's hand."""
        return self._folder is not None

    @property
    def keys(self) -> list[SigningKey]:
        """All keys, the one that signs first; another list once something has changed."""
        if self._folder is not None and self._folder.stat().st_mtime_ns != self._stamp:
            self._read(self._folder)
        return self._keys

    @property
    def published(self) -> dict[str, dict[str, Any]]:
        """The public keys as JWKs, by id: of those that sign, and the files `<kid>.pub` of those that did, or will."""
        keys = self.keys
        if self._published[0] is not keys:
            said = [load_public(self._folder)] if self._folder is not None else []
            found = [key for one in (*said, public_jwks(keys)) for key in json.loads(one)["keys"]]
            self._published = keys, {key["kid"]: key for key in found}
        return self._published[1]

    def _read(self, folder: Path) -> None:
        stamp = folder.stat().st_mtime_ns
        found = load_keys(folder)
        if self._keys and not found:
            raise ConfigError(f"{folder} has no key any more")
        self._keys, self._stamp = found, stamp if settled(stamp) else -1


def _write(folder: Path, key: SigningKey) -> None:
    """Write a key whole, 0600, on the disk; another process may be doing the same, and then both keys are good."""
    part = folder / f".{key.kid}.{os.getpid()}"
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with open(fd, "wb") as file:  # noqa: PTH123 - a descriptor, made with its mode
        file.write(key_pem(key))
        file.flush()
        os.fsync(fd)
    part.replace(folder / f"{key.kid}.pem")
