"""Many who watch: what they are told is written once for all, and what they began with is not kept for each."""

import asyncio
import gc
from contextlib import AsyncExitStack

import pytest

from micro.plugin.driver import Synced
from micro.proto import registry_pb2 as pb
from micro.registry import service
from micro.registry.announce import Announcer
from micro.registry.api import Registry
from micro.registry.driver import ALL, ServiceRecord
from micro.registry.memory import MemoryRegistry
from micro.registry.service import RegistryHandler
from micro.rpc import streaming
from micro.testing.registry import record
from micro.testing.served import PLATFORM, Served, core

WATCHERS = 50


@pytest.fixture
async def world():
    async with AsyncExitStack() as stack:
        served = await stack.enter_async_context(Served())
        registry = await stack.enter_async_context(
            Registry(MemoryRegistry(), plugin="memory", domain=ALL, owner="suite")
        )
        announcer = Announcer(served.caller(core("registry")), served.addresses)
        await served.serve("registry", [("Registry", RegistryHandler(registry, announcer))])
        served.registry = registry.domain("micro")
        served.stack = stack
        yield served


async def watching(world, **request):
    """Begin to watch as many at once; gives the streams."""
    caller = world.caller(PLATFORM)
    streams = [await caller.stream("registry", "Registry.Watch", pb.WatchRequest, pb.Result) for _ in range(WATCHERS)]
    for stream in streams:
        await world.stack.enter_async_context(stream)
        await stream.send(pb.WatchRequest(**request))
    return streams


def counted(monkeypatch, module, name):
    calls = []
    real = getattr(module, name)

    def counting(*args):
        calls.append(args)
        return real(*args)

    monkeypatch.setattr(module, name, counting)
    return calls


@pytest.mark.parametrize("snapshot", [True, False])
async def test_what_is_told_to_many_is_written_once(world, monkeypatch, snapshot):
    made, written = counted(monkeypatch, service.wire, "record_out"), counted(monkeypatch, streaming, "encoded")
    await world.registry.register(record())
    streams = await watching(world, service="greeter", snapshot=snapshot)
    for stream in streams:
        assert (await stream.receive()).action == "create"
        assert not snapshot or (await stream.receive()).synced
    assert len(made) == 1
    assert len(written) == 1 + WATCHERS * snapshot  # the marks, of few bytes, are each one's
    del made[:], written[:]
    await world.registry.register(record(node="n2"))
    await world.registry.deregister(record(node="n2"))
    for stream in streams:
        for action in ("update", "delete"):
            told = await stream.receive()
            assert (told.action, [node.id for node in told.service.nodes]) == (action, ["n2"])
    assert (len(made), len(written)) == (2, 2)


def records():
    gc.collect()
    return sum(type(one) is ServiceRecord for one in gc.get_objects())


async def test_what_many_began_with_is_not_kept_for_each(world):
    for number in range(100):
        await world.registry.register(record(f"service-{number}", f"n{number}"))
    before = records()
    streams = await watching(world, snapshot=True)
    for stream in streams:
        while not (await stream.receive()).synced:
            pass
    await asyncio.sleep(0)
    assert records() - before < 10 * WATCHERS
    del streams


async def test_who_follows_one_service_is_not_shown_all_others(world, monkeypatch):
    driver = world.registry.driver
    for number in range(100):
        await world.registry.register(record(f"service-{number}", f"n{number}"))
    await world.registry.register(record("service-7", "other", version="2"))
    looked = counted(monkeypatch, driver, "_record_of")
    found = []
    async for event in driver.watch("micro", name="service-7"):
        if isinstance(event, Synced):
            break
        found.append(event.key)
    assert found == ["micro/service-7@latest/n7", "micro/service-7@2/other"]
    assert len(looked) == 2
