"""What makes a start, and the processes that are forked, lighter: docs/performance.md says by how much."""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
import sys
from mmap import MADV_DONTNEED, PAGESIZE
from types import ModuleType
from typing import Any

from micro.server import order

ENOUGH = 4 << 20  # bytes after which filling ends, whatever the allocator does
_LARGEST = 64 << 10  # bytes of a hole that is worth filling
_IN_A_ROW = 4  # blocks after which there are no holes of their size any more

# Asked for by what imports them, and used by no core service; each has some 100 to 400 KiB of tables and classes.
_UNUSED = ("google.protobuf.text_format", "locale")

_ZEROS = bytes(PAGESIZE)
_fillings: list[bytes] = []  # never let go


def msgspec() -> None:
    """Import msgspec without `typing_extensions`, of which it wants what `typing` has, and which takes 10 ms.

    And without `platform`, of which `uuid` wants the system's name.
    """
    if "msgspec" in sys.modules or "typing_extensions" in sys.modules:
        return
    sys.modules["typing_extensions"] = None  # type: ignore[assignment]  # how the import system is told: not there
    stand_in = None
    if "platform" not in sys.modules:
        stand_in = sys.modules["platform"] = ModuleType("platform")
        vars(stand_in)["system"] = lambda: os.uname().sysname
    try:
        importlib.import_module("msgspec")
    finally:
        del sys.modules["typing_extensions"]
        if stand_in is not None:
            del sys.modules["platform"]


def unused() -> None:
    """Have stand-ins for modules of which hardly anything is asked: the real one is imported when something is."""
    for name in _UNUSED:
        if name not in sys.modules:
            sys.modules[name] = _later(name)


def _later(name: str) -> ModuleType:
    module = ModuleType(name)

    def ask(attribute: str) -> Any:
        if attribute.startswith("__"):  # what the import system looks at
            raise AttributeError(f"module {name!r} has no attribute {attribute!r}")
        if sys.modules.get(name) is module:
            del sys.modules[name]
        return getattr(importlib.import_module(name), attribute)

    vars(module)["__getattr__"] = ask
    return module


def freeze() -> None:
    """Keep what there is shared with the processes that are forked from now on.

    A collection would touch each page of it. So would the table in which the interpreter remembers where it found a
    method: a child that fills it anew lets go of the names in it, which is a write to each name's count of references.
    """
    if sys.version_info < (3, 13):  # later, names are not counted
        sys._clear_type_cache()
    _fill_heap()
    order.lay()
    gc.freeze()
    gc.collect()  # there is nothing left to look at; what it does at its end is to empty the lists of free objects
    _fill_heap()
    _fill_pools()


def unload(thing: object) -> None:
    """Give back the pages of a large object that hold zeros; they are there again when somebody writes to them.

    uvloop's loop has a buffer of 250 KiB in itself, which is cleared, and so taken, when it is made.
    """
    if sys.platform != "linux":
        return
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    first, end = -(-id(thing) // PAGESIZE), (id(thing) + sys.getsizeof(thing)) // PAGESIZE
    for page in range(first, end):
        if ctypes.string_at(page * PAGESIZE, PAGESIZE) == _ZEROS:
            madvise(page * PAGESIZE, PAGESIZE, MADV_DONTNEED)


def _fill_heap() -> None:
    """Leave no holes among what malloc gave: what a child puts into one costs it the whole page, which was shared."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.restype, libc.free.argtypes = None, [ctypes.c_void_p]
    end = libc.malloc(_LARGEST + 1)  # from the heap's end, or from nowhere near it
    size, taken = _LARGEST, 0
    while size >= 24 and taken < ENOUGH:
        block = libc.malloc(size)
        if block is None:
            return
        if block < end:
            taken += size
            continue
        libc.free(block)  # no hole is as large as this
        size -= 16 if size <= 2048 else size // 16


def _fill_pools() -> None:
    """Do the same for what Python gives itself, by its classes of sizes up to 512 bytes."""
    empty = sys.getsizeof(b"")
    taken = 0
    for size in range(48, 513, 16):
        last = row = 0
        while row < _IN_A_ROW and taken < ENOUGH:
            block = bytes(size - empty)
            _fillings.append(block)
            taken += size
            row = row + 1 if id(block) == last + size else 0
            last = id(block)
