"""A suite must bite: every mutant of the memory driver fails it, and the driver itself passes."""

from pathlib import Path

from micro.testing.bites import survivors

MUTANTS = Path(__file__).parent / "mutants" / "mutants.py"


def test_every_mutant_fails_the_suite_and_the_driver_passes() -> None:
    assert survivors(MUTANTS) == ["MemoryEvents"]
