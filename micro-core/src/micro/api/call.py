"""A call that begins here, for somebody who speaks no gRPC: the same dispatcher decides on it as on the proxy's calls.

Call ──open──▶ ForwardingDispatcher ──▶ Onward.forward: `node` is where it goes, with which headers
└─▶ finish: refused, `ended` says why
└─▶ the process's own: `local`
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from micro.errors import Code
from micro.rpc.driver import JSON, Elsewhere, Forwarder, Headers, Reply, ServerCall, Status


class Node:
    """Where a call goes on. `done` is to hear the gRPC code of its end, once."""

    __slots__ = ("_done", "address", "headers")

    def __init__(self, address: str, headers: Headers, done: Callable[[int], None] | None) -> None:
        self.address = address
        self.headers = headers
        self._done = done

    def done(self, code: int) -> None:
        """Tell the balancer, the first time this is called."""
        done, self._done = self._done, None
        if done is not None:
            done(code)

    def header(self, name: bytes) -> bytes:
        """Give the last value of a header that goes on; empty for none."""
        for key, value in reversed(self.headers):
            if key == name:
                return value
        return b""


class Call(ServerCall):
    """One call; its message is given when it is sent on, or, for the process's own, as `message`."""

    # here and not in the constructor: most calls never have another value
    cancelled = False
    slot = None
    node: Node | None = None
    local = False  # the process itself answers
    pinned = False  # to its node: no other is tried
    ended: Status | None = None
    answer: Reply | None = None
    message: bytes | None = None
    _settled: asyncio.Future[None] | None = None

    def __init__(
        self,
        path: bytes,
        headers: Headers,
        *,
        content_type: bytes = JSON,
        peer: str = "",
        deadline: float | None = None,
    ) -> None:
        self.path = path
        self.headers = headers
        self.content_type = content_type
        self.peer = peer
        self.deadline = deadline

    def header(self, name: bytes) -> bytes | None:
        for key, value in self.headers:
            if key == name:
                return value
        return None

    def shorten(self, deadline: float) -> None:
        if self.deadline is None or deadline < self.deadline:
            self.deadline = deadline

    async def read(self) -> bytes | None:
        message, self.message = self.message, None
        return message

    def send_headers(self, headers: Headers = ()) -> None:
        """Nothing waits for them."""

    async def write(self, message: bytes) -> None:
        raise Status(Code.UNIMPLEMENTED, "the gateway's own streams are not served over HTTP")

    def reply(self, message: bytes, headers: Headers = ()) -> None:
        if self.answer is None and self.ended is None:
            self.answer = Reply(message, headers, ())
            self._settle()

    def finish(self, code: int = 0, message: str = "", details: bytes = b"", trailers: Headers = ()) -> None:
        if self.answer is None and self.ended is None:
            self.ended = Status(code, message, details=details, trailers=trailers)
            self._settle()

    def send_on(self, node: Node) -> None:
        """Hear where to go: the dispatcher let it pass."""
        if self.cancelled:
            node.done(Code.CANCELLED)
            return
        self.node = node
        self._settle()

    async def settled(self) -> None:
        """Wait until it is decided where the call goes, or that it does not."""
        while self.node is None and self.ended is None and self.answer is None:
            self._settled = asyncio.get_running_loop().create_future()
            await self._settled

    def _settle(self) -> None:
        waiting, self._settled = self._settled, None
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    def give_up(self) -> None:
        """Say that the call will not be made any more; void once it was."""
        self.cancelled = True
        node, self.node = self.node, None
        if node is not None:
            node.done(Code.CANCELLED)


class Onward(Forwarder):
    """Tells calls where they go; they are sent by whoever began them."""

    def forward(
        self,
        call: ServerCall,
        address: str,
        headers: Headers,
        *,
        done: Callable[[int], None] | None = None,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        assert isinstance(call, Call)
        call.send_on(Node(address, headers, done))

    async def close(self) -> None:
        """Nothing is open here."""
