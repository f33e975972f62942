"""What a run of suites tells of the drivers: what each claims once it is opened, what is excused, and how long calls take."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from micro.errors import ServiceError
from micro.plugin import discovery
from micro.plugin.driver import Driver
from micro.testing import uses

CLAIMS = "micro-claims"  # the property by which a suite's test tells what `claim` says
ONE_BY_ONE = 100  # calls, each begun when the one before has ended
IN_FLIGHT = 64  # calls at once
ROUNDS = 10  # of those

_timings: dict[
    tuple[str, str], tuple[float, float]
] = {}  # by driver's class and method: seconds of one, calls a second


class Report:
    """The plugin that hears the suites, and says at the end what it heard; `file` is where the table goes."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._claims: dict[tuple[str, str], list[frozenset[str]]] = {}  # by primitive and name, of each suite
        self._excused: set[str] = set()
        self._outcomes: dict[str, Counter[str]] = {}  # by the suite's class

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take what a test tells, and count."""
        for name, value in report.user_properties if report.when == "call" else ():
            if name == CLAIMS:
                primitive, driver, *claims = str(value).split()
                self._claims.setdefault((primitive, driver), []).append(frozenset(claims))
        if report.when != "call" and not report.failed:
            return
        suite, _, test = report.nodeid.rpartition("::")
        why = getattr(report, "wasxfail", None)
        if why is not None:
            self._excused.add(f"* `{suite.rpartition('::')[2]}.{test}`: {why}")
        self._outcomes.setdefault(suite, Counter())["excused" if why is not None else report.outcome] += 1

    def pytest_sessionfinish(self) -> None:
        """Write the table."""
        if self._file:
            Path(self._file).write_text(table(self._claims, sorted(self._excused)))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Tell the counts, and the times if there are any."""
        terminalreporter.section("suites")
        for suite, outcomes in sorted(self._outcomes.items()):
            counts = ", ".join(f"{number} {outcome}" for outcome, number in sorted(outcomes.items()))
            terminalreporter.write_line(f"{suite}: {counts}")
        for (driver, method), (one, many) in _timings.items():
            terminalreporter.write_line(
                f"{driver}.{method}: {one * 1e6:,.0f} us, {many:,.0f}/s with {IN_FLIGHT} in flight"
            )


def table(claims: Mapping[tuple[str, str], list[frozenset[str]]], excused: list[str]) -> str:
    """Make the table of what drivers claim, a part for each primitive, and the list of what is excused.

    Suites of one driver are one row: `some` is what it claims in one and not in another. What is remote is left out: it
    claims what the driver behind it does.
    """
    parts: list[list[str]] = []
    for primitive, known in uses.ABILITIES.items():
        rows = {name: found for (of, name), found in sorted(claims.items()) if of == primitive and name != "remote"}
        if rows and known:
            head = [_row(primitive, sorted(known)), _row("---", ["---"] * len(known))]
            parts.append(head + [_row(f"`{name}`", [_cell(it, rows[name]) for it in sorted(known)]) for name in rows])
    return "\n\n".join("\n".join(part) for part in [*parts, excused] if part) + "\n"


def _row(first: str, cells: list[str]) -> str:
    return "|" + "".join(f" {cell} |" if cell else " |" for cell in (first, *cells))


def _cell(ability: str, found: list[frozenset[str]]) -> str:
    claims = [ability in each for each in found]
    return "yes" if all(claims) else "some" if any(claims) else ""


def claim(driver: Driver) -> str:
    """Say, for a test's properties, what an open driver is and claims; a part of another driver by its class's name."""
    cls = type(driver)
    names = [
        name
        for kind in uses.kinds_of(cls)
        for name in discovery.names(kind)
        if (point := discovery.point(kind, name)) is not None and point.value.endswith(f":{cls.__name__}")
    ]
    return " ".join([uses.primitive_of(cls), (names or [cls.__name__])[0], *sorted(driver.capabilities)])


async def timed(driver: Driver) -> None:
    """Time the calls that only ask and answer, and remember it for the summary."""
    for method in uses.asked(driver):
        await _call(driver, method)
        times = []
        for _ in range(ONE_BY_ONE):
            began = time.perf_counter()
            await _call(driver, method)
            times.append(time.perf_counter() - began)
        began = time.perf_counter()
        for _ in range(ROUNDS):
            await asyncio.gather(*(_call(driver, method) for _ in range(IN_FLIGHT)))
        many = ROUNDS * IN_FLIGHT / (time.perf_counter() - began)
        _timings[type(driver).__name__, method] = statistics.median(times), many


async def _call(driver: Driver, method: str) -> None:
    with suppress(ServiceError):  # that nothing is there is an answer, too
        await uses.use(driver, method)
