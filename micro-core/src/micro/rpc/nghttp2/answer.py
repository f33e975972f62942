"""What comes back to a blocking call."""

from __future__ import annotations

from micro.errors import Code
from micro.rpc.nghttp2 import message as wire
from micro.rpc.nghttp2.stream import Stream
from micro.rpc.status import Status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from micro.rpc.nghttp2.blocking import BlockingChannel
    from micro.rpc.status import Headers


class Answer(Stream):
    """What comes back."""

    __slots__ = ("closed", "end", "over")

    def __init__(self, channel: BlockingChannel, stream_id: int) -> None:
        super().__init__(channel, stream_id)
        self.over = False
        self.closed = False  # by the peer, on both sides
        self.end: Status | None = None

    def ready(self) -> Iterator[bytes]:
        """Give the messages that are there."""
        while self.queue:
            yield self.take()

    def on_headers(self, headers: Headers, end: bool) -> None:
        """Take the response's headers, which may be all of the answer."""
        fields = dict(headers)
        if fields[b":status"] != b"200":
            self.finish(wire.http_status(fields[b":status"]))
        elif end:
            self.on_trailers(headers)
        else:
            self.gzip = fields.get(b"grpc-encoding") == b"gzip"

    def on_trailers(self, trailers: Headers) -> None:
        """Take the end of the answer."""
        self.finish(wire.status_of(trailers))

    def on_data(self, data: bytes, end: bool) -> None:
        super().on_data(data, end)
        if self.error is not None:
            self.finish(self.error)

    def on_end(self) -> None:
        self.finish(Status(Code.INTERNAL, "the answer ended without trailers"))

    def finish(self, status: Status | None) -> None:
        """Note how the call ended; the first word counts."""
        if not self.over:
            self.over = True
            self.end = status
            if status is None and self.parts is not None:
                self.end = Status(Code.INTERNAL, "the answer ended inside a message")
