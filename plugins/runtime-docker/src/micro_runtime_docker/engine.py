"""The engine: each instance is a container, made of an image that is there, with as few rights as it needs."""

from __future__ import annotations

import asyncio
import logging
import os
import posixpath
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import ClassVar

from micro.errors import DeadlineExceeded, FailedPrecondition, NotFound, ServiceError
from micro.runtime.driver import Engine, Exit, Handle, Instance
from micro_runtime_docker import shape
from micro_runtime_docker.container import Container
from micro_runtime_docker.daemon import Daemon, code_of
from micro_runtime_docker.guarding import Guard
from micro_runtime_docker.network import Network
from micro_runtime_docker.settings import DockerSettings

LOOK = 2.0  # seconds between looks at what runs, and at what is to be removed
DOUBT = 60.0  # seconds after which a container that was asked for, and not answered, will not come any more
_log = logging.getLogger(__name__)


class DockerEngine(Engine, interface=1):
    """Containers. A handle's state is `{"container", "log"}`.

    `alive` is the descriptor of the supervisor's pipe: with that containers end, and what was started under another one is not
    taken over. Without a supervisor, -1, the engine has a pipe of its own: what it starts ends with this process, however that
    ends. `owner` tells the containers of this server from those of others on the same engine.
    """

    settings_type: ClassVar[type[DockerSettings]] = DockerSettings
    needs = frozenset({"alive"})
    capabilities = frozenset({"limit-files", "limit-disk"})

    def __init__(self, settings: DockerSettings | None = None, *, alive: int = -1, owner: str = "") -> None:
        self.settings = settings or DockerSettings()
        self.owner = owner or os.urandom(16).hex()
        self.daemon = Daemon(self.settings)
        self.network = Network(self.daemon, self.settings.network)
        self._alive = alive
        self._own = -1  # the writing end of the engine's own pipe
        self._life = ""
        self._guard = Guard(self.settings)
        self._running: dict[str, Container] = {}  # by their containers' ids
        self._doubtful: dict[str, tuple[str, float]] = {}  # names to be removed: the instance's id, and until when
        self._creating: set[asyncio.Task[str]] = set()
        self._programs: set[tuple[str, str, str]] = set()  # that are known to be there: image, path, program
        self._ended: asyncio.Queue[Exit] = asyncio.Queue()
        self._woken = asyncio.Event()  # there is something new to remove
        self._sweeping: asyncio.Task[None] | None = None
        self._closed = False

    def error_code(self, exc: Exception) -> int:
        return code_of(exc)

    async def open(self) -> None:
        facts = await self.daemon.open()
        more = {"MemoryLimit": "limit-memory", "CpuCfsQuota": "limit-cpu", "PidsLimit": "limit-processes"}
        self.capabilities |= {name for fact, name in more.items() if facts.get(fact)}
        if self._alive < 0:
            self._alive, self._own = os.pipe()
        self._life = f"{self.owner}.{os.fstat(self._alive).st_ino}"
        self._sweeping = asyncio.create_task(self._sweep())

    async def close(self) -> None:
        if not self._closed and self._own >= 0:
            handles = [one.handle for one in self._running.values()]
            stops = (self.stop(handle, grace=self.settings.grace) for handle in handles)
            await asyncio.gather(*stops, return_exceptions=True)
        if not self._closed and self._doubtful:
            with suppress(ServiceError, TimeoutError):  # the next one that adopts removes what is left here
                async with asyncio.timeout(LOOK):
                    if self._creating:
                        await asyncio.wait(self._creating)
                    await self._tidy()
        for creating in self._creating:
            creating.cancel()
        self._closed = True
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.wait([self._sweeping])
        await asyncio.gather(*(one.leave() for one in self._running.values()))
        self._guard.let_go(nothing_left=not self._running)
        self._running.clear()
        await self.daemon.close()
        own, self._own = self._own, -1
        if own >= 0:
            os.close(own)
            os.close(self._alive)

    async def start(self, instance: Instance) -> Handle:
        await self._clear(instance.id)
        self._guard.start(self._alive, f"{shape.LIFE}={self._life}")
        image = instance.image or self.settings.base
        await self.network.ensure()
        name = shape.name_of(instance)
        try:
            # who is cancelled here would not know what came of it: so it is done whole, and removed then
            creating = asyncio.create_task(self._create(name, image, instance))
            self._creating.add(creating)
            creating.add_done_callback(self._created)
            made = await asyncio.shield(creating)
            await self._check(made, image, instance)
            await self.daemon.ask("POST", f"containers/{made}/start")
        except BaseException as exc:
            self._doubtful[name] = instance.id, asyncio.get_running_loop().time() + DOUBT
            self._woken.set()
            if isinstance(exc, NotFound):
                self.network.forget()
                raise FailedPrecondition(shape.absent(exc.detail, image)) from exc
            raise
        handle = Handle(instance.id, {"container": made, "log": instance.log})
        self._watch(handle)
        return handle

    async def stop(self, handle: Handle, *, grace: float) -> int | None:
        running = self._running.get(handle.state["container"])
        if running is None:
            self._check_open()
            return None
        await self._signal(running, "SIGTERM")
        done, _ = await asyncio.wait([running.over], timeout=grace)
        if not done:
            await self._signal(running, "SIGKILL")
            done, _ = await asyncio.wait([running.over], timeout=self.settings.timeout)
        if not done:
            raise DeadlineExceeded(f"{handle.id} was not seen to end in {self.settings.timeout:g} s")
        return running.over.result()

    async def adopt(self, handles: list[Handle]) -> list[Handle]:
        asked = {"all": "1", "filters": shape.filters(shape.SERVER)}
        there = {each["Id"]: each for each in await self.daemon.ask("GET", "containers/json", asked)}
        known = {handle.state.get("container"): handle for handle in handles}
        mine: set[str] = set()
        over = []
        for id, each in there.items():
            labels = each["Labels"]
            if id in self._running:
                mine.add(id)
            elif id in known and each["State"] == "running" and labels.get(shape.LIFE) == self._life:
                mine.add(id)
                self._guard.start(self._alive, f"{shape.LIFE}={self._life}")
                self._watch(known[id])
            elif id in known:
                over.append(Container(self.daemon, known[id], lambda _: None).drain())
            elif labels.get(shape.SERVER) == self.owner:
                over.append(self.daemon.remove(f"containers/{id}"))
        for problem in await asyncio.gather(*over, return_exceptions=True):
            if isinstance(problem, BaseException):
                _log.warning("a container that nobody wants was not removed: %s", problem)
        return [handle for handle in handles if handle.state.get("container") in mine]

    async def exits(self) -> AsyncIterator[Exit]:
        while True:
            yield await self._ended.get()

    def _check_open(self) -> None:
        if self._closed:
            raise FailedPrecondition("the engine is closed")

    def _watch(self, handle: Handle) -> None:
        def ended(told: Exit) -> None:
            self._running.pop(running.id, None)
            self._ended.put_nowait(told)

        running = Container(self.daemon, handle, ended)
        self._running[running.id] = running
        running.follow()

    async def _signal(self, running: Container, signal: str) -> None:
        with suppress(NotFound, FailedPrecondition):  # it is over, or ends
            self._check_open()
            await self.daemon.ask("POST", f"containers/{running.id}/kill", {"signal": signal})

    def _created(self, creating: asyncio.Task[str]) -> None:
        self._creating.discard(creating)
        if not creating.cancelled():
            creating.exception()  # nobody may be waiting any more

    async def _create(self, name: str, image: str, instance: Instance) -> str:
        labels = shape.labels(instance, self.owner, self._life)
        wanted = shape.container(instance, image, self.settings, labels)
        made = await self.daemon.ask("POST", "containers/create", {"name": name}, wanted)
        return str(made["Id"])

    async def _check(self, container: str, image: str, instance: Instance) -> None:
        """Raise for a program that is not there: a container whose init cannot start it runs, and then ends."""
        if not instance.command:
            return
        program, path = instance.command[0], instance.env.get("PATH", shape.PATH)
        if (image, path, program) in self._programs:
            return
        folders = [instance.folder or "/"] if "/" in program else path.split(":")
        for folder in folders:
            if await self.daemon.has(container, posixpath.join(folder, program)):
                self._programs.add((image, path, program))
                return
        raise FailedPrecondition(f"there is no program {program!r} in the image {image}")

    # what is to be removed

    async def _clear(self, instance: str) -> None:
        """Remove what may have come of earlier starts of an instance, so that it does not run twice."""
        for name in [name for name, (id, _) in self._doubtful.items() if id == instance]:
            await self.daemon.remove(f"containers/{name}")

    async def _sweep(self) -> None:
        """Remove what is in doubt, and find what has ended though its output does not say so."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), LOOK)
            self._woken.clear()
            try:
                await self._tidy()
                await self._look()
            except ServiceError as err:
                _log.info("the engine is asked again: %s", err)

    async def _tidy(self) -> None:
        now = asyncio.get_running_loop().time()
        for name, (_, until) in list(self._doubtful.items()):
            there = await self.daemon.find(f"containers/{name}/json") is not None
            if there:
                await self.daemon.remove(f"containers/{name}")
            if there or now > until:
                self._doubtful.pop(name, None)

    async def _look(self) -> None:
        if not self._running:
            return
        before = set(self._running)
        found = await self.daemon.ask("GET", "containers/json", {"filters": shape.filters(shape.SERVER, self.owner)})
        alive = {each["Id"] for each in found}
        for id in before - alive:
            running = self._running.get(id)
            if running is not None:
                running.look()
