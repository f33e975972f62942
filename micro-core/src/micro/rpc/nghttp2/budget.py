"""What a connection may hold of messages that are not whole: nobody can read them, so no reader holds them back.

Their bytes are acknowledged as they come, or a message larger than a window would never end. With a hundred streams and
32 MiB a message that would be 3 GiB for anyone who connects. So all of a connection's messages under way together may
have `SIZE` beyond their streams' windows, and one of them, the favoured, all that it needs: it ends, and another is.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from micro import limits

if TYPE_CHECKING:
    from micro.rpc.nghttp2.stream import Stream

SIZE = limits.CONNECTION_BUFFER
PATIENCE = 10.0  # seconds for the favoured message to move on while others wait for it


class Budget:
    """The loans of one connection, by stream."""

    __slots__ = ("_favoured", "_loans", "_moved", "_waiting", "lent")

    def __init__(self) -> None:
        self.lent = 0
        self._loans: dict[int, int] = {}
        self._favoured = 0
        self._moved = 0.0  # when the favoured stream last took something
        self._waiting: dict[int, Stream] = {}

    def lend(self, stream: Stream, amount: int) -> bool:
        """Let a stream acknowledge so much ahead; one that may not is asked again when there is room."""
        if self.lent + amount > SIZE:
            if self._favoured not in {0, stream.id}:
                self._waiting[stream.id] = stream
                return False
            self._favoured = stream.id
        if self._favoured == stream.id:
            self._moved = time.monotonic()
        self._waiting.pop(stream.id, None)
        self._loans[stream.id] = self._loans.get(stream.id, 0) + amount
        self.lent += amount
        return True

    def repay(self, stream_id: int) -> None:
        """Take back what a stream had: its message is whole, or it has ended. Void for one that had nothing."""
        self._waiting.pop(stream_id, None)
        self.lent -= self._loans.pop(stream_id, 0)
        if self._favoured == stream_id:
            self._favoured = 0
        while self._waiting and (not self._favoured or self.lent < SIZE):
            waiting = next(iter(self._waiting.values()))
            waiting.release_read()
            if self._waiting.pop(waiting.id, None) is not None:  # refused again
                self._waiting[waiting.id] = waiting
                return

    def stalled(self) -> int:
        """Give the favoured stream when it keeps others waiting and does not move; else 0."""
        waits = self._waiting and self._favoured and time.monotonic() - self._moved >= PATIENCE
        return self._favoured if waits else 0
