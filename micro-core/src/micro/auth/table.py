"""Accounts in the table: found by id or name, changed under a condition, ended together with their tokens."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from micro.auth import records, tokens, wire
from micro.auth.driver import Revocation, account_digest, token_digest
from micro.auth.keyring import Keyring
from micro.auth.reading import DEAD_TOKEN, SKEW, KeySet, UnknownKeyError, Verified, verify
from micro.auth.records import Kept, account_key, name_key
from micro.auth.tokens import ACCESS, SECRET
from micro.errors import AlreadyExists, NotFound, Unauthenticated

if TYPE_CHECKING:
    from micro.store.api import Store

REMEMBER = tokens.LIFE[ACCESS] + 2 * SKEW  # seconds that a revocation outlives the last token it is about
KEYS_EVERY = 5.0  # seconds between looks for other servers' keys


class Accounts:
    """One table's accounts, and what their tokens are worth."""

    def __init__(self, store: Store, keyring: Keyring, clock: Callable[[], float]) -> None:
        self.store = store
        self._keyring = keyring
        self._clock = clock
        self._keys = KeySet()
        self._keys_next = 0.0
        self._published: dict[str, dict[str, Any]] = {}
        self._keys_lock = asyncio.Lock()

    # accounts

    async def find(self, namespace: str, id: str) -> Kept | None:
        """Give the account of this id, else of this name."""
        by_id = account_key(namespace, id)
        found, named = await self.store.read_many([by_id, name_key(namespace, id)])
        if found is None and named is not None:
            by_id = account_key(namespace, records.load(named.key, named.value)["id"])
            found = (await self.store.read_many([by_id]))[0]
        return None if found is None else Kept.load(by_id, found.value, found.version)

    async def all(self, namespace: str) -> list[Kept]:
        """Give a namespace's accounts, by id."""
        found = self.store.scan(account_key(namespace, ""))
        return [Kept.load(record.key, record.value, record.version) async for record in found]

    async def add(self, kept: Kept, *, mark: str = "") -> None:
        """Add an account; `mark` is a key that must be absent and then is not. AlreadyExists says what was taken."""
        account = kept.account
        called = {name_key(account.issuer, account.id), name_key(account.issuer, account.name)}
        try:
            async with self.store.batch() as batch:
                batch.write(account_key(account.issuer, account.id), kept.dump(), if_version=0)
                for key in sorted(called):
                    batch.write(key, records.dump({"id": account.id}), if_version=0)
                if mark:
                    batch.write(mark, b"{}", if_version=0)
        except AlreadyExists as err:
            taken = await self.find(account.issuer, account.id)
            raise AlreadyExists(wire.ID_TAKEN if taken else wire.NAME_TAKEN) from err

    async def replace(self, old: Kept, new: Kept) -> None:
        """Write an account that nobody changed meanwhile, else Aborted; its names must be the same."""
        account = old.account
        await self.store.write(account_key(account.issuer, account.id), new.dump(), if_version=old.version)

    async def remove(self, namespace: str, id: str) -> None:
        """Remove an account, and refuse its tokens from now on."""
        kept = await self.find(namespace, id)
        if kept is None or kept.account.id != id:
            raise NotFound(wire.NO_ACCOUNT)
        account = kept.account
        async with self.store.batch() as batch:
            batch.delete(account_key(namespace, id), if_version=kept.version)
            for name in {account.id, account.name}:
                batch.delete(name_key(namespace, name))
            batch.write(*self._revocation(namespace, id, self._ending()), ttl=REMEMBER)
        await self._end_logins(namespace, id)

    async def end_tokens(self, kept: Kept, *, secret: str | None = None) -> None:
        """Refuse all tokens an account was given, at once; and give it another secret, in the same step."""
        account = kept.account
        before = self._ending()
        async with self.store.batch() as batch:
            changed = kept.changed(secret=secret, before=before)
            batch.write(account_key(account.issuer, account.id), changed.dump(), if_version=kept.version)
            batch.write(*self._revocation(account.issuer, account.id, before), ttl=REMEMBER)
        await self._end_logins(account.issuer, account.id)

    async def refuse(self, namespace: str, id: str) -> None:
        """Refuse the tokens of an account that is not kept here, as those of the platform's own are."""
        key, value = self._revocation(namespace, id, self._ending())
        await self.store.write(key, value, ttl=REMEMBER)

    async def refuse_token(self, namespace: str, token_id: str) -> None:
        """Refuse one token, whatever its kind."""
        revocation = Revocation(token=token_digest(namespace, token_id))
        key = records.revoked_key(revocation.token)
        await self.store.write(key, records.dump_revocation(revocation), ttl=tokens.LIFE[SECRET])

    async def since(self, namespace: str, id: str) -> int:
        """Give the second from which on a new account's tokens count: none of an earlier one of its id does."""
        key = records.revoked_key(account_digest(namespace, id))
        found = (await self.store.read_many([key]))[0]
        ended = records.load_revocation(key, found.value).before if found else 0
        return max(int(self._clock()), ended)

    def _ending(self) -> int:
        return int(self._clock()) + 1  # tokens of this very second, too

    def _revocation(self, namespace: str, id: str, before: int) -> tuple[str, bytes]:
        digest = account_digest(namespace, id)
        return records.revoked_key(digest), records.dump_revocation(Revocation(account=digest, before=before))

    async def _end_logins(self, namespace: str, id: str) -> None:
        """Clear away; a login left over is older than its account's tokens may be, and so is dead already."""
        for key in await self.store.list(records.refresh_key(namespace, id, "")):
            await self.store.delete(key)

    # tokens

    async def verify(self, token: str, uses: frozenset[str]) -> Verified:
        """Read a token signed by any server of this store, and not revoked; Unauthenticated."""
        raw = token.encode("utf-8", "replace")
        try:
            found = verify(raw, self._keys, now=self._clock(), uses=uses)
        except UnknownKeyError:
            await self._load_keys()
            try:
                found = verify(raw, self._keys, now=self._clock(), uses=uses)
            except UnknownKeyError:
                raise Unauthenticated(DEAD_TOKEN) from None
        account = found.account
        ids = {found.token_id, found.token_id.partition(".")[0]}
        keys = [records.revoked_key(token_digest(account.issuer, id)) for id in ids]
        keys.append(records.revoked_key(account_digest(account.issuer, account.id)))
        for record in await self.store.read_many(keys):
            if record is not None:
                revocation = records.load_revocation(record.key, record.value)
                if revocation.token or found.issued < revocation.before:
                    raise Unauthenticated("token is revoked")
        return found

    async def jwks(self) -> str:
        """Give the public keys of all servers of this store."""
        found = dict(self._keyring.published)
        async for record in self.store.scan("keys/"):
            key = records.load(record.key, record.value)
            found.setdefault(key["kid"], key)
        return tokens.jwks(found.values())

    async def publish_keys(self) -> None:
        """Put this server's public keys where the others find them, once; take away those it has no more."""
        keys = self._keyring.published
        if keys == self._published:
            return
        for kid, key in keys.items():
            with contextlib.suppress(AlreadyExists):
                await self.store.write(f"keys/{kid}", records.dump(key), if_version=0)
        for kid in self._published.keys() - keys.keys():
            await self.store.delete(f"keys/{kid}")
        self._published = keys

    async def _load_keys(self) -> None:
        async with self._keys_lock:  # who comes meanwhile waits for the keys, or would take a good token for a bad one
            if time.monotonic() >= self._keys_next:
                self._keys = KeySet(await self.jwks())
                self._keys_next = time.monotonic() + KEYS_EVERY
