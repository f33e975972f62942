"""Configurations that are each wrong in one way: the suite must tell every one of them. Run by test_suite_bites.py."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from micro.config import tree
from micro.config.documents import Document
from micro.config.driver import JSON, MASK, ConfigDriver, Entry, Event, Path
from micro.config.memory import MemoryConfig
from micro.config.sealed import Sealed
from micro.errors import NotFound
from micro.plugin.driver import Change, Reset, Synced
from micro.testing.bites import suites
from micro.testing.config import ConfigSuite


class MergeReplaces(MemoryConfig, interface=1):
    async def set(self, namespace: str, path: Path, value: JSON, *, secret=False, if_version=None) -> int:
        def change(root: tree.Node, number: int) -> tree.Node:
            node = tree.merge(None, path[-1:], value, number, secret=secret)
            return tree.graft(root, path, node["c"][path[-1]], number)

        if path and isinstance(value, dict) and if_version is None:
            return await self._change(namespace, change)
        return await super().set(namespace, path, value, secret=secret, if_version=if_version)


class MergeIsShallow(MemoryConfig, interface=1):
    """Merges what is right below, and replaces what is below that."""

    async def set(self, namespace: str, path: Path, value: JSON, **options) -> int:
        if isinstance(value, dict) and await self.load(namespace):
            whole = tree.plain(tree.find((await self.load(namespace)).root, path) or tree.empty(), reveal=True)
            for key in value.keys() & (whole.keys() if isinstance(whole, dict) else ()):
                if isinstance(value[key], dict):
                    await super().delete(namespace, (*path, key))
        return await super().set(namespace, path, value, **options)


class ListsAreJoined(MemoryConfig, interface=1):
    async def set(self, namespace: str, path: Path, value: JSON, **options) -> int:
        document = await self.load(namespace)
        node = tree.find(document.root, path) if document else None
        if isinstance(value, list) and node and isinstance(node.get("v"), list):
            value = [*node["v"], *value]
        return await super().set(namespace, path, value, **options)


class NullDeletes(MemoryConfig, interface=1):
    async def set(self, namespace: str, path: Path, value: JSON, **options) -> int:
        if value is None and await self.load(namespace):
            return await super().delete(namespace, path)
        return await super().set(namespace, path, {} if value is None else value, **options)


class NumbersAreFloats(MemoryConfig, interface=1):
    async def get(self, namespace: str, path: Path, *, reveal: bool = False) -> Entry:
        entry = await super().get(namespace, path, reveal=reveal)
        return replace(entry, value=float(entry.value)) if type(entry.value) is int else entry


class EmptyObjectsVanish(MemoryConfig, interface=1):
    async def get(self, namespace: str, path: Path, *, reveal: bool = False) -> Entry:
        entry = await super().get(namespace, path, reveal=reveal)
        return Entry(None) if path and entry.value == {} else entry


class PathsAreSplitAtDots(MemoryConfig, interface=1):
    """Forgets that a dot may be part of a key."""

    async def set(self, namespace: str, path: Path, value: JSON, **options) -> int:
        return await super().set(namespace, tuple(".".join(path).split(".")) if path else path, value, **options)

    async def get(self, namespace: str, path: Path, **options) -> Entry:
        return await super().get(namespace, tuple(".".join(path).split(".")) if path else path, **options)


class DeletingLeavesWhatIsBelow(MemoryConfig, interface=1):
    async def delete(self, namespace: str, path: Path, *, if_version: int | None = None) -> int:
        node = tree.find((await self._present(namespace)).root, path)
        if node is not None and "c" in node and path:
            return (await self._present(namespace)).version
        return await super().delete(namespace, path, if_version=if_version)


class DeletingTheBranch(MemoryConfig, interface=1):
    """Takes what is beside the path with it."""

    async def delete(self, namespace: str, path: Path, *, if_version: int | None = None) -> int:
        if len(path) > 1 and (await super().get(namespace, path)).version and if_version is None:
            path = path[:-1]
        return await super().delete(namespace, path, if_version=if_version)


class DeletingNothingIsAChange(MemoryConfig, interface=1):
    async def delete(self, namespace: str, path: Path, *, if_version: int | None = None) -> int:
        changed = await super().delete(namespace, path, if_version=if_version)
        return changed or await self._change(namespace, lambda root, number: {**root, "n": number})


class EmptiedIsForgotten(MemoryConfig, interface=1):
    """What has nothing left was never written, and its versions begin again."""

    async def delete(self, namespace: str, path: Path, *, if_version: int | None = None) -> int:
        changed = await super().delete(namespace, path, if_version=if_version)
        if not (await self._present(namespace)).root["c"]:
            del self._kept[namespace]
        return changed


class NeverWrittenIsEmpty(MemoryConfig, interface=1):
    async def get(self, namespace: str, path: Path, **options) -> Entry:
        try:
            return await super().get(namespace, path, **options)
        except NotFound:
            return Entry(None)


class VersionsStandStill(MemoryConfig, interface=1):
    async def set(self, namespace: str, path: Path, value: JSON, **options) -> int:
        await super().set(namespace, path, value, **options)
        return 1


class VersionsOfTheWhole(MemoryConfig, interface=1):
    """Every path has its namespace's version."""

    async def get(self, namespace: str, path: Path, **options) -> Entry:
        entry = await super().get(namespace, path, **options)
        return replace(entry, version=(await self._present(namespace)).version) if entry.version else entry


