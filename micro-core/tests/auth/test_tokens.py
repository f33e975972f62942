"""Tokens: what is read, what is refused, and the files that keys are in."""

import hmac
import json
import os
import random
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization as pem
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from micro.auth import tokens
from micro.auth.keyring import Keyring
from micro.auth.reading import MAX_TOKEN, KeySet, UnknownKeyError, verify
from micro.auth.tokens import SigningKey, claims, encode, generate_key, load_keys, load_public, public_jwks, sign
from micro.errors import ConfigError, Unauthenticated

NOW = 1_000_000_000
CASES = json.loads((Path(__file__).parent / "tokens.json").read_text())


@pytest.fixture(scope="module")
def other() -> SigningKey:
    return generate_key()


@pytest.fixture(scope="module")
def keys(key: SigningKey) -> KeySet:
    return KeySet(public_jwks([key]))


def said() -> dict[str, Any]:
    return claims("ann", issuer="shop", scopes=["admin"], metadata={"k": "v"}, now=NOW)


def instants(value: Any) -> Any:
    return NOW + value["now"] if isinstance(value, dict) and set(value) == {"now"} else value


def build(case: dict[str, Any], key: SigningKey, other: SigningKey) -> str:
    """Make a case's token: a good one, but for what the case says."""
    header = {"alg": "RS256", "typ": "JWT", "kid": key.kid} | case.get("header", {})
    payload = said() | {name: instants(value) for name, value in case.get("claims", {}).items()}
    for name in case.get("drop_header", []):
        del header[name]
    for name in case.get("drop", []):
        del payload[name]
    raw_header = case.get("raw_header", json.dumps(header)).replace("KID", key.kid)
    raw_claims = case.get("raw_claims", json.dumps(payload)).replace("DIGITS", "1" * 5000)
    raw_claims = raw_claims.replace("DEEP", '{"a":' * 2000 + "1" + "}" * 2000)
    if "twice" in case:
        raw_claims = raw_claims.replace("{", "{" + case["twice"] + ",", 1)
    text = f"{encode(raw_header.encode())}.{encode(raw_claims.encode())}"
    pieces = [*text.split("."), encode(signature(case.get("signature", "own"), text.encode(), key, other))]
    shape = case.get("token", "{0}.{1}.{2}").replace("DOTS", "." * 2**20).replace("LETTERS", "a" * 2**20)
    return shape.format(*pieces, other=sign(said(), key).split(".")[2])


def signature(how: str, text: bytes, key: SigningKey, other: SigningKey) -> bytes:
    if how == "hmac":
        public = key.private.public_key().public_bytes(pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo)
        return hmac.digest(public, text, "sha256")
    if how == "":
        return b""
    return (other if how == "other" else key).private.sign(text, PKCS1v15(), SHA256())


