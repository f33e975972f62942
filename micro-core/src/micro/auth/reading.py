"""Reading tokens, strictly: anything that is not exactly what `tokens.py` writes is refused.

The signature comes first: nothing of the payload is looked at before. The header may say `RS256`, `JWT` and the id of
a key that is known; other members, which could lead a reader somewhere, are refused rather than ignored.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NoReturn

from micro import names
from micro.auth.rsa import PublicKey
from micro.auth.tokens import ACCESS, ALGORITHM, LIFE
from micro.context import Account
from micro.errors import ServiceError, Unauthenticated

MAX_TOKEN = 8192  # bytes; ours have about 900, and half a proxy's header limit is left for the rest
SKEW = 60  # seconds that two clocks may differ
_HEADER = frozenset({"alg", "typ", "kid"})
_LATEST = 1 << 53  # seconds; beyond it numbers are not what was written
DEAD_TOKEN = "invalid token provided"  # noqa: S105 - a text; a Go service falls back to its id and secret on it


class UnknownKeyError(Exception):
    """The token names a key that is not in the set: perhaps a new one."""


class Verified:
    """What a good token says: its account, its kind, its id, when it was made and when it ends (unix seconds)."""

    __slots__ = ("account", "expires", "issued", "token_id", "use")

    def __init__(self, account: Account, use: str, token_id: str, issued: int, expires: int) -> None:
        self.account = account
        self.use = use
        self.token_id = token_id
        self.issued = issued
        self.expires = expires


@lru_cache(maxsize=8)
def key_set(document: str) -> KeySet:
    """Give the keys of a JWKS document; read once, also for processes that are forked later."""
    return KeySet(document)


class KeySet:
    """Public keys by id, from a JWKS document. Immutable; keys are made usable when first asked for."""

    def __init__(self, document: str = "") -> None:
        self._raw: dict[str, Mapping[str, Any]] = {}
        self._ready: dict[str, PublicKey] = {}
        for key in json.loads(document).get("keys", []) if document else []:
            if key.get("kty") == "RSA" and key.get("alg", ALGORITHM) == ALGORITHM and isinstance(key.get("kid"), str):
                self._raw[key["kid"]] = key

    def __contains__(self, kid: str) -> bool:
        return kid in self._raw

    def __len__(self) -> int:
        return len(self._raw)

    def merged(self, other: KeySet) -> KeySet:
        """Give a set of both; a key of this one is not replaced by another of its id."""
        made = KeySet()
        made._raw = {**other._raw, **self._raw}
        made._ready = dict(self._ready)
        return made

    def get(self, kid: str) -> PublicKey:
        """Give a key; raises UnknownKeyError."""
        found = self._ready.get(kid)
        if found is None:
            raw = self._raw.get(kid)
            if raw is None:
                raise UnknownKeyError(kid)
            exponent, modulus = (int.from_bytes(_decode(raw[part].encode()), "big") for part in ("e", "n"))
            try:
                found = self._ready[kid] = PublicKey(modulus, exponent)
            except ValueError:
                raise UnknownKeyError(kid) from None
        return found


def borne(authorization: bytes) -> bytes:
    """Give the token that a value of `Authorization` bears: Bearer's, or Basic's password; else Unauthenticated."""
    scheme, _, rest = authorization.partition(b" ")
    if scheme == b"Bearer":
        return rest
    if scheme != b"Basic":
        raise Unauthenticated("invalid authorization header. Expected Bearer or Basic schema")
    try:
        return base64.b64decode(rest, validate=True).split(b":", 1)[1]
    except (binascii.Error, IndexError):
        raise Unauthenticated("invalid authorization header. Incorrect format") from None


def verify(token: bytes, keys: KeySet, *, now: float, uses: frozenset[str] = frozenset({ACCESS})) -> Verified:
    """Read a token of one of these kinds. Whom it is meant for, and what was revoked, is the caller's to judge.

    Raises Unauthenticated, or UnknownKeyError when the key may be a new one.
    """
    if len(token) > MAX_TOKEN:
        _refuse()
    parts = token.split(b".")
    if len(parts) != 3:
        _refuse()
    header = _object(parts[0])
    kid = header.get("kid")
    if header.keys() != _HEADER or header["alg"] != ALGORITHM or header["typ"] != "JWT" or not isinstance(kid, str):
        _refuse()
    if not keys.get(kid).verify(_decode(parts[2]), parts[0] + b"." + parts[1]):
        _refuse()
    return _read(_object(parts[1]), token, now, uses)


def issued(token: str) -> tuple[str, int]:
    """Give a token's id and the second it was issued in; of one that `verify` has read before."""
    said = _object(token.split(".")[1].encode())
    return said["jti"], said["iat"]


