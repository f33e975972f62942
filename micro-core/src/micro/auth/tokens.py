"""Tokens: the keys that sign them, what they say, how they are made. `reading.py` reads them.

A token is a JWT, RS256 and nothing else, for that is what every peer verifies. It is written and read here, not by a
JWT library: the format is three pieces of base64, and a library costs each process 13 MiB and 250 ms more.
`cryptography` is imported when a key is first used.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import stat
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from micro.auth.rsa import PublicKey, read_pem, read_private_pem
from micro.errors import ConfigError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

ALGORITHM = "RS256"
BITS = 3072
ACCESS = "access"  # good for calls
RENEW = "renew"  # good for `Auth.Token`, as a refresh token
SECRET = "secret"  # noqa: S105 - the kind's name; good for `Auth.Token`, as a service's secret
LIFE = {ACCESS: 3600, RENEW: 7 * 86_400, SECRET: 366 * 86_400}  # seconds: no token of a kind is good for longer
PLATFORM = "micro"  # audience: everywhere
SERVICES = "services"  # audience: user services alone
BACKDATE = 5  # seconds that a token is good before it was made, for clocks that are behind


class SigningKey:
    """An RSA key and its id. Of a key read from a file the secret half is loaded when it signs for the first time."""

    __slots__ = ("_pem", "_private", "kid", "public")

    def __init__(self, kid: str, private: RSAPrivateKey | None = None, *, pem: bytes = b"") -> None:
        """Give the key itself, or the file it is in; raises ConfigError for a file that holds none."""
        self.kid = kid
        self._pem = pem
        self._private = private
        if private is None:
            try:
                self.public = read_private_pem(pem)
                return
            except ValueError:  # some other form of a key, for the library to read
                self._private = private = _private(kid, pem)
        numbers = private.public_key().public_numbers()
        self.public = PublicKey(numbers.n, numbers.e)

    @property
    def private(self) -> RSAPrivateKey:
        """The key as the library has it; raises ConfigError for a file that is damaged."""
        if self._private is None:
            self._private = _private(self.kid, self._pem)
        return self._private

    def __repr__(self) -> str:
        return f"SigningKey({self.kid!r})"


def generate_key() -> SigningKey:
    """Make a key (some tenths of a second); its id is its RFC 7638 thumbprint."""
    from cryptography.hazmat.primitives.asymmetric import rsa

    private = rsa.generate_private_key(public_exponent=65537, key_size=BITS)
    return SigningKey(thumbprint(private.public_key()), private)


def key_pem(key: SigningKey) -> bytes:
    """Give the private key as a file holds it: PKCS#1 PEM, as the original's do."""
    from cryptography.hazmat.primitives import serialization as pem

    return key.private.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.TraditionalOpenSSL, pem.NoEncryption())


def load_keys(folder: Path) -> list[SigningKey]:
    """Read the keys `<kid>.pem` of a folder, the newest first: that one signs.

    Raises ConfigError for a key that others may read, or that is none.
    """
    found = []
    for path in folder.glob("*.pem"):
        try:
            status = path.stat()
            if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise ConfigError(f"{path} can be read by others: chmod 600 {path}")
            found.append((-status.st_mtime_ns, path.stem, path.read_bytes()))
        except FileNotFoundError:
            continue  # it was replaced just now; the newer one is there since before
        except OSError as err:
            raise ConfigError(f"{path}: {err.strerror}") from None
    return [SigningKey(kid, pem=raw) for _, kid, raw in sorted(found)]


def _private(kid: str, raw: bytes) -> RSAPrivateKey:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        # To check its primes takes 0.1 s of every start, and who could change the file could put a sound one there.
        key = load_pem_private_key(raw, password=None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError) as err:
        raise ConfigError(f"key {kid}: {err}") from None
    if not isinstance(key, RSAPrivateKey) or key.key_size < 2048:
        raise ConfigError(f"key {kid} is not an RSA key of at least 2,048 bits")
    return key


