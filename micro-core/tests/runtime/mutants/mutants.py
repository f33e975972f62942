"""Runtimes and engines that are each wrong in one way: the suites must tell every one of them. Run by test_suite_bites.py."""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from micro.errors import NotFound
from micro.plugin.driver import Change, Synced
from micro.runtime import keeper, running
from micro.runtime.driver import RUNNING, Engine, Event, Exit, Handle, Instance, Limits, LogLine, RuntimeDriver, Spec
from micro.runtime.keeper import Keeper
from micro.runtime.memory import Host, MemoryEngine, MemoryRuntime
from micro.runtime.running import Running
from micro.testing.bites import suites
from micro.testing.engine import EngineSuite
from micro.testing.runtime import RuntimeSuite

HOG = "hog 200; echo survived"


def clock() -> float:
    return 1_000_000_000 + asyncio.get_running_loop().time()


# -- services: what is wanted


class RunsEachTime(MemoryRuntime, interface=1):
    async def create(self, namespace: str, spec: Spec, *, force: bool = False) -> None:
        await super().create(namespace, spec, force=True)


class ForceIgnored(MemoryRuntime, interface=1):
    async def create(self, namespace: str, spec: Spec, *, force: bool = False) -> None:
        await super().create(namespace, spec, force=False)


class ForceLeavesTheOld(MemoryRuntime, interface=1):
    async def create(self, namespace: str, spec: Spec, *, force: bool = False) -> None:
        if force:
            self._services.get(namespace, {}).pop(f"{spec.name}:{spec.version}", None)
        await super().create(namespace, spec, force=force)


class OnceIsTwice(MemoryRuntime, interface=1):
    """Looks whether a service runs, and then starts it, and meanwhile others do."""

    async def _create(self, namespace: str, spec: Spec, force: bool) -> None:
        known = self._services.get(namespace, {}).get(f"{spec.name}:{spec.version}")
        await asyncio.sleep(0)
        await super()._create(namespace, spec, force or known is None)


class KillForgetsOnly(MemoryRuntime, interface=1):
    async def delete(self, namespace: str, name: str, version: str) -> None:
        service = self._find(namespace, name, version)
        service._keepers.clear()
        await super().delete(namespace, name, version)


class KillOfAllVersions(MemoryRuntime, interface=1):
    async def delete(self, namespace: str, name: str, version: str) -> None:
        self._find(namespace, name, version)
        for status in await self.list(namespace, name=name):
            await super().delete(namespace, name, status.spec.version)


class KillOfAllNamespaces(MemoryRuntime, interface=1):
    async def delete(self, namespace: str, name: str, version: str) -> None:
        await super().delete(namespace, name, version)
        for other in list(self._services):
            if f"{name}:{version}" in self._services[other]:
                await super().delete(other, name, version)


class KillingNobodyIsFine(MemoryRuntime, interface=1):
    async def delete(self, namespace: str, name: str, version: str) -> None:
        try:
            await super().delete(namespace, name, version)
        except NotFound:
            return


class UpdateCreates(MemoryRuntime, interface=1):
    async def update(self, namespace: str, spec: Spec) -> None:
        await super().create(namespace, spec)
        await super().update(namespace, spec)


class NamespacesMixed(MemoryRuntime, interface=1):
    async def list(self, namespace: str, *, name: str = "", version: str = "") -> list:
        found = [await super(NamespacesMixed, self).list(one, name=name, version=version) for one in self._services]
        self._check()
        return [status for one in found for status in one]


class OrderIsOfCreation(MemoryRuntime, interface=1):
    async def list(self, namespace: str, *, name: str = "", version: str = "") -> list:
        found = {
            f"{s.spec.name}:{s.spec.version}": s for s in await super().list(namespace, name=name, version=version)
        }
        return [found[key] for key in self._services.get(namespace, {}) if key in found]


class VersionUnasked(MemoryRuntime, interface=1):
    async def list(self, namespace: str, *, name: str = "", version: str = "") -> list:
        return await super().list(namespace, name=name)


class NameIsAPrefix(MemoryRuntime, interface=1):
    async def list(self, namespace: str, *, name: str = "", version: str = "") -> list:
        found = await super().list(namespace, version=version)
        return [status for status in found if status.spec.name.startswith(name[:0] or name[:1])]