class ConditionAlwaysHolds(MemoryConfig, interface=1):
    async def set(self, namespace: str, path: Path, value: JSON, *, secret=False, if_version=None) -> int:
        return await super().set(namespace, path, value, secret=secret)


class ConditionOfDeletingIgnored(MemoryConfig, interface=1):
    async def delete(self, namespace: str, path: Path, *, if_version: int | None = None) -> int:
        return await super().delete(namespace, path)


class ConditionOnlyOfAbsence(MemoryConfig, interface=1):
    async def set(self, namespace: str, path: Path, value: JSON, *, secret=False, if_version=None) -> int:
        return await super().set(namespace, path, value, secret=secret, if_version=if_version and None)


class LastWriterWins(MemoryConfig, interface=1):
    """Two who change a namespace at once: one change is lost."""

    async def load(self, namespace: str) -> Document | None:
        document = await super().load(namespace)
        await asyncio.sleep(0)
        return document

    async def swap(self, namespace: str, old: Document | None, new: Document) -> bool:
        return await super().swap(namespace, self._last(namespace), new)


class HistoryAscending(MemoryConfig, interface=1):
    async def history(self, namespace: str, path: Path, *, limit: int = 20) -> list[Entry]:
        return (await super().history(namespace, path, limit=10_000))[::-1][:limit]


class HistoryOfTheWhole(MemoryConfig, interface=1):
    """Gives a path as it was at every change, whatever changed."""

    async def history(self, namespace: str, path: Path, *, limit: int = 20) -> list[Entry]:
        versions = [entry.version for entry in await super().history(namespace, (), limit=limit)]
        kept = {document.version: document.root for document in self._kept[namespace]}
        nodes = [(version, tree.find(kept[version], path)) for version in versions]
        return [Entry(tree.plain(node), node["n"]) if node else Entry(None, version) for version, node in nodes]


class HistoryLimitIgnored(MemoryConfig, interface=1):
    async def history(self, namespace: str, path: Path, *, limit: int = 20) -> list[Entry]:
        return await super().history(namespace, path, limit=10_000)


class HistoryWithoutDeletions(MemoryConfig, interface=1):
    async def history(self, namespace: str, path: Path, *, limit: int = 20) -> list[Entry]:
        return [entry for entry in await super().history(namespace, path, limit=limit) if entry.value is not None]


class HistoryIsShort(MemoryConfig, interface=1):
    async def past(self, namespace: str) -> AsyncIterator[Document]:
        left = 10
        async for document in super().past(namespace):
            if left:
                left -= 1
                yield document


class RollbackMerges(MemoryConfig, interface=1):
    """What came after the version stays."""

    async def rollback(self, namespace: str, path: Path, version: int) -> int:
        for document in self._kept[namespace]:
            node = tree.find(document.root, path)
            if document.version == version and node:
                return await self.set(namespace, path, tree.plain(node, reveal=True))
        return await super().rollback(namespace, path, version)


class RollbackOfTheWhole(MemoryConfig, interface=1):
    async def rollback(self, namespace: str, path: Path, version: int) -> int:
        return await super().rollback(namespace, (), version)


class RollbackLeavesWhatWasAbsent(MemoryConfig, interface=1):
    async def rollback(self, namespace: str, path: Path, version: int) -> int:
        for document in self._kept[namespace]:
            if document.version == version and tree.find(document.root, path) is None:
                return 0
        return await super().rollback(namespace, path, version)


class NamespacesAreCaseless(MemoryConfig, interface=1):
    async def load(self, namespace: str) -> Document | None:
        return await super().load(namespace.lower())

    async def swap(self, namespace: str, old: Document | None, new: Document) -> bool:
        return await super().swap(namespace.lower(), old, new)


class _Watched(MemoryConfig):
    async def _seen(self, namespace: str, path: Path, after: int | None) -> AsyncIterator[Event]:
        async for event in super().watch(namespace, path, after=after):
            yield event


class WatchWithoutDeletions(_Watched, interface=1):
    async def watch(self, namespace: str, path: Path, *, after: int | None = None) -> AsyncIterator[Event]:
        async for event in self._seen(namespace, path, after):
            if not isinstance(event, Change) or event.kind != "delete":
                yield event


