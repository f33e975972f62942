"""A runtime over real processes, in this one: accounts are only counted, and there is no registry."""

import asyncio
import os
import time

from micro.runtime.accounts import Accounts
from micro.runtime.output import FileLogs
from micro.runtime.process import ProcessEngine, ProcessEngineSettings
from micro.runtime.reconciler import Reconciler
from micro.runtime.sources import Sources

SUPERVISOR = os.pipe()  # its writing end stays open as long as there is this process
SLEEPER = "import time, os\nprint('pid', os.getpid(), flush=True)\nprint('été', flush=True)\ntime.sleep(600)\n"


class Known(Accounts):
    """Accounts that are only counted: what the auth service makes of them is shown where it runs."""

    def __init__(self):
        self.there = {}

    async def create(self, namespace, id):
        self.there[namespace, id] = f"secret of {id}"
        return self.there[namespace, id]

    async def remove(self, namespace, id):
        self.there.pop((namespace, id), None)


class Local(Reconciler, interface=1):
    """A runtime in this process; without a supervisor for `alive` -1."""

    def __init__(self, store, data, alive=SUPERVISOR[0], grace=2.0):
        sources, output = Sources(data / "runtime"), FileLogs(data / "logs")
        super().__init__(store=store, sources=sources, output=output, grace=grace)
        self.engine = ProcessEngine(ProcessEngineSettings(grace=grace), alive=alive)
        self.accounts = Known()
        self.registry = None

    def platform(self):
        return {"MICRO_PROXY": "127.0.0.1:1"}


def folder(tmp_path, name="hello", text=SLEEPER, **files):
    """Make a source."""
    path = tmp_path / name
    path.mkdir(exist_ok=True)
    (path / "main.py").write_text(text)
    for file, content in files.items():
        (path / file).write_text(content)
    return path


async def lines(runtime, name, **options):
    """Give what a service wrote."""
    return [line.message async for line in runtime.logs(name, **options)]


async def until(condition, seconds=10.0):
    """Wait until a condition holds; gives what it gave."""
    end = time.monotonic() + seconds
    while not (result := await condition()):
        assert time.monotonic() < end, "it did not happen"
        await asyncio.sleep(0.02)
    return result


def pids(runtime):
    """Give the launchers of what runs."""
    services = runtime.driver._services.get(runtime.namespace, {})
    return [k.handle.state["pid"] for s in services.values() for k in s._keepers.values() if k.handle]
