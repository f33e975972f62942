"""One service as it runs: its build, its instances, its status."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from micro.errors import DeadlineExceeded, ServiceError, Unavailable
from micro.runtime import environment, handles
from micro.runtime.accounts import account_id
from micro.runtime.driver import (
    BUILDING,
    ERROR,
    PENDING,
    RUNNING,
    STARTING,
    STOPPED,
    WORDS,
    Handle,
    Instance,
    Spec,
    Status,
)
from micro.runtime.keeper import Around, Keeper
from micro.runtime.nodes import Nodes

if TYPE_CHECKING:
    from micro.runtime.reconciler import Reconciler

AGAIN, LONGEST = 0.2, 2.0  # seconds between tries to build while what builds is away
LAST_WORDS = 3  # lines of the log in an error's text


class Running:
    """A service of a namespace.

    `digest` names its source, empty without one; `round` tells the instances and accounts of an update from those it
    replaces; `failed` says why the last update left it as it is.
    """

    def __init__(
        self,
        owner: Reconciler,
        namespace: str,
        spec: Spec,
        *,
        round: int,
        digest: str,
        changed: Callable[[], None],
        failed: str = "",
    ) -> None:
        self.namespace = namespace
        self.spec = spec
        self.round = round
        self.digest = digest
        self.started = 0.0  # seconds since 1970; 0 before there were instances
        self.updated = owner.clock()
        self.failed = failed
        self.note = ""  # what went wrong before there were instances
        self._changed = changed
        self._told: object = None  # the state that watchers know
        self._owner = owner
        self._nodes = Nodes(owner.registry, namespace, spec.name)
        self._phase = PENDING
        self._built: asyncio.Future[environment.Build] = asyncio.get_running_loop().create_future()
        self._keepers: dict[int, Keeper] = {}
        self._task: asyncio.Task[None] | None = None

    @property
    def key(self) -> str:
        """`name:version`."""
        return f"{self.spec.name}:{self.spec.version}"

    @property
    def _which(self) -> handles.Which:
        return self.namespace, self.key

    def begin(self, running: Mapping[int, handles.Kept] | None = None) -> None:
        """Build it and start its instances, but for those that run already: they go on as if nothing had been."""
        for number, kept in (running or {}).items():
            self._keep(number, kept)
        if running:
            self.started = min(kept.began for kept in running.values())
            if self._all_there() and all(kept.ran for kept in running.values()):
                self._phase, self.updated = RUNNING, max(kept.ran for kept in running.values())
                self._told = self._state(), self.failed
        self._task = asyncio.create_task(self._begin())

    async def stop(self, grace: float) -> None:
        """Stop all instances and forget their accounts."""
        await self._halt_building()
        await asyncio.gather(*(keeper.stop(grace) for keeper in self._keepers.values()))
        for number in list(self._keepers):
            with contextlib.suppress(ServiceError):
                await self._owner.accounts.remove(self.namespace, self._account(number))
        self._keepers.clear()
        self._phase = STOPPED
        self.changed()

    async def end(self, running: Mapping[int, handles.Kept], grace: float) -> None:
        """Stop instances that an earlier runtime left and nobody wants."""
        for number, kept in running.items():
            self._keep(number, kept)
        await self.stop(grace)

    async def release(self) -> None:
        """Leave it running, for a later runtime."""
        await self._halt_building()
        for keeper in self._keepers.values():
            keeper.release()

    async def drop(self) -> None:
        """Stop all instances, and leave what is recorded of them as it is."""
        await self.release()
        handles = [keeper.handle for keeper in self._keepers.values() if keeper.handle is not None]
        await asyncio.gather(*(self._owner.engine.stop(handle, grace=0.0) for handle in handles))
        self._keepers.clear()

    def exited(self, handle: Handle, code: int | None, cause: str) -> bool:
        """Tell the keeper of an instance that it ended; whether it was one of these."""
        for keeper in self._keepers.values():
            if keeper.handle is not None and keeper.handle.id == handle.id and keeper.handle.state == handle.state:
                keeper.exited(code, cause)
                return True
        return False

    def status(self) -> Status:
        """Say what it is doing, truly; what is given is the asker's own."""
        number, error = self._state()
        if self.failed:
            goes_on = "" if number == ERROR else ", the version before goes on"
            error = f"{error}; " * bool(error) + f"the last update failed{goes_on}: {self.failed}"
        metadata = dict(self.spec.metadata)
        started, updated = (datetime.fromtimestamp(at, UTC) if at else None for at in (self.started, self.updated))
        if started is not None:
            metadata["started"] = _rfc3339(started)
        metadata["status"] = WORDS[number]
        if updated is not None:
            metadata["lastStatusUpdate"] = _rfc3339(updated)
        if error:
            metadata["error"] = error
        return Status(self.spec.copy(), number, error, started, updated, metadata)

    def problem(self) -> str:
        """Give what has gone wrong since it began, though it may have been started again; empty when nothing has."""
        failed = [keeper.failed for keeper in self._keepers.values() if keeper.failed]
        return failed[0] if failed else self.note

    def log(self, number: int) -> str:
        """Give where an instance's output goes."""
        return self._owner.output.place(self.namespace, self.spec.name, self.spec.version, number)

    def logs(self) -> list[str]:
        """Give where the instances' output goes."""
        return [self.log(number) for number in range(max(1, self.spec.instances))]

    def _state(self) -> tuple[int, str]:
        states = [keeper.status for keeper in self._keepers.values()]
        if self._phase != RUNNING or not states:
            return (ERROR if self.note else self._phase), self.note
        failing = next((keeper for keeper in self._keepers.values() if keeper.status == ERROR), None)
        if failing is not None:
            return ERROR, failing.error
        return (RUNNING if all(state == RUNNING for state in states) else STARTING), ""

    # -- starting

    async def _halt_building(self) -> None:
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])

    def _keep(self, number: int, kept: handles.Kept | None = None) -> None:
        """Have an instance kept running, from its start or as it is."""
        around, engine = _Instance(self, number), self._owner.engine
        handle, runs = (None, False) if kept is None else (kept.handle, kept.ran > 0)
        self._keepers[number] = Keeper(engine, around, handle=handle, runs=runs)

    def _all_there(self) -> bool:
        return len(self._keepers) == max(1, self.spec.instances)

    async def _begin(self) -> None:
        if not self._all_there():
            self._phase = BUILDING
            self.changed()
        try:
            self._built.set_result(await self._build())
        except (ServiceError, OSError) as err:
            self._phase, self.note = ERROR, str(err) or type(err).__name__
            with contextlib.suppress(OSError):
                await self._owner.output.append(self.log(0), f"cannot start: {self.note}")
            self.changed()
            return
        self.started = self.started or self._owner.clock()
        for number in range(max(1, self.spec.instances)):
            if number not in self._keepers:
                self._keep(number)
        self._phase = RUNNING
        self.changed()

    async def _build(self) -> environment.Build:
        """Build it; while what builds it is away, again and again."""
        pause = AGAIN
        while True:
            try:
                build = await self._owner.build(self)
            except (Unavailable, DeadlineExceeded) as err:
                self.note = err.detail
                self.changed()
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST)
            else:
                self.note = ""
                return build

    async def prepare(self, number: int) -> Instance:
        """Give an instance to start, with its account made anew."""
        build = await asyncio.shield(self._built)
        with contextlib.suppress(ServiceError):
            # of a life that ended with the whole server: the registry has kept it, and calls would go there
            await self._nodes.take_out(self._instance(number))
        secret = await self._owner.accounts.create(self.namespace, self._account(number))
        platform = {
            "MICRO_NAMESPACE": self.namespace,
            "MICRO_AUTH_ID": self._account(number),
            "MICRO_AUTH_SECRET": secret,
            "MICRO_INSTANCE": self._instance(number),
            **self._owner.platform(),
        }
        env = environment.variables(self.spec, build, platform)
        return Instance(
            self.namespace,
            self.spec.name,
            self.spec.version,
            number,
            build.command,
            str(build.folder),
            env,
            self.log(number),
            self.spec.limits,
            self.round,
            build.image or self.spec.image,
        )

    def _account(self, number: int) -> str:
        return account_id(self.spec.name, self.spec.version, number, self.round)

    def _instance(self, number: int) -> str:
        return f"{self.spec.version}.{number}" + (f"+{self.round}" if self.round else "")

    # -- what a keeper asks and tells

    async def registered(self, number: int) -> bool:
        """Whether the instance's node is in the registry."""
        return bool(await self._nodes.of(self._instance(number)))

    async def remember(self, number: int, handle: Handle, *, runs: bool = False) -> None:
        """Keep a handle, so that a later runtime adopts the instance, and knows since when it runs."""
        place = (self.round, number)
        kept = handles.Kept(handle, self.started, self.updated if runs else 0.0)
        await self._owner.store.write(handles.key_of(self._which, place), handles.dump(self._which, place, kept))

    async def ended(self, number: int) -> str:
        """Take a dead instance's node out of the registry, forget its handle; gives its last lines."""
        lines = await self._owner.output.last(self.log(number), LAST_WORDS)
        with contextlib.suppress(ServiceError):
            await self._owner.store.delete(handles.key_of(self._which, (self.round, number)))
            await self._nodes.take_out(self._instance(number))
        return " | ".join(line.strip() for line in lines if line.strip())

    def changed(self) -> None:
        """Tell whoever watches, if there is anything new."""
        told = self._state(), self.failed
        if told != self._told:
            self._told, self.updated = told, self._owner.clock()
            self._changed()


class _Instance(Around):
    """One instance of a service, as its keeper asks."""

    def __init__(self, service: Running, number: int) -> None:
        self._service = service
        self._number = number

    async def prepare(self) -> Instance:
        return await self._service.prepare(self._number)

    async def registered(self) -> bool:
        return await self._service.registered(self._number)

    async def started(self, handle: Handle) -> None:
        await self._service.remember(self._number, handle)

    async def running(self, handle: Handle) -> None:
        with contextlib.suppress(ServiceError):
            await self._service.remember(self._number, handle, runs=True)

    async def ended(self, code: int | None) -> str:
        return await self._service.ended(self._number)

    def changed(self) -> None:
        self._service.changed()


def _rfc3339(when: datetime) -> str:
    return when.replace(microsecond=0).isoformat().replace("+00:00", "Z")
