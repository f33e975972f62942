"""Mutants that do worse than to fail: each is told by name, and none reaches the next."""

from pathlib import Path

import pytest

from micro.testing.bites import survivors

MUTANTS = """
import os
import signal
import time

import pytest

from micro.testing.bites import suites
from micro.testing.suite import Suite


class Driver:
    def answer(self):
        return 42


Driver.__module__ = "elsewhere"


class Hangs(Driver):
    def answer(self):
        while True:
            try:
                time.sleep(60)
            except BaseException:
                continue


class Blocks(Driver):
    def answer(self):
        signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))
        time.sleep(60)


class Dies(Driver):
    def answer(self):
        os._exit(0)


class Slips(Driver):
    def answer(self):
        return self.answers


class Unclean(Driver):
    def close(self):
        raise OSError("no")


class Wrong(Driver):
    def answer(self):
        return 41


class Survives(Driver):
    pass


class AnswersSuite(Suite):
    made = None

    @pytest.fixture
    def driver(self):
        made = self.made()
        yield made
        getattr(made, "close", int)()

    def test_the_answer(self, driver):
        answer = driver.answer()
        assert answer == 42


globals().update(suites(AnswersSuite, Driver))
"""


def test_whatever_a_mutant_does_is_told_and_the_next_begins_anew(tmp_path: Path, capsys) -> None:
    file = tmp_path / "test_mutants.py"
    file.write_text(MUTANTS)
    assert survivors(file, timeout=0.5) == ["Driver", "Dies!", "Slips!", "Unclean!", "Survives"]
    told = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    assert told["Driver"] == told["Survives"] == "-"
    assert told["Hangs"] == told["Blocks"] == "test_the_answer, longer than 0.5 s"
    assert told["Dies"] == "broken: test_the_answer, its process died"
    assert told["Slips"].startswith("broken: test_the_answer, AttributeError")
    assert told["Unclean"] == "broken: test_the_answer, OSError: no"
    assert told["Wrong"].startswith("test_the_answer, AssertionError")


def test_a_suite_that_cannot_be_read_is_no_pass(tmp_path: Path) -> None:
    file = tmp_path / "test_mutants.py"
    file.write_text("import micro.nothing\n")
    with pytest.raises(AssertionError, match="No module named"):
        survivors(file)
