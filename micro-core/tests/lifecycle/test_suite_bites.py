"""The suites must bite: every driver with a wrong life fails, and the right one passes."""

from pathlib import Path

from micro.testing.bites import survivors

MUTANTS = Path(__file__).parent / "mutants"


def test_every_mutant_fails_the_suite_and_the_driver_passes() -> None:
    assert survivors(MUTANTS / "mutants.py", timeout=10) == ["Right"]


def test_every_mutant_fails_the_suite_of_what_has_a_server_behind_it() -> None:
    assert survivors(MUTANTS / "backend.py", timeout=5) == ["Right"]