class MetadataLost(MemoryRuntime, interface=1):
    async def _create(self, namespace: str, spec: Spec, force: bool) -> None:
        await super()._create(namespace, replace(spec, metadata={}), force)


class HalfWhenTheAskerGoes(MemoryRuntime, interface=1):
    async def _do_whole(self, work) -> None:
        await work


class StaysOpen(MemoryRuntime, interface=1):
    async def close(self) -> None:
        await super().close()
        self._closed = False


# -- what a service gets


class _Given(MemoryRuntime):
    """Gives instances something wrong: a subclass says what."""

    def given(self, instance: Instance) -> Instance:
        raise NotImplementedError

    def __init__(self, *args, **options) -> None:
        super().__init__(*args, **options)
        start = self.engine.start
        self.engine.start = lambda instance: start(self.given(instance))


class EqualSignsLost(_Given, interface=1):
    """Reads NAME=value at each `=`, and leaves out what has more than two parts."""

    def given(self, instance: Instance) -> Instance:
        return replace(instance, env={name: value for name, value in instance.env.items() if "=" not in value})


class FirstLinesOnly(_Given, interface=1):
    def given(self, instance: Instance) -> Instance:
        return replace(instance, env={name: value.split("\n")[0] for name, value in instance.env.items()})


class SmallValuesOnly(_Given, interface=1):
    def given(self, instance: Instance) -> Instance:
        return replace(instance, env={name: value[:65_536] for name, value in instance.env.items()})


class SecretsLost(_Given, interface=1):
    def given(self, instance: Instance) -> Instance:
        return replace(instance, env={name: value for name, value in instance.env.items() if name != "TOLD"})


class SecretsShown(MemoryRuntime, interface=1):
    async def _create(self, namespace: str, spec: Spec, force: bool) -> None:
        await super()._create(namespace, replace(spec, metadata=spec.metadata | spec.secrets), force)


class IdentityIsTheServices(_Given, interface=1):
    """A service's own variables win, whatever they are."""

    def given(self, instance: Instance) -> Instance:
        spec = self._find(instance.namespace, instance.name, instance.version).spec
        return replace(instance, env={**instance.env, **spec.env})


class ArgumentsLost(_Given, interface=1):
    def given(self, instance: Instance) -> Instance:
        return replace(instance, command=instance.command[:3])


class ArgumentsSplit(_Given, interface=1):
    def given(self, instance: Instance) -> Instance:
        return replace(instance, command=instance.command[:3] + " ".join(instance.command[3:]).split())


class LimitsIgnored(_Given, interface=1):
    def given(self, instance: Instance) -> Instance:
        return replace(instance, limits=Limits())


class OneInstance(MemoryRuntime, interface=1):
    async def _create(self, namespace: str, spec: Spec, force: bool) -> None:
        await super()._create(namespace, replace(spec, instances=1), force)


class ClaimsWhatItHasNot(MemoryRuntime, interface=1):
    async def open(self) -> None:
        await super().open()
        self.capabilities |= {"limit-processes"}


class SourceUnchecked(MemoryRuntime, interface=1):
    async def _create(self, namespace: str, spec: Spec, force: bool) -> None:
        if spec.source and not self.sources._uploaded(namespace, spec.name, spec.version):
            spec = replace(spec, source="")
        await super()._create(namespace, spec, force)


# -- keeping it running


class _Kept(MemoryRuntime):
    """Keeps instances running wrongly: a subclass says how."""

    keeper = Keeper

    def _made(self, *args, **options) -> Running:
        service = super()._made(*args, **options)
        keep = service._keep

        def kept(*given) -> None:
            before, running.Keeper = running.Keeper, self.keeper
            try:
                keep(*given)
            finally:
                running.Keeper = before

        service._keep = kept
        return service


class _Once(Keeper):
    async def _keep(self) -> None:
        why = await self._live()
        self._say(keeper.ERROR, why)


class NotStartedAgain(_Kept, interface=1):
    keeper = _Once


