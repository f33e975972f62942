"""The reference driver: events in this process, gone with it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import ClassVar

from micro.events.store import StoreEvents
from micro.plugin.settings import Settings
from micro.store import Store
from micro.store.memory import MemoryStore


class MemoryEvents(StoreEvents, interface=1):
    """Events on a store in memory."""

    needs: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, settings: Settings | None = None, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__(settings, store=Store(MemoryStore(clock=clock), plugin="memory"), clock=clock)
