"""The embedded driver: accounts, rules and revocations in a Store, tokens signed by the keys of a folder."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from micro.auth import records, wire
from micro.auth.attempts import Attempts
from micro.auth.driver import DEFAULT_RULE, AuthDriver, Event, Grant, Made, Rule, Token
from micro.auth.issue import Issuer
from micro.auth.keyring import Keyring
from micro.auth.mirror import Mirror
from micro.auth.records import NO_DEFAULT, Kept, rule_key
from micro.auth.secrets import Secrets
from micro.auth.table import Accounts
from micro.auth.tokens import ACCESS, PLATFORM
from micro.context import Account
from micro.errors import Aborted, AlreadyExists, FailedPrecondition, MicroError, NotFound, Unavailable
from micro.plugin.driver import file_code
from micro.plugin.settings import Secret, Settings, setting

if TYPE_CHECKING:
    from micro.store.api import Store

ANNOUNCE_EVERY = 2.0  # seconds between looks for keys that were put into the folder
_log = logging.getLogger("micro.auth")


class StoreAuthSettings(Settings):
    """Who may call services that no rule speaks of, and the first administrator."""

    default_rule: Literal["public", "account"] = setting(
        "account", "whom a namespace's rule `default` lets in: everybody, or any account of the namespace"
    )
    admin_secret: Secret[str] = setting(Secret(""), "of the first account, `admin`; random when empty")


class StoreAuth(AuthDriver, interface=1):
    """Keeps all in one table; several servers may share it, each with keys of its own.

    `keys` is the folder of signing keys; without one a key is made that ends with the process. Secrets that people
    chose cost about 20 ms on a thread; a token costs about 2 ms to sign.
    """

    settings_type = StoreAuthSettings
    needs = frozenset({"store", "keys"})

    def __init__(
        self,
        settings: StoreAuthSettings | None = None,
        *,
        store: Store,
        keys: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings or StoreAuthSettings()
        self.clock = clock
        self._store = store
        self._keyring = Keyring(keys)
        self._secrets = Secrets()
        self._accounts = Accounts(store, self._keyring, clock)
        self._issuer = Issuer(self._accounts, self._keyring, self._secrets, Attempts(), clock)
        self._implied = records.default_rule(public=self.settings.default_rule == "public")
        self._mirror = Mirror(store, lambda: self._implied, lambda: self._keyring.published)
        self._announcing: asyncio.Task[None] | None = None
        self._closed = False

    async def open(self) -> None:
        self._closed = False
        await asyncio.to_thread(self._keyring.open)
        self.capabilities = frozenset({"durable"} & self._store.capabilities)
        await self._accounts.publish_keys()
        if self._keyring.watched:
            self._announcing = asyncio.create_task(self._announce(), name="auth keys")

    def only_accounts(self) -> None:
        """Let the rule `default` admit accounts alone, whatever the settings say: strangers can reach the doors."""
        self._implied = records.default_rule(public=False)

    async def close(self) -> None:
        self._closed = True
        announcing, self._announcing = self._announcing, None
        if announcing is not None:
            announcing.cancel()
            await asyncio.gather(announcing, return_exceptions=True)
        await self._mirror.close()
        self._secrets.close()

    def error_code(self, exc: Exception) -> int:
        return file_code(exc)  # of the keys' folder

    # accounts

    async def create(self, account: Account, secret: str, *, replace: bool = False) -> Made:
        return await self._create(account, secret, replace=replace)

    async def bootstrap(self, account: Account, secret: str) -> bool:
        """Add the first account unless this was ever done; True if it was now. Any number of servers may try."""
        mark = f"bootstrap/{account.id}"
        if (await self._store.read_many([mark]))[0] is not None:
            return False
        try:
            await self._create(account, secret, mark=mark)
        except AlreadyExists:
            return False
        return True

    async def _create(self, account: Account, secret: str, *, replace: bool = False, mark: str = "") -> Made:
        self._check()
        is_service = account.type == "service"
        since = await self._accounts.since(account.issuer, account.id)
        account.metadata.setdefault("created", str(int(self.clock())))
        kept = Kept(account, before=since)
        if secret or not is_service:
            secret = secret or str(uuid.uuid4())
            kept = kept.changed(secret=await self._secrets.store(secret, service=is_service))
        try:
            await self._accounts.add(kept, mark=mark)
        except AlreadyExists:
            if not replace:
                raise
            kept = await self._replace(kept)
        return Made(account, secret or self._issuer.secret(kept))

    async def _replace(self, kept: Kept) -> Kept:
        account = kept.account
        old = await self._accounts.find(account.issuer, account.id)
        if old is None or (old.account.id, old.account.type, old.account.name) != (
            account.id,
            account.type,
            account.name,
        ):
            raise AlreadyExists(wire.ID_TAKEN)
        made = Kept(account, kept.secret, old.before)  # secrets that are tokens stay good: others still run by them
        await self._accounts.replace(old, made)
        return made

    async def accounts(self, namespace: str, *, id: str | None = None) -> list[Account]:
        self._check()
        if id is None:
            return [kept.account for kept in await self._accounts.all(namespace)]
        kept = await self._accounts.find(namespace, id)
        return [] if kept is None else [kept.account]

    async def remove(self, namespace: str, id: str) -> None:
        self._check()
        await self._accounts.remove(namespace, id)

    async def set_secret(self, namespace: str, id: str, new: str, *, old: str | None) -> None:
        self._check()
        kept = await self._accounts.find(namespace, id)
        if kept is None:
            raise NotFound(wire.NO_ACCOUNT)
        if old is not None:
            await self._issuer.check_secret(kept, old)
        made = await self._secrets.store(new, service=kept.account.type == "service")
        await self._accounts.end_tokens(kept, secret=made)

    # tokens

    async def token(self, namespace: str, grant: Grant, *, ttl: float, audience: Sequence[str] = (PLATFORM,)) -> Token:
        self._check()
        await self._accounts.publish_keys()
        return await self._issuer.issue(namespace, grant, ttl=ttl, audience=audience)

    async def inspect(self, token: str) -> Account:
        self._check()
        return (await self._accounts.verify(token, frozenset({ACCESS}))).account

    async def revoke(self, namespace: str, *, id: str = "", token_id: str = "") -> None:
        self._check()
        if token_id:
            await self._accounts.refuse_token(namespace, token_id)
        if id:
            kept = await self._accounts.find(namespace, id)
            if kept is not None:
                await self._accounts.end_tokens(kept)
            else:
                await self._accounts.refuse(namespace, id)

    async def keys(self) -> str:
        self._check()
        await self._accounts.publish_keys()
        return await self._accounts.jwks()

    async def _announce(self) -> None:
        """Publish what comes into the folder: a new key is to be known everywhere before it signs."""
        said = ""
        while True:
            await asyncio.sleep(ANNOUNCE_EVERY)
            try:
                await self._accounts.publish_keys()
                said = ""
            except (MicroError, OSError) as err:
                if str(err) != said:
                    _log.warning("the keys cannot be published, trying again: %s", err)
                said = str(err)

    # rules

    async def rules(self, namespace: str) -> list[Rule]:
        self._check()
        found: dict[str, Rule | None] = {DEFAULT_RULE: self._implied}
        async for record in self._store.scan(rule_key(namespace, "")):
            rule = records.load_rule(record.key, record.value)
            found[rule.id if rule else DEFAULT_RULE] = rule
        return sorted((rule for rule in found.values() if rule is not None), key=lambda rule: rule.id)

    async def put_rule(self, namespace: str, rule: Rule) -> None:
        self._check()
        key = rule_key(namespace, rule.id)
        version = 0
        if rule.id == DEFAULT_RULE:
            found = (await self._store.read_many([key]))[0]
            if found is None or found.value != NO_DEFAULT:
                raise AlreadyExists(wire.RULE_TAKEN)
            version = found.version
        try:
            await self._store.write(key, records.dump_rule(rule), if_version=version)
        except (AlreadyExists, Aborted) as err:
            raise AlreadyExists(wire.RULE_TAKEN) from err

    async def delete_rule(self, namespace: str, id: str) -> None:
        self._check()
        if id == DEFAULT_RULE:
            await self._store.write(rule_key(namespace, id), NO_DEFAULT)
        else:
            await self._store.delete(rule_key(namespace, id))

    async def watch(self, namespace: str, *, after: int | None = None) -> AsyncIterator[Event]:
        self._check()
        async for event in self._mirror.watch(namespace, after):
            yield event

    def _check(self) -> None:
        if self._closed:
            raise FailedPrecondition("auth is closed")
        if not self._keyring.keys:
            raise Unavailable("auth is starting")