class _Eager(Keeper):
    async def _keep(self) -> None:
        while True:
            self.failures += 1
            self.failed = why = await self._live()
            self._say(keeper.ERROR, f"{why}; started {self.failures} times")


class StartedAgainAtOnce(_Kept, interface=1):
    keeper = _Eager


class _Content(Keeper):
    async def _live(self) -> str:
        why = await super()._live()
        if "code 0" in why:
            self._say(keeper.ERROR, f"{why}; started once")
            await asyncio.Event().wait()
        return why


class NothingLeftToDo(_Kept, interface=1):
    """What ended by itself, with code 0, is not started again."""

    keeper = _Content


class _Silent(Keeper):
    def _say(self, status: int, error: str = "") -> None:
        super()._say(RUNNING if status == keeper.ERROR else status)


class FailuresUntold(_Kept, interface=1):
    keeper = _Silent


class _Optimist(Keeper):
    def _say(self, status: int, error: str = "") -> None:
        super()._say(status, error.replace("3", "0").replace("code 1", "code 0"))


class CodeUntold(_Kept, interface=1):
    keeper = _Optimist


class OneFailsUntold(MemoryRuntime, interface=1):
    """What an instance does is what its first one does."""

    def _made(self, *args, **options) -> Running:
        service = super()._made(*args, **options)
        state = service._state

        def first() -> tuple[int, str]:
            return (RUNNING, "") if len(service._keepers) > 1 and service._phase == RUNNING else state()

        service._state = first
        return service


# -- updates


class UpdateStopsFirst(MemoryRuntime, interface=1):
    async def update(self, namespace: str, spec: Spec) -> None:
        await self._find(namespace, spec.name, spec.version).stop(1.0)
        await super().update(namespace, spec)


class UpdateUnproved(MemoryRuntime, interface=1):
    async def _proves(self, service: Running) -> str:
        return ""


class UpdateLeavesTheOld(MemoryRuntime, interface=1):
    async def _take_over(self, old: Running, new: Running) -> None:
        old._keepers.clear()
        await super()._take_over(old, new)


class FailedUpdateRunsOn(MemoryRuntime, interface=1):
    async def _give_up(self, old: Running, new: Running, problem: str) -> None:
        new._keepers.clear()
        await super()._give_up(old, new, problem)


class FailedUpdateUntold(MemoryRuntime, interface=1):
    async def _give_up(self, old: Running, new: Running, problem: str) -> None:
        await super()._give_up(old, new, problem)
        old.failed = ""


class FailedUpdateToldForEver(MemoryRuntime, interface=1):
    async def _take_over(self, old: Running, new: Running) -> None:
        new.failed = old.failed
        await super()._take_over(old, new)


class BrokenOffTakesOver(MemoryRuntime, interface=1):
    async def update(self, namespace: str, spec: Spec) -> None:
        await self._do_whole(super().update(namespace, spec))


class UpdateOfOne(MemoryRuntime, interface=1):
    """Replaces the first instance."""

    async def update(self, namespace: str, spec: Spec) -> None:
        await super().update(namespace, replace(spec, instances=1))


# -- over restarts


class NothingKept(MemoryRuntime, interface=1):
    async def _want(self, service: Running) -> None:
        """Remember nothing."""


class KilledIsWantedStill(MemoryRuntime, interface=1):
    async def _delete(self, namespace: str, name: str, version: str) -> None:
        service = self._find(namespace, name, version)
        await super()._delete(namespace, name, version)
        await self._want(service)


class EnvironmentForgotten(MemoryRuntime, interface=1):
    async def _go_on(self, one, left) -> None:
        await super()._go_on(one._replace(spec=replace(one.spec, metadata={})), left)


class EndForgets(MemoryRuntime, interface=1):
    async def end(self) -> None:
        for namespace in list(self._services):
            for status in await self.list(namespace):
                await self.delete(namespace, status.spec.name, status.spec.version)


class EndLeavesItRunning(MemoryRuntime, interface=1):
    async def end(self) -> None:
        """Somebody else will see to it."""


class ClosingStops(MemoryRuntime, interface=1):
    async def close(self) -> None:
        if not self._closed:
            await self.end()
        await super().close()


