"""The reference driver: documents in this process, gone with it."""

from __future__ import annotations

from collections.abc import AsyncIterator

from micro.config.documents import KEPT, Document, DocumentConfig
from micro.errors import FailedPrecondition
from micro.plugin.driver import Change, Reset, Synced
from micro.plugin.settings import Settings
from micro.plugin.watch import Feed


class MemoryConfig(DocumentConfig, interface=1):
    """Lists of documents, the present one last."""

    settings_type = Settings

    def __init__(self, settings: Settings | None = None) -> None:
        self._kept: dict[str, list[Document]] = {}
        self._feeds: dict[str, Feed[Document]] = {}
        self._closed = False

    async def close(self) -> None:
        self._closed = True
        for feed in self._feeds.values():
            feed.end()

    async def load(self, namespace: str) -> Document | None:
        return self._last(namespace)

    async def swap(self, namespace: str, old: Document | None, new: Document) -> bool:
        if self._last(namespace) is not old:
            return False
        kept = self._kept.setdefault(namespace, [])
        kept.append(new)
        del kept[: -KEPT - 1]
        feed = self._feeds.get(namespace)
        if feed is not None:
            feed.publish(Change("put", namespace, new.version, new))
        return True

    async def past(self, namespace: str) -> AsyncIterator[Document]:
        for document in self._kept.get(namespace, [])[-2::-1]:
            yield document

    def follow(self, namespace: str) -> AsyncIterator[Change[Document] | Synced | Reset]:
        def present() -> list[Change[Document]]:
            document = self._last(namespace)
            return [Change("put", namespace, document.version, document)] if document else []

        self._last(namespace)  # refuses once closed
        return self._feeds.setdefault(namespace, Feed(kept=1)).watch(present)

    def _last(self, namespace: str) -> Document | None:
        if self._closed:
            raise FailedPrecondition("the configuration is closed")
        kept = self._kept.get(namespace)
        return kept[-1] if kept else None
