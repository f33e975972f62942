"""One failure tells a mutant: the rest of its class is skipped."""

import pytest

_told: set[str] = set()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.failed:
        _told.add(report.nodeid.split("::")[1])


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.nodeid.split("::")[1] in _told:
        pytest.skip("told already")