class StartedTwice(MemoryRuntime, interface=1):
    """Takes nothing over, and starts what is wanted."""

    async def open(self) -> None:
        async def none(handles: list[Handle]) -> list[Handle]:
            return []

        self.engine.adopt = none
        await super().open()


class TakenOverUnwatched(MemoryRuntime, interface=1):
    async def open(self) -> None:
        self.engine._watch = lambda handle: None
        await super().open()
        del self.engine._watch


class TakenOverBeginsAnew(MemoryRuntime, interface=1):
    async def _go_on(self, one, left) -> None:
        await super()._go_on(one, left)
        service = self._find(one.namespace, one.spec.name, one.spec.version)
        service.started = self.clock()


class TakenOverIsStarting(MemoryRuntime, interface=1):
    """Does not know what it takes over to run until it has looked."""

    async def _go_on(self, one, left) -> None:
        for place, kept in left.alive.get((one.namespace, f"{one.spec.name}:{one.spec.version}"), {}).items():
            left.alive[one.namespace, f"{one.spec.name}:{one.spec.version}"][place] = kept._replace(ran=0.0)
        await super()._go_on(one, left)


# -- what is seen


class _Lines(MemoryRuntime):
    async def given(self, lines: AsyncIterator[LogLine], options: Mapping) -> AsyncIterator[LogLine]:
        raise NotImplementedError
        yield

    async def logs(self, namespace: str, name: str, version: str, **options) -> AsyncIterator[LogLine]:
        async for line in self.given(super().logs(namespace, name, version, **options), options):
            yield line


class FirstLines(MemoryRuntime, interface=1):
    """Gives the first so many rather than the last."""

    async def logs(self, namespace: str, name: str, version: str, *, count: int = 0, follow: bool = False, **options):
        given = 0
        async for line in super().logs(namespace, name, version, follow=follow, **options):
            given += 1
            if follow or not count or given <= count:
                yield line


class SinceIgnored(MemoryRuntime, interface=1):
    async def logs(self, namespace: str, name: str, version: str, *, since: datetime | None = None, **options):
        async for line in super().logs(namespace, name, version, **options):
            yield line


class FollowingEnds(MemoryRuntime, interface=1):
    async def logs(self, namespace: str, name: str, version: str, *, follow: bool = False, **options):
        async for line in super().logs(namespace, name, version, **options):
            yield line


class FollowingFromNow(MemoryRuntime, interface=1):
    async def logs(self, namespace: str, name: str, version: str, *, follow: bool = False, **options):
        here = [line async for line in super().logs(namespace, name, version)] if follow else []
        given = 0
        options |= {"count": 0} if follow else {}
        async for line in super().logs(namespace, name, version, follow=follow, **options):
            given += 1
            if given > len(here):
                yield line


class TimesAreOfReading(_Lines, interface=1):
    async def given(self, lines, options):
        async for line in lines:
            await asyncio.sleep(0.001)
            yield replace(line, when=datetime.fromtimestamp(clock() + 100, UTC))


class TimesUnknown(_Lines, interface=1):
    async def given(self, lines, options):
        async for line in lines:
            yield replace(line, when=None)


class InstanceUnknown(_Lines, interface=1):
    async def given(self, lines, options):
        async for line in lines:
            yield replace(line, instance="")


class LinesShuffled(_Lines, interface=1):
    async def given(self, lines, options):
        if options.get("follow"):
            async for line in lines:
                yield line
            return
        found = [line async for line in lines]
        random.Random(1).shuffle(found)
        for line in found:
            yield line


class LogsOfTheFirstInstance(MemoryRuntime, interface=1):
    async def logs(self, namespace: str, name: str, version: str, **options):
        async for line in super().logs(namespace, name, version, **options):
            if line.instance == "0":
                yield line


class LogsOfNobody(MemoryRuntime, interface=1):
    """Gives no lines of a service that is not there."""

    async def logs(self, namespace: str, name: str, version: str, **options):
        self._check()
        if f"{name}:{version}" in self._services.get(namespace, {}):
            async for line in super().logs(namespace, name, version, **options):
                yield line


