"""The reference driver: services as programs that are played in this process, gone with it."""

from __future__ import annotations

import asyncio
import hashlib
import io
import itertools
import tarfile
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from micro import limits
from micro.errors import FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted, Unimplemented
from micro.plugin.settings import Settings
from micro.runtime.accounts import Accounts
from micro.runtime.driver import Engine, Exit, Handle, Instance, LogLine, Spec
from micro.runtime.environment import Build
from micro.runtime.output import Logs
from micro.runtime.programs import Program
from micro.runtime.reconciler import Reconciler
from micro.runtime.sources import Sources, named
from micro.store import Store
from micro.store.memory import MemoryStore

if TYPE_CHECKING:
    from micro.runtime.running import Running
    from micro.runtime.uploads import Uploads

GRACE = 30.0  # seconds between asking a program to stop and making it
PROGRAMS = frozenset({"sh", "sleep", "python", "python3"})  # what there is to start


class Host:
    """The machine that programs are played on, and its disk: runtimes come and go on it."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self.store = MemoryStore()
        self.programs: dict[int, Program] = {}
        self.output: dict[str, list[LogLine]] = {}
        self.sources: dict[tuple[str, ...], bytes] = {}
        self.grown = asyncio.Event()  # set with the next line; another one takes its place then
        self._pids = itertools.count(1)

    def start(self, instance: Instance) -> int:
        """Play a program; gives its number."""
        pid = next(self._pids)
        program = Program(instance, lambda text: self.write(instance.log, text, str(instance.number)))
        self.programs[pid] = program
        program.over.add_done_callback(lambda _: self.programs.pop(pid))
        return pid

    def write(self, place: str, text: str, instance: str = "0") -> None:
        """Add lines to an output."""
        when = datetime.fromtimestamp(self.clock(), UTC)
        self.output.setdefault(place, []).extend(LogLine(line, when, instance) for line in text.split("\n"))
        grown, self.grown = self.grown, asyncio.Event()
        grown.set()


class MemoryEngine(Engine, interface=1):
    """Plays programs: see programs.py. On a host of its own they end with it."""

    settings_type = Settings
    capabilities = frozenset({"limit-memory", "limit-files"})

    def __init__(
        self, settings: Settings | None = None, *, host: Host | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self.host = host or Host(clock=clock)
        self._alone = host is None
        self._closed = False
        self._watched: dict[int, Callable[[asyncio.Future[int]], None]] = {}
        self._ended: asyncio.Queue[Exit] = asyncio.Queue()

    async def close(self) -> None:
        self._closed = True
        for pid, tell in self._watched.items():
            if pid in self.host.programs:
                self.host.programs[pid].over.remove_done_callback(tell)
        self._watched.clear()
        if self._alone:
            for program in list(self.host.programs.values()):
                program.kill()

    async def start(self, instance: Instance) -> Handle:
        if instance.command[0].rpartition("/")[2] not in PROGRAMS:
            raise FailedPrecondition(f"there is no program {instance.command[0]!r}")
        handle = Handle(instance.id, {"pid": self.host.start(instance)})
        self._watch(handle)
        return handle

    async def stop(self, handle: Handle, *, grace: float) -> int | None:
        program = self.host.programs.get(handle.state["pid"])
        if program is None:
            return None
        program.ask()
        done, _ = await asyncio.wait([program.over], timeout=grace)
        if not done:
            program.kill()
        return program.over.result()

    async def adopt(self, handles: list[Handle]) -> list[Handle]:
        if self._closed:
            raise FailedPrecondition("the engine is closed")
        there = [handle for handle in handles if handle.state["pid"] in self.host.programs]
        for handle in there:
            self._watch(handle)
        return there

    async def exits(self) -> AsyncIterator[Exit]:
        while True:
            yield await self._ended.get()

    def _watch(self, handle: Handle) -> None:
        def tell(over: asyncio.Future[int]) -> None:
            self._watched.pop(pid, None)
            self._ended.put_nowait(Exit(handle, over.result()))

        pid = handle.state["pid"]
        self._watched[pid] = tell
        self.host.programs[pid].over.add_done_callback(tell)


class MemoryRuntime(Reconciler, interface=1):
    """The reconciler over programs that are played: for tests, and to see what a platform does with services.

    A source is taken and kept, and what it would start runs until it is stopped. On a host of its own all of it is
    gone in the end.
    """

    settings_type = Settings
    needs = frozenset()

    def __init__(
        self, settings: Settings | None = None, *, host: Host | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self.engine = engine = MemoryEngine(host=host, clock=clock)
        host = engine.host
        store = Store(host.store, plugin="memory", database="micro", table="runtime")
        self._taken = MemorySources(host)
        super().__init__(store=store, sources=self._taken, output=MemoryLogs(host), grace=GRACE, clock=host.clock)
        self.capabilities = frozenset({"source"})
        self.accounts = MemoryAccounts()
        self.registry = None

    async def build(self, service: Running) -> Build:
        command = service.spec.command or ["python", "main.py"]
        if command[0] == "sh" and command[1:2] != ["-c"] and service.digest:
            command = ["sh", "-c", self._taken.text(service, command[1]), *command[1:]]
        return Build(Path("/"), [*command, *service.spec.args], {"PATH": "/bin"})

    async def upload(self, namespace: str, name: str, version: str, archive: AsyncIterator[bytes]) -> str:
        self._check()
        found = bytearray()
        async for chunk in archive:
            found += chunk
            if len(found) > limits.UPLOAD:
                raise ResourceExhausted(f"the source has more than {limits.UPLOAD // limits.MIB} MiB")
        if not found:
            raise InvalidArgument("the source is empty")
        self._check()
        self._taken.take(namespace, name, version, bytes(found))
        return f"source://{name}:{version}"


class MemoryAccounts(Accounts):
    """Secrets that nobody asks for."""

    async def create(self, namespace: str, id: str) -> str:
        return f"secret of {id}"

    async def remove(self, namespace: str, id: str) -> None:
        """Nothing is kept."""


class MemoryLogs(Logs):
    """The output as a host has it."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def place(self, namespace: str, name: str, version: str, number: int) -> str:
        return f"{namespace}/{name}@{version}.{number}"

    async def append(self, place: str, text: str) -> None:
        self._host.write(place, text)

    async def last(self, place: str, count: int) -> list[str]:
        return [line.message for line in self._host.output.get(place, ())[-count:]]

    async def lines(
        self, places: Sequence[str], *, since: datetime | None, count: int, follow: bool
    ) -> AsyncIterator[LogLine]:
        seen = [0] * len(places)
        first = [line for line in self._fresh(places, seen) if since is None or (line.when and line.when >= since)]
        for line in first[-count:] if count else first:
            yield line
        while follow:
            grown = self._host.grown
            fresh = self._fresh(places, seen)
            for line in fresh:
                yield line
            if not fresh:
                await grown.wait()

    def _fresh(self, places: Sequence[str], seen: list[int]) -> list[LogLine]:
        """Give what was written since it was last seen, in the order of time."""
        found: list[LogLine] = []
        for index, place in enumerate(places):
            lines = self._host.output.get(place, [])
            found += lines[seen[index] :]
            seen[index] = len(lines)
        return sorted(found, key=lambda line: line.when.timestamp() if line.when else 0.0)


