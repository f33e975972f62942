"""Secrets, encrypted above any driver: what is stored can be neither read nor moved without the key.

A secret's leaf is stored as the text `s1:<id of the key>:<base64 of nonce, AES-256-GCM ciphertext and tag>` of its JSON,
sealed for its namespace and path: put elsewhere, it does not open.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path as File
from typing import Any

from micro.config import tree
from micro.config.driver import JSON, ConfigDriver, Entry, Event, Path
from micro.errors import ConfigError, DataLoss, FailedPrecondition, Unavailable

KEY = 32  # bytes; AES-256
_NONCE = 12  # bytes, random; GCM's own
_MARK = "s1"


class Sealed(ConfigDriver, interface=1):
    """A driver that encrypts what is secret before another one stores it.

    All who share the data must have the same key: the first one leaves its id, another is refused.
    """

    def __init__(self, inner: ConfigDriver, key: bytes) -> None:
        self._inner = inner
        self._key = key
        self._id = hashlib.sha256(b"micro config key" + key).hexdigest()[:8]
        self._agreed = False

    async def open(self) -> None:
        await self._inner.open()
        self.capabilities = self._inner.capabilities | {"secrets"}
        with contextlib.suppress(Unavailable):  # the store may come later: asked again at the first secret
            await self._agree()

    async def close(self) -> None:
        await self._inner.close()

    def error_code(self, exc: Exception) -> int:
        return self._inner.error_code(exc)

    async def get(self, namespace: str, path: Path, *, reveal: bool = False) -> Entry:
        entry = await self._inner.get(namespace, path, reveal=reveal)
        if reveal and entry.secret_paths:
            await self._agree()
            for below in entry.secret_paths:
                clear = self._opened(namespace, (*path, *below), _at(entry.value, below))
                entry.value = tree.put(entry.value, below, clear)
        return entry

    async def set(
        self, namespace: str, path: Path, value: JSON, *, secret: bool = False, if_version: int | None = None
    ) -> int:
        if secret:
            await self._agree()
            value = self._closed(namespace, path, value)
        return await self._inner.set(namespace, path, value, secret=secret, if_version=if_version)

    async def delete(self, namespace: str, path: Path, *, if_version: int | None = None) -> int:
        return await self._inner.delete(namespace, path, if_version=if_version)

    def watch(self, namespace: str, path: Path, *, after: int | None = None) -> AsyncIterator[Event]:
        return self._inner.watch(namespace, path, after=after)

    async def history(self, namespace: str, path: Path, *, limit: int = 20) -> list[Entry]:
        return await self._inner.history(namespace, path, limit=limit)

    async def rollback(self, namespace: str, path: Path, version: int) -> int:
        return await self._inner.rollback(namespace, path, version)

    async def claim(self, value: str) -> str:
        return await self._inner.claim(value)

    async def _agree(self) -> None:
        if self._agreed:
            return
        theirs = await self._inner.claim(self._id)
        if theirs != self._id:
            raise FailedPrecondition(f"the secrets' key is {self._id}, this data was sealed with {theirs}")
        self._agreed = True

    def _closed(self, namespace: str, path: Path, value: JSON) -> JSON:
        if isinstance(value, dict):
            return {key: self._closed(namespace, (*path, key), below) for key, below in value.items()}
        nonce = os.urandom(_NONCE)
        text = json.dumps(value, ensure_ascii=False).encode()
        sealed = nonce + self._cipher().encrypt(nonce, text, _bound(namespace, path))
        return f"{_MARK}:{self._id}:{base64.b64encode(sealed).decode()}"

    def _opened(self, namespace: str, path: Path, text: JSON) -> JSON:
        from cryptography.exceptions import InvalidTag

        parts = text.split(":") if isinstance(text, str) else []
        if len(parts) != 3 or parts[0] != _MARK:
            raise DataLoss(f"the secret at {tree.show(path)!r} is not what was sealed")
        if parts[1] != self._id:
            raise DataLoss(
                f"the secret at {tree.show(path)!r} was sealed with key {parts[1][:8]!r}, this is {self._id}"
            )
        try:
            sealed = base64.b64decode(parts[2], validate=True)
            clear = self._cipher().decrypt(sealed[:_NONCE], sealed[_NONCE:], _bound(namespace, path))
        except (binascii.Error, InvalidTag, ValueError):
            raise DataLoss(f"the secret at {tree.show(path)!r} is damaged, or was sealed for another place") from None
        return json.loads(clear)

    def _cipher(self) -> Any:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        return AESGCM(self._key)


def read_key(text: str) -> bytes:
    """Read a key given as base64."""
    try:
        key = base64.b64decode(text, validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY:
        raise ConfigError(f"config.secret_key is not the base64 of {KEY} bytes")
    return key


def file_key(file: File) -> bytes:
    """Read the key in a file, which is made, readable by its owner alone, when it is not there."""
    if not file.exists():
        fresh = file.with_name(f"{file.name}.{os.getpid()}")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
            out.write(base64.b64encode(os.urandom(KEY)) + b"\n")
            out.flush()
            os.fsync(out.fileno())
        with contextlib.suppress(FileExistsError):  # another process was faster: a key is never replaced
            os.link(fresh, file)
        fresh.unlink()
    try:
        return read_key(file.read_text().strip())
    except ConfigError:
        raise ConfigError(f"{file} does not hold the base64 of {KEY} bytes") from None


def _bound(namespace: str, path: Path) -> bytes:
    return json.dumps([namespace, *path]).encode()


def _at(value: JSON, path: Path) -> JSON:
    for key in path:
        value = value[key]
    return value
