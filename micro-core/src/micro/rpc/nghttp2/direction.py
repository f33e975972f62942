"""The bytes of one direction of a call that is passed on."""

from __future__ import annotations

from micro.rpc.nghttp2.connection import Link
from micro.rpc.nghttp2.http2 import Http2Error


class Direction:
    """The bytes of one direction: from a stream that sends to one that is sent to."""

    __slots__ = ("from_id", "held", "moved", "narrow", "release_at", "source", "target", "to_id", "waits")

    def __init__(self, source: Link, from_id: int) -> None:
        self.source = source
        self.from_id = from_id
        self.target: Link | None = None
        self.to_id = 0
        self.held = 0  # bytes that came and are not acknowledged
        self.waits = False  # for room at the target
        self.release_at = source.release_at
        self.narrow = False  # the source's window is, because much lies unread elsewhere
        self.moved = True  # since it was weighed

    def pass_on(self, data: bytes, end: bool) -> None:
        """Send on what came, acknowledge it when there is room for more."""
        target = self.target
        assert target is not None
        self.held += len(data)
        try:
            target.http2.send_data(self.to_id, data, end_stream=end)
        except Http2Error:
            self.release()  # the stream has gone in what was read last; its end is under way
            return
        if not target.marked:
            target.mark()
        if self.held >= self.release_at and not self.waits:
            if target.crowded(self.to_id):
                self.waits = True
                target.blocked[self.to_id] = self._room
            else:
                self.release()

    def _room(self) -> None:
        self.waits = False
        self.release()

    def release(self) -> None:
        """Acknowledge all that came."""
        self.moved = True
        held, self.held = self.held, 0
        source = self.source
        source.acknowledge(held, self.from_id)
        if source.scarce is not self.narrow:
            self.narrow = source.scarce
            self.release_at = source.fit(self.from_id, narrow=self.narrow)

    def weigh(self) -> tuple[int, bool]:
        """Give the bytes that the target has not taken yet, and whether it has taken some since this was asked last."""
        moved, self.moved = self.moved, False
        return 0 if self.target is None else self.target.http2.queued_body_size(self.to_id), moved
