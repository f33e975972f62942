"""What may be a duration: seconds, or a timedelta. One rule for every `ttl`, `timeout`, `delay` and `ack_wait`."""

from __future__ import annotations

from micro.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import timedelta
    from typing import TypeAlias

    Duration: TypeAlias = float | timedelta


def seconds(value: Duration, what: str) -> float:
    """Give a duration in seconds; InvalidArgument, naming `what`, for anything that is none."""
    if isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    total = getattr(value, "total_seconds", None)  # without importing what most never use
    if total is None:
        raise InvalidArgument(f"{what} is {type(value).__name__} {value!r:.40}, wanted seconds or a timedelta")
    given: float = total()
    return given


def maybe(value: Duration | None, what: str) -> float | None:
    """Give a duration in seconds, or the None that stands for none."""
    return None if value is None else seconds(value, what)
