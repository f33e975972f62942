"""Whole calls passed on: two tasks pump messages, each waiting for the other side's room."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from micro.errors import Code
from micro.rpc.driver import ClientCall, Forwarder, Headers, Limits, ServerCall, Status
from micro.rpc.grpcio.channel import GrpcioChannel
from micro.rpc.grpcio.listener import GrpcioServerCall

MAX_CHANNELS = 256  # addresses; idle ones beyond are closed


class GrpcioForwarder(Forwarder):
    """Channels to where calls go, one per address, shared by all callers."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._channels: dict[str, GrpcioChannel] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def forward(
        self, call: ServerCall, address: str, headers: Headers, *, done: Callable[[int], None] | None = None
    ) -> None:
        assert isinstance(call, GrpcioServerCall)
        loop = asyncio.get_running_loop()
        call.attach(self._keep(loop.create_task(self._pass(call, address, headers, done))))

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
        self, call: GrpcioServerCall, address: str, headers: Headers, done: Callable[[int], None] | None
    ) -> None:
        upstream, requests = None, None
        left = None if call.deadline is None else max(0.0, call.deadline - time.monotonic())
        try:
            channel = self._channel(address)
            upstream = await channel.open(call.path, headers, content_type=call.content_type, timeout=left)
            requests = self._keep(asyncio.get_running_loop().create_task(_pump_requests(call, upstream)))
            call.send_headers(await upstream.headers())
            while (message := await upstream.read()) is not None:
                await call.write(message)
            call.finish(trailers=upstream.trailers)
        except Status as status:
            if (
                status.code == Code.DEADLINE_EXCEEDED
                and call.deadline is not None
                and time.monotonic() >= call.deadline
            ):
                call.expire()  # it is the call's own that has passed
            call.finish(status.code, status.message, status.details, status.trailers)
        finally:
            if requests is not None:
                requests.cancel()
            if upstream is not None:
                upstream.cancel()
            if done is not None:
                done(call.code)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        channels, self._channels = list(self._channels.values()), {}
        for channel in channels:
            await channel.close()


async def _pump_requests(call: GrpcioServerCall, upstream: ClientCall) -> None:
    try:
        while (message := await call.read()) is not None:
            await upstream.write(message)
        upstream.half_close()
    except Status:
        return  # the answer's side says how the call ended
