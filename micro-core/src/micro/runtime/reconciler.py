"""Services over an engine: what is wanted is a record in the store, what runs is made to match it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from pathlib import Path

from micro.errors import FailedPrecondition, InvalidArgument, NotFound
from micro.plugin.driver import Change
from micro.plugin.watch import Feed
from micro.registry.api import Registry
from micro.runtime import logfile, wanted
from micro.runtime.accounts import Accounts
from micro.runtime.driver import (
    RUNNING,
    Engine,
    Event,
    Handle,
    LogLine,
    RuntimeDriver,
    Spec,
    Status,
)
from micro.runtime.running import HANDLES, Running
from micro.runtime.uploads import Uploads
from micro.runtime.wanted import WANTED
from micro.store.api import Store

UPDATE_WAIT = 60.0  # seconds that a new version may take to run until the old one is kept
DWELL = 3.0  # seconds a new version must run before the old one is drained
SWEEP = 600.0  # seconds between looks for uploads that nobody goes on with
NOTE = 0.5  # seconds between looks at how long the logs are
_log = logging.getLogger(__name__)


class Reconciler(RuntimeDriver):
    """Runs each wanted service exactly once, or shows why not. Its engine and accounts are set by who makes it.

    `platform()` gives the variables that connect a service to the platform.
    """

    engine: Engine
    accounts: Accounts
    registry: Registry | None

    def __init__(self, *, store: Store, data: Path, grace: float = 30.0) -> None:
        self.store = store
        self.log_folder = data / "logs"
        self.capabilities = frozenset({"source", "resume"})
        self._data = data / "runtime"
        self.uploads = Uploads(self._data)
        self._grace = grace
        self._services: dict[str, dict[str, Running]] = {}
        self._proving: set[Running] = set()  # new versions that are to take over
        self._feeds: dict[str, Feed[Status]] = {}
        self._rounds = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._clock = logfile.Clock()
        self._locks: dict[tuple[str, str], asyncio.Lock] = {}
        self._sources = asyncio.Lock()

    def platform(self) -> Mapping[str, str]:
        """Give the variables that connect a service to the platform."""
        return {}

    async def open(self) -> None:
        await self.engine.open()
        self._data.mkdir(mode=0o700, parents=True, exist_ok=True)
        await asyncio.to_thread(self.uploads.open)
        handles = await self._adopt()
        self._rounds = max((round for mine in handles.values() for round, _ in mine), default=0)
        async for record in self.store.scan(WANTED):
            one = wanted.load(record.value)
            mine = handles.get((one.namespace, _key(one.spec)), {})
            round = one.round if one.round >= 0 else max((round for round, _ in mine), default=0)
            self._rounds = max(self._rounds, round)
            digest = one.digest or await self._keep(one.namespace, one.spec)
            service = self._add(one.namespace, one.spec, round, digest)
            service.begin(
                {number: mine.pop(place) for place in list(mine) if place[0] == round for number in place[1:]}
            )
        strays = [self._end(service, mine) for service, mine in handles.items() if mine]
        for namespace in self._services:
            await self._forget_sources(namespace)
        self._tasks = [
            asyncio.create_task(work) for work in (self._follow_exits(), self._note_times(), self._sweep(), *strays)
        ]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        for services in self._services.values():
            for service in services.values():
                await service.release()
        await self.engine.close()

    # -- what is wanted

    async def create(self, namespace: str, spec: Spec, *, force: bool = False) -> None:
        async with self._lock(namespace, spec):
            known = self._services.get(namespace, {}).get(_key(spec))
            if known is not None:
                if not force:
                    return
                await self._remove(known)
            self._check_source(namespace, spec)
            async with self._sources:  # what is kept is not forgotten before it is wanted
                digest = await self._keep(namespace, spec)
                await self._want(namespace, spec, digest, 0)
                self._add(namespace, spec, 0, digest).begin()

    async def update(self, namespace: str, spec: Spec) -> None:
        async with self._lock(namespace, spec):
            old = self._find(namespace, spec.name, spec.version)
            self._check_source(namespace, spec)
            self._rounds += 1
            async with self._sources:
                digest = await self._keep(namespace, spec)
                new = Running(self, namespace, spec, round=self._rounds, digest=digest, changed=lambda: None)
                self._proving.add(new)
            new.begin()
            try:
                problem = await self._proves(new)
            except asyncio.CancelledError:  # who asked has gone; it would run on, and nobody would know
                await new.stop(self._grace)
                raise
            finally:
                self._proving.discard(new)
            if problem:
                await new.stop(self._grace)
                await self._forget_sources(namespace)
                old.note = f"update failed, the version before goes on: {problem}"
                old.changed()
                raise FailedPrecondition(f"{spec.name} did not start, the version before goes on: {problem}")
            await self._want(namespace, spec, digest, new.round)
            self._services[namespace][_key(spec)] = new
            new._changed = lambda: self._publish(namespace, new)
            new.changed()
            await old.stop(self._grace)
            await self._forget_sources(namespace)

    async def delete(self, namespace: str, name: str, version: str) -> None:
        async with self._lock(namespace, Spec(name, version)):
            await self._remove(self._find(namespace, name, version))

    async def list(self, namespace: str, *, name: str = "", version: str = "") -> list[Status]:
        services = self._services.get(namespace, {})
        found = [s.status() for _, s in sorted(services.items()) if name in {"", s.spec.name}]
        return [status for status in found if version in {"", status.spec.version}]

    async def _remove(self, service: Running) -> None:
        await self.store.delete(wanted.key_of(service.namespace, service.spec))
        await service.stop(self._grace)
        del self._services[service.namespace][service.key]
        feed = self._feed(service.namespace)
        feed.publish(Change("delete", service.key, feed.version + 1))
        await asyncio.to_thread(service.forget_files)
        await self._forget_sources(service.namespace)

    async def _proves(self, service: Running) -> str:
        """Wait until a service has run for a while; gives why it did not."""
        loop = asyncio.get_running_loop()
        until, since = loop.time() + UPDATE_WAIT, None
        while loop.time() < until:
            problem = service.problem()
            if problem:
                return problem
            since = (since or loop.time()) if service.status().status == RUNNING else None
            if since is not None and loop.time() - since >= DWELL:
                return ""
            await asyncio.sleep(0.05)
        return f"it was not running after {UPDATE_WAIT:g} s"

    # -- what is seen

    async def logs(
        self,
        namespace: str,
        name: str,
        version: str,
        *,
        since: datetime | None = None,
        count: int = 0,
        follow: bool = False,
    ) -> AsyncIterator[LogLine]:
        paths = self._find(namespace, name, version).logs()
        first: list[LogLine] = []
        offsets: list[int] = []
        for number, path in enumerate(paths):
            self._clock.note(path)
            lines, offset = await asyncio.to_thread(logfile.read, path, since=since, count=count, instance=str(number))
            first += lines
            offsets.append(offset)
        if len(paths) > 1:
            first.sort(key=lambda line: line.when.timestamp() if line.when else 0.0)
        for line in first[-count:] if count else first:
            yield line
        if not follow:
            for number, path in enumerate(paths):
                for line in logfile.rest(path, offsets[number], str(number)):
                    yield line
            return
        places = list(zip(paths, offsets, strict=True))
        async for line in logfile.follow(*places[0], "0") if len(places) == 1 else logfile.merged(places):
            yield line

    async def watch(self, namespace: str, *, after: int | None = None) -> AsyncIterator[Event]:
        feed = self._feed(namespace)

        def snapshot() -> list[Change[Status]]:
            services = self._services.get(namespace, {})
            return [Change("put", key, feed.version, service.status()) for key, service in sorted(services.items())]

        async for event in feed.watch(snapshot, after=after):
            yield event

    # -- sources

    async def upload(self, namespace: str, name: str, version: str, archive: AsyncIterator[bytes]) -> str:
        return await self.uploads.take(namespace, name, version, archive)

    async def put(
        self,
        namespace: str,
        name: str,
        version: str,
        archive: AsyncIterator[bytes],
        *,
        digest: str,
        encoding: str = "",
        offset: int = 0,
    ) -> str:
        return await self.uploads.put(
            namespace, name, version, archive, digest=digest, encoding=encoding, offset=offset
        )

    async def stat(self, namespace: str, digest: str) -> int:
        return self.uploads.size(namespace, digest)

    def places(self, service: Running) -> tuple[Path | None, Path]:
        """Give a service's archive, and the folder of its build: another for another archive."""
        builds = self._data / service.namespace / f"{service.spec.name}@{service.spec.version}"
        if not service.digest:
            return None, builds / "bare"
        return self.uploads.kept(service.namespace, service.digest), builds / service.digest[:16]

    async def _keep(self, namespace: str, spec: Spec) -> str:
        """Keep a service's source as it is now; gives its digest, empty without a source."""
        if not spec.source:
            return ""
        name, _, version = spec.source.removeprefix("source://").rpartition(":")
        return await asyncio.to_thread(self.uploads.keep, namespace, name, version)

    async def _forget_sources(self, namespace: str) -> None:
        """Remove the sources that no service of a namespace has any more."""
        async with self._sources:
            services = [*self._services.get(namespace, {}).values(), *self._proving]
            used = {service.digest for service in services if service.namespace == namespace}
            await asyncio.to_thread(self.uploads.forget, namespace, used)

    def _archive(self, namespace: str, spec: Spec) -> Path | None:
        if not spec.source:
            return None
        name, _, version = spec.source.removeprefix("source://").rpartition(":")
        return self.uploads.path(namespace, name, version)

    def _check_source(self, namespace: str, spec: Spec) -> None:
        if spec.source and not spec.source.startswith("source://"):
            raise InvalidArgument(f"source {spec.source!r} is not an upload; run it from a local folder")
        archive = self._archive(namespace, spec)
        if archive is None and not spec.command:
            raise InvalidArgument("a service needs a source or a command")
        if archive is not None and not archive.is_file():
            raise NotFound(f"source {spec.source!r} was not uploaded")

    # -- the services

    def _find(self, namespace: str, name: str, version: str) -> Running:
        found = self._services.get(namespace, {}).get(f"{name}:{version}")
        if found is None:
            raise NotFound("not found")
        return found

    def _add(self, namespace: str, spec: Spec, round: int, digest: str) -> Running:
        service = Running(
            self, namespace, spec, round=round, digest=digest, changed=lambda: self._publish(namespace, service)
        )
        self._services.setdefault(namespace, {})[service.key] = service
        self._publish(namespace, service)
        return service

    def _publish(self, namespace: str, service: Running) -> None:
        feed = self._feed(namespace)
        feed.publish(Change("put", service.key, feed.version + 1, service.status()))

    def _feed(self, namespace: str) -> Feed[Status]:
        return self._feeds.setdefault(namespace, Feed())

    def _lock(self, namespace: str, spec: Spec) -> asyncio.Lock:
        return self._locks.setdefault((namespace, _key(spec)), asyncio.Lock())

    async def _want(self, namespace: str, spec: Spec, digest: str, round: int) -> None:
        record = wanted.Wanted(namespace, spec, digest, round)
        await self.store.write(wanted.key_of(namespace, spec), record.dump())

    async def _end(self, service: tuple[str, str], handles: Mapping[tuple[int, int], Handle]) -> None:
        """Stop what runs and is not wanted: an update that was not done, a service whose end was not."""
        namespace, key = service
        name, _, version = key.rpartition(":")
        for round in {round for round, _ in handles}:
            mine = {number: handle for (at, number), handle in handles.items() if at == round}
            stray = Running(self, namespace, Spec(name, version), round=round, digest="", changed=lambda: None)
            await stray.end(mine, self._grace)

    async def _adopt(self) -> dict[tuple[str, str], dict[tuple[int, int], Handle]]:
        """Take over what an earlier process started; gives the handles of those still running, by service."""
        known: dict[str, tuple[tuple[str, str], tuple[int, int], Handle, str]] = {}
        async for record in self.store.scan(HANDLES):
            item = json.loads(record.value)
            handle = Handle(item["id"], item["state"])
            place = (item["round"], item["number"])
            known[handle.id + str(place)] = ((item["namespace"], item["key"]), place, handle, record.key)
        alive = await self.engine.adopt([handle for _, _, handle, _ in known.values()])
        found: dict[tuple[str, str], dict[tuple[int, int], Handle]] = {}
        for service, place, handle, key in known.values():
            if any(handle is one for one in alive):
                found.setdefault(service, {})[place] = handle
            else:
                await self.store.delete(key)
        return found

    async def _follow_exits(self) -> None:
        async for exit in self.engine.exits():
            known = [service for services in self._services.values() for service in services.values()]
            for service in [*known, *self._proving]:
                if service.exited(exit.handle, exit.code):
                    break

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP)
            try:
                await asyncio.to_thread(self.uploads.sweep)
            except OSError:
                _log.exception("halves of uploads could not be removed")

    async def _note_times(self) -> None:
        """Note often how long the logs are whose lines are to be put in order, the others now and then."""
        loop, next_all = asyncio.get_running_loop(), 0.0
        while True:
            services = [service.logs() for services in self._services.values() for service in services.values()]
            several = [logs for logs in services if len(logs) > 1]
            everything = loop.time() >= next_all
            if everything:
                next_all = loop.time() + NOTE
            for path in itertools.chain(*(services if everything else several)):
                with contextlib.suppress(OSError):
                    self._clock.note(path)
            await asyncio.sleep(logfile.FINE if several else NOTE)


def _key(spec: Spec) -> str:
    return f"{spec.name}:{spec.version}"
