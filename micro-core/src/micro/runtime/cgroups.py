"""Control groups below this process's own, by which the kernel limits all of an instance together.

Of version 1 each controller has a tree of its own; of version 2 there is one, in which a group has either processes or
groups: ours are made where our own group may have some, or beside it.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from micro import limits as sizes
from micro.runtime.driver import Limits

CONTROLLERS = ("memory", "cpu", "pids")
PERIOD = 100_000  # microseconds, in which a share of a core is given; the kernel's own default
SHORTEST = 1_000  # microseconds of a period, the least that the kernel takes
_OOM = "oom_kill "


class Cgroups:
    """Groups for instances. `controllers` names what can be limited; where nothing may be made there is nothing."""

    def __init__(self, *, proc: Path = Path("/proc/self")) -> None:
        self._places = dict(_places(proc))

    @property
    def controllers(self) -> frozenset[str]:
        """What can be limited."""
        return frozenset(self._places)

    def make(self, name: str, wanted: Limits) -> list[str]:
        """Make the groups that limits need, all or none; gives their folders."""
        given = {"memory": wanted.memory, "cpu": wanted.cpu, "pids": wanted.processes}
        made: dict[str, None] = {}  # in order; of version 2 one is for all
        try:
            for controller, (parent, version) in self._places.items():
                if not given[controller]:
                    continue
                folder = parent / name
                folder.mkdir(exist_ok=str(folder) in made)
                made[str(folder)] = None
                for file, text in _settings(controller, version, given[controller]):
                    (folder / file).write_text(text)
        except OSError:
            remove(list(made))
            raise
        return list(made)


def remove(folders: list[str]) -> bool:
    """Remove groups, and end what is left in them; whether that is done, which it is soon."""
    for folder in map(Path, folders):
        with contextlib.suppress(OSError):
            for pid in (folder / "cgroup.procs").read_text().split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            folder.rmdir()
    return not any(os.path.exists(folder) for folder in folders)  # noqa: PTH110 - a moment


def ran_out(folders: list[str]) -> bool:
    """Whether the kernel has ended anything in these groups because its memory was used up."""
    for folder in map(Path, folders):
        for file in ("memory.events", "memory.oom_control"):
            with contextlib.suppress(OSError):
                lines = (folder / file).read_text().splitlines()
                if any(line.startswith(_OOM) and int(line.removeprefix(_OOM)) for line in lines):
                    return True
    return False


def _settings(controller: str, version: int, limit: int) -> Iterator[tuple[str, str]]:
    quota = max(SHORTEST, limit * PERIOD // 1000)
    match controller, version:
        case "pids", _:
            yield "pids.max", str(limit)
        case "memory", 1:
            yield "memory.limit_in_bytes", str(limit * sizes.MIB)
        case "memory", _:
            yield "memory.max", str(limit * sizes.MIB)
        case "cpu", 1:
            yield "cpu.cfs_period_us", str(PERIOD)
            yield "cpu.cfs_quota_us", str(quota)
        case "cpu", _:
            yield "cpu.max", f"{quota} {PERIOD}"


def _places(proc: Path) -> Iterator[tuple[str, tuple[Path, int]]]:
    """Give for each controller where groups may be made, and of which version."""
    try:
        mounts, mine = (proc / "mountinfo").read_text(), (proc / "cgroup").read_text()
    except OSError:
        return
    paths = {
        name: path for _, names, path in (line.split(":", 2) for line in mine.splitlines()) for name in names.split(",")
    }
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        root, mounted = before.split(" ")[3:5]
        if kind == "cgroup":
            for name in set(CONTROLLERS) & set(options.split(",")) & set(paths):
                folder = _below(mounted, root, paths[name])
                if os.access(folder, os.W_OK):
                    yield name, (folder, 1)
        elif kind == "cgroup2" and "" in paths:
            own = _below(mounted, root, paths[""])
            for folder in (own, own.parent):
                usable = _enabled(folder)
                yield from ((name, (folder, 2)) for name in CONTROLLERS if name in usable)
                if usable:
                    break


def _below(mounted: str, root: str, path: str) -> Path:
    """Give a group's folder; what is mounted may be a part of the tree."""
    inside = path if root == "/" else path.removeprefix(root) if path.startswith(root) else ""
    return Path(mounted + inside)


def _enabled(folder: Path) -> list[str]:
    """Name the controllers that groups in a folder have; none where none may be made."""
    try:
        names = (folder / "cgroup.subtree_control").read_text().split()
    except OSError:
        return []
    return names if os.access(folder, os.W_OK) else []
