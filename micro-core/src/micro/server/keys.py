"""The keys of a data folder: the signing key, the master key of secrets, the admin's secret. Made at the first start.

keys/<kid>.pem   RSA private key (PKCS#1 PEM); the kid is its RFC 7638 thumbprint
keys/<kid>.pub   its public half (PKIX PEM): what every process verifies tokens with; it stays when the other half goes,
                 until the last token that it signed has ended, counted from its time of change
keys/<kid>.next  a private key that is announced, and does not sign yet
secret.key       32 random bytes: config's master key
admin.json       {"version": 1, "id": "admin", "secret": "…", "namespace": "micro"}
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING

from micro.context import CORE_NAMESPACE
from micro.server import folder

if TYPE_CHECKING:
    from micro.auth.tokens import SigningKey

ADMIN = "admin"
DAY = 86_400


def check(data: Path) -> None:
    """Refuse keys that others may read; raises FolderError naming each."""
    problems = []
    private = sorted(path for path in (data / "keys").glob("*") if path.suffix in {".pem", ".next"})
    for path in (*private, data / "secret.key", data / "admin.json"):
        try:
            folder.private(path)
        except FileNotFoundError:
            continue
        except folder.FolderError as err:
            problems.append(str(err))
        except OSError as err:
            problems.append(f"{path}: {err.strerror}")
    if not problems:
        problems = _damaged(data / "admin.json")
    if problems:
        raise folder.FolderError("\n".join(problems))


def _damaged(path: Path) -> list[str]:
    """Say what is wrong with the administrator's file, if it is there."""
    try:
        said = json.loads(path.read_bytes())
        whole = isinstance(said, dict) and all(isinstance(said.get(key), str) for key in ("id", "secret"))
    except FileNotFoundError:
        return []
    except ValueError:
        whole = False
    return [] if whole else [f"{path} is damaged: move it away, and log in with 'micro login --username {ADMIN}'"]


def exist(data: Path) -> bool:
    """Tell whether there is a signing key."""
    return next((data / "keys").glob("*.pem"), None) is not None


def ensure(data: Path, admin_secret: str = "") -> None:
    """Make what is not there and needs no cryptography."""
    folder.create(data / "secret.key", base64.b64encode(secrets.token_bytes(32)) + b"\n")
    # With the keys there and the file gone, the account has a secret already, which is not ours to know.
    if (data / "admin.json").exists() or exist(data):
        return
    admin = {
        "version": folder.SCHEMA,
        "id": ADMIN,
        "secret": admin_secret or secrets.token_urlsafe(18),
        "namespace": CORE_NAMESPACE,
    }
    folder.create(data / "admin.json", json.dumps(admin).encode() + b"\n")


def load_or_make(data: Path) -> SigningKey:
    """Give the key that signs, the newest; makes one at the first start (a few tenths of a second).

    Of any number of processes that do so at once on a folder one makes it, and the others wait and read it. For
    processes that end soon after: who holds it can be anybody.
    """
    from micro.auth import tokens

    found = tokens.load_keys(data / "keys")
    if found:
        return found[0]
    with folder.alone(data / "lock.keys"):
        found = tokens.load_keys(data / "keys")
        return found[0] if found else _make(data)


def announce(data: Path) -> str:
    """Make the key that is to sign next and let it be known; gives its id.

    One that was announced before, and never came to sign, is taken again.
    """
    from micro.auth import tokens

    with folder.alone(data / "lock.keys"):
        for path in sorted((data / "keys").glob("*.next")):
            key = tokens.SigningKey(path.stem, pem=folder.private(path))
            break
        else:
            key = tokens.generate_key()
            folder.create(data / "keys" / f"{key.kid}.next", tokens.key_pem(key))
        _publish(data, key)
    return key.kid


def promote(data: Path, kid: str) -> None:
    """Let an announced key sign, and forget the others' private halves; tokens they signed stay good to their end."""
    from micro.auth import tokens

    with folder.alone(data / "lock.keys"):
        old = tokens.load_keys(data / "keys")
        stamps = [(data / "keys" / f"{key.kid}.pem").stat().st_mtime_ns for key in old]
        newest = max([time.time_ns(), *(stamp + 1 for stamp in stamps)])
        waiting = data / "keys" / f"{kid}.next"
        if not waiting.exists():
            raise folder.FolderError(f"key {kid} is not announced any more: another command has rotated the keys")
        os.utime(waiting, ns=(newest, newest))  # the newest signs, whatever the clock did
        waiting.rename(waiting.with_suffix(".pem"))
        for key in old:
            _publish(data, key)  # one that came into the folder by hand may have no such file
            os.utime(data / "keys" / f"{key.kid}.pub")
            (data / "keys" / f"{key.kid}.pem").unlink()
        _tidy(data / "keys", tokens.LIFE[tokens.SECRET] + 2 * DAY)
        folder.sync(data / "keys")


def _tidy(keys: Path, life: float) -> None:
    """Take away the public keys of which no token lives any more."""
    for path in keys.glob("*.pub"):
        signs = any(path.with_suffix(kind).exists() for kind in (".pem", ".next"))
        if not signs and path.stat().st_mtime + life < time.time():
            path.unlink()


def _publish(data: Path, key: SigningKey) -> None:
    from cryptography.hazmat.primitives import serialization as pem

    public = key.private.public_key().public_bytes(pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo)
    folder.create(data / "keys" / f"{key.kid}.pub", public)


def _make(data: Path) -> SigningKey:
    from micro.auth import tokens

    made = tokens.generate_key()
    _publish(data, made)  # first, so that no key is ever without it
    folder.create(data / "keys" / f"{made.kid}.pem", tokens.key_pem(made))
    return made
