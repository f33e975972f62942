"""The pytest plugin: the fixture `micro`, a platform in memory for a user's own tests, and what suites can tell.

Every run of pytest imports this, so it imports nothing until somebody asks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from micro.testing.memory import MemoryPlatform

BENCH, REPORT = "--micro-bench", "--micro-report"
_TIMED = "test_its_calls_are_timed"  # of every suite; see Suite


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what the suites of Micro's drivers can do besides."""
    group = parser.getgroup("micro", "conformance suites of Micro's drivers")
    group.addoption(BENCH, action="store_true", help="time each driver's calls, too; -n0")
    group.addoption(REPORT, metavar="FILE", default="", help="write what each driver claims, as a Markdown table")


def pytest_configure(config: pytest.Config) -> None:
    """Bring what was asked for."""
    if config.getoption(BENCH) or config.getoption(REPORT):
        from micro.testing.report import Report

        config.pluginmanager.register(Report(config.getoption(REPORT)), "micro-report")


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: Any, name: str) -> list[pytest.Item] | None:
    """Leave out what is only run on request."""
    if name == _TIMED and not (collector.config.getoption(BENCH) and hasattr(collector.obj, "driver")):
        return []
    return None


@pytest.fixture
def micro() -> Iterator[MemoryPlatform]:
    """Give a platform within this test: see micro.testing.memory."""
    from micro.testing.memory import MemoryPlatform

    platform = MemoryPlatform()
    yield platform  # its services end where the test leaves them
    platform.met()
