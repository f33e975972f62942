"""Whether a suite bites: it runs on mutants, drivers that are each wrong in one way, and every one of them must fail.

As a plugin of pytest, this runs each driver's suite in a process of its own, which ends with its first failure or with a test
that takes too long, and says at the end which test told which.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NoReturn

import pytest

from micro.testing.suite import Suite

SLIPS = (AttributeError, ImportError, NameError, TypeError)
PATIENCE = 60.0  # seconds of a right driver's test, and of what comes before and after any
_LIMIT = "MICRO_BITES_LIMIT"
_MARK = "told by: "
_BROKEN = "broken: "

_told: dict[str, str] = {}  # the test that failed first, by driver; empty for none
_failed: list[str] = []  # in the process of one driver: its tests that did
_says = -1  # where that process tells of itself


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
    options = ["-q", "--tb=short", "-p", "no:cacheprovider", "-p", __name__, "--timeout=0"]
    command = [sys.executable, "-m", "pytest", str(file), *options]
    environ = os.environ | {_LIMIT: str(timeout)}
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environ)
    line = next((line for line in ran.stdout.splitlines() if line.startswith(_MARK)), "")
    if not line or ran.returncode:  # a file that cannot be read, or has no suites
        raise AssertionError(ran.stdout + ran.stderr)
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


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Get ready within reason."""
    _say(item, "setup", PATIENCE)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """Run a test within its time."""
    patient = getattr(getattr(item, "cls", None), "patient", False)
    _say(item, "call", PATIENCE if patient else float(os.environ[_LIMIT]))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Clean up within reason."""
    _say(item, "teardown", PATIENCE)


@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Give a suite whose attribute `hurried` says so the loop for it."""
    if getattr(getattr(item, "cls", None), "hurried", False):
        return {"hurried": Hurried}
    return {"real": asyncio.new_event_loop}


def pytest_runtestloop(session: pytest.Session) -> bool:
    """Run the suites one by one."""
    for driver, items in groupby(session.items, key=_driver):
        _told[driver] = _Watched(list(items)).told()
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Tell what failed first."""
    report = yield
    if report.failed and call.excinfo is not None:
        broken = report.when != "call" or _slipped(call.excinfo.value)
        what = f"{item.name}, {call.excinfo.exconly().splitlines()[0]:.200}"
        _say(item, "told", _BROKEN + what if broken else what)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say it."""
    terminalreporter.write_line(_MARK + json.dumps(_told))


class _Watched:
    """A driver's suite in a process of its own, which is killed where it hangs: nothing of it reaches the next."""

    def __init__(self, items: Sequence[pytest.Item]) -> None:
        self._name, self._phase, self._told, self._done = "", "", "", False
        self._reads, writes = os.pipe()
        self._pid = os.fork()
        if not self._pid:
            _run(items, writes)
        os.setpgid(self._pid, self._pid)
        os.close(writes)

    def told(self) -> str:
        """Wait for its end; gives what told the driver, or nothing."""
        wait, rest = PATIENCE, b""
        while not self._done:
            if not select.select([self._reads], [], [], wait)[0]:
                self._told = self._told or self._because(f"longer than {wait:g} s")
                break
            got = os.read(self._reads, 65_536)
            if not got:
                self._told = self._told or _BROKEN + f"{self._name}, its process died"
                break
            *lines, rest = (rest + got).split(b"\n")
            for line in lines:
                wait = self._heard(*json.loads(line))
        os.killpg(self._pid, signal.SIGKILL)  # what its fixtures started, too
        os.waitpid(self._pid, 0)
        os.close(self._reads)
        return self._told

    def _heard(self, name: str, what: str, value: Any) -> float:
        """Take one line; gives the seconds that the next may take."""
        self._name = name
        if what == "told":
            self._told = self._told or value
        elif what == "done":
            self._done = True
        else:
            self._phase = what
            return float(value)
        return PATIENCE

    def _because(self, why: str) -> str:
        return ("" if self._phase == "call" else _BROKEN) + f"{self._name}, {why}"


def _run(items: Sequence[pytest.Item], writes: int) -> NoReturn:
    """Run tests until one fails, in a process that was forked for them."""
    global _says  # noqa: PLW0603 -- pytest's hooks are functions of the module
    try:
        os.setpgid(0, 0)  # here and in the parent: whichever comes first
        _says = writes
        for item in items:
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
            if _failed:
                break
        _say(items[-1], "done", None)
    finally:
        os._exit(0)


def _say(item: pytest.Item, what: str, value: Any) -> None:
    if what == "told":
        _failed.append(item.name)
    os.write(_says, json.dumps([item.name, what, value]).encode() + b"\n")


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