def load_public(folder: Path | str) -> str:
    """Read the public keys `<kid>.pub` of a folder as a JWKS document: what a process verifies with from its start.

    What was read is remembered until the folder changes, so that a forked process need not read it again.
    """
    try:
        changed = os.stat(folder).st_mtime_ns  # noqa: PTH116 - every process does this first of all
    except FileNotFoundError:
        return jwks(())
    return _published(folder, changed) if settled(changed) else _published.__wrapped__(folder, changed)


def settled(changed: int) -> bool:
    """Tell whether a folder of this time of change (ns) would show another change by another time.

    The kernel's clock goes on by steps of up to 10 ms.
    """
    return time.time_ns() - changed > 20_000_000


@lru_cache(maxsize=8)
def _published(folder: Path | str, _changed: int) -> str:
    keys = []
    for name in sorted(name for name in os.listdir(folder) if name.endswith(".pub")):  # noqa: PTH208 - as above
        path = f"{folder}/{name}"
        try:
            with open(path, "rb") as file:  # noqa: PTH123 - every process reads them at its start, before anything else
                key = read_pem(file.read())
        except (ValueError, OSError) as err:
            raise ConfigError(f"{path}: {err}") from None
        keys.append(_jwk(name[:-4], key))
    return jwks(keys)


def public_jwks(keys: Iterable[SigningKey]) -> str:
    """Give the public halves as a JWKS document (RFC 7517)."""
    return jwks(_jwk(key.kid, key.public) for key in keys)


def jwks(keys: Iterable[Mapping[str, str]]) -> str:
    """Write a JWKS document."""
    return json.dumps({"keys": list(keys)}, separators=(",", ":"))


def _jwk(kid: str, key: PublicKey) -> dict[str, str]:
    use = {"kty": "RSA", "use": "sig", "alg": ALGORITHM, "kid": kid}
    return {**use, "n": _number(key.modulus), "e": _number(key.exponent)}


def thumbprint(key: RSAPublicKey) -> str:
    """Give the RFC 7638 thumbprint of a key."""
    numbers = key.public_numbers()
    members = {"e": _number(numbers.e), "kty": "RSA", "n": _number(numbers.n)}  # in this very order
    return encode(hashlib.sha256(json.dumps(members, separators=(",", ":")).encode()).digest())


def claims(
    id: str,
    *,
    issuer: str = "micro",
    type: str = "user",
    scopes: Sequence[str] = (),
    metadata: Mapping[str, str] | None = None,
    name: str = "",
    use: str = ACCESS,
    audience: Sequence[str] = (PLATFORM,),
    ttl: float = 900,
    now: float | None = None,
    token_id: str = "",
) -> dict[str, Any]:
    """Say what a token says of an account: the wire's claims, and ours. `ttl` in seconds, cut to the kind's limit.

    `token_id` is made when empty. One audience goes as text: peers do not read a list.
    """
    issued = int(time.time() if now is None else now)
    return {
        "type": type,
        "scopes": list(scopes),
        "metadata": dict(metadata) if metadata else None,
        "name": name or id,
        "exp": issued + int(min(ttl, LIFE[use])),
        "nbf": issued - BACKDATE,
        "iat": issued,
        "iss": issuer,
        "sub": id,
        "aud": audience[0] if len(audience) == 1 else list(audience),
        "use": use,
        "jti": token_id or secrets.token_hex(16),
    }


def sign(payload: Mapping[str, Any], key: SigningKey) -> str:
    """Make a token; about 1.5 ms."""
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.hashes import SHA256

    header = {"alg": ALGORITHM, "typ": "JWT", "kid": key.kid}
    text = f"{_piece(header)}.{_piece(payload)}"
    return f"{text}.{encode(key.private.sign(text.encode(), PKCS1v15(), SHA256()))}"


def _piece(value: Mapping[str, Any]) -> str:
    return encode(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode())


def encode(raw: bytes) -> str:
    """Write bytes as base64url without padding, as JOSE does."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _number(value: int) -> str:
    return encode(value.to_bytes((value.bit_length() + 7) // 8, "big"))
