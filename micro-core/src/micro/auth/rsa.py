"""RSA's public half, for reading signatures: RS256 (PKCS#1 v1.5 with SHA-256) and nothing else.

A process verifies a few tokens when it starts, and most never more than a few dozen. Importing `cryptography` costs each
of them 40 ms and 2 MiB, as much as 130 signatures checked here; so the first are checked here, and a process that sees
more goes over to the library, which is five times faster. Nothing here is secret, so nothing here need be constant in
time; what is compared is the whole encoded message, made anew, so that no other padding can pass.
"""

from __future__ import annotations

import binascii
import hashlib
from typing import Any

HERE = 100  # signatures of a process that are checked here
LEAST = 2048  # bits of a key
_SHA256 = bytes.fromhex("3031300d060960864801650304020105000420")  # DigestInfo up to the digest, RFC 8017 §9.2
_OID = bytes.fromhex("06092a864886f70d010101")  # rsaEncryption

_checked = 0


class PublicKey:
    """A modulus and an exponent."""

    __slots__ = ("_library", "exponent", "modulus")

    def __init__(self, modulus: int, exponent: int) -> None:
        """Raises ValueError for numbers that are no key to trust."""
        if modulus.bit_length() < LEAST or not modulus & 1 or exponent < 3 or not exponent & 1 or exponent >> 32:
            raise ValueError(f"not an RSA key of at least {LEAST:,} bits")
        self.modulus = modulus
        self.exponent = exponent
        self._library: Any = None

    def verify(self, signature: bytes, message: bytes) -> bool:
        """Tell whether a signature is this key's over a message."""
        global _checked  # noqa: PLW0603 - a process's own count
        _checked += 1
        if _checked > HERE:
            return self._verify_by_library(signature, message)
        size = (self.modulus.bit_length() + 7) // 8
        number = int.from_bytes(signature, "big")
        if len(signature) != size or number >= self.modulus:
            return False
        digest = _SHA256 + hashlib.sha256(message).digest()
        expected = b"\x00\x01" + b"\xff" * (size - len(digest) - 3) + b"\x00" + digest
        return pow(number, self.exponent, self.modulus).to_bytes(size, "big") == expected

    def _verify_by_library(self, signature: bytes, message: bytes) -> bool:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
        from cryptography.hazmat.primitives.hashes import SHA256

        if self._library is None:
            self._library = RSAPublicNumbers(self.exponent, self.modulus).public_key()
        try:
            self._library.verify(signature, message, PKCS1v15(), SHA256())
        except InvalidSignature:
            return False
        return True


def read_pem(pem: bytes) -> PublicKey:
    """Read a public key as PEM (`BEGIN PUBLIC KEY`, PKIX); raises ValueError."""
    outer = _value(_body(pem, b"PUBLIC KEY"), 0x30)[0]
    algorithm, rest = _value(outer, 0x30)
    bits, end = _value(rest, 0x03)
    if algorithm != _OID + b"\x05\x00" or end or bits[:1] != b"\x00":
        raise ValueError("not an RSA key")
    modulus, rest = _value(_value(bits[1:], 0x30)[0], 0x02)
    exponent, end = _value(rest, 0x02)
    if end:
        raise ValueError("not an RSA key")
    return PublicKey(int.from_bytes(modulus, "big"), int.from_bytes(exponent, "big"))


def read_private_pem(pem: bytes) -> PublicKey:
    """Read the public half out of a private key as PEM (`BEGIN RSA PRIVATE KEY`, PKCS#1); raises ValueError."""
    version, rest = _value(_value(_body(pem, b"RSA PRIVATE KEY"), 0x30)[0], 0x02)
    modulus, rest = _value(rest, 0x02)
    exponent, rest = _value(rest, 0x02)
    for _ in range(6):  # d, p, q, and three that only make it faster
        _, rest = _value(rest, 0x02)
    if version != b"\x00" or rest:
        raise ValueError("not an RSA key")
    return PublicKey(int.from_bytes(modulus, "big"), int.from_bytes(exponent, "big"))


def _body(pem: bytes, label: bytes) -> bytes:
    lines = [line.strip() for line in pem.split(b"\n") if line.strip()]
    if len(lines) < 3 or lines[0] != b"-----BEGIN %b-----" % label or lines[-1] != b"-----END %b-----" % label:
        raise ValueError(f"not a {label.decode().lower()} in PEM")
    try:
        return binascii.a2b_base64(b"".join(lines[1:-1]), strict_mode=True)
    except binascii.Error:
        raise ValueError(f"not a {label.decode().lower()} in PEM") from None


def _value(raw: bytes, tag: int) -> tuple[bytes, bytes]:
    """Give the content of the DER element at the front, which must have this tag, and what follows it."""
    if len(raw) < 2 or raw[0] != tag:
        raise ValueError("not an RSA key")
    size, at = raw[1], 2
    if size & 0x80:
        at += size & 0x7F
        size = int.from_bytes(raw[2:at], "big")
    if len(raw) < at + size:
        raise ValueError("a key that is cut off")
    return raw[at : at + size], raw[at + size :]
