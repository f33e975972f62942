"""The types of micro.blocking.config, written by scripts/blocking.py."""

from collections.abc import Iterator
from micro.config.face import D
from micro.config.face import T
from typing import Any
from typing import overload
import builtins
from micro.config import Config as Config
from micro.config import ConfigDriver as ConfigDriver
from micro.config import Entry as Entry

@overload
def get(path: str, type_: type[T], *, secret: bool=False) -> T:
    ...

@overload
def get(path: str, type_: type[T], default: D, *, secret: bool=False) -> T | D:
    ...

@overload
def get(path: str='', type_: Any=..., default: Any=..., *, secret: bool=False) -> Any:
    ...

def set(path: str, value: object, *, secret: bool=False, if_version: int | None=None) -> int:
    """Set a value and give the version: see Config.set."""
    ...

def delete(path: str, *, if_version: int | None=None) -> int:
    """Remove a path and all below it: see Config.delete."""
    ...

@overload
def watch(path: str, type_: type[T], default: D) -> Iterator[T | D]:
    ...

@overload
def watch(path: str, type_: type[T]) -> Iterator[T | None]:
    ...

@overload
def watch(path: str='', type_: Any=..., default: Any=None) -> Iterator[Any]:
    ...

def history(path: str='', *, limit: int=20) -> builtins.list[Entry]:
    """Give what a path was, the newest first: see Config.history."""
    ...

def rollback(path: str, version: int) -> int:
    """Make a path what it was at a version: see Config.rollback."""
    ...
