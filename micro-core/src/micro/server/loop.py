"""A small loop over descriptors, timers and signals: no asyncio, so that its process may fork at any time."""

from __future__ import annotations

import heapq
import itertools
import os
import selectors
import signal
import time
from collections.abc import Callable

from micro.server import process


class Loop:
    """Calls back in one thread, one thing after another. Callbacks must not block."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._wake: tuple[int, int] | None = None

    def watch(self, fd: int, what: Callable[[], None]) -> None:
        """Call something whenever a descriptor is readable, until `unwatch`."""
        self._selector.register(fd, selectors.EVENT_READ, what)

    def unwatch(self, fd: int) -> None:
        """Undo `watch`, before the descriptor is closed; void if it is not watched, or the loop is closed."""
        watched = self._selector.get_map() or ()
        if fd in watched:
            self._selector.unregister(fd)

    def later(self, delay: float, what: Callable[[], None]) -> None:
        """Call something in some seconds."""
        heapq.heappush(self._timers, (time.monotonic() + delay, next(self._order), what))

    def signals(self, heard: Callable[[set[int]], None]) -> None:
        """Hear of the signals in `process.OURS` until `close`, from the loop and never within anything else."""
        wake = self._wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(wake[1], warn_on_full_buffer=False)
        for number in process.OURS:
            signal.signal(number, lambda *_: None)  # the wakeup descriptor has its number
        self.watch(wake[0], lambda: heard(set(os.read(wake[0], 4096))))

    def turn(self) -> None:
        """Wait until something happens, and see to it."""
        timeout = max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None
        for key, _ in self._selector.select(timeout):
            now = self._selector.get_map().get(key.fd)
            if now is not None and now.data is key.data:  # an earlier callback may have taken it away
                key.data()
        instant = time.monotonic()
        while self._timers and self._timers[0][0] <= instant:
            heapq.heappop(self._timers)[2]()

    def close(self) -> None:
        """Give descriptors and signals back."""
        self._selector.close()
        if self._wake is not None:
            signal.set_wakeup_fd(-1)
            for number in process.OURS:
                signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
            for fd in self._wake:
                os.close(fd)
            self._wake = None
