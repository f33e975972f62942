"""Hooks are enabled by name, refused when unknown, and cannot bring a service down."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from micro.errors import ConfigError

TRACER = """
from micro.plugin.hooks import hookimpl
heard = []
class Tracer:
    @hookimpl
    def service_ready(self, name):
        heard.append(name)
    @hookimpl
    def call_interceptor(self, name):
        return f"{name}-interceptor"
class Faulty:
    @hookimpl
    def service_ready(self, name):
        raise OSError("no")
    @hookimpl
    def service_starting(self, name):
        raise OSError("not today")
class Misspelt:
    @hookimpl
    def service_redy(self, name):
        pass
"""


@pytest.fixture
def tracer(install: object) -> None:
    points = {"tracer": "my_tracer:Tracer", "faulty": "my_tracer:Faulty", "misspelt": "my_tracer:Misspelt"}
    install("my-tracer", "3", {"micro.hooks": points}, my_tracer=TRACER)  # type: ignore[operator]


def test_enabled_plugins_hear_and_the_others_do_not(tracer: None) -> None:
    from micro.plugin import hooks

    made = hooks.load(["tracer"])
    made.tell("service_ready", name="store", address="127.0.0.1:1")
    assert sys.modules["my_tracer"].heard == ["store"]
    assert made.gather("call_interceptor", name="store") == ["store-interceptor"]
    assert made.gather("gateway_middleware") == []
    made.starting("store")


def test_a_failing_hook_is_logged_by_name_and_the_others_still_hear(
    tracer: None, caplog: pytest.LogCaptureFixture
) -> None:
    from micro.plugin import hooks

    made = hooks.load(["tracer", "faulty"])
    with caplog.at_level(logging.ERROR):
        made.tell("service_ready", name="api", address="x")
    assert "hook service_ready of plugin faulty failed" in caplog.text
    assert sys.modules["my_tracer"].heard == ["api"]


def test_a_hook_may_keep_a_service_from_starting(tracer: None) -> None:
    from micro.plugin import hooks

    with pytest.raises(OSError, match="not today"):
        hooks.load(["faulty"]).starting("store")


def test_unknown_hooks_and_plugins_are_refused_together(tracer: None) -> None:
    from micro.plugin import hooks

    with pytest.raises(ConfigError) as caught:
        hooks.load(["misspelt", "nobody"])
    assert "hook plugin 'misspelt' of my-tracer 3 does not load" in caught.value.problems[0]
    assert "service_redy" in caught.value.problems[0]
    assert "no hook plugin 'nobody' is installed (installed: " in caught.value.problems[1]


def test_an_unknown_hook_is_found_when_the_profile_is_read(tracer: None, things: None, tmp_path: Path) -> None:
    from micro.plugin import profile

    (tmp_path / "micro.toml").write_text("[profile.x]\nhooks.enabled = ['misspelt']\n")
    with pytest.raises(ConfigError, match="service_redy"):
        profile.load("x", config=tmp_path / "micro.toml", required=())
    assert "my_tracer" not in sys.modules


def test_without_hooks_pluggy_is_not_imported() -> None:
    code = "import sys, micro.plugin.profile as p; p.load('local', required=()); assert 'pluggy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
