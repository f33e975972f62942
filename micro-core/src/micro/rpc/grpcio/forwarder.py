"""Whole calls passed on: two tasks pump messages, each waiting for the other side's room."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from micro.errors import Code
from micro.rpc.driver import Elsewhere, Forwarder, Headers, Limits, ServerCall, Status
from micro.rpc.grpcio.channel import GrpcioChannel, GrpcioClientCall
from micro.rpc.grpcio.listener import GrpcioServerCall

MAX_CHANNELS = 256  # addresses; idle ones beyond are closed


class GrpcioForwarder(Forwarder):
    """Channels to where calls go, one per address, shared by all callers."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._channels: dict[str, GrpcioChannel] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def forward(
        self,
        call: ServerCall,
        address: str,
        headers: Headers,
        *,
        done: Callable[[int], None] | None = None,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        assert isinstance(call, GrpcioServerCall)
        loop = asyncio.get_running_loop()
        call.attach(self._keep(loop.create_task(self._pass(call, address, headers, done, elsewhere))))

    def _keep(self, task: asyncio.Task[None]) -> asyncio.Task[None]:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _channel(self, address: str) -> GrpcioChannel:
        channel = self._channels.pop(address, None) or GrpcioChannel(address, self._limits)
        self._channels[address] = channel  # the most recently used is last
        if len(self._channels) > MAX_CHANNELS:
            idle = next((name for name, other in self._channels.items() if not other.outstanding), address)
            if idle != address:
                self._keep(asyncio.get_running_loop().create_task(self._channels.pop(idle).close()))
        return channel

    async def _pass(
        self,
        call: GrpcioServerCall,
        address: str,
        headers: Headers,
        done: Callable[[int], None] | None,
        elsewhere: Elsewhere | None,
    ) -> None:
        requests = _Requests(call)
        try:
            while (status := await self._tried(call, address, headers, requests)) is not None:
                other = None if status.reached or elsewhere is None else elsewhere()
                if other is None:
                    if (
                        status.code == Code.DEADLINE_EXCEEDED
                        and call.deadline is not None
                        and time.monotonic() >= call.deadline
                    ):
                        call.expire()  # it is the call's own that has passed
                    call.finish(status.code, status.message, status.details, status.trailers)
                    return
                if done is not None:
                    done(Code.UNAVAILABLE)
                address, done = other
        finally:
            requests.close()
            if done is not None:
                done(call.code)

    async def _tried(
        self, call: GrpcioServerCall, address: str, headers: Headers, requests: _Requests
    ) -> Status | None:
        """Send a call to one address and its answer back; gives the end that has not been sent yet."""
        upstream, pumping = None, None
        left = None if call.deadline is None else max(0.0, call.deadline - time.monotonic())
        try:
            upstream = await self._channel(address).open(
                call.path, headers, content_type=call.content_type, timeout=left
            )
            pumping = self._keep(asyncio.get_running_loop().create_task(requests.pump(upstream)))
            first = await upstream.headers()
            over = upstream.over
            message = await upstream.read() if over else None  # raises where nobody was reached
            call.send_headers(first)
            if not over:
                message = await upstream.read()
            while message is not None:
                await call.write(message)
                message = await upstream.read()
            call.finish(trailers=upstream.trailers)
        except Status as status:
            if pumping is not None:
                pumping.cancel()
                await asyncio.gather(pumping, return_exceptions=True)  # before another begins
            return status
        finally:
            if pumping is not None:
                pumping.cancel()
            if upstream is not None:
                upstream.cancel()
        return None

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        channels, self._channels = list(self._channels.values()), {}
        for channel in channels:
            await channel.close()


class _Requests:
    """The caller's messages; those that were read before there was a connection can be sent to another."""

    def __init__(self, call: GrpcioServerCall) -> None:
        self._call = call
        self._unsent: list[bytes] = []
        self._ended = False
        self._reading: asyncio.Task[bytes | None] | None = None

    async def _next(self) -> bytes | None:
        """Read one; a read that is given up would lose what comes, so it outlives who waits for it."""
        if self._reading is None:
            self._reading = asyncio.get_running_loop().create_task(self._call.read())
            self._reading.add_done_callback(lambda task: task.cancelled() or task.exception())  # it may go unread
        message = await asyncio.shield(self._reading)
        self._reading = None
        return message

    def close(self) -> None:
        """Read no more."""
        if self._reading is not None:
            self._reading.cancel()

    async def pump(self, upstream: GrpcioClientCall) -> None:
        """Send them until they end or the call does; the answer's side says how."""
        try:
            for again in list(self._unsent):
                await upstream.write(again)
            while not self._ended:
                message = await self._next()
                if message is None:
                    self._ended = True
                    break
                self._unsent.append(message)
                await upstream.write(message)  # returns once there is a connection
                self._unsent.clear()
            upstream.half_close()
        except Status:
            return
