"""What services are made of: the archives that were accepted, and what was built of them, both as long as they are needed."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from micro.errors import InvalidArgument, NotFound, ServiceError
from micro.runtime.driver import Spec
from micro.runtime.uploads import Uploads

if TYPE_CHECKING:
    from micro.blobs.api import Blobs
    from micro.runtime.running import Running

BARE = "bare"  # the build of a service without a source
SHARED = "micro.runtime"  # the namespace of the blobs with the archives that servers share
_log = logging.getLogger(__name__)


class Sources:
    """All namespaces' in one folder, which no other process uses.

    Whoever keeps a source holds `lock` until there is a service that needs it: what nobody needs is forgotten.
    """

    def __init__(self, folder: Path) -> None:
        self.uploads = Uploads(folder)
        self.lock = asyncio.Lock()
        self._folder = folder
        self._blobs: Blobs | None = None

    def share(self, blobs: Blobs) -> None:
        """Keep archives in blobs, too, and take those from there that are not here."""
        self._blobs = blobs

    async def open(self) -> None:
        """Make the folder; remove what an earlier process was in the middle of."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        await asyncio.to_thread(self.uploads.open)

    async def sweep(self) -> None:
        """Remove the halves of uploads that nobody went on with."""
        await asyncio.to_thread(self.uploads.sweep)

    def check(self, namespace: str, spec: Spec) -> None:
        """Raise for a source that is not here, and for a service that has nothing to start."""
        if not spec.source:
            if not spec.command:
                raise InvalidArgument("a service needs a source or a command")
            return
        if not spec.source.startswith("source://"):
            raise InvalidArgument(f"source {spec.source!r} is not an upload; run it from a local folder")
        if not self._uploaded(namespace, *named(spec)):
            raise NotFound(f"source {spec.source!r} was not uploaded")

    def _uploaded(self, namespace: str, name: str, version: str) -> bool:
        return self.uploads.path(namespace, name, version).is_file()

    async def keep(self, namespace: str, spec: Spec) -> str:
        """Keep a service's source as it is now; gives its digest, empty without a source."""
        if not spec.source:
            return ""
        digest = await asyncio.to_thread(self.uploads.keep, namespace, *named(spec))
        if self._blobs is not None:
            await self._blobs.write(_shared(namespace, digest), self.uploads.kept(namespace, digest))
        return digest

    async def fetch(self, namespace: str, digest: str) -> None:
        """Have an archive here that another server kept."""
        if self._blobs is None or not digest or self.uploads.kept(namespace, digest).is_file():
            return
        file = self.uploads.kept(namespace, digest)
        await asyncio.to_thread(file.parent.mkdir, 0o700, parents=True, exist_ok=True)
        await self._blobs.download(_shared(namespace, digest), file)

    async def drop(self, service: Running) -> None:
        """Remove the upload that a service was run from."""
        if service.digest:
            await asyncio.to_thread(self.uploads.drop, service.namespace, *named(service.spec), service.digest)

    def places(self, service: Running) -> tuple[Path | None, Path]:
        """Give a service's archive, and the folder of its build: another for another archive."""
        builds = self.builds(service)
        if not service.digest:
            return None, builds / BARE
        return self.uploads.kept(service.namespace, service.digest), builds / service.digest[:16]

    def builds(self, service: Running) -> Path:
        """Give the folder that all builds of a service are in."""
        return self._folder / service.namespace / f"{service.spec.name}@{service.spec.version}"

    async def forget_builds(self, service: Running) -> None:
        """Remove all that was built of a service."""
        async with self.lock:  # who looks through the folder does not find it half gone
            await asyncio.to_thread(shutil.rmtree, self.builds(service), ignore_errors=True)

    def namespaces(self) -> list[str]:
        """Name the namespaces that anything is here of."""
        return sorted(path.name for path in self._folder.iterdir() if path.is_dir())

    async def forget(self, namespace: str, needed: Callable[[], Iterable[Running]]) -> None:
        """Remove the archives and builds of a namespace that no service needs any more."""
        async with self.lock:
            services = [service for service in needed() if service.namespace == namespace]
            builds = {self.places(service)[1] for service in services}
            digests = {service.digest for service in services}
            await asyncio.to_thread(self._forget, namespace, digests, builds)
            if self._blobs is not None:
                await self._forget_shared(self._blobs, namespace, digests)

    async def _forget_shared(self, blobs: Blobs, namespace: str, digests: set[str]) -> None:
        try:
            for blob in await blobs.list(_shared(namespace, "")):
                if blob.key.rpartition("/")[2] not in digests:
                    await blobs.delete(blob.key)
        except ServiceError as err:  # they are looked through again at the next change
            _log.warning("archives that nothing needs were not removed: %s", err)

    def _forget(self, namespace: str, digests: set[str], builds: set[Path]) -> None:
        self.uploads.forget(namespace, digests)
        for build in (self._folder / namespace).glob("*@*/*"):  # no other folder has an @ in its name
            if build not in builds:
                shutil.rmtree(build, ignore_errors=True)


def named(spec: Spec) -> tuple[str, str]:
    """Give the name and version that a source was uploaded under."""
    name, _, version = spec.source.removeprefix("source://").rpartition(":")
    return name, version


def _shared(namespace: str, digest: str) -> str:
    return f"{namespace}/{digest}"