class MemorySources(Sources):
    """Sources as a host has them: by their name while they are uploads, by their digest where a service needs them."""

    def __init__(self, host: Host) -> None:
        self.lock = asyncio.Lock()
        self._sources = host.sources

    @property
    def uploads(self) -> Uploads:  # type: ignore[override] # read only
        """Give those that go on after a cut, of which there are none: `resume` is not claimed."""
        raise Unimplemented("this runtime takes no uploads that go on")

    async def open(self) -> None:
        """Nothing was begun."""

    async def sweep(self) -> None:
        """There are no halves."""

    def take(self, namespace: str, name: str, version: str, archive: bytes) -> None:
        """Have an upload."""
        self._sources[namespace, name, version] = archive

    def text(self, service: Running, file: str) -> str:
        """Give what is in a file of a service's source."""
        archive = io.BytesIO(self._sources[service.namespace, service.digest])
        try:
            with tarfile.open(fileobj=archive) as tar:
                found = tar.extractfile(file)
                return found.read().decode() if found else ""
        except (KeyError, UnicodeDecodeError, tarfile.TarError) as err:
            raise FailedPrecondition(f"the source has no script {file!r}") from err

    def _uploaded(self, namespace: str, name: str, version: str) -> bool:
        return (namespace, name, version) in self._sources

    async def keep(self, namespace: str, spec: Spec) -> str:
        if not spec.source:
            return ""
        archive = self._sources.get((namespace, *named(spec)))
        if archive is None:
            raise NotFound(f"source {spec.source!r} was not uploaded")
        digest = hashlib.sha256(archive).hexdigest()
        self._sources[namespace, digest] = archive
        return digest

    async def drop(self, service: Running) -> None:
        upload = (service.namespace, *named(service.spec))
        if service.digest and self._sources.get(upload) is self._sources.get((service.namespace, service.digest)):
            self._sources.pop(upload, None)

    async def forget_builds(self, service: Running) -> None:
        """Nothing is built."""

    def namespaces(self) -> list[str]:
        return sorted({key[0] for key in self._sources})

    async def forget(self, namespace: str, needed: Callable[[], Iterable[Running]]) -> None:
        async with self.lock:
            digests = {service.digest for service in needed() if service.namespace == namespace}
            for key in [key for key in self._sources if len(key) == 2 and key[0] == namespace]:
                if key[1] not in digests:
                    del self._sources[key]
