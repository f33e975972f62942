"""What waits for one subscriber: bounded, the oldest go first, and what went is told."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from micro.broker.driver import Gap, Message


class Backlog:
    """The messages of one subscriber; `most` messages and `most_bytes` bytes are kept of those that it is behind."""

    def __init__(self, most: int, most_bytes: int, *, queue: str = "") -> None:
        self.queue = queue
        self._most = most
        self._most_bytes = most_bytes
        self._waiting: deque[Message | Gap] = deque()
        self._bytes = 0
        self._lost = 0
        self._served = 0
        self._ended = False
        self._wake = asyncio.Event()

    def before(self, other: Backlog) -> bool:
        """Whether this member of a queue should have the next message: the least behind, then the least served."""
        return (len(self._waiting), self._served) < (len(other._waiting), other._served)

    def push(self, message: Message) -> None:
        """Take a message; too many, and the oldest are lost."""
        self._served += 1
        self._waiting.append(message)
        self._bytes += len(message.body)
        while len(self._waiting) > self._most or (self._bytes > self._most_bytes and len(self._waiting) > 1):
            oldest = self._waiting.popleft()
            if isinstance(oldest, Message):
                self._bytes -= len(oldest.body)
                self._lost += 1
        self._wake.set()

    def gap(self) -> None:
        """Say that messages may be lost here, after those that wait; nobody knows how many."""
        self._waiting.append(Gap())
        self._wake.set()

    def end(self) -> None:
        """End the subscriber's messages."""
        self._ended = True
        self._wake.set()

    async def messages(self) -> AsyncIterator[Message | Gap]:
        """Give what comes, and what was lost before it."""
        while not self._ended:
            if self._lost:
                lost, self._lost = self._lost, 0
                yield Gap(lost)
            while self._waiting and not self._lost:
                message = self._waiting.popleft()
                if isinstance(message, Message):
                    self._bytes -= len(message.body)
                yield message
            if not self._waiting and not self._lost:
                self._wake.clear()
                await self._wake.wait()