class TestReading:
    @pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
    def test_a_token(self, case: dict[str, Any], key: SigningKey, other: SigningKey, keys: KeySet) -> None:
        token = build(case, key, other).encode()
        if case["expected"] == "good":
            assert verify(token, keys, now=NOW).account.id == "ann"
            return
        with pytest.raises(UnknownKeyError if case["expected"] == "unknown key" else Unauthenticated):
            verify(token, keys, now=NOW)

    def test_a_token_says_of_its_account_all_there_is(self, key: SigningKey, keys: KeySet) -> None:
        token = sign(said(), key)
        found = verify(token.encode(), keys, now=NOW)
        account = found.account
        assert (account.id, account.issuer, account.type, account.name) == ("ann", "shop", "user", "ann")
        assert (account.scopes, account.metadata, account.audience) == (("admin",), {"k": "v"}, ("micro",))
        assert (account.token, account.expires, found.issued, found.use) == (token, NOW + 900, NOW, "access")
        assert "eyJ" not in repr(account)

    def test_no_bit_of_a_token_can_be_another(self, key: SigningKey, keys: KeySet) -> None:
        good = bytearray(sign(said(), key).encode())
        positions = [(at, bit) for at in range(len(good)) for bit in range(8)]
        for at, bit in random.Random(1).sample(positions, 400) + [(len(good) - 1, bit) for bit in range(8)]:
            bad = good.copy()
            bad[at] ^= 1 << bit
            with pytest.raises((Unauthenticated, UnknownKeyError)):
                verify(bytes(bad), keys, now=NOW)

    def test_noise_is_refused_and_nothing_worse(self, key: SigningKey, keys: KeySet) -> None:
        chance = random.Random(2)
        head = sign(said(), key).split(".")[0]
        for _ in range(2000):
            noise = chance.randbytes(chance.randrange(60))
            for token in (noise, noise.replace(b".", b"") + b".e30.AA", f"{head}.".encode() + noise + b".AA"):
                with pytest.raises((Unauthenticated, UnknownKeyError)):
                    verify(token, keys, now=NOW)

    def test_the_longest_token_that_is_made_can_be_read(self, key: SigningKey, keys: KeySet) -> None:
        wide = claims(
            "a" * 63, issuer="n" * 63, name="b" * 63, scopes=["é" * 127] * 8, metadata={"k": "v" * 1024, "l": "w" * 1000},
            now=NOW,
        )  # fmt: skip
        token = sign(wide, key).encode()
        assert len(token) < MAX_TOKEN
        assert verify(token, keys, now=NOW).account.scopes == ("é" * 127,) * 8

    def test_a_kinds_life_has_an_end(self) -> None:
        for use, life in tokens.LIFE.items():
            made = claims("ann", use=use, ttl=10**9, now=NOW)
            assert made["exp"] - made["iat"] == life

    def test_one_audience_goes_as_text(self) -> None:
        assert claims("ann")["aud"] == "micro"
        assert claims("ann", audience=("a", "b"))["aud"] == ["a", "b"]

    def test_a_key_of_a_set_is_not_replaced_by_a_later_ones(self, key: SigningKey, other: SigningKey) -> None:
        forged = json.loads(public_jwks([other]))
        forged["keys"][0]["kid"] = key.kid
        merged = KeySet(public_jwks([key])).merged(KeySet(json.dumps(forged)))
        assert verify(sign(said(), key).encode(), merged, now=NOW)
        with pytest.raises(Unauthenticated):
            verify(sign(said(), SigningKey(key.kid, other.private)).encode(), merged, now=NOW)

    def test_keys_of_other_kinds_are_left_out(self, key: SigningKey) -> None:
        mixed = json.loads(public_jwks([key]))["keys"]
        odd = [{**mixed[0], "kid": 1}, {**mixed[0], "kid": "a", "kty": "oct"}, {**mixed[0], "kid": "b", "alg": "HS256"}]
        assert len(KeySet(json.dumps({"keys": [*mixed, *odd]}))) == 1


class TestKeyFiles:
    def test_a_key_is_made_for_its_owner_alone(self, tmp_path: Path) -> None:
        folder = tmp_path / "keys"
        ring = Keyring(folder)
        before = os.umask(0)
        try:
            ring.open()
        finally:
            os.umask(before)
        (file,) = folder.iterdir()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert file.name == f"{ring.keys[0].kid}.pem"
        assert ring.keys[0].private.key_size == 3072
        again = Keyring(folder)
        again.open()
        assert again.keys[0].kid == ring.keys[0].kid

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
    def test_a_key_that_others_may_read_is_refused(self, tmp_path: Path, key: SigningKey, mode: int) -> None:
        file = tmp_path / f"{key.kid}.pem"
        file.write_bytes(tokens.key_pem(key))
        file.chmod(mode)
        with pytest.raises(ConfigError, match="chmod 600"):
            load_keys(tmp_path)

    def test_what_is_no_key_is_refused(self, tmp_path: Path) -> None:
        file = tmp_path / "k.pem"
        file.touch(mode=0o600)
        for content in (b"", b"-----BEGIN RSA PRIVATE KEY-----\n", b"\x00" * 100):
            file.write_bytes(content)
            with pytest.raises(ConfigError):
                load_keys(tmp_path)

    def test_the_newest_key_signs_and_is_taken_up_while_running(
        self, tmp_path: Path, key: SigningKey, other: SigningKey
    ) -> None:
        def put(one: SigningKey, stamp: int) -> None:
            file = tmp_path / f"{one.kid}.pem"
            file.touch(mode=0o600)
            file.write_bytes(tokens.key_pem(one))
            os.utime(file, (stamp, stamp))

        put(key, 1000)
        ring = Keyring(tmp_path)
        ring.open()
        assert [one.kid for one in ring.keys] == [key.kid]
        put(other, 2000)
        assert [one.kid for one in ring.keys] == [other.kid, key.kid]

    def test_public_keys_are_read_as_the_private_ones_say(self, tmp_path: Path, key: SigningKey) -> None:
        public = key.private.public_key().public_bytes(pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo)
        (tmp_path / f"{key.kid}.pub").write_bytes(public)
        assert load_public(tmp_path) == public_jwks([key])
        (tmp_path / "bad.pub").write_bytes(b"x")
        with pytest.raises(ConfigError):
            load_public(tmp_path)
