"""Signatures checked in plain integers: the library's answer, bit for bit, and nothing else passes."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives import serialization as pem
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric import rsa as library
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS, PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256, SHA384

from micro.auth import rsa

MESSAGE = b"header.payload"


@pytest.fixture(scope="module")
def private() -> library.RSAPrivateKey:
    return library.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
def key(private: library.RSAPrivateKey, monkeypatch: pytest.MonkeyPatch) -> rsa.PublicKey:
    monkeypatch.setattr(rsa, "_checked", 0)
    numbers = private.public_key().public_numbers()
    return rsa.PublicKey(numbers.n, numbers.e)


def both(key: rsa.PublicKey, signature: bytes, message: bytes = MESSAGE) -> bool:
    rsa._checked = 0
    here = key.verify(signature, message)
    assert key._verify_by_library(signature, message) is here
    return here


def raw(private: library.RSAPrivateKey, encoded: bytes) -> bytes:
    """Sign whatever is given: what no honest signer makes."""
    numbers = private.private_numbers()
    return pow(int.from_bytes(encoded, "big"), numbers.d, numbers.public_numbers.n).to_bytes(256, "big")


def test_a_good_signature_passes_and_no_bit_of_it_may_change(
    private: library.RSAPrivateKey, key: rsa.PublicKey
) -> None:
    signature = private.sign(MESSAGE, PKCS1v15(), SHA256())
    assert both(key, signature)
    assert not both(key, signature, MESSAGE + b"x")
    for bit in range(0, 2048, 97):
        changed = (int.from_bytes(signature, "big") ^ 1 << bit).to_bytes(256, "big")
        assert not both(key, changed)


def test_other_paddings_and_digests_do_not_pass(private: library.RSAPrivateKey, key: rsa.PublicKey) -> None:
    assert not both(key, private.sign(MESSAGE, PSS(MGF1(SHA256()), 32), SHA256()))
    assert not both(key, private.sign(MESSAGE, PKCS1v15(), SHA384()))
    digest = rsa._SHA256 + hashlib.sha256(MESSAGE).digest()
    good = b"\x00\x01" + b"\xff" * (253 - len(digest)) + b"\x00" + digest
    assert both(key, raw(private, good))
    short = b"\x00\x01" + b"\xff" * 8 + b"\x00" + digest  # what follows is the forger's to choose
    assert not both(key, raw(private, short + b"\x00" * (256 - len(short))))
    assert not both(key, raw(private, good.replace(b"\x05\x00\x04\x20", b"\x05\x01\x04\x20")))
    assert not both(key, raw(private, b"\x00\x02" + good[2:]))
    assert not both(key, raw(private, good[:100] + b"\xfe" + good[101:]))


def test_numbers_out_of_range_do_not_pass(private: library.RSAPrivateKey, key: rsa.PublicKey) -> None:
    signature = private.sign(MESSAGE, PKCS1v15(), SHA256())
    number = int.from_bytes(signature, "big")
    for odd in (b"", b"\x00", signature[1:], b"\x00" + signature, b"\x00" * 256, b"\xff" * 256):
        assert not both(key, odd)
    if (number + key.modulus).bit_length() <= 2048:
        assert not both(key, (number + key.modulus).to_bytes(256, "big"))


def test_a_busy_process_goes_over_to_the_library(
    private: library.RSAPrivateKey, key: rsa.PublicKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    signature = private.sign(MESSAGE, PKCS1v15(), SHA256())
    monkeypatch.setattr(rsa, "HERE", 2)
    assert [key.verify(signature, MESSAGE) for _ in range(4)] == [True] * 4
    assert key._library is not None
    assert not key.verify(signature, b"other")


def test_pem_is_read_as_the_library_reads_it(private: library.RSAPrivateKey) -> None:
    text = private.public_key().public_bytes(pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo)
    numbers = private.public_key().public_numbers()
    for form in (text, text.replace(b"\n", b"\r\n"), b"\n" + text + b"\n"):
        found = rsa.read_pem(form)
        assert (found.modulus, found.exponent) == (numbers.n, numbers.e)


def test_what_is_no_rsa_key_in_pem_is_refused(private: library.RSAPrivateKey) -> None:
    public = private.public_key()
    text = public.public_bytes(pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo)
    pkcs1 = public.public_bytes(pem.Encoding.PEM, pem.PublicFormat.PKCS1)
    curve = ec.generate_private_key(ec.SECP256R1()).public_key()
    other = curve.public_bytes(pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo)
    small = b"-----BEGIN PUBLIC KEY-----\n%s\n-----END PUBLIC KEY-----\n"
    cut = text.splitlines()
    for odd in (
        b"",
        b"x",
        pkcs1,
        other,
        small % b"AAAA",
        small % b"MA==",
        small % b"!",
        b"\n".join([*cut[:3], cut[-1]]),
    ):
        with pytest.raises(ValueError):
            rsa.read_pem(odd)


def test_numbers_that_are_no_key_are_refused() -> None:
    for modulus, exponent in ((15, 3), (1 << 2048, 65537), ((1 << 2048) + 1, 1), ((1 << 2048) + 1, 4)):
        with pytest.raises(ValueError):
            rsa.PublicKey(modulus, exponent)
