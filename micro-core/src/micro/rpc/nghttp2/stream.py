"""The receiving half of a call, the same on both ends: messages put together, and the peer held back while nobody reads.

Bytes are acknowledged when their message is read; those of a message still arriving as they come, for nobody can read
it before it is whole. So a stream holds at most a window of unread messages and one message under way; how much all of
a connection's hold is for `lend` to say.
"""

from __future__ import annotations

from collections import deque

from micro.errors import Code
from micro.rpc.nghttp2 import message as wire
from micro.rpc.status import Status

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from typing import Any


_OVERHEAD = 64  # bytes that a message takes up besides its own


class Stream:
    """One call on one connection, which is a `Link` or does what one does; it hands over what arrives."""

    __slots__ = (
        "burst", "ended", "eof", "error", "gzip", "have", "held", "id", "lent", "link", "moved", "narrow", "need", "parts", "queue",
        "queued", "release_at", "waiter",
    )  # fmt: skip

    def __init__(self, link: Any, stream_id: int) -> None:
        self.link: Any = link
        self.id = stream_id
        self.queue: deque[bytes | _Packed] = deque()
        self.queued = 0  # bytes of the wire in the queue
        self.held = 0  # bytes that came and are not acknowledged
        self.release_at = link.release_at
        self.parts: list[bytes] | None = None  # of a message under way
        self.have = 0  # bytes in them
        self.lent = 0  # of these, acknowledged already
        self.need = 0  # bytes at which it is worth looking at them again
        self.eof = False
        self.ended = False  # nothing can be sent any more
        self.error: Status | None = None
        self.gzip = False
        self.narrow = False  # its window is, because much lies unread elsewhere
        self.waiter: asyncio.Future[None] | None = None
        self.moved = True  # something of it was read, or came of a message under way, since it was weighed
        self.burst = 0  # bytes written since the loop had a turn

    def on_data(self, data: bytes, end: bool) -> None:
        """Take a DATA frame."""
        size = len(data)
        self.held += size
        if (
            self.parts is None
            and size >= wire.PREFIX
            and not data[0]
            and size == wire.PREFIX + int.from_bytes(data[1:5], "big")
            and size <= self.link.limits.message
            and self.error is None
        ):
            self.queue.append(data[wire.PREFIX :])
            self.queued += size
        elif size:
            self._reassemble(data)
        if end:
            self.on_end()
        elif self.waiter is not None and (self.queue or self.error is not None):
            self.wake()

    def on_end(self) -> None:
        """Take the peer's half-close."""
        if self.parts is not None and self.error is None:
            self.error = Status(Code.INTERNAL, "the stream ended inside a message")
            self._drop_parts()
        self.eof = True
        self.wake()

    def _reassemble(self, data: bytes) -> None:
        if self.error is not None:  # nobody will read it
            self.release()
            return
        self.moved = True
        if self.parts is None:
            self.parts, self.have, self.need = [], 0, wire.PREFIX
        self.parts.append(data)
        self.have += len(data)
        if self.have >= self.need:
            try:
                self._split(b"".join(self.parts) if len(self.parts) > 1 else data)
            except Status as error:
                self.error = error
                self._drop_parts()
                self.release()
                return
        if self.held - self.queued >= self.release_at:
            self.release_read()

    def _split(self, data: bytes) -> None:
        """Cut whole messages off; keep the rest."""
        start, end, limit = 0, len(data), self.link.limits.message
        self.need = wire.PREFIX
        while end - start >= wire.PREFIX:
            size = int.from_bytes(data[start + 1 : start + 5], "big")
            if size > limit:
                raise wire.too_large(size, limit)
            after = start + wire.PREFIX + size
            if after > end:
                self.need = wire.PREFIX + size
                break
            body = data[start + wire.PREFIX : after]
            if data[start]:
                if data[start] != 1 or not self.gzip:
                    raise Status(Code.INTERNAL, "a compressed message without a known grpc-encoding")
                self.queue.append(_Packed(body))
            else:
                self.queue.append(body)
            self.queued += wire.PREFIX + size
            start = after
            self.lent = 0
        if start:
            self.repay()
        self.have = end - start
        self.parts = [data[start:] if start else data] if self.have else None

    def wake(self) -> None:
        """Let the reader look again."""
        waiter = self.waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def wait(self) -> None:
        """Wait for the next `wake`. One reader at a time."""
        if self.waiter is not None:
            raise RuntimeError("a call is read by one task at a time")
        self.waiter = self.link.loop.create_future()
        try:
            await self.waiter
        finally:
            self.waiter = None

    def take(self) -> bytes:
        """Give the first message of the queue, which is not empty."""
        found = self.queue.popleft()
        self.moved = True
        if type(found) is bytes:
            self.queued -= wire.PREFIX + len(found)
        else:
            assert isinstance(found, _Packed)
            self.queued -= wire.PREFIX + len(found.body)
            found = wire.gunzip(found.body, self.link.limits.message)
        if self.held - self.queued >= self.release_at:
            self.release_read()
        return found

    def release_read(self) -> None:
        """Acknowledge all but what lies unread, and what is not lent to a message under way."""
        amount = self.held - self.queued
        ahead = self.have - self.lent
        if ahead:
            if self.lend(ahead):
                self.lent = self.have
            else:
                amount -= ahead
        if amount:
            self.held -= amount
            self.link.acknowledge(amount, self.id)
        if self.link.scarce is not self.narrow:
            self.narrow = self.link.scarce
            self.release_at = self.link.fit(self.id, narrow=self.narrow)

    def weigh(self) -> tuple[int, bool]:
        """Give about what its unread messages take up, and whether it has moved since this was asked last."""
        moved, self.moved = self.moved, False
        return self.queued + self.have + _OVERHEAD * len(self.queue), moved

    def lend(self, amount: int) -> bool:
        """Whether so many more bytes of the message under way may be acknowledged before it is whole.

        After a refusal `release_read` is to be called when they may.
        """
        return True

    def repay(self) -> None:
        """Give back what was lent: the message is whole, or never will be."""

    def _drop_parts(self) -> None:
        self.parts = None
        self.have = self.lent = 0
        self.repay()

    def release(self) -> None:
        """Acknowledge all that came: whoever ends a stream does, or its connection's window shrinks for ever."""
        if self.held:
            self.link.acknowledge(self.held, self.id)
            self.held = 0
            self.queued = 0

    def unread(self) -> bytes:
        """Give what came and was not read, as it was on the wire."""
        found = []
        for each in self.queue:
            body, flag = (each, b"\0") if type(each) is bytes else (each.body, b"\1")  # type: ignore[union-attr]
            found += [flag, len(body).to_bytes(4, "big"), body]
        found += self.parts or ()
        self.queue.clear()
        self._drop_parts()
        return b"".join(found)

    def discard(self) -> None:
        """Drop what nobody will read."""
        self.queue.clear()
        self._drop_parts()
        self.release()


class _Packed:
    """A compressed message: unpacked when it is read, or a window of them would be a thousand windows of memory."""

    __slots__ = ("body",)

    def __init__(self, body: bytes) -> None:
        self.body = body
