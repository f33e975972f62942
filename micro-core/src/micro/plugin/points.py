"""The entry points of what is installed, as `importlib.metadata` gives them, without its 40 ms.

Every start reads them. Folders on the path are read here; what else stands on it (archives) is left to the library.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

_INFO = (".dist-info", ".egg-info")


class Point(NamedTuple):
    """One entry point, and the distribution that brings it; `location` is the folder it is installed in."""

    group: str
    name: str
    value: str
    distribution: str
    version: str
    location: str

    def load(self) -> Any:
        """Import what it names; raises whatever that raises."""
        module, _, path = self.value.partition(":")
        found: Any = importlib.import_module(module.strip())
        for part in filter(None, path.partition("[")[0].strip().split(".")):
            found = getattr(found, part)
        return found


def points() -> Iterator[Point]:
    """Give all entry points, in the order of the path: of two distributions of one name the first counts."""
    seen: set[str] = set()
    archives = []
    for folder in sys.path:
        try:
            names = sorted(os.listdir(folder or "."))  # noqa: PTH208 - names alone, without an object for each
        except NotADirectoryError:
            archives.append(folder)
            continue
        except OSError:
            continue
        for name in names:
            if name.endswith(_INFO):
                yield from _of(folder, name, seen)
    if archives:
        yield from _archived(archives, seen)


def _of(folder: str, name: str, seen: set[str]) -> Iterator[Point]:
    project, _, version = name.rpartition(".")[0].partition("-")
    project = project.replace("_", "-").lower()
    if project in seen:
        return
    seen.add(project)
    try:
        with open(os.path.join(folder, name, "entry_points.txt"), encoding="utf-8") as file:  # noqa: PTH118, PTH123 - as above
            text = file.read()
    except OSError:
        return  # most have none
    for group, key, value in _read(text):
        yield Point(group, key, value, project, version, folder)


def _read(text: str) -> Iterator[tuple[str, str, str]]:
    group = ""
    for line in text.splitlines():
        line = line.strip()  # noqa: PLW2901 - only trimmed
        if line.startswith("[") and line.endswith("]"):
            group = line[1:-1].strip()
        elif group and "=" in line and line[0] not in "#;":
            key, _, value = line.partition("=")
            yield group, key.strip(), value.strip()


def _archived(archives: list[str], seen: set[str]) -> Iterator[Point]:
    from importlib.metadata import distributions

    for found in distributions(path=archives):
        project = (found.name or "").replace("_", "-").lower()
        if project not in seen:
            seen.add(project)
            for one in found.entry_points:
                yield Point(one.group, one.name, one.value, project, found.version, str(found.locate_file("")))
