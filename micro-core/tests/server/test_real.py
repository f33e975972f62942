"""The real ten services: all there, each restarted with its data whole, nobody left behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from micro.context import CORE_SERVICES
from micro.errors import ServiceError
from micro.proto import debug_pb2, health_pb2
from micro.registry.api import Registry
from micro.registry.remote import RemoteRegistry
from micro.rpc.client import RpcCaller
from micro.rpc.credentials import FixedToken
from micro.rpc.nghttp2 import Nghttp2Transport
from micro.rpc.resolve import AddressBook
from micro.server import keys, minter
from micro.store.api import Store
from micro.store.remote import RemoteStore

from .conftest import Real, alive, gone

ALONE = """
import sys
from micro.server.single import run_service
from micro.server.options import Options
sys.exit(run_service(sys.argv[2], Options(profile="local", data=sys.argv[1], overrides=tuple(sys.argv[3:]))))
"""
pytestmark = pytest.mark.e2e


async def test_ten_processes_answer_and_are_registered(real: Real) -> None:
    real.start()
    facts = real.remember()["services"]
    assert set(facts) == set(CORE_SERVICES)
    assert len({service["pid"] for service in facts.values()}) == 10
    async with real.caller() as caller:
        for name in set(CORE_SERVICES) - {"api"}:  # that address is HTTP's
            health = await caller.call(name, "Debug.Health", debug_pb2.HealthRequest(), debug_pb2.HealthResponse)
            assert health.status == "ok", name
            path = "/grpc.health.v1.Health/Check"
            standard = await caller.call(name, path, health_pb2.HealthCheckRequest(), health_pb2.HealthCheckResponse)
            assert standard.status == health_pb2.HealthCheckResponse.SERVING, name
        registered = await Registry(RemoteRegistry(caller=caller)).services()
        assert {record.name for record in registered} >= set(CORE_SERVICES)
        assert all(node.metadata["protocol"] == "grpc" for record in registered for node in record.nodes)
    assert real.errors() == ""
    assert real.stop() == 0
    assert not any(map(alive, real.pids))


async def test_each_service_killed_in_turn_comes_back_with_the_stores_data_whole(real: Real) -> None:
    real.start()
    async with real.caller() as caller:
        store = Store(RemoteStore(caller=caller), database="micro", table="test")
        for name in CORE_SERVICES:
            await store.write(name, name.encode())
            pid = real.remember()["services"][name]["pid"]
            os.kill(pid, signal.SIGKILL)
            began = time.monotonic()
            await asyncio.to_thread(
                real.until, lambda name=name, pid=pid: real.remember()["services"][name]["pid"] not in {0, pid}
            )
            await answered(store, name)
            assert time.monotonic() - began < 5, name
        assert [await store.get(name, bytes) for name in CORE_SERVICES] == [name.encode() for name in CORE_SERVICES]
    assert "too often" not in real.errors()
    assert real.stop() == 0


async def answered(store: Store, key: str) -> None:
    """Try at 10 Hz until the store answers."""
    for _ in range(50):
        try:
            await store.read(key)
        except ServiceError:
            await asyncio.sleep(0.1)
        else:
            return
    raise AssertionError("the store did not come back")


async def test_a_killed_supervisor_leaves_nobody_and_the_next_one_starts_at_once(real: Real) -> None:
    real.start()
    async with real.caller() as caller:
        await Store(RemoteStore(caller=caller), database="micro", table="test").write("kept", b"1")
    assert real.process is not None
    real.process.kill()
    real.process.wait()
    assert gone(real.pids, 1.0) < 1.0
    real.start()
    async with real.caller() as caller:
        assert await Store(RemoteStore(caller=caller), database="micro", table="test").get("kept", bytes) == b"1"
    began = time.monotonic()
    assert real.stop() == 0
    assert time.monotonic() - began < 5


async def test_a_service_runs_alone_in_the_foreground(real: Real) -> None:
    real.run(ALONE, str(real.data), "registry", "registry.address=127.0.0.1:0")
    real.until(lambda: "registry is ready at 127.0.0.1:" in real.printed())
    address = real.printed().partition(" at ")[2].split()[0]
    registry = real.process
    real.run(ALONE, str(real.data), "store", "store.address=127.0.0.1:0", f"registry.address={address}")
    try:
        real.until(lambda: "store is ready at 127.0.0.1:" in real.printed())
        transport = Nghttp2Transport()
        token = FixedToken(minter.token("store", keys.load_or_make(real.data)))
        caller = RpcCaller(transport=transport, resolver=AddressBook({"registry": address}), credentials=token)
        for _ in range(100):
            found = {record.name for record in await Registry(RemoteRegistry(caller=caller)).services()}
            if found == {"registry", "store"}:
                break
            await asyncio.sleep(0.05)
        assert found == {"registry", "store"}
        await caller.close()
        await transport.close()
        assert real.stop() == 0
        assert registry is not None
        registry.terminate()
        assert await asyncio.to_thread(registry.wait, 10) == 0
    finally:
        assert registry is not None
        if registry.poll() is None:
            registry.kill()
            registry.wait()


async def test_a_service_on_another_machine_logs_in_and_learns_the_keys(real: Real, tmp_path: Path) -> None:
    real.start()
    facts = real.remember()["services"]
    admin = json.loads((real.data / "admin.json").read_text())
    sets = [f"{name}.address={service['address']}" for name, service in facts.items() if name != "broker"]
    environ = real.environ | {"MICRO_AUTH_ID": admin["id"], "MICRO_AUTH_SECRET": admin["secret"]}
    arguments = [str(tmp_path / "elsewhere"), "broker", "broker.address=127.0.0.1:0", *sets]
    with subprocess.Popen(
        [sys.executable, "-c", ALONE, *arguments], stdout=subprocess.PIPE, env=environ, text=True
    ) as alone:
        try:
            assert alone.stdout is not None
            address = (await asyncio.to_thread(alone.stdout.readline)).partition(" at ")[2].split()[0]
            async with real.caller() as caller:
                info = await caller.call(
                    "broker", "Debug.Info", debug_pb2.InfoRequest(), debug_pb2.InfoResponse, address=address
                )
            assert info.plugin == "memory"
        finally:
            alone.terminate()
        assert await asyncio.to_thread(alone.wait, 10) == 0
    assert not list((tmp_path / "elsewhere" / "keys").iterdir()), "no key of its own was made"
    assert real.stop() == 0


HOOKS = """
import os
from micro.plugin.hooks import hookimpl

