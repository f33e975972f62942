"""What the supervisor imports for its children is all that two of them need: what one imports, the others pay for, too."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict

import pytest

from micro.context import CORE_SERVICES
from micro.server import light

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
    assert users["argon2"] == ["auth"], "nothing was told"
    assert {module: names for module, names in users.items() if len(names) > 1} == {}


def test_what_is_to_lie_side_by_side_is_there() -> None:
    """Names in the order file that are not found do no harm, but its use goes with them: `scripts/order.py` renews it."""
    program = """
import sys
from micro.cli import quick  # as `micro server` begins
from micro.plugin import profile
from micro.server import order, preload
preload.load(profile.load("local"))
wanted = [(module, name) for module, name in order.functions() if "<" not in name and not module.startswith("<")]
lost = [f"{module} {name}" for module, name in wanted if order.found(sys.modules.get(module), name) is None]
assert len(wanted) > 300, len(wanted)
assert len(lost) < len(wanted) / 10, lost
before = order.found(sys.modules["micro.rpc.server"], "Server.open").__code__
order.lay()
after = order.found(sys.modules["micro.rpc.server"], "Server.open").__code__
assert after is not before and after == before
assert all(name is sys.intern(name) for name in order._names)
print("fine")
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ran.stdout == "fine\n", ran.stderr


def test_what_stands_in_for_a_module_is_the_module_as_soon_as_it_is_asked() -> None:
    program = """
import sys
from micro.server import light
light.unused()
import calendar, locale, subprocess
from google.protobuf import text_format
from micro.proto import store_pb2
assert locale.__doc__ is None and not hasattr(text_format, "__path__")
record = store_pb2.Record(key="a")
assert str(record) == text_format.MessageToString(record) == 'key: "a"\\n'
assert text_format.Parse('key: "b"', store_pb2.Record()).key == "b"
assert subprocess.run(["printf", "é"], capture_output=True, text=True).stdout == "é"
from locale import getlocale
assert locale.getlocale() == getlocale() and sys.modules["locale"].__file__
assert calendar.different_locale(("C", "UTF-8"))
light.unused()
assert sys.modules["locale"].__file__, "what is there stays"
print("fine")
"""
    command = [sys.executable, "-X", "utf8", "-c", program]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.stdout == "fine\n", ran.stderr


def test_pages_of_zeros_are_given_back_and_come_again() -> None:
    large = bytes(300_000)
    kept = large[:100_000] + b"x" * 100_000 + large[200_000:]
    light.unload(kept)
    light.unload(large)
    assert kept == bytes(100_000) + b"x" * 100_000 + bytes(100_000)
    assert not any(large)
