"""The engines are engines."""

from pathlib import Path

import pytest

from micro.runtime.memory import Host, MemoryEngine
from micro.runtime.process import ProcessEngine
from micro.testing.engine import EngineSuite

from .local import SUPERVISOR


class TestMemoryEngine(EngineSuite):
    hurried = True
    hog = "hog 200; echo survived"

    @pytest.fixture
    def make(self):
        host = Host()
        return lambda: MemoryEngine(host=host)

    def said(self, engine, instance):
        return [line.message for line in engine.host.output.get(instance.log, ())]


class TestProcessEngine(EngineSuite):
    @pytest.fixture
    def make(self):
        assert Path("/proc/self").exists()
        return lambda: ProcessEngine(alive=SUPERVISOR[0])
