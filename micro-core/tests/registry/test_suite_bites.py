"""A suite must bite: every mutant of the memory driver fails it."""

import re
import subprocess
import sys
from pathlib import Path

MUTANTS = Path(__file__).parent / "mutants" / "mutants.py"


def test_every_mutant_fails_the_suite() -> None:
    made = set(re.findall(r"^class ([A-Z]\w+)\((?:MemoryRegistry|_Watched), ", MUTANTS.read_text(), re.MULTILINE))
    command = [sys.executable, "-m", "pytest", str(MUTANTS), "-q", "-p", "no:cacheprovider", "--timeout=1", "--tb=no"]
    output = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False).stdout
    bitten = set(re.findall(r"^(?:FAILED|ERROR) .*::Test(\w+)::", output, re.MULTILINE))
    assert made
    assert made - bitten == set()
