"""Whatever is asked of a runtime, and whatever dies meanwhile: each wanted service runs once, as it was last accepted.

Forty examples; by hand MICRO_MODEL_EXAMPLES=400.
"""

import asyncio
import io
import os
import tarfile
from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from micro.errors import FailedPrecondition, NotFound
from micro.runtime.api import Runtime
from micro.runtime.driver import RUNNING, Spec
from micro.runtime.keeper import LONGEST
from micro.runtime.memory import Host, MemoryRuntime
from micro.testing.bites import Hurried

NAMES = st.sampled_from(["a", "b"])
INSTANCES = st.integers(1, 3)
SETTLE = LONGEST + 20.0  # seconds, of the loop's, until all is as it is to be, whatever has died how often
BROKEN = "exit 3"


def source(script):
    data, file = script.encode(), io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        member = tarfile.TarInfo("run.sh")
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))
    return file.getvalue()


class RuntimeMachine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.loop = Hurried()
        self.host = Host(clock=lambda: 1e9 + self.loop.time())
        self.wanted = {}  # by name: the word that it says, and how many instances
        self.words = 0
        self.do(self.open())

    def do(self, work):
        return self.loop.run_until_complete(work)

    async def open(self):
        self.runtime = Runtime(MemoryRuntime(host=self.host), plugin="memory")
        await self.runtime.open()

    async def uploaded(self, name, script):
        async def chunks():
            yield source(script)

        return await self.runtime.driver.upload("micro", name, "latest", chunks())

    async def spec(self, name, instances, script=""):
        self.words += 1
        word = f"word{self.words}"
        text = script or f"while :; do echo {word}; sleep 600; done"
        spec = Spec(name, source=await self.uploaded(name, text), command=["sh", "run.sh"], instances=instances)
        return spec, word

    @initialize(instances=INSTANCES)
    def begin(self, instances):
        self.run("a", instances, False)

    @rule(name=NAMES, instances=INSTANCES, force=st.booleans())
    def run(self, name, instances, force):
        async def run():
            spec, word = await self.spec(name, instances)
            await self.runtime.create(spec, force=force)
            if force or name not in self.wanted:
                self.wanted[name] = word, instances

        self.do(run())

    @rule(name=NAMES)
    def kill(self, name):
        async def kill():
            if name in self.wanted:
                await self.runtime.kill(name)
                del self.wanted[name]
            else:
                with pytest.raises(NotFound):
                    await self.runtime.kill(name)

        self.do(kill())

    @rule(name=NAMES, instances=INSTANCES, broken=st.booleans(), patience=st.sampled_from([None, None, 0.0, 1.0]))
    def update(self, name, instances, broken, patience):
        """Who asks for it may go away, and then it is as if nothing had been, unless it was through."""

        async def update():
            spec, word = await self.spec(name, instances, BROKEN if broken else "")
            task = asyncio.create_task(self.runtime.replace(spec))
            await asyncio.wait([task], timeout=patience)
            if task.cancel():
                await asyncio.wait([task])
            if not task.cancelled() and task.exception() is None:
                assert not broken
                self.wanted[name] = word, instances
            elif not task.cancelled():
                assert isinstance(task.exception(), FailedPrecondition if name in self.wanted else NotFound)

        self.do(update())

    @rule(data=st.data())
    def die(self, data):
        """One that runs dies."""
        if self.host.programs:
            pid = data.draw(st.sampled_from(sorted(self.host.programs)))
            self.host.programs[pid].kill()

    @rule(lost=st.booleans())
    def start_again(self, lost):
        """The runtime is started again; all that ran may have died while it was away."""

        async def again():
            await self.runtime.close()
            if lost:
                for program in list(self.host.programs.values()):
                    program.kill()
                await asyncio.sleep(0)
            await self.open()

        self.do(again())

    @rule()
    def reboot(self):
        """The platform ends, and begins anew."""

        async def again():
            await self.runtime.driver.end()
            assert not self.host.programs
            await self.runtime.close()
            await self.open()

        self.do(again())

    @rule(seconds=st.sampled_from([0.1, 5.0, 700.0]))
    def wait(self, seconds):
        self.do(asyncio.sleep(seconds))

    @invariant()
    def each_runs_once(self):
        self.do(asyncio.sleep(SETTLE))
        running = Counter()
        for program in self.host.programs.values():
            instance = program._instance
            running[instance.name, instance.number, instance.command[2].split()[4].rstrip(";")] += 1
        wanted = {(name, number, word) for name, (word, count) in self.wanted.items() for number in range(count)}
        assert running == Counter(wanted)
        found = self.do(self.runtime.status())
        assert [(status.spec.name, status.status) for status in found] == [(n, RUNNING) for n in sorted(self.wanted)]
        sources = {key for key in self.host.sources if len(key) == 2}
        assert len(sources) <= len(self.wanted), "what nobody runs is not kept"

    def teardown(self):
        async def end():
            await self.runtime.driver.end()
            await self.runtime.close()

        self.do(end())
        self.loop.close()


many = int(os.environ.get("MICRO_MODEL_EXAMPLES", "40"))
RuntimeMachine.TestCase.settings = settings(
    max_examples=many,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # making a failure small takes minutes
)
TestRuntimeMachine = RuntimeMachine.TestCase
