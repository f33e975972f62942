"""The keys of a data folder: the signing key, the master key of secrets, the admin's secret. Made at the first start.

keys/<kid>.pem   RSA private key (PKCS#1 PEM); the kid is its RFC 7638 thumbprint
keys/<kid>.pub   its public half (PKIX PEM): what every process verifies tokens with
secret.key       32 random bytes: config's master key
admin.json       {"version": 1, "id": "admin", "secret": "…", "namespace": "micro"}
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from micro.context import CORE_NAMESPACE
from micro.server import folder

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

BITS = 3072
ADMIN = "admin"


def check(data: Path) -> None:
    """Refuse keys that others may read; raises FolderError naming each."""
    problems = []
    for path in (*sorted((data / "keys").glob("*.pem")), data / "secret.key", data / "admin.json"):
        try:
            folder.private(path)
        except FileNotFoundError:
            continue
        except folder.FolderError as err:
            problems.append(str(err))
        except OSError as err:
            problems.append(f"{path}: {err.strerror}")
    if problems:
        raise folder.FolderError("\n".join(problems))


def signing(data: Path) -> Path | None:
    """Find the key that signs: the newest; None before the first start."""
    found = sorted((data / "keys").glob("*.pem"), key=lambda path: (path.stat().st_mtime_ns, path.name))
    return found[-1] if found else None


def ensure(data: Path, admin_secret: str = "") -> bool:
    """Make what needs no cryptography; True if the admin's secret was made (or taken) now."""
    folder.create(data / "secret.key", secrets.token_bytes(32))
    admin = {
        "version": folder.SCHEMA,
        "id": ADMIN,
        "secret": admin_secret or secrets.token_urlsafe(18),
        "namespace": CORE_NAMESPACE,
    }
    path = data / "admin.json"
    return not path.exists() and folder.create(path, json.dumps(admin).encode() + b"\n")


def load_or_make(data: Path) -> tuple[str, RSAPrivateKey]:
    """Give the signing key's id and the key; makes one at the first start (a few tenths of a second).

    For processes that end soon after, or that must sign: who holds it can be anybody.
    """
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    path = signing(data)
    if path is None:
        made = rsa.generate_private_key(public_exponent=65537, key_size=BITS)
        return _keep(data, made), made
    key = load_pem_private_key(folder.private(path), password=None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise folder.FolderError(f"{path} is not an RSA key")
    return path.stem, key


def _keep(data: Path, key: RSAPrivateKey) -> str:
    from cryptography.hazmat.primitives import serialization as pem

    public = key.public_key()
    numbers = public.public_numbers()
    kid = thumbprint(numbers.n, numbers.e)
    folder.create(
        data / "keys" / f"{kid}.pub",  # first, so that no process ever finds a key without it
        public.public_bytes(pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo),
    )
    folder.create(
        data / "keys" / f"{kid}.pem",
        key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.TraditionalOpenSSL, pem.NoEncryption()),
    )
    return kid


def thumbprint(modulus: int, exponent: int) -> str:
    """Give the RFC 7638 thumbprint of an RSA public key."""
    members = {"e": _number(exponent), "kty": "RSA", "n": _number(modulus)}
    canonical = json.dumps(members, separators=(",", ":"), sort_keys=True)
    return encode(hashlib.sha256(canonical.encode()).digest())


def encode(raw: bytes) -> str:
    """Write bytes as base64url without padding, as JOSE does."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _number(value: int) -> str:
    return encode(value.to_bytes((value.bit_length() + 7) // 8, "big"))
