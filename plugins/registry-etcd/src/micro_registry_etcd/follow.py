"""Watching: one watch of etcd, shared by all who watch here."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from typing import Any

from msgspec.structs import replace

from micro.errors import Unavailable
from micro.plugin.driver import Change
from micro.plugin.watch import Feed
from micro.registry.driver import ALL, Event, NodeKey, ServiceRecord
from micro_registry_etcd import etcd_pb2 as pb
from micro_registry_etcd.client import Client, CompactedError
from micro_registry_etcd.layout import Layout, read

SHORTEST, LONGEST = 0.05, 1.0  # seconds between tries to watch again
_log = logging.getLogger(__name__)


class Follower:
    """Follows all registrations from the first watch on, over every break, and hands the changes to a feed.

    It resumes after the last change that it saw: the revision in an answer's header may be ahead of what was sent.
    When etcd has forgotten what comes next, all watches here end, and begin anew.
    """

    def __init__(self, client: Client, layout: Layout) -> None:
        self._client = client
        self._layout = layout
        self._feed: Feed[ServiceRecord] | None = None
        self._starting = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    async def stop(self) -> None:
        """End it, and its watches."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._feed is not None:
            self._feed.end()

    async def watch(self, domain: str, name: str, after: int | None) -> AsyncIterator[Event]:
        """Give what exists, or what changed after a revision, and then each change."""
        feed = await self._begun()

        def wanted(change: Change[ServiceRecord]) -> bool:
            key = NodeKey.parse(change.key)
            return domain in {ALL, key.domain} and name in {"", key.name}

        async def existing() -> tuple[int, list[Change[ServiceRecord]]]:
            return await self._existing(domain)

        async def nothing() -> tuple[int, list[Change[ServiceRecord]]]:
            return ahead, []

        first = existing
        ahead = 0
        if after is not None and feed.version < after <= await self._revision():
            ahead, after, first = after, None, nothing  # all that came since has yet to come here
        async for event in feed.watch(first, after=after, wanted=wanted):
            yield event

    async def _begun(self) -> Feed[ServiceRecord]:
        async with self._starting:
            if self._feed is None:
                revision = await self._revision()
                self._feed = Feed(revision)
                self._task = asyncio.create_task(self._run(revision + 1))
            return self._feed

    async def _revision(self) -> int:
        request = pb.RangeRequest(key=self._layout.services, count_only=True)
        return int((await self._client.call("KV/Range", request)).header.revision)

    async def _existing(self, domain: str) -> tuple[int, list[Change[ServiceRecord]]]:
        prefix = self._layout.services if domain == ALL else self._layout.some(domain)
        revision, kvs = await self._client.range(prefix)
        return revision, [self._put(kv) for kv in kvs if kv.key != self._layout.gone]

    async def _run(self, start: int) -> None:
        wait = SHORTEST
        while True:
            try:
                async with aclosing(self._client.watch(self._layout.services, start)) as answers:
                    async for answer in answers:
                        wait = SHORTEST
                        start = max(start, self._told(answer))
            except CompactedError:
                with suppress(Exception):  # away, too: then it is found again
                    start = await self._anew()
            except Exception as exc:  # whatever it is, it is tried again
                _log.info("the watch of etcd broke, and is resumed: %s", exc)
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))
            wait = min(wait * 2, LONGEST)

    async def _anew(self) -> int:
        """Begin from what is there now: what happened meanwhile nobody knows."""
        revision = await self._revision()
        old, self._feed = self._feed, Feed(revision)
        if old is not None:
            old.fail(Unavailable("etcd has forgotten what came next"))
        return revision + 1

    def _told(self, answer: Any) -> int:
        """Publish an answer's changes; gives where to resume."""
        assert self._feed is not None
        if not answer.events:
            # A notice of progress: all before it has been sent. The first answer of a watch is none.
            return 0 if answer.created else int(answer.header.revision) + 1
        purpose = {e.kv.mod_revision for e in answer.events if e.kv.key == self._layout.gone}
        for event in answer.events:
            if event.kv.key == self._layout.gone:
                continue
            if event.type == pb.Event.PUT:
                self._feed.publish(self._put(event.kv))
            else:
                kind = "delete" if event.kv.mod_revision in purpose else "expire"
                key = str(self._layout.parse(event.kv.key))
                self._feed.publish(Change(kind, key, event.kv.mod_revision))
        return int(answer.events[-1].kv.mod_revision) + 1

    def _put(self, kv: Any) -> Change[ServiceRecord]:
        key = self._layout.parse(kv.key)
        record = read(kv.value)
        item = replace(record, metadata={**record.metadata, "domain": key.domain})
        return Change("put", str(key), int(kv.mod_revision), item)
