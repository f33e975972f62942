"""What services are made of: their archives as every runtime keeps them, their builds as images."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import logging
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any

from micro.errors import FailedPrecondition, ServiceError
from micro.runtime import environment, logfile
from micro.runtime.driver import Spec
from micro.runtime.sources import Sources
from micro_runtime_docker import images, root
from micro_runtime_docker.images import Images

if TYPE_CHECKING:
    from micro.runtime.running import Running

BUILD = "micro-build"  # what images that are made of sources are called
APP = "app"  # where a source is in its image
_log = logging.getLogger(__name__)


class DockerSources(Sources):
    """Archives in a folder, builds in the engine. `owner` tells this server's builds from those of others on it."""

    def __init__(self, folder: Path, made: Images) -> None:
        super().__init__(folder)
        self.owner = ""
        self._images = made

    def check(self, namespace: str, spec: Spec) -> None:
        if spec.source or not spec.image:
            super().check(namespace, spec)

    async def build(self, service: Running) -> environment.Build:
        """Have a service's image, and say what its instances are started with."""
        spec = service.spec
        base = spec.image or await self._images.base()
        if not service.digest:
            found = await self._images.inspect(base)
            return _build(found, _given(spec, found), base)
        name = self._name(service)
        known = await self._images.find(name)
        if known is None or known["Config"]["Labels"].get(images.BASE) != base:
            await self._make(service, name, base)
            known = await self._images.inspect(name)
        main = known["Config"]["Labels"][images.MAIN]
        if not main and not spec.command:
            raise FailedPrecondition(environment.NOTHING)
        return _build(known, environment.command(spec, "python", main), name)

    async def forget_builds(self, service: Running) -> None:
        await super().forget_builds(service)
        if service.digest:
            try:
                await self._images.remove(self._name(service))
            except ServiceError as err:  # it is looked through again at the next change
                _log.warning("an image that nothing needs was not removed: %s", err)

    async def forget(self, namespace: str, needed: Callable[[], Iterable[Running]]) -> None:
        await super().forget(namespace, needed)
        async with self.lock:
            names = {self._name(service) for service in needed() if service.namespace == namespace and service.digest}
            try:
                for each in await self._images.owned(images.OWNER, self.owner):
                    if each["Labels"].get(images.NAMESPACE) == namespace and names.isdisjoint(each["RepoTags"] or ()):
                        await self._images.remove(each["Id"])
            except ServiceError as err:
                _log.warning("images that nothing needs were not removed: %s", err)

    def _name(self, service: Running) -> str:
        """Name the image of a service's source: another one for another source, service or server."""
        spec = service.spec
        parts = [self.owner, service.namespace, spec.name, spec.version, service.digest, spec.entrypoint]
        return f"{BUILD}:{hashlib.blake2s(json.dumps(parts).encode(), digest_size=16).hexdigest()}"

    async def _make(self, service: Running, name: str, base: str) -> None:
        """Build the image of a service; what the tools say goes to its log."""
        await self.fetch(service.namespace, service.digest)
        archive, place = self.places(service)
        spec, log = service.spec, Path(service.log(0))
        try:
            folder = await environment.unpacked(spec, archive, place)
            own = base.startswith(f"{images.IMPORTED}:")
            packages = place / "deps"
            asked = own and await environment.install(folder, log, "--target", str(packages))
            labels = {
                images.OWNER: self.owner,
                images.NAMESPACE: service.namespace,
                images.BASE: base,
                images.MAIN: environment.main_of(folder) if not spec.command else _main_or_none(folder),
            }
            installs = not own and (folder / environment.REQUIREMENTS).is_file()
            text = images.recipe(base, str(PurePosixPath("/", APP, spec.entrypoint)), packages=asked, install=installs)
            with tempfile.TemporaryFile() as file:
                await asyncio.to_thread(_context, file, text, place / "source", packages if asked else None)
                await self._run(name, file, labels, log)
        finally:
            await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)

    async def _run(self, name: str, file: IO[bytes], labels: Mapping[str, str], log: Path) -> None:
        said: list[str] = []
        try:
            async for text in self._images.build(name, file, labels):
                said.append(text)  # noqa: PERF401 - it is wanted when the next one fails
        except FailedPrecondition as err:
            await asyncio.to_thread(logfile.append, log, "".join(said).rstrip())
            raise FailedPrecondition(f"its image could not be built: {err.detail}") from err


def _context(file: IO[bytes], recipe: str, source: Path, packages: Path | None) -> None:
    """Write what an image is built of, as a tar from its beginning on."""
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
        member = tarfile.TarInfo("Dockerfile")
        member.size = len(recipe.encode())
        tar.addfile(member, io.BytesIO(recipe.encode()))
        for name, folder in ((APP, source), ("deps", packages)):
            if folder is not None:
                root.add_tree(tar, name, folder)
    file.seek(0)


def _build(found: Mapping[str, Any], command: list[str], image: str) -> environment.Build:
    env = dict(each.split("=", 1) for each in found["Config"].get("Env") or ())
    return environment.Build(PurePosixPath(found["Config"].get("WorkingDir") or "/"), command, env, image)


def _given(spec: Spec, found: Mapping[str, Any]) -> list[str]:
    """Say what to start in an image as it is: what is wanted, else the image's own."""
    if spec.command:
        return [*spec.command, *spec.args]
    config = found["Config"]
    start = [*(config.get("Entrypoint") or ()), *(spec.args or config.get("Cmd") or ())]
    if not start:
        raise FailedPrecondition(
            f"the image {spec.image!r} has no command of its own; say what to start with --command"
        )
    return start


def _main_or_none(folder: Path) -> str:
    try:
        return environment.main_of(folder)
    except FailedPrecondition:
        return ""
