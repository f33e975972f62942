"""Services as processes of this machine, each with its source unpacked and a Python environment of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import ClassVar

from micro.errors import FailedPrecondition
from micro.limits import MIB
from micro.plugin.settings import Seconds, Settings, setting
from micro.registry.api import Registry
from micro.rpc.caller import Caller
from micro.runtime import launcher
from micro.runtime.accounts import RemoteAccounts
from micro.runtime.cgroups import Cgroups, ran_out, remove
from micro.runtime.driver import Engine, Exit, Handle, Instance, Limits
from micro.runtime.output import FileLogs
from micro.runtime.reconciler import Reconciler
from micro.runtime.sources import Sources
from micro.service.machine import born
from micro.store.api import Store

ENDED = 2.0  # seconds until what was killed is gone
POLL = 0.01  # seconds between looks whether it is

# What was left running at close: a Popen that is collected while its process runs warns, and these are meant to run on.
_left: list[subprocess.Popen[bytes]] = []


class ProcessEngineSettings(Settings):
    """How processes are stopped."""

    grace: Seconds = setting(30.0, "between asking a service to stop and making it")


class ProcessEngine(Engine, interface=1):
    """Each instance is a launcher and what it started: one session. A handle's state is `{"pid", "born", "pipe", "groups"}`.

    `alive` is the descriptor of the supervisor's pipe that launchers watch. Without a supervisor, -1, the engine has one
    of its own: what it starts ends with this process, however that ends, and is asked to stop when the engine closes.
    `pipe` is that pipe's number: what watches another one was started under a supervisor that is gone, and is ending.

    Memory is limited for an instance where there are control groups to be made (`groups`), else for each process: what it
    may write to. CPU and processes are limited where there are such groups, and disks not at all.
    """

    settings_type: ClassVar[type[Settings]] = ProcessEngineSettings
    needs = frozenset({"alive"})
    capabilities = frozenset({"limit-memory", "limit-files"})

    def __init__(self, settings: ProcessEngineSettings | None = None, *, alive: int = -1) -> None:
        self._settings = settings or ProcessEngineSettings()
        self._alive = alive
        self._own = -1  # the writing end of the engine's own pipe
        self._pipe = 0
        self._closed = False
        self._handles: dict[str, Handle] = {}
        self._watched: dict[str, asyncio.Task[None]] = {}
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._ended: asyncio.Queue[Exit] = asyncio.Queue()
        self._codes: dict[str, asyncio.Future[int | None]] = {}

    async def open(self) -> None:
        if self._alive < 0:
            self._alive, self._own = os.pipe()
        self._pipe = os.fstat(self._alive).st_ino
        self._cgroups = Cgroups()
        more = {"cpu": "limit-cpu", "pids": "limit-processes"}
        self.capabilities |= {more[name] for name in self._cgroups.controllers if name in more}

    async def close(self) -> None:
        self._closed = True
        if self._own >= 0:
            await self._end_all()
        for task in self._watched.values():
            task.cancel()
        self._watched.clear()
        _left.extend(self._children.values())
        self._children.clear()

    async def start(self, instance: Instance) -> Handle:
        command = shutil.which(instance.command[0], path=instance.env.get("PATH")) or instance.command[0]
        if not os.access(command, os.X_OK):
            raise FailedPrecondition(f"there is no program {instance.command[0]!r}")
        groups = self._cgroups.make(f"micro-{os.urandom(6).hex()}", instance.limits)
        Path(instance.log).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        log = os.open(instance.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            child = subprocess.Popen(  # noqa: ASYNC220 - it returns once exec has succeeded, in milliseconds
                [
                    sys.executable,
                    "-I",
                    "-S",
                    launcher.__file__,
                    str(self._alive),
                    str(self._settings.grace),
                    self._limited(instance.limits, groups),
                    command,
                    *instance.command[1:],
                ],
                cwd=instance.folder,
                env=dict(instance.env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=[self._alive] if self._alive >= 0 else [],
            )
        finally:
            os.close(log)
        state = {"pid": child.pid, "born": born(child.pid), "pipe": self._pipe, "groups": groups}
        handle = Handle(instance.id, state)
        self._children[handle.id] = child
        self._watch(handle)
        return handle

    async def stop(self, handle: Handle, *, grace: float) -> int | None:
        code = self._codes.get(handle.id)
        pid = handle.state["pid"]
        if code is None or born(pid) != handle.state["born"]:
            return None
        _kill(pid, signal.SIGTERM)
        # the launcher itself ends the session after its own grace; ours may be shorter
        done, _ = await asyncio.wait([code], timeout=grace)
        if not done:
            for member in launcher.session(pid):
                if member != pid:  # the launcher reaps them, and then ends by itself
                    _kill(member, signal.SIGKILL)
            done, _ = await asyncio.wait([code], timeout=2.0)
        if not done:
            _kill(pid, signal.SIGKILL)
        return await asyncio.shield(code)

    async def adopt(self, handles: list[Handle]) -> list[Handle]:
        if self._closed:
            raise FailedPrecondition("the engine is closed")
        there = [handle for handle in handles if born(handle.state.get("pid", 0)) == handle.state.get("born")]
        mine = [handle for handle in there if handle.state.get("pipe") == self._pipe]
        await asyncio.gather(*(_end_now(handle.state["pid"]) for handle in there if handle not in mine))
        await asyncio.gather(*(_removed(handle) for handle in handles if handle not in mine))
        for handle in mine:
            self._watch(handle)
        return mine

    async def exits(self) -> AsyncIterator[Exit]:
        while True:
            yield await self._ended.get()

    async def _end_all(self) -> None:
        """Have all launchers end what they started, within their grace, and wait for them."""
        running = [self._handles[id] for id, code in self._codes.items() if not code.done()]
        await asyncio.gather(*(self.stop(handle, grace=self._settings.grace) for handle in running))
        own, self._own = self._own, -1
        alive, self._alive = self._alive, -1
        os.close(own)
        os.close(alive)

    def _watch(self, handle: Handle) -> None:
        self._handles[handle.id] = handle
        self._codes[handle.id] = asyncio.get_running_loop().create_future()
        self._watched[handle.id] = asyncio.create_task(self._wait(handle))

    async def _wait(self, handle: Handle) -> None:
        pid = handle.state["pid"]
        with contextlib.suppress(ProcessLookupError):
            await _ended(pid)
        child = self._children.pop(handle.id, None)
        code = child.wait() if child is not None else None  # an adopted one is another's child: its code is not known
        cause = "out of memory" if ran_out(handle.state.get("groups", [])) else ""
        await _removed(handle)
        future = self._codes[handle.id]
        if not future.done():
            future.set_result(code)
        self._ended.put_nowait(Exit(handle, code, cause))

    def _limited(self, limits: Limits, groups: list[str]) -> str:
        """Say what the launcher is to limit: see there."""
        lines = [f"join={group}/cgroup.procs" for group in groups]
        if limits.memory and "memory" not in self._cgroups.controllers:
            lines.append(f"RLIMIT_DATA={limits.memory * MIB}")
        if limits.files:
            lines.append(f"RLIMIT_NOFILE={limits.files}")
        return "\n".join(lines)


class ProcessRuntimeSettings(ProcessEngineSettings):
    """How services are run as processes."""


class ProcessRuntime(Reconciler, interface=1):
    """The reconciler over processes.

    Services reach the platform by the registry and the network's door; `addresses` has where these are.
    """

    settings_type: ClassVar[type[Settings]] = ProcessRuntimeSettings
    needs = frozenset({"store", "data", "caller", "registry", "alive", "addresses"})

    def __init__(
        self,
        settings: ProcessRuntimeSettings | None = None,
        *,
        store: Store,
        data: Path,
        caller: Caller,
        registry: Registry | None = None,
        alive: int = -1,
        addresses: Mapping[str, str] | None = None,
    ) -> None:
        settings = settings or ProcessRuntimeSettings()
        sources, output = Sources(data / "runtime"), FileLogs(data / "logs")
        super().__init__(store=store, sources=sources, output=output, grace=settings.grace)
        self.engine = ProcessEngine(settings, alive=alive)
        self.accounts = RemoteAccounts(caller)
        self.registry = registry
        self._addresses = addresses or {}

    def platform(self) -> Mapping[str, str]:
        named = {"MICRO_REGISTRY_ADDRESS": "registry", "MICRO_PROXY": "network"}
        return {name: self._addresses[service] for name, service in named.items() if self._addresses.get(service)}


async def _removed(handle: Handle) -> None:
    """Remove an instance's control groups, with what may be left in them."""
    for _ in range(int(ENDED / POLL)):
        if remove(handle.state.get("groups", [])):
            return
        await asyncio.sleep(POLL)


async def _end_now(pid: int) -> None:
    """End a launcher's session: its platform is gone, and another one starts what it ran."""
    for member in (*launcher.session(pid), pid):
        _kill(member, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError, TimeoutError):
        async with asyncio.timeout(ENDED):
            await _ended(pid)


async def _ended(pid: int) -> None:
    """Wait for a process's end."""
    fd = os.pidfd_open(pid)
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    loop.add_reader(fd, over.set)
    try:
        await over.wait()
    finally:
        loop.remove_reader(fd)
        os.close(fd)


def _kill(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
