"""Entry points are what importlib.metadata says, only sooner."""

from __future__ import annotations

import sys
import zipfile
from importlib.metadata import distributions
from pathlib import Path

import pytest

from micro.plugin.points import points


def theirs() -> set[tuple[str, str, str, str, str]]:
    found, seen = set(), set()
    for dist in distributions():
        name = dist.name.replace("_", "-").lower()
        if name not in seen:
            seen.add(name)
            found |= {(p.group, p.name, p.value, name, dist.version) for p in dist.entry_points}
    return found


def test_they_are_the_librarys() -> None:
    ours = {point[:5] for point in points()}
    assert ours == theirs()
    assert any(group == "micro.store" for group, *_ in ours)


def test_an_archive_on_the_path_is_read_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "plugin.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(
            "zipped_plugin-2.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: zipped-plugin\nVersion: 2.0\n"
        )
        file.writestr("zipped_plugin-2.0.dist-info/entry_points.txt", "[micro.store]\nzipped = zipped:Store\n")
        file.writestr("zipped.py", "class Store: ...\n")
    monkeypatch.setattr(sys, "path", [str(archive), str(tmp_path / "nowhere"), *sys.path])
    (found,) = [point for point in points() if point.name == "zipped"]
    assert (found.distribution, found.version) == ("zipped-plugin", "2.0")
    assert found.load().__name__ == "Store"
    sys.modules.pop("zipped")


def test_the_first_of_two_installations_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in ("1", "2"):
        info = tmp_path / number / f"twice-{number}.dist-info"
        info.mkdir(parents=True)
        (info / "entry_points.txt").write_text(f"# ours\n[micro.store]\ntwice = twice{number}:Store [extra]\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "1"), str(tmp_path / "2")])
    (found,) = points()
    assert (found.value, found.version) == ("twice1:Store [extra]", "1")
