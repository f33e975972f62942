"""Suites must bite: every mutant of the drivers in memory fails them, and these themselves pass."""

from pathlib import Path

import pytest

from micro.testing.bites import survivors

MUTANTS = Path(__file__).parent / "mutants" / "mutants.py"


@pytest.mark.timeout(300)
def test_every_mutant_fails_the_suites_and_the_drivers_pass() -> None:
    assert survivors(MUTANTS) == ["MemoryRuntime", "MemoryEngine"]
