"""Plugins that are installed for the time of a test: a folder on the path with a distribution in it."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from micro.plugin import discovery

Install = Callable[..., None]

BASE = """
from micro.plugin.driver import Driver
from micro.plugin.settings import Seconds, Secret, Settings, Size, setting

class ThingDriver(Driver, defines=2):
    pass

class OtherDriver(Driver, defines=1):
    pass

class RedisSettings(Settings):
    url: str = setting("redis://127.0.0.1:6379/0", "where it is")
    timeout: Seconds = setting(5.0, "to wait")
    cache: Size = setting(0, "of its cache")
    password: Secret[str] = setting(Secret(""), "of the server")
    retries: int = setting(3, "attempts")
    hosts: list[str] = setting([], "more of them")

class RedisThing(ThingDriver, interface=2):
    settings_type = RedisSettings
    capabilities = frozenset({"watch", "batch"})

class MemoryThing(ThingDriver, interface=2):
    pass

class NeedySettings(Settings):
    url: str = setting(help="no default")

class NeedyThing(ThingDriver, interface=2):
    settings_type = NeedySettings

class OldThing(ThingDriver, interface=1):
    pass

class StrangerThing(OtherDriver, interface=1):
    pass

class RedisOther(OtherDriver, interface=1):
    settings_type = RedisSettings
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install a distribution: `install("name", "1.0", {"group": {"entry": "module:Class"}}, module="source")`."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    made: list[str] = []

    def one(name: str, version: str, points: Mapping[str, Mapping[str, str]], **modules: str) -> None:
        folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        lines = []
        for group, entries in points.items():
            lines += [f"[{group}]", *(f"{key} = {value}" for key, value in entries.items())]
        (folder / "entry_points.txt").write_text("\n".join(lines) + "\n")
        for module, source in modules.items():
            (site / f"{module}.py").write_text(textwrap.dedent(source))
            made.append(module)
        discovery.refresh()

    yield one
    for module in made:
        sys.modules.pop(module, None)
    discovery.refresh()


@pytest.fixture
def things(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every primitive's plugins are toys of ours, and nothing of the core's own."""
    kinds = [kind for kind in discovery.PRIMITIVES if kind != "transport"]
    for kind in kinds:
        monkeypatch.setitem(discovery.BASES, kind, "thing_base:ThingDriver")
    monkeypatch.setitem(discovery.BASES, "events", "thing_base:OtherDriver")
    toys = {
        "redis": "thing_base:RedisThing",
        "toy": "thing_base:MemoryThing",
        "needy": "thing_base:NeedyThing",
        "old": "thing_base:OldThing",
        "stranger": "thing_base:StrangerThing",
        "broken": "thing_broken:Thing",
        "deadly": "thing_deadly:Thing",
        "gone": "thing_base:NotThere",
    }
    points = {f"micro.{kind}": toys for kind in kinds}
    points["micro.events"] = {"redis": "thing_base:RedisOther", "toy": "thing_base:StrangerThing"}
    points["micro.transport"] = {"toycp": "thing_base:MemoryThing"}
    install(
        "micro-plugin-things",
        "1.2",
        points,
        thing_base=BASE,
        thing_broken="raise OSError('no such library')",
        thing_deadly="import os\nos._exit(3)",
    )
