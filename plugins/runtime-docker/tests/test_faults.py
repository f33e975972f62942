"""What runs, and what callers see, while the engine is refused, killed, hangs and restarts."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from micro.errors import DeadlineExceeded, ServiceError, Unavailable
from micro.runtime.api import Runtime
from micro.runtime.driver import RUNNING, Spec
from micro.testing.servers.docker import DockerServer, docker
from micro_runtime_docker import DockerEngine, DockerSettings

pytestmark = pytest.mark.xdist_group("docker faults")
OUTAGE = float(os.environ.get("MICRO_OUTAGE", "0.5"))  # seconds that the engine is away
TIMEOUT = 2.0  # seconds that the driver waits for an answer
BACK = 5.0  # seconds after its return in which all must run again
MARGIN = 10.0  # seconds that a busy machine may add
AWAY = (Unavailable, DeadlineExceeded)
COUNTS = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done"
Note = Callable[[str, object], None]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("micro.runtime.keeper.SETTLED", 0.2)


@pytest.fixture(scope="module")
def own() -> Iterator[DockerServer]:
    """Give an engine of these tests' own; each leaves it running."""
    server = docker()
    try:
        server.start()
        yield server
    finally:
        server.end()


@pytest.fixture(scope="module")
def base(own: DockerServer, tools: Callable[[DockerServer], str]) -> str:
    return tools(own)


@pytest.fixture
def contained(contained_on: Callable[..., Any], own: DockerServer, base: str, tmp_path: Path) -> Any:
    return contained_on(own, tmp_path, base=base, timeout=TIMEOUT, connect_timeout=TIMEOUT)


def spec(name: str, script: str = COUNTS) -> Spec:
    return Spec(name, command=["sh", "-c", script])


async def run_exactly(contained: Any, runtime: Runtime, wanted: set[str]) -> None:
    """See that what is wanted runs once each and nothing else does, and that it stays so."""

    async def right() -> bool:
        states = {one.spec.name: one.status for one in await runtime.status()}
        return states == dict.fromkeys(wanted, RUNNING) and contained.running() == Counter(wanted)

    await contained.until(right, BACK + MARGIN, f"just {sorted(wanted)} run, not {contained.running()}")
    await asyncio.sleep(2.5)  # two looks of the engine's driver at what is to be removed
    assert contained.running() == Counter(wanted)
    assert {one.spec.name: one.status for one in await runtime.status()} == dict.fromkeys(wanted, RUNNING)


async def test_one_that_is_not_there_is_named_with_its_address(tmp_path: Path) -> None:
    begun = time.monotonic()
    for leave, words in ((False, "No such file"), (True, "refused")):
        path = tmp_path / "docker.sock"
        if leave:  # as a killed engine does
            server = await asyncio.start_unix_server(lambda _, writer: writer.close(), path)
            server.close()
        with pytest.raises(Unavailable, match=f"connection to unix://{path}.*{words}"):
            await DockerEngine(DockerSettings(host=f"unix://{path}")).open()
    assert time.monotonic() - begun < 4


async def test_what_is_wanted_while_it_is_down_runs_when_it_is_back(
    own: DockerServer, contained: Any, record_property: Note
) -> None:
    async with contained.runtime() as runtime:
        await runtime.create(spec("before"))
        await runtime.create(spec("unwanted"))
        for name in ("before", "unwanted"):
            await runtime.running(name, wait=MARGIN)
        own.kill()
        end = time.monotonic() + OUTAGE
        count = 0
        while time.monotonic() < end:
            await asyncio.wait_for(runtime.create(spec(f"s{count}")), TIMEOUT + MARGIN)
            with pytest.raises(AWAY):
                await asyncio.wait_for(runtime.kill("unwanted"), TIMEOUT + MARGIN)
            count += 1 if count < 3 else 0
            await asyncio.sleep(0.1)
        own.start()
        wanted = {"before", "unwanted", *(one.spec.name for one in await runtime.status())}
        record_property("back", await contained.until(lambda: _all_run(runtime, wanted), BACK + MARGIN, "all run"))
        await runtime.kill("unwanted")
        await run_exactly(contained, runtime, wanted - {"unwanted"})
        for one in await runtime.status():
            await runtime.kill(one.spec.name)
    await contained.gone()


