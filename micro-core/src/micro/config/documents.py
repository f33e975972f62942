"""A driver's whole logic over something that keeps one document a namespace and can swap it."""

from __future__ import annotations

import asyncio
import json
import random
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, NamedTuple

from micro import limits
from micro.config import tree
from micro.config.driver import JSON, ConfigDriver, Entry, Event, Path, conflict
from micro.errors import Aborted, DataLoss, FailedPrecondition, NotFound, ResourceExhausted
from micro.plugin.driver import Change, Reset, Synced
from micro.plugin.watch import finish

SCHEMA = 1
KEPT = 100  # versions of a namespace that its history goes back
TRIES = 64  # lost races until a change gives up


class Document(NamedTuple):
    """A namespace at one version; `tag` is the keeper's, to know it again."""

    version: int
    root: tree.Node
    tag: int = 0


def encode(document: Document) -> bytes:
    """Write a document as it is stored."""
    body = {"schema": SCHEMA, "version": document.version, "tree": document.root}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def decode(value: bytes, tag: int) -> Document:
    """Read a stored document; DataLoss for what is none, FailedPrecondition for a newer schema."""
    try:
        body: dict[str, Any] = json.loads(value)
        schema = body["schema"]
    except (ValueError, KeyError, TypeError) as err:
        raise DataLoss("a namespace's record is not what was written") from err
    if schema > SCHEMA:
        raise FailedPrecondition(f"a namespace has schema {schema}, this version of micro reads up to {SCHEMA}")
    return Document(body["version"], body["tree"], tag)


class DocumentConfig(ConfigDriver):
    """Get, set and the rest on documents that a subclass loads, swaps, remembers and follows."""

    capabilities = frozenset({"conditions", "watch", "history"})

    @abstractmethod
    async def load(self, namespace: str) -> Document | None:
        """Give the document; None when the namespace was never written."""

    @abstractmethod
    async def swap(self, namespace: str, old: Document | None, new: Document) -> bool:
        """Put `new` in the place of `old` and keep `old` for `past`; False if it is not there any more."""

    @abstractmethod
    def past(self, namespace: str) -> AsyncIterator[Document]:
        """Give the documents before the present one, the newest first."""

    @abstractmethod
    def follow(self, namespace: str) -> AsyncIterator[Change[Document] | Synced | Reset]:
        """Watch the document: as one item, in the order of all watches."""

    async def get(self, namespace: str, path: Path, *, reveal: bool = False) -> Entry:
        return _entry((await self._present(namespace)).root, path, reveal=reveal)

    async def set(
        self, namespace: str, path: Path, value: JSON, *, secret: bool = False, if_version: int | None = None
    ) -> int:
        def change(root: tree.Node, number: int) -> tree.Node:
            _demand(root, path, if_version)
            return tree.merge(root, path, value, number, secret=secret)

        return await self._change(namespace, change)

    async def delete(self, namespace: str, path: Path, *, if_version: int | None = None) -> int:
        await self._present(namespace)

        def change(root: tree.Node, number: int) -> tree.Node | None:
            _demand(root, path, if_version)
            return None if tree.find(root, path) is None else tree.remove(root, path, number)

        return await self._change(namespace, change)

    async def history(self, namespace: str, path: Path, *, limit: int = 20) -> list[Entry]:
        present = await self._present(namespace)
        found: list[Entry] = []
        newer = present
        async for document in self.past(namespace):
            if len(found) == limit:
                break
            if document.version < newer.version:  # the present one may be among the past already
                found += _changed(newer, document.root, path)
                newer = document
        if len(found) < limit:
            found += _changed(newer, tree.empty(), path)
        return found

    async def rollback(self, namespace: str, path: Path, version: int) -> int:
        present = await self._present(namespace)
        old = present if present.version == version else None
        async for document in self.past(namespace):
            if document.version <= version:
                old = old or (document if document.version == version else None)
                break
        if old is None:
            raise NotFound(f"no version {version} of this namespace is kept, it is at {present.version}")
        node = tree.find(old.root, path)

        def change(root: tree.Node, number: int) -> tree.Node | None:
            if node is not None:
                return tree.graft(root, path, node, number)
            return None if tree.find(root, path) is None else tree.remove(root, path, number)

        return await self._change(namespace, change)

    async def watch(self, namespace: str, path: Path, *, after: int | None = None) -> AsyncIterator[Event]:
        view = _View(path, after)
        changes = self.follow(namespace)
        try:
            async for event in changes:
                if isinstance(event, Change) and event.item is not None:
                    document = event.item
                elif isinstance(event, Synced) and not view.synced:
                    document = Document(0, tree.empty())  # there was nothing to report before
                else:
                    continue
                for found in view.see(document):
                    yield found
        finally:
            await finish(changes)

    async def _present(self, namespace: str) -> Document:
        document = await self.load(namespace)
        if document is None:
            raise NotFound("Not found")  # the original's text
        return document

    async def _change(self, namespace: str, change: Callable[[tree.Node, int], tree.Node | None]) -> int:
        """Swap the document for a changed one, over again when somebody was faster; 0 when nothing changed."""
        for attempt in range(TRIES):
            old = await self.load(namespace)
            number = old.version + 1 if old else 1
            root = change(old.root if old else tree.empty(), number)
            if root is None:
                return 0
            new = Document(number, root)
            size = len(encode(new))
            if size > limits.CONFIG_TREE:
                raise ResourceExhausted(f"the namespace would be {size} bytes, at most {limits.CONFIG_TREE}")
            if await self.swap(namespace, old, new):
                return number
            await asyncio.sleep(random.uniform(0, 0.001 * min(2**attempt, 50)))
        raise Aborted(f"the namespace changed {TRIES} times meanwhile")


def _demand(root: tree.Node, path: Path, if_version: int | None) -> None:
    found = tree.version(root, path)
    if if_version is not None and if_version != found:
        raise conflict(tree.show(path), found, if_version)


def _entry(root: tree.Node, path: Path, *, reveal: bool = False) -> Entry:
    node = tree.find(root, path)
    if node is None:
        return Entry(None)
    return Entry(tree.plain(node, reveal=reveal), node["n"], tuple(tree.secrets(node)))


def _changed(newer: Document, older: tree.Node, path: Path) -> list[Entry]:
    """Give what a document made of a path, if it differs from what was there before."""
    now, before = tree.version(newer.root, path), tree.version(older, path)
    if now == before:
        return []
    return [_entry(newer.root, path) if now else Entry(None, newer.version)]


class _View:
    """One watcher's path, over the documents as they come."""

    def __init__(self, path: Path, after: int | None) -> None:
        self._path = path
        self._seen = after
        self._there: bool | None = False if after is None else None  # None: not known
        self.synced = False

    def see(self, document: Document) -> Iterator[Event]:
        if not self.synced and self._seen is not None and self._seen > document.version:
            yield Reset(document.version)
            self._seen, self._there = None, False
        entry = _entry(document.root, self._path)
        last = tree.changed(document.root, self._path)
        unseen = self._seen is None or last > self._seen
        if entry.version:
            if unseen:
                yield Change("put", tree.show(self._path), last, entry)
        elif unseen and self._there is not False:
            yield Change("delete", tree.show(self._path), last)
        self._seen, self._there = document.version, entry.version > 0
        if not self.synced:
            self.synced = True
            yield Synced(document.version)
