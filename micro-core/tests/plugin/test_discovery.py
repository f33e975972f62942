"""Plugins are found by group and name, imported one at a time, and refused in words that name them."""

from __future__ import annotations

import sys

import pytest

from micro.errors import ConfigError
from micro.plugin import discovery


def refusal(kind: str, name: str) -> str:
    with pytest.raises(ConfigError) as caught:
        discovery.load(kind, name)
    return str(caught.value)


def test_only_the_selected_plugin_is_imported(things: None) -> None:
    cls = discovery.load("store", "redis")
    assert cls.__name__ == "RedisThing"
    assert "thing_broken" not in sys.modules


def test_an_unknown_plugin_lists_the_installed_ones_and_the_likely_install(things: None) -> None:
    words = refusal("store", "reddis")
    assert "no store plugin 'reddis' is installed" in words
    assert all(name in words.partition("installed:")[2] for name in ("redis", "stranger", "toy"))
    assert "pip install micro-plugin-store-reddis" in words


def test_an_unknown_kind_lists_the_kinds(things: None) -> None:
    assert "no plugins of kind 'sore'" in refusal("sore", "redis")
    assert "store" in refusal("sore", "redis")


def test_a_plugin_for_another_interface_is_refused_with_both_versions_and_its_distribution(things: None) -> None:
    words = refusal("store", "old")
    assert "micro-plugin-things 1.2" in words
    assert "interface 1 of ThingDriver" in words
    assert "this core has 2" in words


def test_a_class_of_another_primitive_is_refused(things: None) -> None:
    assert "is not a ThingDriver" in refusal("store", "stranger")


def test_a_plugin_that_does_not_import_is_named_with_its_cause(things: None) -> None:
    words = refusal("store", "broken")
    assert "store plugin 'broken' of micro-plugin-things 1.2 does not load" in words
    assert "OSError: no such library" in words


def test_a_plugin_without_its_class_is_named_with_its_cause(things: None) -> None:
    assert "AttributeError" in refusal("store", "gone")


def test_plugins_are_listed_with_capabilities_and_with_what_is_wrong(
    things: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = discovery.point("store", "deadly")
    assert point is not None
    monkeypatch.delitem(discovery._index(), ("micro.store", "deadly"))  # it would end this process
    found = {p.name: p for p in discovery.installed(["store"]) if p.distribution == "micro-plugin-things"}
    assert found["redis"].capabilities == ("batch", "watch")
    assert (found["redis"].version, found["redis"].interface) == ("1.2", 2)
    assert found["redis"].location.endswith("site")
    assert "interface 1" in found["old"].problem
    assert "no such library" in found["broken"].problem


def test_listing_without_importing_imports_nothing(things: None) -> None:
    found = [p for p in discovery.installed(imported=False) if p.distribution == "micro-plugin-things"]
    assert {p.kind for p in found} >= {"store", "events", "transport"}
    assert "thing_base" not in sys.modules


def test_the_core_is_found_through_the_same_door() -> None:
    assert discovery.is_embedded("transport", "nghttp2")
    assert discovery.distribution("transport", "nghttp2").startswith("micro-core ")
