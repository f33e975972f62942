"""The modules whose functions work at once: each name means one thing, for as long as the process lasts."""

import importlib
import pkgutil
import subprocess
import sys

import pytest

import micro
from micro.context import CORE_SERVICES

PACKAGES = ["micro", *(f"micro.{name}" for name in sorted({*CORE_SERVICES, "blobs", "debug", "schema"}))]


@pytest.mark.parametrize("name", PACKAGES)
def test_no_public_name_is_also_a_submodules(name):
    """Importing `package.name` puts the module in the place of whatever the package calls so."""
    package = importlib.import_module(name)
    submodules = {each.name for each in pkgutil.iter_modules(package.__path__)}
    public = set(getattr(package, "__all__", ()))
    meant = set(micro.__all__) if package is micro else set()
    for both in public & submodules:
        assert both in meant, f"{name}.{both} is a function and a submodule"
        assert getattr(package, both) is sys.modules[f"{name}.{both}"]


@pytest.mark.parametrize("name", PACKAGES)
def test_public_names_stay_what_they_are_when_all_is_imported(name):
    script = (
        f"import importlib, pkgutil, {name} as package\n"
        "public = list(getattr(package, '__all__', ()))\n"
        "before = {each: getattr(package, each) for each in public}\n"
        "for each in pkgutil.iter_modules(package.__path__):\n"
        "    if each.name not in {'__main__', 'testing', 'cli'}: importlib.import_module(f'{package.__name__}.{each.name}')\n"
        "changed = [each for each in public if getattr(package, each) is not before[each]]\n"
        "assert not changed, changed\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_a_collection_can_be_had_twice():
    script = (
        "from dataclasses import dataclass\n"
        "from micro import store\n"
        "@dataclass\n"
        "class P:\n    id: str\n"
        "store.collection(P)\nstore.collection(P)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
