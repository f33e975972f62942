"""What the supervisor imports for its children is all that two of them need: what one imports, the others pay for, too."""

from __future__ import annotations

import re
from collections import defaultdict

import pytest

from micro.context import CORE_SERVICES

from .conftest import Real

IMPORTED = re.compile(r"^import time: +\d+ \| +\d+ \| +(\S+)$", re.MULTILINE)  # as Python's own -X importtime says it

pytestmark = pytest.mark.e2e


def test_no_two_children_import_the_same_module(real: Real) -> None:
    real.environ["PYTHONPROFILEIMPORTTIME"] = "1"  # a child's stderr is its log, from its fork on
    real.start()
    assert real.stop() == 0
    users = defaultdict(list)
    for name in CORE_SERVICES:
        for module in set(IMPORTED.findall((real.data / "logs" / "core" / f"{name}.log").read_text())):
            users[module].append(name)
    assert users["aiohttp.abc"] == ["api"], "nothing was told"
    assert {module: names for module, names in users.items() if len(names) > 1} == {}