async def test_what_is_started_while_it_hangs_runs_once_afterwards(
    own: DockerServer, contained: Any, record_property: Note
) -> None:
    async with contained.runtime() as runtime:
        await runtime.create(spec("before"))
        await runtime.running("before", wait=MARGIN)
        own.pause()
        try:
            for name in ("s1", "s2"):
                await asyncio.wait_for(runtime.create(spec(name)), TIMEOUT + MARGIN)
            begun = time.monotonic()
            with pytest.raises(AWAY):
                await runtime.kill("before")
            assert time.monotonic() - begun < TIMEOUT + MARGIN
            await asyncio.sleep(max(OUTAGE, TIMEOUT + 0.3))  # longer than a start waits, which is in doubt then
            assert [one.spec.name for one in await runtime.status()] == ["before", "s1", "s2"]
        finally:
            own.resume()
        # what was not answered may have been done: it was asked to stop
        record_property(
            "back", await contained.until(lambda: _all_run(runtime, {"s1", "s2"}), BACK + MARGIN, "all run")
        )
        with_before = {one.spec.name for one in await runtime.status()}
        await runtime.kill("before")
        await run_exactly(contained, runtime, with_before - {"before"})
        for name in ("s1", "s2"):
            await runtime.kill(name)
    await contained.gone()


async def test_what_is_wanted_is_what_runs_though_it_restarts_under_load(
    own: DockerServer, contained: Any, record_property: Note
) -> None:
    failed: list[ServiceError] = []
    wanted: set[str] = set()

    async def load(worker: int, runtime: Runtime) -> None:
        for count in range(100):
            name = f"w{worker}-{count % 2}"
            try:
                async with asyncio.timeout(4 * TIMEOUT + MARGIN):
                    if name in wanted:
                        await runtime.kill(name)
                        wanted.discard(name)
                    else:
                        await runtime.create(spec(name))
                        wanted.add(name)
            except AWAY as err:
                failed.append(err)
            await asyncio.sleep(0.2)

    async with contained.runtime() as runtime:
        workers = [asyncio.create_task(load(worker, runtime)) for worker in range(3)]
        await asyncio.sleep(1.0)
        for how in (own.stop, own.kill):
            how()
            await asyncio.sleep(OUTAGE)
            own.start()
            await asyncio.sleep(0.5)
        for each in workers:
            each.cancel()
        for problem in await asyncio.gather(*workers, return_exceptions=True):
            assert isinstance(problem, asyncio.CancelledError)
        record_property("failed", len(failed))
        await asyncio.sleep(0.5)
        names = {one.spec.name for one in await runtime.status()}
        assert wanted <= names  # of what was broken off nobody knows
        record_property("back", await contained.until(lambda: _all_run(runtime, names), BACK + MARGIN, "all run"))
        await run_exactly(contained, runtime, names)
        for one in await runtime.status():
            await runtime.kill(one.spec.name)
    await contained.gone()


async def test_a_container_that_lives_on_is_the_same_and_says_nothing_twice(
    contained_on: Callable[..., Any], tools: Callable[[DockerServer], str], tmp_path: Path
) -> None:
    server = docker(live=True)
    try:
        server.start()
        image = await asyncio.to_thread(tools, server)
        contained = contained_on(server, tmp_path, base=image, timeout=TIMEOUT, connect_timeout=TIMEOUT)
        async with contained.runtime() as runtime:
            await runtime.create(spec("counter"))
            await runtime.running("counter", wait=MARGIN)
            (before,) = contained.containers()
            for how in (server.kill,) if OUTAGE < 1 else (server.kill, server.stop):
                how()
                await asyncio.sleep(OUTAGE)
                assert [one.status for one in await runtime.status()] == [RUNNING]
                server.start()
                said = len(await contained.lines(runtime, "counter"))

                async def more(said: int = said) -> bool:
                    return len(await contained.lines(runtime, "counter")) > said + 3

                await contained.until(more, BACK + MARGIN, "its output is read on")
            (after,) = contained.containers()
            assert (after["Id"], after["State"]) == (before["Id"], "running")
            numbers = [int(line) for line in await contained.lines(runtime, "counter")]
            assert numbers == list(range(1, len(numbers) + 1))
            await runtime.kill("counter")
        await contained.gone()
    finally:
        server.end()


async def _all_run(runtime: Runtime, names: set[str]) -> bool:
    states = {one.spec.name: one.status for one in await runtime.status()}
    return all(states.get(name) == RUNNING for name in names)
