"""The victim of the attacks, as its tests see it: its memory, its descriptors, and a client that must not notice."""

import asyncio
import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio

MEMORY = 64  # MiB that one attack may cost
PATIENCE = 3.0  # seconds for an innocent call while the attack goes on, on two busy cores


class Target:
    """A listener in a process of its own: `door` is `edge` or `inside`."""

    def __init__(self, transport: str, door: str) -> None:
        command = [sys.executable, "-m", "micro.testing.attacked", transport, door]
        self._log = tempfile.TemporaryFile("a+")  # noqa: SIM115 - closed by `close`
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._input, self._output = self.process.stdin, self.process.stdout
        self.address = self._output.readline().strip()
        assert self.address, "the server did not start"
        self._files = self.files()

    def close(self) -> None:
        """End the server; by its input, or else by force."""
        with contextlib.suppress(BrokenPipeError):
            self._input.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._output.close()
        self._log.close()

    def memory(self) -> float:
        """Give the resident MiB now."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
        raise AssertionError("the server is gone")

    def log(self) -> str:
        """Give what the server has said so far on its error output."""
        self._log.seek(0)
        return self._log.read()

    def files(self) -> int:
        """Give the number of open descriptors now."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    @contextlib.asynccontextmanager
    async def unharmed(self) -> AsyncIterator[None]:
        """Attack within: no crash, no traceback, no hang, another client's calls go on, memory in bounds, descriptors back."""
        async with grpc.aio.insecure_channel(self.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            call: Any = channel.unary_unary("/test.Echo/Unary", None, None)
            assert await call(b"before", timeout=PATIENCE) == b"before"
            before = self.memory()
            stop = asyncio.Event()
            innocent = asyncio.ensure_future(_innocent(call, stop))
            most = asyncio.ensure_future(self._watch(stop))
            try:
                yield
            finally:
                stop.set()
                slowest = await innocent
                peak = await most
            assert self.process.poll() is None, "the server has ended"
            assert slowest < PATIENCE
            assert "Traceback" not in self.log()
            assert peak - before < MEMORY, f"{before:.1f} -> {peak:.1f} MiB"
        await self._files_back()

    async def _watch(self, stop: asyncio.Event) -> float:
        most = self.memory()
        while not stop.is_set() and self.process.poll() is None:
            most = max(most, self.memory())
            await asyncio.sleep(0.02)
        return max(most, self.memory())

    async def _files_back(self) -> None:
        end = time.monotonic() + 5
        while self.files() > self._files:
            assert time.monotonic() < end, f"{self._files} -> {self.files()} open files"
            await asyncio.sleep(0.02)


async def _innocent(call: Any, stop: asyncio.Event) -> float:
    """Call on and on; a failing call fails the test."""
    slowest = 0.0
    while True:
        begun = time.monotonic()
        assert await call(b"innocent", timeout=PATIENCE) == b"innocent"
        slowest = max(slowest, time.monotonic() - begun)
        if stop.is_set():
            return slowest
        await asyncio.sleep(0.01)
