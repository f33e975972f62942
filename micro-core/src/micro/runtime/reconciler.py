"""Services over an engine: what is wanted is a record in the store, what runs is made to match it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from micro.errors import FailedPrecondition, InvalidArgument, NotFound
from micro.plugin.driver import Change
from micro.plugin.watch import Feed
from micro.registry.api import Registry
from micro.runtime import logfile
from micro.runtime.accounts import Accounts
from micro.runtime.driver import (
    RUNNING,
    Engine,
    Event,
    Handle,
    Limits,
    LogLine,
    RuntimeDriver,
    Spec,
    Status,
)
from micro.runtime.running import HANDLES, Running
from micro.runtime.uploads import Uploads
from micro.store.api import Store

WANTED = "service:"
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

    def platform(self) -> Mapping[str, str]:
        """Give the variables that connect a service to the platform."""
        return {}

    async def open(self) -> None:
        await self.engine.open()
        self._data.mkdir(mode=0o700, parents=True, exist_ok=True)
        await asyncio.to_thread(self.uploads.open)
        handles = await self._adopt()
        async for record in self.store.scan(WANTED):
            wanted = json.loads(record.value)
            spec = _spec_in(wanted)
            mine = handles.pop((wanted["namespace"], f"{spec.name}:{spec.version}"), {})
            self._rounds = max([self._rounds, *(round for round, _ in mine)])
            newest = max((round for round, _ in mine), default=0)
            service = self._add(wanted["namespace"], spec, newest)
            service.begin({number: handle for (round, number), handle in mine.items() if round == newest})
        self._tasks = [asyncio.create_task(work) for work in (self._follow_exits(), self._note_times(), self._sweep())]

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
            await self._want(namespace, spec)
            self._add(namespace, spec, 0).begin()

    async def update(self, namespace: str, spec: Spec) -> None:
        async with self._lock(namespace, spec):
            old = self._find(namespace, spec.name, spec.version)
            self._check_source(namespace, spec)
            self._rounds += 1
            new = Running(self, namespace, spec, round=self._rounds, changed=lambda: None)
            self._proving.add(new)
            new.begin()
            problem = await self._proves(new)
            self._proving.discard(new)
            if problem:
                await new.stop(self._grace)
                old.note = f"update failed, the version before goes on: {problem}"
                old.changed()
                raise FailedPrecondition(f"{spec.name} did not start, the version before goes on: {problem}")
            await self._want(namespace, spec)
            self._services[namespace][_key(spec)] = new
            new._changed = lambda: self._publish(namespace, new)
            new.changed()
            await old.stop(self._grace)

    async def delete(self, namespace: str, name: str, version: str) -> None:
        async with self._lock(namespace, Spec(name, version)):
            await self._remove(self._find(namespace, name, version))

    async def list(self, namespace: str, *, name: str = "", version: str = "") -> list[Status]:
        services = self._services.get(namespace, {})
        found = [s.status() for _, s in sorted(services.items()) if name in {"", s.spec.name}]
        return [status for status in found if version in {"", status.spec.version}]

    async def _remove(self, service: Running) -> None:
        await self.store.delete(_wanted_key(service.namespace, service.spec))
        await service.stop(self._grace)
        del self._services[service.namespace][service.key]
        feed = self._feed(service.namespace)
        feed.publish(Change("delete", service.key, feed.version + 1))
        await asyncio.to_thread(service.forget_files)

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
        async for line in _merged([logfile.follow(p, offsets[n], str(n)) for n, p in enumerate(paths)]):
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

    def places(self, namespace: str, spec: Spec) -> tuple[Path | None, Path]:
        """Give a service's archive, and the folder of its build: another for another archive."""
        builds = self._data / namespace / f"{spec.name}@{spec.version}"
        archive = self._archive(namespace, spec)
        if archive is None:
            return None, builds / "bare"
        with archive.open("rb") as file:
            return archive, builds / hashlib.file_digest(file, "sha256").hexdigest()[:16]

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

    def _add(self, namespace: str, spec: Spec, round: int) -> Running:
        service = Running(self, namespace, spec, round=round, changed=lambda: self._publish(namespace, service))
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

    async def _want(self, namespace: str, spec: Spec) -> None:
        await self.store.write(_wanted_key(namespace, spec), _spec_out(namespace, spec))

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
        while True:
            await asyncio.sleep(NOTE)
            for services in self._services.values():
                for service in services.values():
                    for path in service.logs():
                        with contextlib.suppress(OSError):
                            self._clock.note(path)


async def _merged(streams: list[AsyncIterator[LogLine]]) -> AsyncIterator[LogLine]:
    """Give the lines of several logs as they come."""
    queue: asyncio.Queue[LogLine] = asyncio.Queue(1000)

    async def pump(stream: AsyncIterator[LogLine]) -> None:
        async for line in stream:
            await queue.put(line)

    tasks = [asyncio.create_task(pump(stream)) for stream in streams]
    try:
        while True:
            yield await queue.get()
    finally:
        for task in tasks:
            task.cancel()


def _key(spec: Spec) -> str:
    return f"{spec.name}:{spec.version}"


def _wanted_key(namespace: str, spec: Spec) -> str:
    return f"{WANTED}{namespace}:{_key(spec)}"


def _spec_out(namespace: str, spec: Spec) -> bytes:
    return msgspec.json.encode({"namespace": namespace, "schema": 1, "spec": spec})


def _spec_in(record: Any) -> Spec:
    if record.get("schema", 0) > 1:
        raise FailedPrecondition(f"a wanted service has schema {record['schema']}, this version of micro reads up to 1")
    fields = dict(record["spec"])
    return Spec(**fields | {"limits": Limits(**fields["limits"])})
