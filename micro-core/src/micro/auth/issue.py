"""Issuing tokens: for a secret, for a refresh token, for another token.

A refresh token of a login is random text, kept as a hash, good once. Its use makes a successor. Who comes with the
predecessor within a minute (two commands at once, an answer that was lost) is given the same successor: that is kept
XORed with a hash of the predecessor, so that only who has the one can have the other. Later, or with an older one, the
whole login ends, for somebody else has a copy.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import secrets as random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from micro import names
from micro.auth import records, tokens, wire
from micro.auth.attempts import Attempts
from micro.auth.driver import Credentials, Exchange, Grant, Refresh, Revocation, Token, token_digest
from micro.auth.reading import DEAD_TOKEN, Verified
from micro.auth.records import Kept
from micro.auth.secrets import Secrets
from micro.auth.tokens import ACCESS, PLATFORM, RENEW, SECRET
from micro.errors import Aborted, AlreadyExists, InvalidArgument, ServiceError, Unauthenticated

if TYPE_CHECKING:
    from micro.auth.keyring import Keyring
    from micro.auth.table import Accounts

GRACE = 60.0  # seconds in which a predecessor gives its successor again
FAMILY, TEXT = 16, 32  # bytes of a refresh token: its login's, its own; the account's id follows
TRIES = 8  # lost races until a renewal gives up


class Issuer:
    """Signs tokens for those who may have them. Everybody else is told the same: nothing of who exists."""

    def __init__(
        self, accounts: Accounts, keyring: Keyring, secrets: Secrets, attempts: Attempts, clock: Callable[[], float]
    ) -> None:
        self._accounts = accounts
        self._store = accounts.store
        self._keyring = keyring
        self._secrets = secrets
        self._attempts = attempts
        self._clock = clock

    async def issue(self, namespace: str, grant: Grant, *, ttl: float, audience: Sequence[str]) -> Token:
        """See AuthDriver.token."""
        if isinstance(grant, Exchange):
            return await self._exchange(grant, ttl, audience)
        if isinstance(grant, Refresh):
            if grant.token.count(".") == 2:
                return await self._renew_signed(grant.token, ttl, audience)
            return await self._renew(namespace, grant.token, ttl, audience)
        return await self._login(namespace, grant, ttl, audience)

    # by secret

    async def _login(self, namespace: str, grant: Credentials, ttl: float, audience: Sequence[str]) -> Token:
        if grant.secret.count(".") == 2:
            try:
                return await self._renew_signed(grant.secret, ttl, audience, namespace=namespace, id=grant.id)
            except Unauthenticated:
                _refuse(wire.WRONG_SECRET)
        kept = await self._accounts.find(namespace, grant.id)
        stored = kept.secret if kept is not None else ""
        # an account has one count of failures, whether it is called by its id or its name
        who = f"{namespace}/{kept.account.id if kept is not None else grant.id}"
        if not await self._tried(who, grant.peer, grant.secret, stored) or kept is None:
            _refuse(wire.WRONG_SECRET)
        if self._secrets.outdated(stored):
            await self._rewrite(kept, grant.secret)
        family = random.token_bytes(FAMILY)
        text = random.token_bytes(TEXT)
        record = {"hash": _hash(text), "created": self._now(kept)}
        where = records.refresh_key(namespace, kept.account.id, family.hex())
        await self._store.write(where, records.dump(record), ttl=tokens.LIFE[RENEW])
        return self._token(kept, ttl, audience, refresh=_join(family, text, kept.account.id), family=family)

    async def check_secret(self, kept: Kept, secret: str) -> None:
        """Check an account's present secret, under the limit on failures; InvalidArgument for a wrong one."""
        if not await self._tried(f"{kept.account.issuer}/{kept.account.id}", "", secret, kept.secret):
            raise InvalidArgument(wire.WRONG_SECRET)

    async def _tried(self, who: str, peer: str, secret: str, stored: str) -> bool:
        charge = await self._attempts.wait(who, peer)
        if await self._secrets.matches(secret, stored):
            self._attempts.succeeded(who, peer)
            return True
        self._attempts.failed(charge)
        return False

    async def _rewrite(self, kept: Kept, secret: str) -> None:
        made = await self._secrets.store(secret, service=kept.account.type == "service")
        with contextlib.suppress(Aborted, AlreadyExists):  # somebody changed the account; the next login does it
            await self._accounts.replace(kept, kept.changed(secret=made))

    # by refresh token

    async def _renew_signed(
        self, token: str, ttl: float, audience: Sequence[str], *, namespace: str = "", id: str = ""
    ) -> Token:
        """Renew by a token of kind `renew` or `secret`: what a started service has, and gets."""
        found = await self._accounts.verify(token, frozenset({RENEW, SECRET}))
        account = found.account
        if (namespace and namespace != account.issuer) or (id and id not in {account.id, account.name}):
            _refuse(DEAD_TOKEN)
        kept = await self._accounts.find(account.issuer, account.id)
        if kept is None or kept.account.id != account.id or found.issued < kept.before:
            _refuse(DEAD_TOKEN)
        renewable = self._sign(kept, RENEW, tokens.LIFE[RENEW], (PLATFORM,))
        return self._token(kept, ttl, audience, refresh=renewable)

    async def _renew(self, namespace: str, token: str, ttl: float, audience: Sequence[str]) -> Token:
        family, text, id = _split(token)
        where = records.refresh_key(namespace, id, family.hex())
        for _ in range(TRIES):
            kept = await self._accounts.find(namespace, id)
            found = (await self._store.read_many([where]))[0]
            if kept is None or found is None:
                break
            login = _Login(where, records.load(where, found.value), found.version)
            if login.record["created"] < kept.before:
                break
            try:
                successor = await self._succeed(login, namespace, family, text)
            except (Aborted, AlreadyExists):
                continue  # another renewal was faster: this token is the predecessor now
            return self._token(kept, ttl, audience, refresh=_join(family, successor, id), family=family)
        raise Unauthenticated(DEAD_TOKEN)

    async def _succeed(self, login: _Login, namespace: str, family: bytes, text: bytes) -> bytes:
        """Give a token's successor; ends the login when the token is not the last or the one before."""
        record, now = login.record, self._clock()
        given = _hash(text)
        if random.compare_digest(given, record["hash"]):
            successor = random.token_bytes(TEXT)
            made = {
                "hash": _hash(successor),
                "created": record["created"],
                "last": given,
                "at": now,
                "successor": _mask(successor, text).hex(),
            }
            await self._store.write(login.key, records.dump(made), ttl=tokens.LIFE[RENEW], if_version=login.version)
            return successor
        if random.compare_digest(given, record.get("last", "")) and now - record["at"] <= GRACE:
            return _mask(bytes.fromhex(record["successor"]), text)
        digest = token_digest(namespace, family_id(family))
        async with self._store.batch() as batch:
            batch.delete(login.key)
            revocation = records.dump_revocation(Revocation(token=digest))
            batch.write(records.revoked_key(digest), revocation, ttl=tokens.LIFE[ACCESS] * 2)
        raise Unauthenticated(DEAD_TOKEN)

    # by another token

    async def _exchange(self, grant: Exchange, ttl: float, audience: Sequence[str]) -> Token:
        found = await self._accounts.verify(grant.token, frozenset({ACCESS}))
        if PLATFORM not in found.account.audience:
            raise Unauthenticated("the token is itself an exchanged one")
        now = self._clock()
        said = tokens.claims(
            found.account.id,
            issuer=found.account.issuer,
            type=found.account.type,
            scopes=found.account.scopes,
            metadata=found.account.metadata,
            name=found.account.name,
            audience=audience,
            ttl=min(ttl, found.expires - now),
            now=now,
            token_id=_same_family(found),
        )
        said["iat"] = found.issued  # what revokes the one revokes the other
        return Token(tokens.sign(said, self._keyring.keys[0]), "", int(now), said["exp"])

    # signing

    def secret(self, kept: Kept) -> str:
        """Make the secret of a started service: a token good for a year, for nothing but getting others."""
        return self._sign(kept, SECRET, tokens.LIFE[SECRET], (PLATFORM,))

    def _token(self, kept: Kept, ttl: float, audience: Sequence[str], *, refresh: str, family: bytes = b"") -> Token:
        life = min(ttl, tokens.LIFE[ACCESS])
        now = self._now(kept)
        return Token(self._sign(kept, ACCESS, life, audience, family), refresh, now, now + int(life))

    def _sign(self, kept: Kept, use: str, ttl: float, audience: Sequence[str], family: bytes = b"") -> str:
        account = kept.account
        said = tokens.claims(
            account.id,
            issuer=account.issuer,
            type=account.type,
            scopes=account.scopes,
            metadata=account.metadata,
            name=account.name,
            use=use,
            audience=audience,
            ttl=ttl,
            now=self._now(kept),
            token_id=f"{family_id(family)}.{random.token_hex(8)}" if family else "",
        )
        return tokens.sign(said, self._keyring.keys[0])

    def _now(self, kept: Kept) -> int:
        """Give the second a token is issued in; never before the instant that ended the account's older ones."""
        return max(int(self._clock()), kept.before)


