"""What a runtime provides: services, over engines of instances. No I/O here."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field
from msgspec.structs import replace

from micro.errors import Unimplemented
from micro.plugin.driver import Change, Driver, Reset, Synced
from micro.runtime import states

if TYPE_CHECKING:
    from micro.blobs.api import Blobs
    from micro.runtime.lease import Lease

UNKNOWN, PENDING, BUILDING, STARTING, RUNNING, STOPPING, STOPPED, ERROR = states.NUMBERS
WORDS = states.WORDS


class Limits(Struct):
    """What one instance may use; 0 is without limit. For each there is a capability, `limit-memory` and so on."""

    memory: int = 0  # MiB
    cpu: int = 0  # thousandths of a core
    disk: int = 0  # MiB
    files: int = 0  # open at once, in each process
    processes: int = 0  # threads count


class Spec(Struct):
    """A service as it is wanted.

    `source` is an upload's id (`source://name:version`) or where to fetch it; `command` what to start instead of the
    source's own; `entrypoint` a folder of the source; `env` and `secrets` are given to the process, `secrets` only to
    it; `metadata` is shown.
    """

    name: str
    version: str = "latest"
    source: str = ""
    command: list[str] = field(default_factory=list)
    args: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    image: str = ""
    instances: int = 1
    limits: Limits = field(default_factory=Limits)
    metadata: dict[str, str] = field(default_factory=dict)
    entrypoint: str = ""
    secrets: dict[str, str] = field(default_factory=dict)

    def copy(self) -> Spec:
        """Give one that shares nothing with this, however it is changed."""
        lists = {"command": list(self.command), "args": list(self.args), "limits": replace(self.limits)}
        return replace(self, env={**self.env}, metadata={**self.metadata}, secrets={**self.secrets}, **lists)


class Status(Struct):
    """A service as it is: `status` one of the wire's numbers, true now; `error` says why it is ERROR, for people."""

    spec: Spec
    status: int = PENDING
    error: str = ""
    started: datetime | None = None
    updated: datetime | None = None
    metadata: dict[str, str] = field(default_factory=dict)


class LogLine(Struct):
    """A line that an instance wrote, without its end; `when` is to about half a second."""

    message: str
    when: datetime | None = None
    instance: str = ""


Event = Change[Status] | Synced | Reset


class RuntimeDriver(Driver, defines=1):
    """Runs services. Arguments were validated.

    Capabilities: `source` (runs uploaded sources), `resume` (`put` and `stat`), `images`, and those of Limits:
    `limit-memory`, `limit-cpu`, `limit-disk`, `limit-files`, `limit-processes`. After `close` every method raises
    FailedPrecondition.
    """

    @abstractmethod
    async def create(self, namespace: str, spec: Spec, *, force: bool = False) -> None:
        """Want a service; one that is there already stays as it is, unless `force` replaces it."""

    def share(self, lease: Lease, blobs: Blobs) -> None:
        """Be told, before `open`, that other servers share the store: run what is wanted while `lease` is held, sources are in `blobs`."""

    async def end(self) -> None:
        """Stop all that runs, for the platform ends; it is wanted still, and starts with the next. Nothing where it may go on."""

    @abstractmethod
    async def update(self, namespace: str, spec: Spec) -> None:
        """Replace a running service; a new one that does not start leaves the old one serving. NotFound if unknown."""

    @abstractmethod
    async def delete(self, namespace: str, name: str, version: str) -> None:
        """Stop a service and forget it. NotFound if unknown."""

    @abstractmethod
    async def list(self, namespace: str, *, name: str = "", version: str = "") -> list[Status]:
        """Give the services, sorted by name and version; empty arguments match all."""

    @abstractmethod
    def logs(
        self,
        namespace: str,
        name: str,
        version: str,
        *,
        since: datetime | None = None,
        count: int = 0,
        follow: bool = False,
    ) -> AsyncIterator[LogLine]:
        """Give log lines, oldest first; the last `count` of them (0: all), then with `follow` those to come."""

    @abstractmethod
    def watch(self, namespace: str, *, after: int | None = None) -> AsyncIterator[Event]:
        """Follow the services; keys are `name:version`."""

    @abstractmethod
    async def upload(self, namespace: str, name: str, version: str, archive: AsyncIterator[bytes]) -> str:
        """Take a tar of a source, whole or not at all; gives its id for a Spec's `source`."""

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
        """Take a tar as `upload` does, `encoding` "gzip" or "", whose bytes before `offset` are there: see `stat`.

        `digest` is the SHA-256 of all its bytes as they are sent, in hex; nothing is used that has another. What came
        is kept for a while when the call breaks off; the call that came last goes on, others raise Aborted.
        """
        raise Unimplemented("this runtime takes no uploads that go on")

    async def stat(self, namespace: str, digest: str) -> int:
        """Say how many bytes are there of a tar that a `put` broke off."""
        raise Unimplemented("this runtime takes no uploads that go on")


class Instance(Struct):
    """One process or container to start: which, from where, with what around it."""

    namespace: str
    name: str
    version: str
    number: int
    command: list[str]
    folder: str
    env: Mapping[str, str]
    log: str
    limits: Limits = field(default_factory=Limits)
    round: int = 0  # tells the instances of an update from those they replace
    image: str = ""

    @property
    def id(self) -> str:
        """`namespace/name@version.number+round`."""
        return f"{self.namespace}/{self.name}@{self.version}.{self.number}+{self.round}"


class Handle(Struct):
    """A started instance, as its engine finds it again: `state` is the engine's own, JSON."""

    id: str
    state: dict[str, Any] = field(default_factory=dict)


class Exit(Struct):
    """An instance that ended: its exit code, negative for a signal, None when that is not known; `cause` if it was made to."""

    handle: Handle
    code: int | None = None
    cause: str = ""


class Engine(Driver, defines=1):
    """Starts and stops instances. What it started outlives this process, never the server.

    Capabilities: `limit-memory`, `limit-cpu`, `limit-disk`, `limit-files`, `limit-processes`: those of Limits, which an
    Instance has as far as they are claimed.
    """

    @abstractmethod
    async def start(self, instance: Instance) -> Handle:
        """Start an instance; returns when it is running. FailedPrecondition when there is no such program."""

    @abstractmethod
    async def stop(self, handle: Handle, *, grace: float) -> int | None:
        """Ask all of it to stop, after `grace` seconds make it; gives its exit code. None for one that is over."""

    @abstractmethod
    async def adopt(self, handles: list[Handle]) -> list[Handle]:
        """Take over what an earlier process started; gives those still running and watches them."""

    @abstractmethod
    def exits(self) -> AsyncIterator[Exit]:
        """Give each instance's end as it happens, stopped ones too."""