class LogsOfAllNamespaces(MemoryRuntime, interface=1):
    async def logs(self, namespace: str, name: str, version: str, *, follow: bool = False, **options):
        self._find(namespace, name, version)
        for one in [namespace] if follow else list(self._services):
            if f"{name}:{version}" in self._services[one]:
                async for line in super().logs(one, name, version, follow=follow, **options):
                    yield line


class WatchWithoutWhatExists(MemoryRuntime, interface=1):
    async def watch(self, namespace: str, *, after: int | None = None) -> AsyncIterator[Event]:
        synced = False
        async for event in super().watch(namespace, after=after):
            synced = synced or isinstance(event, Synced)
            if synced:
                yield event


class WatchNeverSynced(MemoryRuntime, interface=1):
    async def watch(self, namespace: str, *, after: int | None = None) -> AsyncIterator[Event]:
        async for event in super().watch(namespace, after=after):
            if not isinstance(event, Synced):
                yield event


class WatchWithoutEnds(MemoryRuntime, interface=1):
    async def watch(self, namespace: str, *, after: int | None = None) -> AsyncIterator[Event]:
        async for event in super().watch(namespace, after=after):
            if not isinstance(event, Change) or event.item is not None:
                yield event


class WatchOfAllNamespaces(MemoryRuntime, interface=1):
    def _feed(self, namespace: str):
        return super()._feed("all")


class WatchFromTheStart(MemoryRuntime, interface=1):
    def watch(self, namespace: str, *, after: int | None = None) -> AsyncIterator[Event]:
        return super().watch(namespace)


class WatchFromNow(MemoryRuntime, interface=1):
    async def watch(self, namespace: str, *, after: int | None = None) -> AsyncIterator[Event]:
        now = self._feed(namespace).version
        async for event in super().watch(namespace, after=now if after is not None else None):
            yield event


# -- instances


class EndUntold(MemoryEngine, interface=1):
    async def exits(self) -> AsyncIterator[Exit]:
        await asyncio.Event().wait()
        yield


class EndOfTheStoppedUntold(MemoryEngine, interface=1):
    async def stop(self, handle: Handle, *, grace: float) -> int | None:
        program = self.host.programs.get(handle.state["pid"])
        if program is not None:
            program.over.remove_done_callback(self._watched[handle.state["pid"]])
        return await super().stop(handle, grace=grace)


class EndToldTwice(MemoryEngine, interface=1):
    async def exits(self) -> AsyncIterator[Exit]:
        async for told in super().exits():
            yield told
            yield told


class EndToldEarly(MemoryEngine, interface=1):
    async def start(self, instance: Instance) -> Handle:
        handle = await super().start(instance)
        self._ended.put_nowait(Exit(handle, 0))
        return handle


class CodeLost(MemoryEngine, interface=1):
    async def exits(self) -> AsyncIterator[Exit]:
        async for told in super().exits():
            yield Exit(told.handle, None)


class SignalsAsShellsSay(MemoryEngine, interface=1):
    async def exits(self) -> AsyncIterator[Exit]:
        async for told in super().exits():
            yield Exit(told.handle, told.code if told.code is None or told.code >= 0 else 128 - told.code)


class KillsAtOnce(MemoryEngine, interface=1):
    async def stop(self, handle: Handle, *, grace: float) -> int | None:
        return await super().stop(handle, grace=0)


class HalfTheGrace(MemoryEngine, interface=1):
    async def stop(self, handle: Handle, *, grace: float) -> int | None:
        return await super().stop(handle, grace=grace / 2)


class NeverKills(MemoryEngine, interface=1):
    async def stop(self, handle: Handle, *, grace: float) -> int | None:
        program = self.host.programs.get(handle.state["pid"])
        if program is None:
            return None
        program.ask()
        return await asyncio.wait_for(asyncio.shield(program.over), 500)


class KillsLate(MemoryEngine, interface=1):
    async def stop(self, handle: Handle, *, grace: float) -> int | None:
        return await super().stop(handle, grace=grace + 10)


class StopDoesNotWait(MemoryEngine, interface=1):
    async def stop(self, handle: Handle, *, grace: float) -> int | None:
        task = asyncio.create_task(super().stop(handle, grace=grace))
        await asyncio.wait([task], timeout=0)
        return 0


