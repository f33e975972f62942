"""The connections to one address: dialled on first use, anew when lost, and one more where a peer's limit is reached."""

from __future__ import annotations

import asyncio
import ssl

from micro.errors import Code
from micro.rpc.driver import Limits
from micro.rpc.nghttp2.address import split
from micro.rpc.nghttp2.client_link import ClientLink
from micro.rpc.nghttp2.farewell import farewell
from micro.rpc.nghttp2.ledger import Ledgers
from micro.rpc.status import Status

DIAL_TIMEOUT = 5.0  # seconds for the connection, TLS and the peer's settings
MAX_LINKS = 32  # connections to one address; beyond, calls wait for a stream
_SWEEP = 1.0  # seconds between looks at the keepalive, at most


class Pool:
    """Gives a link with room for one more stream. `outstanding` counts the calls on all of them."""

    def __init__(self, address: str, limits: Limits, ledgers: Ledgers, tls: ssl.SSLContext | None = None) -> None:
        self.address = address
        self.ledgers = ledgers
        self.outstanding = 0
        self._limits = limits
        self._tls = tls
        self._links: list[ClientLink] = []  # for new calls
        self._present: set[ClientLink] = set()  # those, and the ones of peers that go away, until they are closed
        self._dial: asyncio.Task[None] | None = None
        self._waiting: list[asyncio.Future[None]] = []  # for a stream, beyond MAX_LINKS
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = False

    def free(self) -> ClientLink | None:
        """Give a link that is there and has room, or None."""
        for link in self._links:
            if link.free:
                return link
        return None

    async def get(self, timeout: float | None) -> ClientLink:
        """Wait for a link with room; raises Status, with `processed` False."""
        if timeout is None:
            return await self._get()
        try:
            async with asyncio.timeout(timeout):
                return await self._get()
        except TimeoutError:
            raise Status(Code.DEADLINE_EXCEEDED, "deadline exceeded before a connection was there", processed=False)  # noqa: B904

    async def _get(self) -> ClientLink:
        dials = 0
        while True:
            link = self.free()
            if link is not None:
                return link
            if self._closed:
                raise Status(Code.UNAVAILABLE, "the channel is closed", processed=False, reached=False)
            if dials == MAX_LINKS:
                raise Status(Code.UNAVAILABLE, f"{self.address} takes no calls", processed=False)
            if len(self._links) < MAX_LINKS:
                dials += 1
                if self._dial is None:
                    self._dial = asyncio.get_running_loop().create_task(self._dialled())
                    self._dial.add_done_callback(self._dial_done)
                await asyncio.shield(self._dial)
            else:
                waiter = asyncio.get_running_loop().create_future()
                self._waiting.append(waiter)
                await waiter

    def freed(self) -> None:
        """Note that a stream has closed."""
        while self._waiting:
            waiter = self._waiting.pop()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _dial_done(self, task: asyncio.Task[None]) -> None:
        self._dial = None
        if not task.cancelled():
            task.exception()  # those who wait for it have it

    async def _dialled(self) -> None:
        host, port = split(self.address)
        loop = asyncio.get_running_loop()
        link = ClientLink(self, self._limits)
        try:
            async with asyncio.timeout(DIAL_TIMEOUT):
                await loop.create_connection(lambda: link, host, port, ssl=self._tls)
                _check_protocol(link)
                await link.settled
        except ConnectionRefusedError:
            raise Status(
                Code.UNAVAILABLE, f"connection refused: {self.address}", processed=False, reached=False
            ) from None
        except (OSError, TimeoutError) as error:
            link.abort()
            reason = str(error) or "no answer in time"
            raise Status(
                Code.UNAVAILABLE, f"cannot connect to {self.address}: {reason}", processed=False, reached=False
            ) from error
        except asyncio.CancelledError:
            link.abort()
            raise Status(Code.UNAVAILABLE, "the channel is closed", processed=False, reached=False) from None
        if link.gone:
            raise Status(
                Code.UNAVAILABLE,
                f"cannot connect to {self.address}: it hung up at once",
                processed=False,
                reached=False,
            )
        if not link.going:
            self._links.append(link)
        if self._limits.keepalive and self._sweep is None:
            self._tick()

    def _tick(self) -> None:
        limits = self._limits
        links = list(self._present)
        if not links:
            self._sweep = None
            return
        loop = links[0].loop
        now = loop.time()
        for link in links:
            link.check_alive(now, ping=not link.idle)
        every = min(_SWEEP, max(0.02, min(limits.keepalive, limits.keepalive_timeout) / 4))
        self._sweep = loop.call_later(every, self._tick)

    def retire(self, link: ClientLink) -> None:
        """Give no more calls to a link whose peer goes away."""
        link.going = True
        if link in self._links:
            self._links.remove(link)

    def dialled(self, link: ClientLink) -> None:
        """Note that a link has a socket."""
        self._present.add(link)

    def closed(self, link: ClientLink) -> None:
        """Note that its socket is closed."""
        self._present.discard(link)

    def forget(self, link: ClientLink) -> None:
        """Give no more calls to a link that is gone."""
        if link in self._links:
            self._links.remove(link)
        self.freed()

    async def close(self) -> None:
        """End all calls and connections."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        if self._dial is not None:
            self._dial.cancel()
        for link in list(self._present):
            link.close()
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
        await farewell(self._present)


def _check_protocol(link: ClientLink) -> None:
    """Refuse a peer that chose something else by ALPN."""
    tls = None if link.transport is None else link.transport.get_extra_info("ssl_object")
    chosen = None if tls is None else tls.selected_alpn_protocol()
    if chosen not in {None, "h2"}:
        raise OSError(f"it speaks {chosen}, not h2")
