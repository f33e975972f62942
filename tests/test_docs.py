"""Docs that cannot lie: what they list is what the code has."""

import importlib
import importlib.util
import inspect
import re
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest

from micro import errors, testing
from micro.plugin import discovery
from micro.plugin.portable import Portable
from micro.testing.servers import docker, program

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SECTIONS = ("Name", "Description", "Settings", "Capabilities", "Semantics", "Errors", "Example", "Tests")


def test_every_error_class_is_in_the_table_with_its_numbers():
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (\d+) \|", (DOCS / "errors.md").read_text(), re.MULTILINE)
    codes = {value: name for name, value in vars(errors.Code).items() if name.isupper()}
    wanted = {(cls.__name__, codes[cls.code], str(cls.status)) for cls in errors.BY_CODE.values()}
    assert set(rows) == wanted


def generator():
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    return generate


def test_the_reference_of_commands_is_what_help_says():
    generate = generator()
    assert (DOCS / "commands.md").read_text() == generate.page(), "run: python docs/generate.py"


def test_the_tables_of_capabilities_are_what_opened_drivers_claim():
    program("redis-server", "apt-get install --no-install-recommends redis-server")
    docker.runnable()
    assert (DOCS / "plugins.md").read_text() == generator().plugins(), "run: python docs/generate.py"


def test_each_primitives_driver_suite_and_class_are_told_to_plugin_authors():
    text = (DOCS / "plugins.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| `([\w.]+)` \| `(\w+)` \| `([\w.]+)` \|$", text, re.MULTILINE)
    assert {name for name, *_ in rows} == set(discovery.PRIMITIVES) - {"api", "proxy", "transport"}
    for name, driver, suite, users in rows:
        assert driver.rpartition(".")[::2] == tuple(discovery.BASES[name].split(":"))
        assert issubclass(getattr(testing, suite), testing.Suite)
        module, _, portable = users.rpartition(".")
        assert issubclass(getattr(importlib.import_module(module), portable), Portable)


PROMISE = re.compile(r"^\* `(\w+)` in `([\w./-]+)`$", re.MULTILINE)


def test_each_promise_is_held_by_tests_that_there_are():
    text = (DOCS / "promises.md").read_text()
    parts = dict(re.findall(r"^## (\w+)\n\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE))
    assert set(parts) >= set(discovery.PRIMITIVES) - {"api", "proxy", "transport"}
    for name, part in parts.items():
        held = PROMISE.findall(part)
        assert len(held) == part.count("\n* "), f"{name}: a line is no `test` in `file`"
        for test, file in held:
            defined = re.compile(rf"^ *(?:async )?(?:def|class) {test}\b", re.MULTILINE)
            assert defined.search((ROOT / file).read_text()), f"{name}: {test} is not in {file}"


def test_each_hook_is_told_to_plugin_authors():
    hooks = importlib.import_module("micro.plugin.hooks")
    own = {name: it for name, it in vars(hooks.Specs).items() if not name.startswith("_")}
    calls = {f"{name}({', '.join(list(inspect.signature(it).parameters)[1:])})" for name, it in own.items()}
    text = (DOCS / "plugins.md").read_text().partition("| hook | when |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `([^`]+)`", text, re.MULTILINE)) == calls


@pytest.mark.parametrize("page", [*DOCS.rglob("*.md"), *ROOT.glob("*.md")], ids=lambda p: p.name)
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_every_profile_in_the_docs_loads():
    from micro.plugin import profile

    for page in DOCS.rglob("*.md"):
        for block in re.findall(r"```toml\n(.*?)```", page.read_text(), re.DOTALL):
            for name in tomllib.loads(block).get("profile", {}):
                file = ROOT / ".pytest_cache" / "docs.toml"
                file.parent.mkdir(exist_ok=True)
                file.write_text(block)
                assert profile.load(name, config=str(file)).name == name


def test_names_of_plugins_follow_from_each_other():
    for manifest in (ROOT / "plugins").glob("*/pyproject.toml"):
        project = tomllib.loads(manifest.read_text())["project"]
        primitive, _, name = manifest.parent.name.partition("-")
        assert project["name"] == f"micro-plugin-{primitive}-{name}"
        for kind, points in project["entry-points"].items():  # its own primitive, and another of the same backend
            other = kind.removeprefix("micro.")
            assert points == {name: f"micro_{primitive}_{name}:{name.capitalize()}{other.capitalize()}"}
        assert f"micro.{primitive}" in project["entry-points"]


def test_embedded_drivers_are_named_like_plugins():
    for entry in distribution("micro-core").entry_points:
        if entry.group.startswith("micro.") and entry.group != "micro.transport":
            primitive = entry.group.removeprefix("micro.")
            assert entry.value == f"micro.{primitive}.{entry.name}:{entry.name.capitalize()}{primitive.capitalize()}"


def test_every_plugins_readme_is_a_man_page_and_its_settings_are_the_classes():
    for readme in (ROOT / "plugins").glob("*/README.md"):
        text = readme.read_text()
        heads = re.findall(r"^## (.+)$", text, re.MULTILINE)
        assert [head for head in heads if head in SECTIONS] == list(SECTIONS)
        primitive, _, name = readme.parent.name.partition("-")
        table = text.partition("## Settings")[2].partition("\n## ")[0]
        listed = set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))
        project = tomllib.loads((readme.parent / "pyproject.toml").read_text())["project"]
        primitives = [kind.removeprefix("micro.") for kind in project["entry-points"]]
        assert primitive in primitives
        assert listed == {
            setting for kind in primitives for setting in discovery.load(kind, name).settings_type.__settings__
        }