class StoppingTwiceRaises(MemoryEngine, interface=1):
    async def stop(self, handle: Handle, *, grace: float) -> int | None:
        if handle.state["pid"] not in self.host.programs:
            raise NotFound("it is over")
        return await super().stop(handle, grace=grace)


class StopsAll(MemoryEngine, interface=1):
    async def stop(self, handle: Handle, *, grace: float) -> int | None:
        for pid in list(self.host.programs):
            if pid != handle.state["pid"]:
                await super().stop(Handle("", {"pid": pid}), grace=grace)
        return await super().stop(handle, grace=grace)


class StartsWhatIsNotThere(MemoryEngine, interface=1):
    async def start(self, instance: Instance) -> Handle:
        return await super().start(replace(instance, command=["sh", *instance.command[1:]]))


class _Handed(MemoryEngine):
    def given(self, instance: Instance) -> Instance:
        raise NotImplementedError

    async def start(self, instance: Instance) -> Handle:
        return await super().start(self.given(instance))


class EngineLosesEqualSigns(_Handed, interface=1):
    def given(self, instance: Instance) -> Instance:
        return replace(instance, env={name: value.split("=")[0] for name, value in instance.env.items()})


class EngineCutsLines(_Handed, interface=1):
    def given(self, instance: Instance) -> Instance:
        return replace(instance, env={name: value.split("\n")[0] for name, value in instance.env.items()})


class EngineLosesEmptyValues(_Handed, interface=1):
    def given(self, instance: Instance) -> Instance:
        return replace(instance, env={name: value or "-" for name, value in instance.env.items()})


class EngineSplitsArguments(_Handed, interface=1):
    def given(self, instance: Instance) -> Instance:
        return replace(instance, command=[*instance.command[:3], *" ".join(instance.command[3:]).split()])


class EngineWithoutLimits(_Handed, interface=1):
    def given(self, instance: Instance) -> Instance:
        return replace(instance, limits=Limits())


class EngineAlwaysLimits(_Handed, interface=1):
    def given(self, instance: Instance) -> Instance:
        return replace(instance, limits=Limits(memory=64, files=64))


class TakesAllOver(MemoryEngine, interface=1):
    async def adopt(self, handles: list[Handle]) -> list[Handle]:
        await super().adopt(handles)
        return handles


class TakesNothingOver(MemoryEngine, interface=1):
    async def adopt(self, handles: list[Handle]) -> list[Handle]:
        return []


class TakesOverUnwatched(MemoryEngine, interface=1):
    async def adopt(self, handles: list[Handle]) -> list[Handle]:
        return [handle for handle in handles if handle.state["pid"] in self.host.programs]


class HandlesDoNotTravel(MemoryEngine, interface=1):
    """A handle is good in the process that made it."""

    async def start(self, instance: Instance) -> Handle:
        handle = await super().start(instance)
        handle.state["maker"] = id(self)
        return handle

    async def adopt(self, handles: list[Handle]) -> list[Handle]:
        return [handle for handle in await super().adopt(handles) if handle.state["maker"] == id(self)]


class ClosingEndsAll(MemoryEngine, interface=1):
    async def close(self) -> None:
        await super().close()
        for program in list(self.host.programs.values()):
            program.kill()


class Services(RuntimeSuite):
    made = MemoryRuntime
    hurried = True
    hog = f"{HOG}; sleep 600"
    forks = "echo survived; sleep 600"
    watched, starts = 60.0, 8

    @pytest.fixture
    def make(self):
        host = Host(clock=clock)
        return lambda: self.made(host=host)

    def now(self, driver: RuntimeDriver) -> datetime:
        return datetime.fromtimestamp(clock(), UTC)


class Instances(EngineSuite):
    made = MemoryEngine
    hurried = True
    hog = HOG
    late = 0.5

    @pytest.fixture
    def make(self):
        host = Host(clock=clock)
        return lambda: self.made(host=host)

    def said(self, engine: Engine, instance: Instance) -> list[str]:
        return [line.message for line in engine.host.output.get(instance.log, ())]


globals().update(suites(Services, MemoryRuntime) | suites(Instances, MemoryEngine))
