"""Whether a suite bites: it runs on mutants, drivers that are each wrong in one way, and every one of them must fail.

As a plugin of pytest, in a process of its own, this ends a mutant's suite with its first failure, and says at the end which
test told which.
"""

from __future__ import annotations

import asyncio
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from micro.testing.suite import Suite

SLIPS = (AttributeError, ImportError, NameError, TypeError)
PATIENCE = 60.0  # seconds of a right driver's test, and of what comes before and after any
AGAIN = 0.2  # seconds after which a test that went on is interrupted again
_LIMIT = "MICRO_BITES_LIMIT"
_MARK = "told by: "
_BROKEN = "broken: "

_told: dict[str, str] = {}  # the test that failed first, by driver; empty for none


def suites(suite: type[Suite], *drivers: type[Any]) -> dict[str, type[Suite]]:
    """Make a suite for each driver and for each mutant of it, a subclass in the file of `suite`.

    The suite's fixture makes what its attribute `made` says. A name that begins with an underscore is no mutant.
    """
    found: dict[str, type[Suite]] = {}
    for driver in drivers:
        members: dict[str, Any] = {"made": driver, "__module__": suite.__module__}
        if driver.__module__ != suite.__module__:  # it is right, however long it takes
            members["patient"] = True
        if not driver.__name__.startswith("_"):
            name = f"Test{driver.__name__}"
            found[name] = type(name, (suite,), members)
        mutants = [each for each in driver.__subclasses__() if each.__module__ == suite.__module__]
        found |= suites(suite, *mutants)
    return found


def survivors(file: Path, *, timeout: float = 1.0) -> list[str]:
    """Run a file of such suites; gives the drivers that none of their tests failed, and prints what told the others.

    A mutant's test that takes longer than `timeout` seconds has failed. One that fails by a slip of its own, before the
    suite has seen anything, shows nothing: it is given with a `!`.
    """
    options = ["-q", "--tb=no", "-p", "no:cacheprovider", "-p", __name__, "--timeout=0"]
    command = [sys.executable, "-m", "pytest", str(file), *options]
    environ = os.environ | {_LIMIT: str(timeout)}
    output = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environ).stdout
    line = next((line for line in output.splitlines() if line.startswith(_MARK)), "")
    if not line:
        raise AssertionError(output)
    told: dict[str, str] = json.loads(line.removeprefix(_MARK))
    for name, test in told.items():
        print(f"{name}: {test or '-'}")  # noqa: T201 -- shown with a failure
    return [name + "!" * bool(test) for name, test in told.items() if not test or test.startswith(_BROKEN)]


class Hurried(asyncio.SelectorEventLoop):
    """A loop whose clock goes on to what is waited for next as soon as there is nothing else to do.

    For a driver that waits for this loop alone, no file, socket or thread: what takes it seconds takes no time, and who
    waits in vain is told at once.
    """

    def __init__(self) -> None:
        self._now = time.monotonic()
        super().__init__(_Selector(self))

    def time(self) -> float:
        """Give the seconds that have been waited for."""
        return self._now

    def wait(self, seconds: float) -> None:
        """Let seconds pass."""
        self._now += seconds


class _Selector(selectors.SelectSelector):
    def __init__(self, loop: Hurried) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(timeout and 0)
        if timeout and not ready:
            self._loop.wait(timeout)
        return ready


class TooLong(SystemExit):
    """A test took too long: of the kind that asyncio lets out of whatever it was raised in."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise `TooLong` in what is inside, again and again, once it has taken so long."""

    def late(*_: object) -> None:
        raise TooLong(f"longer than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, None, None]:
    """Get ready within reason."""
    with within(PATIENCE):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Run a test within its time."""
    patient = getattr(getattr(item, "cls", None), "patient", False)
    with within(PATIENCE if patient else float(os.environ[_LIMIT])):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Generator[None, None, None]:
    """Clean up within reason."""
    with within(PATIENCE):
        return (yield)


@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Give a suite whose attribute `hurried` says so the loop for it."""
    if getattr(getattr(item, "cls", None), "hurried", False):
        return {"hurried": Hurried}
    return {"real": asyncio.new_event_loop}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Nobody is told yet."""
    for item in items:
        _told.setdefault(_driver(item), "")


def pytest_runtestloop(session: pytest.Session) -> bool:
    """Run them one by one, and leave out what is left of who is told."""
    for item in session.items:
        if not _told[_driver(item)]:
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember who is told, and by what."""
    try:
        report = yield
    except Exception as odd:  # Python cannot always say where a signal struck
        when = "call" if call.when == "collect" else call.when
        report = pytest.TestReport(item.nodeid, item.location, {}, "failed", repr(odd), when)
    driver = _driver(item)
    if report.failed and not _told[driver] and call.excinfo is not None:
        broken = report.when != "call" or _slipped(call.excinfo.value)
        what = f"{item.name}, {call.excinfo.exconly().splitlines()[0]:.200}"
        _told[driver] = _BROKEN + what if broken else what
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say it."""
    terminalreporter.write_line(_MARK + json.dumps(_told))


def _driver(item: pytest.Item) -> str:
    return item.nodeid.split("::")[1].removeprefix("Test")


def _slipped(exc: BaseException | None) -> bool:
    """Whether Python refused the mutant's own lines: a `TypeError` in the suite's is what it was given."""
    while exc is not None:
        trace = exc.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        where = trace.tb_frame.f_globals.get("__name__", "") if trace is not None else ""
        if isinstance(exc, SLIPS) and not where.startswith("micro.testing."):
            return True
        exc = exc.__cause__
    return False
