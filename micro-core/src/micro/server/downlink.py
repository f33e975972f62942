"""What a core service's process is told while it runs: its token, and where the others are."""

from __future__ import annotations

import asyncio

from micro.rpc.credentials import FixedToken
from micro.server import link

FIRST_TOKEN = 20.0  # seconds to wait for the first token; at the first start the key is made before it


class Downlink:
    """The reading end. `addresses` is live: it grows and changes; `token` is kept fresh."""

    def __init__(self, start: link.Start) -> None:
        self.addresses: dict[str, str] = {}
        self.token = FixedToken()
        self._lines = link.Lines(start.down)
        self._has_token = asyncio.Event()
        self._may_go = asyncio.Event()
        self.leaving = asyncio.Event()  # the whole server stops, and soon it is this service's turn
        self._loop = asyncio.get_running_loop()

    def listen(self) -> None:
        """Take in what comes, until the supervisor's end closes: the thread that watches it sees to that."""
        self._loop.add_reader(self._lines.fd, self._read)

    def look(self) -> None:
        """Take in what is there now."""
        if not self._lines.ended:
            self._read()

    def _read(self) -> None:
        for message in self._lines.read():
            token, addresses = message.get("token"), message.get("addresses")
            if isinstance(token, str):
                self.token.set(token)
                self._has_token.set()
            if isinstance(addresses, dict):
                self.addresses.clear()
                self.addresses.update(addresses)
            if message.get("go"):
                self._may_go.set()
            if message.get("leaving"):
                self.leaving.set()
        if self._lines.ended:
            self._loop.remove_reader(self._lines.fd)

    async def go(self) -> None:
        """Wait until this service's turn has come, and there is a token; TimeoutError when there is none."""
        await self._may_go.wait()
        async with asyncio.timeout(FIRST_TOKEN):
            await self._has_token.wait()
