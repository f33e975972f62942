"""Messages of a blocking stream that come when they like, such as lines that somebody types: answers do not wait for them."""

from __future__ import annotations

import time

from micro.errors import Code
from micro.rpc.status import Status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    class Source(Protocol):
        """Messages that are iterated over, and what they are read from."""

        def fileno(self) -> int:
            """Give the descriptor to wait for."""

        def ready(self) -> bool:
            """Tell whether the next message is here, or the end: then iterating does not wait."""

        def take_in(self) -> None:
            """Read what is there now; called when something is."""


def source_of(bodies: Any) -> Source | None:
    """Give messages as a source, if they are one."""
    source: Source | None = bodies if hasattr(bodies, "take_in") else None
    return source


def readable(source: Source, peer: Any, deadline: float | None) -> tuple[bool, bool]:
    """Wait until the source or the peer's socket has something to read; tells which. Status at the deadline."""
    from select import select  # only they need it

    left = None if deadline is None else deadline - time.monotonic()
    if left is not None and left <= 0:
        raise Status(Code.DEADLINE_EXCEEDED, "deadline exceeded")
    found, _, _ = select([source, peer], [], [], left)
    if not found:
        raise Status(Code.DEADLINE_EXCEEDED, "deadline exceeded")
    return source in found, peer in found
