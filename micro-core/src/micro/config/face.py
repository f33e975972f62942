"""The functions a service calls: this process's configuration, in its own namespace."""

from __future__ import annotations

import builtins
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any, TypeVar, overload

from micro.config.driver import MISSING, Entry

if TYPE_CHECKING:
    from micro.config.api import Config

T = TypeVar("T")
D = TypeVar("D")


def _config() -> Config:
    from micro.service.process import current

    return current().config


@overload
async def get(path: str, type_: type[T], *, secret: bool = False) -> T: ...
@overload
async def get(path: str, type_: type[T], default: D, *, secret: bool = False) -> T | D: ...
@overload
async def get(path: str = "", type_: Any = Any, default: Any = MISSING, *, secret: bool = False) -> Any: ...
async def get(path: str = "", type_: Any = Any, default: Any = MISSING, *, secret: bool = False) -> Any:
    """Give a value: see Config.get."""
    return await _config().get(path, type_, default, secret=secret)


async def set(path: str, value: object, *, secret: bool = False, if_version: int | None = None) -> int:
    """Set a value and give the version: see Config.set."""
    return await _config().set(path, value, secret=secret, if_version=if_version)


async def delete(path: str, *, if_version: int | None = None) -> int:
    """Remove a path and all below it: see Config.delete."""
    return await _config().delete(path, if_version=if_version)


@overload
def watch(path: str, type_: type[T], default: D) -> AsyncGenerator[T | D, None]: ...
@overload
def watch(path: str, type_: type[T]) -> AsyncGenerator[T | None, None]: ...
@overload
def watch(path: str = "", type_: Any = Any, default: Any = None) -> AsyncGenerator[Any, None]: ...
def watch(path: str = "", type_: Any = Any, default: Any = None) -> AsyncGenerator[Any, None]:
    """Give the value there is, then each it becomes: see Config.watch."""
    return _config().watch(path, type_, default)


async def history(path: str = "", *, limit: int = 20) -> builtins.list[Entry]:
    """Give what a path was, the newest first: see Config.history."""
    return await _config().history(path, limit=limit)


async def rollback(path: str, version: int) -> int:
    """Make a path what it was at a version: see Config.rollback."""
    return await _config().rollback(path, version)
