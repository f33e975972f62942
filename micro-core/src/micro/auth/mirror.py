"""What changed in auth's table, for all who follow it: one watch on the store for any number of watchers.

Versions are this process's own: microseconds since the epoch when it began to follow, counted up. Who comes back from
another server, or from a life before, is told to begin anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from micro.auth import records
from micro.auth.driver import DEFAULT_RULE, Event, News, Revocation, Rule
from micro.auth.tokens import jwks
from micro.errors import DataLoss, ServiceError, Unimplemented
from micro.plugin.driver import Change, Reset, Synced
from micro.plugin.watch import Feed, finish

if TYPE_CHECKING:
    from micro.plugin.watch import Event as Watched
    from micro.store.api import Store
    from micro.store.driver import Record

_log = logging.getLogger("micro.auth")

PREFIXES = ("rules/", "keys/", "revoked/")
Item = Rule | Revocation | dict[str, Any] | None  # None: the rule `default`, deleted


class Mirror:
    """Rules, keys and revocations of all namespaces, as the table has them."""

    def __init__(
        self, store: Store, implied: Callable[[], Rule], own_keys: Callable[[], dict[str, dict[str, Any]]]
    ) -> None:
        self._store = store
        self._implied = implied
        self._own_keys = own_keys
        self._items: dict[str, Item] = {}
        self._feed: Feed[Item] = Feed(int(time.time() * 1e6))
        self._waiting = set(PREFIXES)
        self._ready = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def close(self) -> None:
        """Follow no more; idempotent."""
        self._feed.end()
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def watch(self, namespace: str, after: int | None) -> AsyncIterator[Event]:
        """See AuthDriver.watch."""
        if not self._tasks:
            self._tasks = [asyncio.create_task(self._follow(prefix)) for prefix in PREFIXES]
        await self._until_ready()
        rules = records.rule_key(namespace, "")

        def wanted(change: Change[Item]) -> bool:
            return change.key.startswith((rules, "keys/", "revoked/"))

        events = self._feed.watch(lambda: self._snapshot(namespace), after=after, wanted=wanted)
        try:
            async for event in events:
                if isinstance(event, Synced | Reset):
                    yield event
                else:
                    yield self._told(event, rules)
        finally:
            await finish(events)

    async def _until_ready(self) -> None:
        ready = asyncio.create_task(self._ready.wait())
        try:
            await asyncio.wait([ready, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in self._tasks:
                if task.done():
                    failed, self._tasks = task, [one for one in self._tasks if one is not task]
                    await self.close()  # the next watcher begins again
                    await failed
        finally:
            ready.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await ready

    def _snapshot(self, namespace: str) -> list[Change[Item]]:
        version = self._feed.version
        rules = records.rule_key(namespace, "")
        found: list[Change[Item]] = [
            Change("put", key, version, item)
            for key, item in self._items.items()
            if key.startswith((rules, "revoked/")) and item is not None
        ]
        default = records.rule_key(namespace, DEFAULT_RULE)
        if default not in self._items:
            found.append(Change("put", default, version, self._implied()))
        return [Change("put", "keys/", version, {}), *found]

    def _told(self, change: Change[Item], rules: str) -> Change[News]:
        if change.key.startswith("keys/"):
            return Change("put", "keys", change.version, self._jwks())
        key = "rules/" + change.key.removeprefix(rules) if change.key.startswith(rules) else change.key
        if change.item is None or isinstance(change.item, dict):
            return Change("delete", key, change.version)
        return Change("put", key, change.version, change.item)

    def _jwks(self) -> str:
        own = self._own_keys()
        kept = {item["kid"]: item for item in self._items.values() if isinstance(item, dict)}
        return jwks((own | kept).values())

    # from the store

    async def _follow(self, prefix: str) -> None:
        while True:
            try:
                await self._follow_once(prefix)
            except Unimplemented:
                raise
            except ServiceError as err:  # what cannot be had now; who follows us still knows what we knew
                _log.warning("following the store is broken, trying again: %s", err)
            await asyncio.sleep(1.0)

    async def _follow_once(self, prefix: str) -> None:
        # the keys to be told again from the start, or else be gone; None once synced
        before: set[str] | None = {key for key in self._items if key.startswith(prefix)}
        events = self._store.watch(prefix)
        try:
            async for event in events:
                if isinstance(event, Reset):
                    before = {key for key in self._items if key.startswith(prefix)}
                elif isinstance(event, Synced):
                    for key in before or ():
                        self._set("delete", key, None)
                    before = None
                    self._synced(prefix)
                else:
                    if before is not None:
                        before.discard(event.key)
                    self._take(event)
        finally:
            await finish(events)

    def _synced(self, prefix: str) -> None:
        self._waiting.discard(prefix)
        if not self._waiting:
            self._ready.set()

    def _take(self, event: Watched[Any]) -> None:
        assert isinstance(event, Change)
        if event.item is None:
            self._set("delete", event.key, None)
            return
        try:
            self._read(event.key, event.item)
        except DataLoss as err:  # one bad record must not hide all others
            _log.error("%s", err)

    def _read(self, key: str, record: Record) -> None:
        if key.startswith("rules/"):
            self._set("put", key, records.load_rule(key, record.value))
        elif key.startswith("keys/"):
            self._set("put", key, records.load(key, record.value))
        else:
            self._set("put", key, records.load_revocation(key, record.value))

    def _set(self, kind: str, key: str, item: Item) -> None:
        if kind == "delete":
            if key not in self._items:
                return
            del self._items[key]
            if key.endswith("/" + DEFAULT_RULE) and key.startswith("rules/"):
                item = self._implied()  # an absent default is the implied one
            elif key.startswith("revoked/"):
                return  # it has run out: nothing to be told
        elif key in self._items and self._items[key] == item:
            return
        else:
            self._items[key] = item
        self._feed.publish(Change("put" if item is not None else "delete", key, self._feed.version + 1, item))
