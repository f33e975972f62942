"""The last lines a process logged, for whoever may ask."""

from __future__ import annotations

import logging
from collections import deque

from micro import limits

LINES = 1000  # remembered, the last ones


class LogRing(logging.Handler):
    """Remembers records as `(unix seconds, level, logger, text)`; a text is cut at limits.LOG_LINE bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: deque[tuple[float, str, str, str]] = deque(maxlen=LINES)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
        except (TypeError, ValueError, KeyError):  # arguments that do not fit their text
            text = str(record.msg)
        if record.levelno >= logging.WARNING and logging.root.handlers == [self] and logging.lastResort is not None:
            logging.lastResort.handle(record)  # which Python asks only where there is no handler at all
        self.lines.append((record.created, record.levelname, record.name, text[: limits.LOG_LINE]))

    def since(self, instant: float, count: int) -> list[tuple[float, str, str, str]]:
        """Give the lines from an instant on, the last `count` of them, 0 for all."""
        found = [line for line in list(self.lines) if line[0] >= instant]
        return found[-count:] if count > 0 else found


_ring: LogRing | None = None


def remember_logs() -> LogRing:
    """Give the process's ring; the first call puts it under the root logger."""
    global _ring  # noqa: PLW0603 - a process logs to one root
    if _ring is None:
        _ring = LogRing()
        logging.getLogger().addHandler(_ring)
    return _ring
