"""Accounts that the gateway does not let in, kept in a table, followed by every gateway's process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from micro.config.api import Config
from micro.context import Account
from micro.errors import ServiceError, Unauthenticated
from micro.plugin.driver import Change, Reset, Synced
from micro.rpc.guard import Guard
from micro.store.api import Store

TABLE = "api"
ENABLED = "micro.api.blocklist_enabled"  # a path of the configuration; the list counts unless it says false
_PREFIX = "block/"
_RETRY = 5.0  # seconds until a watch that was refused is tried again

log = logging.getLogger("micro.api")


class BlockList:
    """The list, by `<namespace>:<id>`; while the store is away, the last that was known holds."""

    def __init__(self, store: Store, config: Config) -> None:
        """`store` is at the table TABLE."""
        self._store = store
        self._config = config
        self._ids: set[str] = set()
        self._enabled = True
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to follow the table and the switch; does not wait for them."""
        self._tasks = [asyncio.create_task(self._for_ever(follow)) for follow in (self._follow, self._follow_switch)]

    async def close(self) -> None:
        """Stop following; idempotent."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def blocks(self, account: Account) -> bool:
        """Tell whether an account is on the list, and the list counts."""
        return bool(self._ids) and self._enabled and f"{account.issuer}:{account.id}" in self._ids

    async def add(self, namespace: str, id: str) -> None:
        """Put an account on the list."""
        await self._store.write(f"{_PREFIX}{namespace}:{id}", b"")
        self._ids.add(f"{namespace}:{id}")

    async def remove(self, namespace: str, id: str) -> None:
        """Take an account off the list; fine if it is not there."""
        await self._store.delete(f"{_PREFIX}{namespace}:{id}")
        self._ids.discard(f"{namespace}:{id}")

    async def ids(self) -> list[str]:
        """Read the list, sorted."""
        return [key.removeprefix(_PREFIX) for key in await self._store.list(_PREFIX)]

    async def _for_ever(self, follow: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await follow()
            except ServiceError as err:
                log.warning("the block list cannot be followed: %s", err)
            await asyncio.sleep(_RETRY)

    async def _follow(self) -> None:
        fresh: set[str] | None = set()  # what exists, until it is whole
        async for event in self._store.watch(_PREFIX):
            if isinstance(event, Reset):
                fresh = set()
            elif isinstance(event, Synced):
                if fresh is not None:
                    self._ids, fresh = fresh, None
            elif isinstance(event, Change):
                ids = self._ids if fresh is None else fresh
                (ids.add if event.kind == "put" else ids.discard)(event.key.removeprefix(_PREFIX))

    async def _follow_switch(self) -> None:
        async for value in self._config.watch(ENABLED, default=True):
            self._enabled = value is not False


class BlockingGuard:
    """A guard that knows nobody who is on the list."""

    def __init__(self, guard: Guard, blocked: BlockList) -> None:
        self._guard = guard
        self._blocked = blocked
        self.check = guard.check
        self.prepare = guard.prepare

    def identify(self, authorization: bytes, *, audience: str = "micro") -> Account:
        """Verify as the other guard does, then look at the list."""
        account = self._guard.identify(authorization, audience=audience)
        if self._blocked.blocks(account):
            raise Unauthenticated("the account is blocked")
        return account

    def stands(self, account: Account | None, namespace: str, service: str, endpoint: str) -> None:
        """Ask the list, and the other guard."""
        if account is not None and self._blocked.blocks(account):
            raise Unauthenticated("the account is blocked")
        self._guard.stands(account, namespace, service, endpoint)
