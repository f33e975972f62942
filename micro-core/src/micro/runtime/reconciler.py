"""Services over an engine: what is wanted is a record in the store, what runs is made to match it."""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from micro.errors import FailedPrecondition, NotFound, ServiceError, Unavailable
from micro.plugin.driver import Change
from micro.plugin.watch import Feed
from micro.registry.api import Registry
from micro.runtime import environment, handles, wanted
from micro.runtime.accounts import Accounts, account_id
from micro.runtime.driver import (
    RUNNING,
    Engine,
    Event,
    LogLine,
    RuntimeDriver,
    Spec,
    Status,
)
from micro.runtime.output import Logs
from micro.runtime.running import Running
from micro.runtime.sources import Sources
from micro.store.api import Store

if TYPE_CHECKING:
    from micro.blobs.api import Blobs
    from micro.runtime.lease import Lease

UPDATE_WAIT = 60.0  # seconds that a new version may take to run until the old one is kept
DWELL = 3.0  # seconds a new version must run before the old one is drained
SWEEP = 600.0  # seconds between looks for uploads that nobody goes on with
BROKEN_OFF = "it was broken off"  # why an update failed that nobody saw the end of
_log = logging.getLogger(__name__)


class Reconciler(RuntimeDriver):
    """Runs each wanted service exactly once, or shows why not. Its engine and accounts are set by who makes it.

    `sources` keeps what services are made of, `output` what they write; `platform()` gives the variables that connect a
    service to the platform, `build()` what its instances are started with.
    """

    engine: Engine
    accounts: Accounts
    registry: Registry | None

    def __init__(
        self,
        *,
        store: Store,
        sources: Sources,
        output: Logs,
        grace: float = 30.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.store = store
        self.sources = sources
        self.output = output
        self.clock = clock
        self.capabilities = frozenset({"source", "resume"})
        self._grace = grace
        self._services: dict[str, dict[str, Running]] = {}
        self._proving: set[Running] = set()  # new versions that are to take over
        self._whole: set[asyncio.Task[None]] = set()  # what is done whole, whoever asked and went away
        self._feeds: dict[str, Feed[Status]] = {}
        self._rounds = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._closed = False
        self._locks: dict[tuple[str, str], asyncio.Lock] = {}
        self._lease: Lease | None = None

    def share(self, lease: Lease, blobs: Blobs) -> None:
        self._lease = lease
        self.sources.share(blobs)

    def platform(self) -> Mapping[str, str]:
        """Give the variables that connect a service to the platform."""
        return {}

    async def build(self, service: Running) -> environment.Build:
        """Make what the instances of a service are started with: its files, its environment, its command."""
        await self.sources.fetch(service.namespace, service.digest)
        archive, place = self.sources.places(service)
        return await environment.build(service.spec, archive, place, Path(service.log(0)))

    async def open(self) -> None:
        await self.engine.open()
        self.capabilities |= self.engine.capabilities
        await self.sources.open()
        if self._lease is None:
            await self.lead()
        else:
            await self._lease.start(self)

    async def lead(self) -> None:
        """Run what is wanted, from what is there."""
        left = await handles.adopt(self.store, self.engine)
        known = [wanted.load(record.value) async for record in self.store.scan(wanted.WANTED)]
        self._rounds = max([left.newest, *(one.round for one in known)])
        for one in known:
            await self._go_on(one, left)
        self._tasks = [
            asyncio.create_task(work)
            for work in (self._follow_exits(), self.output.attend(self._places), self._sweep(), self._clear(left))
        ]

    async def withdraw(self) -> None:
        """Stop what runs here, and forget it: another server has its records and its accounts now."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(service.drop() for service in list(self._all())))
        self._services.clear()
        self._proving.clear()
        for feed in self._feeds.values():
            feed.end()
        self._feeds.clear()

    async def _go_on(self, one: wanted.Wanted, left: handles.Left) -> None:
        """Have a service that is wanted run on, and take its instances out of what is left."""
        which = (one.namespace, _key(one.spec))
        newest = max(left.rounds(which), default=0)
        round = one.round if one.round >= 0 else newest
        digest = one.digest or await self.sources.keep(one.namespace, one.spec)
        failed = one.failed or (BROKEN_OFF if newest > round else "")
        service = self._made(one.namespace, one.spec, round, digest, failed)
        if failed != one.failed:
            await self._want(service)
        left.ended[which] = {place for place in left.ended.get(which, ()) if place[0] != round}
        self._install(service)
        service.begin(handles.of_round(left.alive.get(which, {}), round))

    async def _clear(self, left: handles.Left) -> None:
        """End what runs and is not wanted: an update that was not done, a service whose end was not. Forget its files."""
        await asyncio.gather(*(self._end(which, left) for which in {*left.alive, *left.ended}))
        for namespace in self.sources.namespaces():
            await self._forget(namespace)

    async def _end(self, which: handles.Which, left: handles.Left) -> None:
        namespace, key = which
        name, _, version = key.rpartition(":")
        spec, alive = Spec(name, version), left.alive.get(which, {})
        async with self._lock(namespace, spec):  # one that is wanted anew may have the same accounts
            for round in {round for round, _ in alive}:
                await self._made(namespace, spec, round, "").end(handles.of_round(alive, round), self._grace)
            for round, number in left.ended.get(which, ()):
                with contextlib.suppress(ServiceError):
                    await self.accounts.remove(namespace, account_id(name, version, number, round))

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        running = [service for services in self._services.values() for service in services.values()]
        await asyncio.gather(*(service.stop(self._grace) for service in (*running, *self._proving)))
        if self._lease is not None:
            await self._lease.stop(release=True)

    async def close(self) -> None:
        self._closed = True
        if self._lease is not None:
            await self._lease.stop()
        for feed in self._feeds.values():
            feed.end()
        for task in (*self._tasks, *self._whole):
            task.cancel()
        for services in self._services.values():
            for service in services.values():
                await service.release()
        await self.engine.close()

    # -- what is wanted

    async def create(self, namespace: str, spec: Spec, *, force: bool = False) -> None:
        self._check()
        await self._do_whole(self._create(namespace, spec, force))

    async def _create(self, namespace: str, spec: Spec, force: bool) -> None:
        async with self._lock(namespace, spec):
            known = self._services.get(namespace, {}).get(_key(spec))
            if known is not None and not force:
                return
            self.sources.check(namespace, spec)
            async with self.sources.lock:
                round = 0 if known is None else self._next_round()
                new = self._made(namespace, spec, round, await self.sources.keep(namespace, spec))
                await self._want(new)
                self._install(new)
            if known is not None:
                await known.stop(self._grace)
                await self.sources.forget_builds(known)
                await self._forget(namespace)
            new.begin()

    async def update(self, namespace: str, spec: Spec) -> None:
        self._check()
        async with self._lock(namespace, spec):
            old = self._find(namespace, spec.name, spec.version)
            self.sources.check(namespace, spec)
            async with self.sources.lock:
                new = self._made(namespace, spec, self._next_round(), await self.sources.keep(namespace, spec))
                self._proving.add(new)
            new.begin()
            try:
                problem = await self._proves(new)
            except asyncio.CancelledError:  # who asked has gone; it would run on, and nobody would know
                await self._do_whole(self._give_up(old, new, BROKEN_OFF))
                raise
            if problem:
                await self._do_whole(self._give_up(old, new, problem))
                raise FailedPrecondition(f"{spec.name} did not start, the version before goes on: {problem}")
            await self._do_whole(self._take_over(old, new))

    async def _take_over(self, old: Running, new: Running) -> None:
        """Let a version that has proved itself be the one that is wanted."""
        try:
            await self._want(new)
        except ServiceError as err:
            await self._give_up(old, new, f"it could not be recorded: {err.detail}")
            raise
        self._install(new)
        self._proving.discard(new)
        await old.stop(self._grace)
        await self._forget(new.namespace)

    async def _give_up(self, old: Running, new: Running, problem: str) -> None:
        """Have the version before go on, and say why."""
        old.failed = problem
        try:
            await self._want(old)
        except ServiceError:
            _log.exception("that an update of %s failed is not recorded", old.key)
        old.changed()
        await new.stop(self._grace)
        self._proving.discard(new)
        await self._forget(new.namespace)

    async def delete(self, namespace: str, name: str, version: str) -> None:
        self._check()
        await self._do_whole(self._delete(namespace, name, version))

    async def _delete(self, namespace: str, name: str, version: str) -> None:
        async with self._lock(namespace, Spec(name, version)):
            service = self._find(namespace, name, version)
            await self.store.delete(wanted.key_of(namespace, service.spec))
            await service.stop(self._grace)
            del self._services[namespace][service.key]
            feed = self._feed(namespace)
            feed.publish(Change("delete", service.key, feed.version + 1))
            await self.sources.forget_builds(service)
            await self.sources.drop(service)
            await self._forget(namespace)

    async def list(self, namespace: str, *, name: str = "", version: str = "") -> list[Status]:
        self._check()
        services = self._services.get(namespace, {})
        found = [s.status() for _, s in sorted(services.items()) if name in {"", s.spec.name}]
        return [status for status in found if version in {"", status.spec.version}]

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
        self._check()
        places = self._find(namespace, name, version).logs()
        async for line in self.output.lines(places, since=since, count=count, follow=follow):
            yield line

    async def watch(self, namespace: str, *, after: int | None = None) -> AsyncIterator[Event]:
        self._check()
        feed = self._feed(namespace)

        def snapshot() -> list[Change[Status]]:
            services = self._services.get(namespace, {})
            return [Change("put", key, feed.version, service.status()) for key, service in sorted(services.items())]

        async for event in feed.watch(snapshot, after=after):
            yield event

    # -- sources

    async def upload(self, namespace: str, name: str, version: str, archive: AsyncIterator[bytes]) -> str:
        self._check()
        return await self.sources.uploads.take(namespace, name, version, archive)

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
        self._check()
        return await self.sources.uploads.put(
            namespace, name, version, archive, digest=digest, encoding=encoding, offset=offset
        )

    async def stat(self, namespace: str, digest: str) -> int:
        self._check()
        return self.sources.uploads.size(namespace, digest)

    # -- the services

    def _check(self) -> None:
        if self._closed:
            raise FailedPrecondition("the runtime is closed")
        if self._lease is not None and not self._lease.leads:
            raise Unavailable(f"the services run at another server: {self._lease.other or 'not known yet'}")

    def _find(self, namespace: str, name: str, version: str) -> Running:
        found = self._services.get(namespace, {}).get(f"{name}:{version}")
        if found is None:
            raise NotFound("not found")
        return found

    def _made(self, namespace: str, spec: Spec, round: int, digest: str, failed: str = "") -> Running:
        service = Running(
            self,
            namespace,
            spec,
            round=round,
            digest=digest,
            changed=lambda: self._publish(service),
            failed=failed,
        )
        return service

    def _install(self, service: Running) -> None:
        """Have a service be the one of its name."""
        self._services.setdefault(service.namespace, {})[service.key] = service
        self._publish(service)

    def _publish(self, service: Running) -> None:
        if self._services.get(service.namespace, {}).get(service.key) is service:
            feed = self._feed(service.namespace)
            feed.publish(Change("put", service.key, feed.version + 1, service.status()))

    def _all(self) -> Iterator[Running]:
        for services in self._services.values():
            yield from services.values()
        yield from self._proving

    def _next_round(self) -> int:
        self._rounds += 1
        return self._rounds

    async def _forget(self, namespace: str) -> None:
        await self.sources.forget(namespace, self._all)

    async def _do_whole(self, work: Coroutine[Any, Any, None]) -> None:
        """Do what must not be left half done when who asked for it goes away."""
        task = asyncio.create_task(work)
        self._whole.add(task)
        task.add_done_callback(self._whole.discard)
        await asyncio.shield(task)

    def _feed(self, namespace: str) -> Feed[Status]:
        return self._feeds.setdefault(namespace, Feed())

    def _lock(self, namespace: str, spec: Spec) -> asyncio.Lock:
        return self._locks.setdefault((namespace, _key(spec)), asyncio.Lock())

    async def _want(self, service: Running) -> None:
        record = wanted.Wanted(service.namespace, service.spec, service.digest, service.round, service.failed)
        await self.store.write(wanted.key_of(service.namespace, service.spec), record.dump())

    async def _follow_exits(self) -> None:
        async for exit in self.engine.exits():
            for service in self._all():
                if service.exited(exit.handle, exit.code, exit.cause):
                    break

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP)
            try:
                await self.sources.sweep()
            except OSError:
                _log.exception("halves of uploads could not be removed")

    def _places(self) -> builtins.list[builtins.list[str]]:
        """Give where the instances of each service write to."""
        return [service.logs() for services in self._services.values() for service in services.values()]


def _key(spec: Spec) -> str:
    return f"{spec.name}:{spec.version}"
