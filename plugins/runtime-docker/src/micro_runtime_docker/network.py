"""The network that containers are in."""

from __future__ import annotations

import asyncio
from typing import Any

from micro.errors import AlreadyExists, FailedPrecondition
from micro_runtime_docker.daemon import Daemon

BUILT_IN = ("none", "host", "bridge", "default")


class Network:
    """A bridge of its own, made where it is not there; or one of the engine's built-in ones."""

    def __init__(self, daemon: Daemon, name: str) -> None:
        self.name = name
        self._daemon = daemon
        self._lock = asyncio.Lock()
        self._there = name in BUILT_IN

    def forget(self) -> None:
        """Look again: somebody may have removed it."""
        self._there = self.name in BUILT_IN

    async def ensure(self) -> None:
        """Have it there."""
        if self._there:
            return
        async with self._lock:
            if self._there:
                return
            if await self._daemon.find(f"networks/{self.name}") is None:
                wanted = {
                    "Name": self.name,
                    "Driver": "bridge",
                    "CheckDuplicate": True,
                    "Labels": {"micro.network": "1"},
                }
                try:
                    await self._daemon.ask("POST", "networks/create", body=wanted)
                except (AlreadyExists, FailedPrecondition):
                    if await self._daemon.find(f"networks/{self.name}") is None:  # another was quicker, or it cannot be
                        raise
            self._there = True

    async def place(self) -> tuple[str, str]:
        """Give its gateway's address and its subnet; empty where it has none."""
        await self.ensure()
        found: Any = await self._daemon.find(f"networks/{self.name}")
        for each in (found or {}).get("IPAM", {}).get("Config") or ():
            if each.get("Gateway"):
                return each["Gateway"], each.get("Subnet", "")
        return "", ""
