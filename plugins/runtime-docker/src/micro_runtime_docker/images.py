"""The images that containers are made of: given ones, and those that are built from sources, with no registry."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Mapping
from typing import IO, Any

from micro import limits
from micro.errors import FailedPrecondition
from micro_runtime_docker import root, shape
from micro_runtime_docker.daemon import Daemon

IMPORTED = "micro-base"  # what images that are made of this interpreter are called
CHANGES = (f"ENV PATH={shape.PATH}", "ENV HOME=/tmp", "ENV LANG=C.UTF-8")
OWNER, NAMESPACE = "micro.build", "micro.namespace"  # labels of a build: whose it is
BASE, MAIN = "micro.base", "micro.main"  # and what it stands on, and begins with


class Images:
    """The images of an engine. `owner` tells this server's builds from those of others."""

    def __init__(self, daemon: Daemon, base: str) -> None:
        self._daemon = daemon
        self._base = base
        self._lock = asyncio.Lock()

    async def base(self) -> str:
        """Give the image that sources run in; makes it of this interpreter where none is named."""
        async with self._lock:
            if not self._base:
                found = await asyncio.to_thread(root.members)
                name = f"{IMPORTED}:{await asyncio.to_thread(root.fingerprint, found)}"
                if await self._daemon.find(f"images/{name}/json") is None:
                    await self.make(name, found)
                self._base = name
        return self._base

    async def inspect(self, name: str) -> Mapping[str, Any]:
        """Give what an image says of itself; FailedPrecondition when it is not there, for nothing is pulled."""
        found: Mapping[str, Any] | None = await self._daemon.find(f"images/{name}/json")
        if found is None:
            raise FailedPrecondition(shape.absent("no such image", name))
        return found

    async def find(self, name: str) -> Mapping[str, Any] | None:
        """Give what an image says of itself; None when it is not there."""
        found: Mapping[str, Any] | None = await self._daemon.find(f"images/{name}/json")
        return found

    async def build(self, name: str, context: IO[bytes], labels: Mapping[str, str]) -> AsyncIterator[str]:
        """Build an image of a tar with a Dockerfile; gives what the steps say."""
        params = {"t": name, "rm": "1", "forcerm": "1", "labels": json.dumps(dict(labels))}
        async for said in self._daemon.progress("build", params, _chunks(context)):
            if "stream" in said:
                yield str(said["stream"])

    async def owned(self, label: str, value: str) -> list[Mapping[str, Any]]:
        """List the images that have a label."""
        found: list[Mapping[str, Any]] = await self._daemon.ask(
            "GET", "images/json", {"filters": shape.filters(label, value)}
        )
        return found

    async def remove(self, id: str) -> None:
        """Remove an image; one that a container is made of stays."""
        try:
            await self._daemon.remove(f"images/{id}")
        except FailedPrecondition:
            return

    async def make(self, name: str, found: root.Members) -> None:
        """Make an image of files."""
        repository, _, tag = name.partition(":")
        params = {"fromSrc": "-", "repo": repository, "tag": tag, "changes": "\n".join(CHANGES)}
        with tempfile.TemporaryFile() as file:
            await asyncio.to_thread(root.write, found, file)
            file.seek(0)
            async for _ in self._daemon.progress("images/create", params, _chunks(file)):
                pass


async def _chunks(file: IO[bytes]) -> AsyncIterator[bytes]:
    while chunk := await asyncio.to_thread(file.read, limits.MIB):
        yield chunk


def recipe(base: str, folder: str, *, packages: bool, install: bool) -> str:
    """Write a Dockerfile: a source in /app, what it asks for beside it, or installed by the base's own pip."""
    lines = [f"FROM {base}", "COPY app /app"]
    lines += [f"COPY deps {root.DEPENDENCIES}"] if packages else []
    lines += [f"WORKDIR {json.dumps(folder)}"]
    lines += ['RUN ["python", "-m", "pip", "install", "--no-cache-dir", "-r", "requirements.txt"]'] if install else []
    return "\n".join([*lines, ""])
