"""The configuration as users know it: one namespace of it, on any driver."""

from __future__ import annotations

import builtins
import json
from collections.abc import AsyncGenerator
from typing import Any, TypeVar, overload

from micro import limits, names
from micro.config import tree
from micro.config.driver import JSON, MISSING, ConfigDriver, Entry, Event
from micro.context import CORE_NAMESPACE
from micro.errors import InvalidArgument, NotFound, ResourceExhausted
from micro.plugin.driver import Change, Synced
from micro.plugin.portable import Portable
from micro.plugin.watch import resuming
from micro.schema.typed import decode_as, encode_value

T = TypeVar("T")
D = TypeVar("D")


class Config(Portable[ConfigDriver]):
    r"""JSON by path in one namespace: `config.at("other")` is another one, over the same driver.

    A path is keys parted by dots, with `\.` and `\\` for themselves; the empty path is the whole tree. Versions count a
    namespace's changes; a path's is that of the last change at it or below; 0 means nothing is there. Beyond the errors
    each method names, all raise InvalidArgument, ResourceExhausted (1 MiB a namespace, 32 levels), Unavailable,
    DeadlineExceeded (it may have happened), DataLoss (a secret that cannot be read) and Unimplemented.
    """

    primitive = "config"

    def __init__(self, driver: ConfigDriver, *, plugin: str = "", namespace: str = CORE_NAMESPACE) -> None:
        super().__init__(driver, plugin=plugin)
        self.namespace = names.namespace(namespace)

    @property
    def capabilities(self) -> frozenset[str]:
        """What the driver can: see ConfigDriver."""
        return self.driver.capabilities

    def at(self, namespace: str) -> Config:
        """Give the same configuration at another namespace. Costs nothing; closing one closes the driver of both."""
        return type(self)(self.driver, plugin=self.plugin, namespace=namespace)

    @overload
    async def get(self, path: str, type_: type[T], *, secret: bool = False) -> T: ...
    @overload
    async def get(self, path: str, type_: type[T], default: D, *, secret: bool = False) -> T | D: ...
    @overload
    async def get(self, path: str = "", type_: Any = Any, default: Any = MISSING, *, secret: bool = False) -> Any: ...
    async def get(self, path: str = "", type_: Any = Any, default: Any = MISSING, *, secret: bool = False) -> Any:
        """Give a value, as a type if one is named; `default`, if given, when nothing is there, else NotFound.

        A secret reads as `[secret]` unless `secret` asks for what it is.
        """
        try:
            entry = await self.entry(path, reveal=secret)
        except NotFound:
            entry = Entry(None)
        if entry.version:
            return _typed(entry.value, type_)
        if default is MISSING:
            raise NotFound(f"config.get [{self.plugin}]: not found: path {path!r}")
        return default

    async def entry(self, path: str = "", *, reveal: bool = False) -> Entry:
        """Give a value with its version, 0 for nothing, and where its secrets are.

        NotFound when the namespace was never written.
        """
        return await self._call("get", self.driver.get(self.namespace, tree.parse(path), reveal=reveal))

    async def set(self, path: str, value: object, *, secret: bool = False, if_version: int | None = None) -> int:
        """Set a value and give the version: an object leaf by leaf, anything else in place of what is there.

        `secret` keeps each leaf encrypted. `if_version=0`: only if nothing is there, else AlreadyExists; n: only if at
        that version, else Aborted.
        """
        plain = _plain(value)
        keys = tree.parse(path)
        tree.check(keys, plain)
        _sized(plain)
        if secret:
            self._require("secrets", "set")
        self._conditional(if_version, "set")
        work = self.driver.set(self.namespace, keys, plain, secret=secret, if_version=if_version)
        return await self._call("set", work)

    async def delete(self, path: str, *, if_version: int | None = None) -> int:
        """Remove a path and all below it, and give the version; 0, and fine, when nothing was there.

        NotFound when the namespace was never written.
        """
        self._conditional(if_version, "delete")
        return await self._call("delete", self.driver.delete(self.namespace, tree.parse(path), if_version=if_version))

    @overload
    def watch(self, path: str, type_: type[T], default: D) -> AsyncGenerator[T | D, None]: ...
    @overload
    def watch(self, path: str, type_: type[T]) -> AsyncGenerator[T | None, None]: ...
    @overload
    def watch(self, path: str = "", type_: Any = Any, default: Any = None) -> AsyncGenerator[Any, None]: ...
    async def watch(self, path: str = "", type_: Any = Any, default: Any = None) -> AsyncGenerator[Any, None]:
        """Give the value there is, at once, then each it becomes; `default` while nothing is there.

        Goes on over lost connections. Secrets are masked: read them with `get` when told.
        """
        synced = found = False
        async for event in self.changes(path):
            if isinstance(event, Change):
                found = event.item is not None
                yield default if event.item is None else _typed(event.item.value, type_)
            elif isinstance(event, Synced):
                if not synced and not found:
                    yield default
                synced = True

    def changes(self, path: str = "", *, after: int | None = None, resume: bool = True) -> AsyncGenerator[Event, None]:
        """Follow a path as one item: what is there as `put`, `Synced`, then each change; `after` skips the first.

        `Reset` means: forget what you know. No gap, perhaps a double. Goes on over lost connections unless `resume` is
        False.
        """
        keys = tree.parse(path)
        self._require("watch", "watch")

        def start(since: int | None) -> AsyncGenerator[Event, None]:
            return self._iterate("watch", self.driver.watch(self.namespace, keys, after=since))

        return resuming(start, after=after) if resume else start(after)

    async def history(self, path: str = "", *, limit: int = 20) -> builtins.list[Entry]:
        """Give what a path was, the newest first, None for when it was deleted; secrets masked."""
        if limit < 1:
            raise InvalidArgument(f"limit is {limit}, at least 1")
        self._require("history", "history")
        return await self._call("history", self.driver.history(self.namespace, tree.parse(path), limit=limit))

    async def rollback(self, path: str, version: int) -> int:
        """Make a path what it was at a version, secrets too, and give the new version; NotFound beyond the history."""
        self._require("history", "rollback")
        return await self._call("rollback", self.driver.rollback(self.namespace, tree.parse(path), version))

    def _conditional(self, if_version: int | None, operation: str) -> None:
        if if_version is None:
            return
        if if_version < 0:
            raise InvalidArgument(f"if_version is {if_version}, versions are 0 or more")
        self._require("conditions", operation)


def _plain(value: object) -> JSON:
    """Give a value as JSON; dataclasses and msgspec structs by their fields."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        raise InvalidArgument("a value is bytes, wanted JSON")
    return json.loads(encode_value(value))


def _sized(plain: JSON) -> None:
    try:
        size = len(json.dumps(plain, ensure_ascii=False).encode())
    except UnicodeEncodeError:
        raise InvalidArgument("a value is not valid UTF-8") from None
    if size > limits.CONFIG_TREE:
        raise ResourceExhausted(f"a value of {size} bytes, at most {limits.CONFIG_TREE}")


def _typed(value: JSON, type_: Any) -> Any:
    if type_ is Any:
        return value
    if type_ is str:
        if not isinstance(value, str):
            raise InvalidArgument(f"expected str, got {type(value).__name__}")
        return value
    return decode_as(type_, json.dumps(value))
