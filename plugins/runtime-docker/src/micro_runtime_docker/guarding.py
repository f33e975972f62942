"""The guard of an engine: started with its first container, let go with the engine."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress

from micro_runtime_docker import guard
from micro_runtime_docker.settings import DockerSettings

# What is let go: a Popen that is collected while its process runs warns, and these are meant to run on for a while.
_left: list[subprocess.Popen[bytes]] = []


class Guard:
    """A process that ends the containers with a label when `alive` hangs up: see guard.py."""

    def __init__(self, settings: DockerSettings) -> None:
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe = -1

    def start(self, alive: int, label: str) -> None:
        """Start it, once."""
        if self._process is not None:
            return
        given = self._settings
        reading, self._pipe = os.pipe()
        command = [sys.executable, "-I", "-S", guard.__file__, str(alive), str(reading), label]
        try:
            self._process = subprocess.Popen(
                [*command, given.host, *((given.ca, given.certificate, given.key) if given.ca else ())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=[alive, reading],
            )
        finally:
            os.close(reading)

    def let_go(self, *, nothing_left: bool) -> None:
        """Let it end: at once where there is nothing to guard, else when another one may have taken over."""
        process, self._process = self._process, None
        if process is None:
            return
        if nothing_left:
            with suppress(OSError):
                os.write(self._pipe, b".")
        os.close(self._pipe)
        _left.append(process)
        _left[:] = [each for each in _left if each.poll() is None]
