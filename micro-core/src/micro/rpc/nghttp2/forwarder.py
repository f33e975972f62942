"""Whole calls passed on: frames as they come, without taking messages apart. `Passage` is one of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from micro.errors import Code
from micro.rpc.driver import HURRY, Elsewhere, Forwarder, Headers, Limits, ServerCall
from micro.rpc.nghttp2 import message as wire
from micro.rpc.nghttp2.ledger import Ledgers
from micro.rpc.nghttp2.passage import Passage
from micro.rpc.nghttp2.pool import Pool
from micro.rpc.nghttp2.server_call import Nghttp2ServerCall
from micro.rpc.status import Status

MAX_POOLS = 256  # addresses; idle ones beyond are closed
_MAX_HEADS = 1024


class Nghttp2Forwarder(Forwarder):
    """Connections to where calls go, shared by all callers."""

    def __init__(self, limits: Limits, ledgers: Ledgers) -> None:
        self._limits = limits
        self._ledgers = ledgers
        self._pools: dict[str, Pool] = {}
        self._heads: dict[tuple[str, bytes, bytes], tuple[tuple[bytes, bytes], ...]] = {}
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
        assert isinstance(call, Nghttp2ServerCall)
        if call.ended:
            if done is not None:
                done(Code.CANCELLED)
            return
        try:
            request = self._request(call, address, headers)
            pool = self._pool(address)
        except (Status, ValueError) as error:
            status = error if isinstance(error, Status) else Status(Code.INTERNAL, str(error))
            call.finish(status.code, status.message)
            if done is not None:
                done(status.code)
            return
        passage = Passage(call, pool, request, done)
        link = pool.free()
        if link is None or not passage.begin(link):
            task = call.link.loop.create_task(self._dial(passage, call, headers, elsewhere))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _dial(
        self, passage: Passage, call: Nghttp2ServerCall, headers: Headers, elsewhere: Elsewhere | None
    ) -> None:
        """Bring a call to where there is a connection: to its node, else to others while there are."""
        while (status := await passage.dial(None if elsewhere is None else HURRY)) is not None:
            if passage.over:
                return
            other = None if elsewhere is None else elsewhere()
            if other is not None:
                address, done = other
                passage.turn(self._pool(address), self._request(call, address, headers), done)
            elif status.code == Code.DEADLINE_EXCEEDED:
                elsewhere = None  # no other is left: what is being dialled may still answer
            else:
                passage.fail(status)
                return

    def _request(self, call: Nghttp2ServerCall, address: str, headers: Headers) -> list[tuple[bytes, bytes]]:
        key = (address, call.path, call.content_type)
        head = self._heads.get(key)
        if head is None:
            if len(self._heads) >= _MAX_HEADS:
                self._heads.clear()
            head = self._heads[key] = wire.request_head(address, b"http", call.path, call.content_type)[:-1]
        request = list(head)
        request += wire.passed_on(headers)
        return request

    def _pool(self, address: str) -> Pool:
        pool = self._pools.get(address)
        if pool is None:
            if len(self._pools) >= MAX_POOLS:
                self._close_idle()
            pool = self._pools[address] = Pool(address, self._limits, self._ledgers)
        return pool

    def _close_idle(self) -> None:
        idle = next((name for name, pool in self._pools.items() if not pool.outstanding), None)
        if idle is not None:
            task = asyncio.get_running_loop().create_task(self._pools.pop(idle).close())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        pools, self._pools = list(self._pools.values()), {}
        await asyncio.gather(*(pool.close() for pool in pools))
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
