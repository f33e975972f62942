"""One service as it runs: its build, its instances, its status."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import shutil
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from micro.errors import NotFound, ServiceError
from micro.registry.driver import ServiceRecord
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
from micro.runtime.logfile import append, last_lines, path_of

if TYPE_CHECKING:
    from micro.runtime.reconciler import Reconciler

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
        self.started: datetime | None = None
        self.updated = datetime.now(UTC)
        self.failed = failed
        self.note = ""  # what went wrong before there were instances
        self._changed = changed
        self._owner = owner
        self._phase = PENDING
        self._build: environment.Build | None = None
        self._keepers: dict[int, Keeper] = {}
        self._task: asyncio.Task[None] | None = None

    @property
    def key(self) -> str:
        """`name:version`."""
        return f"{self.spec.name}:{self.spec.version}"

    @property
    def _which(self) -> handles.Which:
        return self.namespace, self.key

    def begin(self, running: dict[int, Handle] | None = None) -> None:
        """Build it and start its instances; those with a handle are running already."""
        self._task = asyncio.create_task(self._begin(running or {}))

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

    async def end(self, running: Mapping[int, Handle], grace: float) -> None:
        """Stop instances that an earlier runtime left and nobody wants."""
        for number, handle in running.items():
            self._keepers[number] = Keeper(self._owner.engine, _Instance(self, number), handle=handle)
        await self.stop(grace)

    async def release(self) -> None:
        """Leave it running, for a later runtime."""
        await self._halt_building()
        for keeper in self._keepers.values():
            keeper.release()

    def exited(self, handle: Handle, code: int | None) -> bool:
        """Tell the keeper of an instance that it ended; whether it was one of these."""
        for keeper in self._keepers.values():
            if keeper.handle is not None and keeper.handle.id == handle.id and keeper.handle.state == handle.state:
                keeper.exited(code)
                return True
        return False

    def status(self) -> Status:
        """Say what it is doing, truly; what is given is the asker's own."""
        number, error = self._state()
        if self.failed:
            goes_on = "" if number == ERROR else ", the version before goes on"
            error = f"{error}; " * bool(error) + f"the last update failed{goes_on}: {self.failed}"
        metadata = dict(self.spec.metadata)
        if self.started is not None:
            metadata["started"] = _rfc3339(self.started)
        metadata["status"] = WORDS[number]
        metadata["lastStatusUpdate"] = _rfc3339(self.updated)
        if error:
            metadata["error"] = error
        return Status(copy.deepcopy(self.spec), number, error, self.started, self.updated, metadata)

    def problem(self) -> str:
        """Give what has gone wrong since it began, though it may have been started again; empty when nothing has."""
        failed = [keeper.failed for keeper in self._keepers.values() if keeper.failed]
        return failed[0] if failed else self.note

    def log(self, number: int) -> Path:
        """Give an instance's log."""
        return path_of(self._owner.log_folder, self.namespace, self.spec.name, self.spec.version, number)

    def logs(self) -> list[Path]:
        """Give the instances' logs."""
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

    async def _begin(self, running: dict[int, Handle]) -> None:
        self._phase = BUILDING
        self.changed()
        try:
            archive, place = self._owner.sources.places(self)
            self._build = await environment.build(self.spec, archive, place, self.log(0))
        except (ServiceError, OSError) as err:
            self._phase, self.note = ERROR, str(err) or type(err).__name__
            with contextlib.suppress(OSError):
                await asyncio.to_thread(append, self.log(0), f"cannot start: {self.note}")
            self.changed()
            return
        self.started = datetime.now(UTC)
        for number in range(max(1, self.spec.instances)):
            around = _Instance(self, number)
            self._keepers[number] = Keeper(self._owner.engine, around, handle=running.get(number))
        self._phase = RUNNING
        self.changed()

    async def prepare(self, number: int) -> Instance:
        """Give an instance to start, with its account made anew."""
        assert self._build is not None
        with contextlib.suppress(ServiceError):
            # of a life that ended with the whole server: the registry has kept it, and calls would go there
            await self._take_out(number)
        secret = await self._owner.accounts.create(self.namespace, self._account(number))
        platform = {
            "MICRO_NAMESPACE": self.namespace,
            "MICRO_AUTH_ID": self._account(number),
            "MICRO_AUTH_SECRET": secret,
            "MICRO_INSTANCE": self._instance(number),
            **self._owner.platform(),
        }
        env = environment.variables(self.spec, self._build, platform)
        return Instance(
            self.namespace,
            self.spec.name,
            self.spec.version,
            number,
            self._build.command,
            str(self._build.folder),
            env,
            str(self.log(number)),
            self.spec.limits,
            self.round,
        )

    def _account(self, number: int) -> str:
        return account_id(self.spec.name, self.spec.version, number, self.round)

    def _instance(self, number: int) -> str:
        return f"{self.spec.version}.{number}" + (f"+{self.round}" if self.round else "")

    # -- what a keeper asks and tells

    async def registered(self, number: int) -> bool:
        """Whether the instance's node is in the registry."""
        return bool(await self._nodes(number))

    async def remember(self, number: int, handle: Handle) -> None:
        """Keep a handle, so that a later runtime adopts the instance."""
        place = (self.round, number)
        await self._owner.store.write(handles.key_of(self._which, place), handles.dump(self._which, place, handle))

    async def ended(self, number: int) -> str:
        """Take a dead instance's node out of the registry, forget its handle; gives its last lines."""
        lines = await asyncio.to_thread(last_lines, self.log(number), LAST_WORDS)
        with contextlib.suppress(ServiceError):
            await self._owner.store.delete(handles.key_of(self._which, (self.round, number)))
            await self._take_out(number)
        return " | ".join(line.strip() for line in lines if line.strip())

    def changed(self) -> None:
        """Tell whoever watches."""
        self.updated = datetime.now(UTC)
        self._changed()

    async def _take_out(self, number: int) -> None:
        """Take the instance's nodes out of the registry."""
        for record in await self._nodes(number):
            await self._owner.registry.domain(self.namespace).deregister(record)  # type: ignore[union-attr]

    async def _nodes(self, number: int) -> list[ServiceRecord]:
        """Give the instance's registrations, each with its own nodes only."""
        registry = self._owner.registry
        if registry is None:
            return []
        try:
            found = await registry.domain(self.namespace).get(self.spec.name)
        except NotFound:
            return []
        mine = self._instance(number)
        records = []
        for record in found:
            nodes = [node for node in record.nodes if node.metadata.get("instance") == mine]
            if nodes:
                records.append(replace(record, nodes=nodes))
        return records

    def forget_files(self) -> None:
        """Remove the service's builds; its logs stay for those who ask why."""
        shutil.rmtree(self._owner.sources.builds(self), ignore_errors=True)


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

    async def ended(self, code: int | None) -> str:
        return await self._service.ended(self._number)

    def changed(self) -> None:
        self._service.changed()


def _rfc3339(when: datetime) -> str:
    return when.replace(microsecond=0).isoformat().replace("+00:00", "Z")