class _Login(NamedTuple):
    key: str
    record: dict[str, Any]
    version: int


def family_id(family: bytes) -> str:
    """Give a login's id in its tokens' `jti`: services see those, and must not learn how to end the login."""
    return hashlib.sha256(b"family" + family).hexdigest()[:16]


def _same_family(found: Verified) -> str:
    family, dot, _ = found.token_id.partition(".")
    return f"{family}.{random.token_hex(8)}" if dot else f"{found.token_id}.{random.token_hex(8)}"


def _hash(text: bytes) -> str:
    return hashlib.sha256(b"kept" + text).hexdigest()


def _mask(value: bytes, text: bytes) -> bytes:
    pad = hashlib.sha256(b"successor" + text).digest()
    return bytes(a ^ b for a, b in zip(value, pad, strict=True))


def _join(family: bytes, text: bytes, id: str) -> str:
    return base64.urlsafe_b64encode(family + text + id.encode()).rstrip(b"=").decode()


def _split(token: str) -> tuple[bytes, bytes, str]:
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        id = names.account(raw[FAMILY + TEXT :].decode())
    except (binascii.Error, ValueError, ServiceError):
        _refuse(DEAD_TOKEN)
    return raw[:FAMILY], raw[FAMILY : FAMILY + TEXT], id


def _refuse(text: str) -> NoReturn:
    raise Unauthenticated(text) from None
