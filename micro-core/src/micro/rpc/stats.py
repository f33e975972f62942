"""What a process remembers of its calls: counts, latencies, the last spans. One for a process's servers and callers."""

from __future__ import annotations

import time
from collections import deque
from typing import NamedTuple

from micro.context import Trace

SPANS = 4096  # remembered, the last ones

INBOUND, OUTBOUND = 0, 1

_BUCKETS = 40  # of microseconds, by powers of two


class Span(NamedTuple):
    """One call; `started` in unix nanoseconds, `code` the gRPC code it ended with."""

    trace: str
    id: str
    parent: str
    name: str
    started: int
    duration: int  # nanoseconds
    code: int
    kind: int


class Stats:
    """Counters of one process. Each `inbound` and `outbound` is one call that has ended."""

    def __init__(self) -> None:
        self.started = time.time()
        self.requests = 0
        self.errors = 0
        self.total = 0  # nanoseconds in handlers
        self.spans: deque[Span] = deque(maxlen=SPANS)
        self._latency = [0] * _BUCKETS
        self._offset = time.time_ns() - time.monotonic_ns()

    def inbound(self, name: str, trace: Trace, began: int, code: int) -> None:
        """Count a call that was answered; `began` is of `time.monotonic_ns`."""
        duration = time.monotonic_ns() - began
        self.requests += 1
        if code:
            self.errors += 1
        self.total += duration
        self._latency[min((duration // 1000).bit_length(), _BUCKETS - 1)] += 1
        self.spans.append(
            Span(trace.trace, trace.span, trace.parent, name, began + self._offset, duration, code, INBOUND)
        )

    def outbound(self, name: str, trace: Trace, began: int, code: int) -> None:
        """Remember a call that was made."""
        duration = time.monotonic_ns() - began
        self.spans.append(
            Span(trace.trace, trace.span, trace.parent, name, began + self._offset, duration, code, OUTBOUND)
        )

    def latency(self, quantile: float) -> float:
        """Give the seconds within which this part of the calls was answered, to a power of two; 0 without calls."""
        wanted = quantile * sum(self._latency)
        seen = 0
        for power, count in enumerate(self._latency):
            seen += count
            if count and seen >= wanted:
                return (1 << power) / 1e6
        return 0.0


PROCESS = Stats()