class WatchOfTheWhole(_Watched, interface=1):
    """Tells of a path at every change, whatever changed."""

    async def watch(self, namespace: str, path: Path, *, after: int | None = None) -> AsyncIterator[Event]:
        async for event in self._seen(namespace, (), after):
            if not isinstance(event, Change):
                yield event
                continue
            entry = await self.get(namespace, path)
            kind = "put" if entry.version else "delete"
            yield Change(kind, tree.show(path), event.version, entry if entry.version else None)


class WatchNeverSynced(_Watched, interface=1):
    async def watch(self, namespace: str, path: Path, *, after: int | None = None) -> AsyncIterator[Event]:
        async for event in self._seen(namespace, path, after):
            if not isinstance(event, Synced):
                yield event


class WatchForgetsWhereItWas(_Watched, interface=1):
    async def watch(self, namespace: str, path: Path, *, after: int | None = None) -> AsyncIterator[Event]:
        async for event in self._seen(namespace, path, None):
            yield event


class WatchWithoutResets(_Watched, interface=1):
    async def watch(self, namespace: str, path: Path, *, after: int | None = None) -> AsyncIterator[Event]:
        async for event in self._seen(namespace, path, after):
            if not isinstance(event, Reset):
                yield event


class WatchOfTheBeginning(_Watched, interface=1):
    """Tells what there is and then nothing."""

    async def watch(self, namespace: str, path: Path, *, after: int | None = None) -> AsyncIterator[Event]:
        async for event in self._seen(namespace, path, after):
            yield event
            if isinstance(event, Synced):
                return


class WatchReveals(_Watched, interface=1):
    async def watch(self, namespace: str, path: Path, *, after: int | None = None) -> AsyncIterator[Event]:
        async for event in self._seen(namespace, path, after):
            if isinstance(event, Change) and event.item is not None and event.item.secret_paths:
                event.item = await self.get(namespace, path, reveal=True)
            yield event


class StaysOpen(MemoryConfig, interface=1):
    async def close(self) -> None:
        pass


class SecretsAreShown(Sealed, interface=1):
    async def get(self, namespace: str, path: Path, *, reveal: bool = False) -> Entry:
        return await super().get(namespace, path, reveal=True)


class SecretsAreNeverShown(Sealed, interface=1):
    async def get(self, namespace: str, path: Path, *, reveal: bool = False) -> Entry:
        return await super().get(namespace, path)


class SecretsAreText(Sealed, interface=1):
    def _closed(self, namespace: str, path: Path, value: JSON) -> JSON:
        return super()._closed(namespace, path, value if isinstance(value, dict) else str(value))


class SecretsAreSealedWhole(Sealed, interface=1):
    """An object that is secret is one secret, and what is below cannot be asked for."""

    def _closed(self, namespace: str, path: Path, value: JSON) -> JSON:
        return super()._closed(namespace, path, [value] if isinstance(value, dict) else value)


class SecretsStaySecret(Sealed, interface=1):
    async def set(self, namespace: str, path: Path, value: JSON, *, secret=False, if_version=None) -> int:
        if not secret and not isinstance(value, dict):
            try:
                secret = bool((await self._inner.get(namespace, path)).secret_paths)
            except NotFound:
                secret = False
        return await super().set(namespace, path, value, secret=secret, if_version=if_version)


class SecretsAreNotTold(Sealed, interface=1):
    """Masks them and does not say where they are."""

    async def get(self, namespace: str, path: Path, *, reveal: bool = False) -> Entry:
        return replace(await super().get(namespace, path, reveal=reveal), secret_paths=())


class HistoryReveals(Sealed, interface=1):
    async def history(self, namespace: str, path: Path, *, limit: int = 20) -> list[Entry]:
        found = await super().history(namespace, path, limit=limit)
        shown = (await self.get(namespace, path, reveal=True)).value if found else None
        return [replace(entry, value=shown) if entry.value == MASK else entry for entry in found]


class RollbackReveals(Sealed, interface=1):
    """Brings a secret back as a value like any other."""

    async def rollback(self, namespace: str, path: Path, version: int) -> int:
        made = await super().rollback(namespace, path, version)
        entry = await self.get(namespace, path, reveal=True)
        if entry.secret_paths:
            await self.set(namespace, path, entry.value)
        return made


class SecretsAreNotSealed(Sealed, interface=1):
    """Masks them, and stores them as they are."""

    def _closed(self, namespace: str, path: Path, value: JSON) -> JSON:
        return value

    def _opened(self, namespace: str, path: Path, text: JSON) -> JSON:
        return text


class Mutant(ConfigSuite):
    made = MemoryConfig

    @pytest.fixture
    async def driver(self) -> AsyncIterator[ConfigDriver]:
        inner, outer = (MemoryConfig, self.made) if issubclass(self.made, Sealed) else (self.made, Sealed)
        async with outer(inner(), bytes(32)) as driver:
            yield driver

    async def stored(self, driver: ConfigDriver) -> bytes:
        return repr(driver._inner._kept).encode()


globals().update(suites(Mutant, MemoryConfig, Sealed))
