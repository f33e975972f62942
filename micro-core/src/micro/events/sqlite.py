"""The embedded driver: events in a SQLite file of their own, on disk when they are acknowledged."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from micro.events.store import StoreEvents, StoreEventsSettings
from micro.plugin.settings import setting
from micro.store import Store
from micro.store.sqlite import SqliteSettings, SqliteStore


class SqliteEventsSettings(StoreEventsSettings):
    """Where the file is, how long events are kept, and how many of a topic."""

    path: str = setting("", "the file; empty: events/events.db in the data folder")


class SqliteEvents(StoreEvents, interface=1):
    """Events on the embedded store, in a file that only this service opens."""

    settings_type = SqliteEventsSettings
    needs: ClassVar[frozenset[str]] = frozenset({"data"})
    imports: ClassVar[tuple[str, ...]] = SqliteStore.imports

    def __init__(
        self,
        settings: SqliteEventsSettings | None = None,
        *,
        data: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        settings = settings or SqliteEventsSettings()
        path = settings.path or str((data or Path()) / "events" / "events.db")
        store = Store(SqliteStore(SqliteSettings(path=path), clock=clock), plugin="sqlite")
        super().__init__(settings, store=store, clock=clock)
