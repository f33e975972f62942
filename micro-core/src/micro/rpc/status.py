"""A call's end as the wire has it, and the content types: what even the command line's cold start must know."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    Headers = Sequence[tuple[bytes, bytes]]

PROTO = b"application/grpc+proto"
JSON = b"application/grpc+json"


class Status(Exception):
    """A call's end other than OK, as the wire has it; `client.py` makes a `ServiceError` of it.

    `details` is a serialised google.rpc.Status or empty; `processed` False means the peer certainly never saw the
    call (refused stream, above GOAWAY's last id, no connection), so that it may be repeated whatever it does; `reached`
    False that there was not even a connection.
    """

    def __init__(
        self,
        code: int,
        message: str = "",
        *,
        details: bytes = b"",
        trailers: Headers = (),
        processed: bool = True,
        reached: bool = True,
    ) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.details = details
        self.trailers = trailers
        self.processed = processed
        self.reached = reached
