"""The runtime as users know it: run a folder, see what became of it, over any driver."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import asdict

from micro import names
from micro.context import CORE_NAMESPACE
from micro.durations import seconds
from micro.errors import DeadlineExceeded, FailedPrecondition, InvalidArgument, NotFound, Unavailable
from micro.limits import MIB
from micro.plugin.portable import Portable
from micro.plugin.watch import resuming
from micro.runtime.driver import ERROR, RUNNING, Event, Limits, LogLine, RuntimeDriver, Spec, Status

if TYPE_CHECKING:
    from micro.durations import Duration

TRIES = 3  # times an upload is begun, or gone on with


class Runtime(Portable[RuntimeDriver]):
    """The services of one namespace."""

    primitive = "runtime"

    def __init__(self, driver: RuntimeDriver, *, plugin: str = "", namespace: str = CORE_NAMESPACE) -> None:
        super().__init__(driver, plugin=plugin)
        self.namespace = names.namespace(namespace)

    async def run(
        self,
        source: str | Path = "",
        *,
        name: str = "",
        version: str = "latest",
        command: Sequence[str] = (),
        args: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        image: str = "",
        instances: int = 1,
        metadata: Mapping[str, str] | None = None,
        entrypoint: str = "",
        limits: Limits | None = None,
        force: bool = False,
        wait: Duration = 0.0,
    ) -> Status:
        """Run a service: a local folder, or what an archive of one holds, is packed and uploaded; gives its status.

        `limits` are each instance's; Unimplemented for one that the runtime cannot keep.

        Running already: nothing happens, unless `force`. `wait` for it to run, then DeadlineExceeded; a
        service that fails meanwhile raises FailedPrecondition with its last words.
        """
        spec = await self._spec(source, name, version)
        spec.command, spec.args, spec.env = list(command), list(args), dict(env or {})
        spec.image, spec.instances, spec.entrypoint = image, instances, entrypoint
        spec.metadata |= metadata or {}
        spec.limits = limits or spec.limits
        await self.create(spec, force=force)
        return await self.running(spec.name, spec.version, wait) if wait else await self._status(spec)

    async def create(self, spec: Spec, *, force: bool = False) -> None:
        """Want a service as it is described."""
        self._check(spec)
        await self._call("create", self.driver.create(self.namespace, spec, force=force))

    async def update(self, source: str | Path = "", *, name: str = "", version: str = "latest") -> None:
        """Replace a running service by a new source; one that does not start leaves the old one serving."""
        spec = await self._spec(source, name, version)
        await self.replace(spec)

    async def replace(self, spec: Spec) -> None:
        """Replace a running service as it is described."""
        self._check(spec)
        await self._call("update", self.driver.update(self.namespace, spec))

    async def kill(self, name: str, version: str = "latest") -> None:
        """Stop a service and forget it; NotFound when it is not there."""
        names.service(name)
        await self._call("kill", self.driver.delete(self.namespace, name, names.version(version)))

    async def status(self, name: str = "", version: str = "") -> list[Status]:
        """Say what the services are doing, truly; empty arguments match all."""
        return await self._call("status", self.driver.list(self.namespace, name=name, version=version))

    async def running(self, name: str, version: str = "latest", wait: Duration = 30.0) -> Status:
        """Wait until a service runs: see `run`."""
        patience = seconds(wait, "wait")
        until = asyncio.get_running_loop().time() + patience
        while True:
            status = await self._status(Spec(name, version))
            if status.status == RUNNING:
                return status
            if status.status == ERROR:
                raise FailedPrecondition(f"{name} does not start: {status.error}")
            if asyncio.get_running_loop().time() >= until:
                raise DeadlineExceeded(f"{name} was not running after {patience:g} s")
            await asyncio.sleep(0.05)

    async def logs(
        self,
        name: str,
        *,
        version: str = "latest",
        follow: bool = False,
        since: datetime | timedelta | None = None,
        count: int = 0,
    ) -> AsyncGenerator[LogLine, None]:
        """Give a service's log lines: the last `count` (0: all) since an instant or for a time, then those to come."""
        names.service(name)
        when = datetime.now(UTC) - since if isinstance(since, timedelta) else since
        lines = self.driver.logs(self.namespace, name, version, since=when, count=count, follow=follow)
        async for line in self._iterate("logs", lines):
            yield line

    def watch(self, *, after: int | None = None) -> AsyncGenerator[Event, None]:
        """Follow the services."""
        return resuming(
            lambda since: self._iterate("watch", self.driver.watch(self.namespace, after=since)), after=after
        )

    async def put(
        self,
        name: str,
        version: str,
        archive: AsyncIterator[bytes],
        *,
        digest: str,
        encoding: str = "",
        offset: int = 0,
    ) -> str:
        """Upload a tar from a byte on, of which `stat` says how many are there; gives its id. See `upload`."""
        self._require("resume", "put")
        names.service(name)
        work = self.driver.put(
            self.namespace, name, names.version(version), archive, digest=digest, encoding=encoding, offset=offset
        )
        return await self._call("put", work)

    async def stat(self, digest: str) -> int:
        """Say how many bytes are there of a tar that a `put` broke off; `digest` is the SHA-256 of all of them."""
        self._require("resume", "stat")
        return await self._call("stat", self.driver.stat(self.namespace, digest))

    async def upload(self, folder: Path, name: str, version: str = "latest") -> str:
        """Pack a folder and upload it; gives its id.

        Where the driver can resume it goes gzipped, by a temporary file, and on from where a cut call ended.
        """
        if not await asyncio.to_thread(folder.is_dir):
            raise InvalidArgument(f"there is no folder {str(folder)!r}")
        if "resume" in self.driver.capabilities:
            return await self._upload_packed(folder, name, version)
        from micro.runtime import source

        async def chunks() -> AsyncIterator[bytes]:
            packed = source.pack(folder)
            while (chunk := await asyncio.to_thread(next, packed, b"")) != b"":
                yield chunk

        return await self._call("upload", self.driver.upload(self.namespace, name, version, chunks()))

    async def _upload_packed(self, folder: Path, name: str, version: str) -> str:
        import tempfile

        from micro.runtime import source

        with tempfile.SpooledTemporaryFile(MIB) as file:
            digest = await asyncio.to_thread(source.pack_into, folder, file)

            async def chunks(offset: int) -> AsyncIterator[bytes]:
                file.seek(offset)
                while chunk := await asyncio.to_thread(file.read, MIB):
                    yield chunk

            for last in (False,) * (TRIES - 1) + (True,):
                offset = await self.stat(digest)
                try:
                    return await self.put(name, version, chunks(offset), digest=digest, encoding="gzip", offset=offset)
                except Unavailable:
                    if last:
                        raise
                    await asyncio.sleep(random.uniform(0.5, 1.0))
        raise AssertionError("the last try gives or raises")

    async def _spec(self, source: str | Path, name: str, version: str) -> Spec:
        path = await asyncio.to_thread(_local, source)
        if path is not None:
            from micro.runtime.archives import folder_of, name_of

            called = name or name_of(path) or path.name
            spec = Spec(names.service(called), names.version(version), metadata={"source": str(path)})
            with ExitStack() as unpacked:
                folder = await asyncio.to_thread(unpacked.enter_context, folder_of(path))
                spec.source = await self.upload(folder, spec.name, spec.version)
            return spec
        if source and not str(source).startswith("source://"):
            raise InvalidArgument(f"there is no folder or archive {str(source)!r}")
        return Spec(names.service(name), names.version(version), source=str(source))

    async def _status(self, spec: Spec) -> Status:
        found = await self.status(spec.name, spec.version)
        if not found:
            raise NotFound(f"runtime.status [{self.plugin}]: not found: service {spec.name!r}")
        return found[0]

    def _check(self, spec: Spec) -> None:
        names.service(spec.name)
        names.version(spec.version)
        if not 1 <= spec.instances <= 100:
            raise InvalidArgument(f"instances must be 1 to 100, not {spec.instances}")
        if spec.image:
            self._require("images", "create")
        for name, limit in asdict(spec.limits).items():
            if limit < 0:
                raise InvalidArgument(f"the limit of {name} must be 0 or more, not {limit}")
            if limit:
                self._require(f"limit-{name}", "create")
        for key in [*spec.env, *spec.secrets]:
            if not key or "=" in key or "\0" in key or "\0" in (spec.env | spec.secrets)[key]:
                raise InvalidArgument(f"{key!r} is not the name of a variable, or its value cannot be one")


def _local(source: str | Path) -> Path | None:
    """Give the local folder or archive that a source names; None for anything else."""
    path = Path(source).expanduser() if source else None
    if path is None or not path.exists():
        return None
    from micro.runtime.archives import name_of

    return path.resolve() if path.is_dir() or name_of(path) else None