def note(text):
    with open(os.environ["HEARD"], "a") as file:
        file.write(text + "\\n")

class Tracer:
    @hookimpl
    def service_starting(self, name):
        note(f"starting {name}")
    @hookimpl
    def service_ready(self, name, address):
        note(f"ready {name}")
    @hookimpl
    def service_stopping(self, name):
        note(f"stopping {name}")
    @hookimpl
    def driver_opened(self, primitive, plugin):
        note(f"opened {primitive} {plugin}")
    @hookimpl
    def readiness_check(self, name):
        async def check():
            note(f"checked {name}")
        return check()
    @hookimpl
    def call_interceptor(self, name):
        def wrap(endpoint, proceed):
            if endpoint.server_streaming:
                return proceed
            async def answer(request, context):
                if endpoint.name == "Debug.Health":
                    note(f"called {name} {endpoint.name}")
                return await proceed(request, context)
            return answer
        return wrap
"""


async def test_hooks_are_heard_in_the_services_processes(real: Real, tmp_path: Path) -> None:
    info = tmp_path / "site" / "tracer-1.dist-info"
    info.mkdir(parents=True)
    (info / "entry_points.txt").write_text("[micro.hooks]\ntracer = my_tracer:Tracer\n")
    (tmp_path / "site" / "my_tracer.py").write_text(HOOKS)
    heard = tmp_path / "heard"
    real.environ |= {"PYTHONPATH": str(tmp_path / "site"), "HEARD": str(heard)}
    real.start("hooks.enabled=tracer")
    async with real.caller() as caller:
        await caller.call("store", "Debug.Health", debug_pb2.HealthRequest(), debug_pb2.HealthResponse)
    assert real.stop() == 0
    lines = heard.read_text().splitlines()
    expected = {"opened store sqlite", "opened api http", "called store Debug.Health"}
    for name in CORE_SERVICES:
        expected |= {f"{what} {name}" for what in ("starting", "checked", "ready", "stopping")}
    assert expected <= set(lines)
    of_store = [line.split()[0] for line in lines if line.endswith(" store") and not line.startswith("opened")]
    assert of_store == ["starting", "checked", "ready", "stopping"]


def test_an_unknown_service_names_the_nearest(real: Real) -> None:
    real.run(ALONE, str(real.data), "stroe")
    assert real.wait() == 1
    assert real.errors() == "no core service 'stroe'; did you mean 'store'?\n"