def _read(said: dict[str, Any], token: bytes, now: float, uses: frozenset[str]) -> Verified:
    use = said.get("use")
    if not isinstance(use, str) or use not in uses:
        _refuse()
    expires, issued, starts = (_instant(said.get(claim)) for claim in ("exp", "iat", "nbf"))
    if expires - issued > LIFE[use]:
        _refuse()
    if expires + SKEW <= now:
        raise Unauthenticated("token is expired")
    if max(issued, starts) - SKEW > now:
        raise Unauthenticated("token is not valid yet")
    token_id = said.get("jti")
    if not isinstance(token_id, str) or not token_id:
        _refuse()
    return Verified(_account(said, expires, token.decode()), use, token_id, issued, expires)


def _account(said: dict[str, Any], expires: int, token: str) -> Account:
    id, issuer, kind, name = (said.get(claim) for claim in ("sub", "iss", "type", "name"))
    scopes, metadata, audience = said.get("scopes"), said.get("metadata"), said.get("aud")
    if not (isinstance(id, str) and isinstance(issuer, str) and isinstance(kind, str) and kind):
        _refuse()
    if name is not None and not isinstance(name, str):
        _refuse()
    if isinstance(audience, str):
        audience = [audience]
    if not audience or not _texts(audience) or not (scopes is None or _texts(scopes)):
        _refuse()
    if metadata is not None and not (isinstance(metadata, dict) and _texts(list(metadata.values()))):
        _refuse()
    try:
        names.account(id)
        names.namespace(issuer)
    except ServiceError:
        _refuse()
    return Account(
        id,
        issuer=issuer,
        type=kind,
        scopes=tuple(scopes or ()),
        metadata=metadata,
        name=name or "",
        audience=tuple(audience),
        expires=float(expires),
        token=token,
    )


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _instant(value: Any) -> int:
    if type(value) is not int or not 0 <= value < _LATEST:  # a bool is an int, too
        _refuse()
    return value


def _object(piece: bytes) -> dict[str, Any]:
    try:
        found = json.loads(_decode(piece).decode(), object_pairs_hook=_once, parse_constant=_constant)
    except (ValueError, RecursionError):  # not UTF-8, not JSON, a number of thousands of digits, or too deep
        _refuse()
    if not isinstance(found, dict):
        _refuse()
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member is there twice")
    return found


def _constant(word: str) -> NoReturn:
    raise ValueError(word)


_TO_STANDARD = bytes.maketrans(b"-_+/", b"+/!!")  # `!` is in no alphabet


def _decode(piece: bytes) -> bytes:
    """Read base64url without padding; one text for each value, so that no other text passes for it."""
    try:
        raw = binascii.a2b_base64(piece.translate(_TO_STANDARD) + b"=" * (-len(piece) % 4), strict_mode=True)
    except binascii.Error:
        _refuse()
    if not piece or binascii.b2a_base64(raw, newline=False).rstrip(b"=") != piece.translate(_TO_STANDARD):
        _refuse()
    return raw


def _refuse() -> NoReturn:
    """One text for all that is wrong: a forger learns nothing from it. Nothing of the token is kept in a traceback."""
    raise Unauthenticated(DEAD_TOKEN) from None
