"""Core services started alone, in any order: they wait for what they need, say so, and end in words when it never comes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from micro.context import CORE_SERVICES
from micro.errors import ServiceError
from micro.proto import debug_pb2
from micro.registry.api import Registry
from micro.registry.remote import RemoteRegistry
from micro.rpc.client import RpcCaller
from micro.rpc.credentials import FixedToken
from micro.rpc.nghttp2 import Nghttp2Transport
from micro.rpc.resolve import AddressBook
from micro.runtime.api import Runtime
from micro.runtime.remote import RemoteRuntime
from micro.server import keys, minter

ALONE = """
import sys
from micro.server import needs
from micro.server.options import Options
from micro.server.single import run_service
name, data, limit, *sets = sys.argv[1:]
needs.LIMIT = float(limit)
sys.exit(run_service(name, Options(profile="local", data=data, overrides=tuple(sets))))
"""
PATIENCE = 40.0  # seconds for ten processes on few cores

pytestmark = pytest.mark.e2e


class Alone:
    """Processes of `micro service NAME` on one data folder, all told the same addresses."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.addresses = dict(zip(CORE_SERVICES, free(len(CORE_SERVICES)), strict=True))
        self.processes: dict[str, subprocess.Popen[str]] = {}
        self.environ = {k: v for k, v in os.environ.items() if not k.startswith("MICRO_")}
        self.environ["XDG_CONFIG_HOME"] = str(folder)

    def start(self, name: str, *sets: str, limit: float = 30.0) -> subprocess.Popen[str]:
        told = [f"{other}.address={address}" for other, address in self.addresses.items()]
        with (self.folder / f"{name}.out").open("w") as out, (self.folder / f"{name}.err").open("w") as err:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-c", ALONE, name, str(self.data), str(limit), *told, *sets],
                stdout=out, stderr=err, stdin=subprocess.DEVNULL, env=self.environ, text=True,
            )  # fmt: skip
        return self.processes[name]

    def out(self, name: str) -> str:
        return (self.folder / f"{name}.out").read_text()

    def err(self, name: str) -> str:
        return (self.folder / f"{name}.err").read_text()

    def until(self, name: str, text: str) -> float:
        """Wait until a service has said something; gives the seconds it took."""
        began = time.monotonic()
        while text not in self.out(name) + self.err(name):
            assert time.monotonic() - began < PATIENCE, (name, self.out(name), self.err(name))
            assert self.processes[name].poll() is None, (name, self.err(name))
            time.sleep(0.02)
        return time.monotonic() - began

    def stop(self, *names: str) -> None:
        for name in names:
            self.processes[name].terminate()
        for name in names:
            assert self.processes[name].wait(15) == 0, (name, self.err(name))

    @asynccontextmanager
    async def caller(self) -> AsyncIterator[RpcCaller]:
        """Call them as one of them."""
        transport = Nghttp2Transport()
        token = FixedToken(minter.token("proxy", keys.load_or_make(self.data)))
        caller = RpcCaller(transport=transport, resolver=AddressBook(self.addresses), credentials=token)
        try:
            yield caller
        finally:
            await caller.close()
            await transport.close()

    async def registered(self) -> set[str]:
        """Name the services that the registry knows."""
        async with self.caller() as caller:
            return {record.name for record in await Registry(RemoteRegistry(caller=caller)).services()}

    async def run(self, name: str, command: list[str]) -> None:
        """Run a user's service, and wait for it."""
        async with self.caller() as caller:
            await Runtime(RemoteRuntime(caller=caller)).run(name=name, command=command, wait=30)


def free(count: int) -> list[str]:
    """Find ports that nobody has."""
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind(("127.0.0.1", 0))
        return ["{}:{}".format(*one.getsockname()) for one in held]
    finally:
        for one in held:
            one.close()


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Alone]:
    made = Alone(tmp_path)
    yield made
    for process in made.processes.values():
        if process.poll() is None:
            process.kill()
            process.wait()


async def test_ten_started_at_once_on_a_new_folder_make_one_key_and_find_one_another(alone: Alone) -> None:
    for name in reversed(CORE_SERVICES):  # those that need others first
        alone.start(name)
    for name in CORE_SERVICES:
        await asyncio.to_thread(alone.until, name, f"{name} is ready at 127.0.0.1:")
    assert len(list((alone.data / "keys").glob("*.pem"))) == 1
    assert len(list((alone.data / "keys").glob("*.pub"))) == 1
    end = time.monotonic() + 10
    while (found := await alone.registered()) != set(CORE_SERVICES):
        assert time.monotonic() < end, found
        await asyncio.sleep(0.1)
    admin = json.loads((alone.data / "admin.json").read_text())
    assert await logged_in(alone.addresses["proxy"], admin["id"], admin["secret"])
    sleeper = str(100_000 + os.getpid())  # seconds, and how it is known
    await alone.run("sleeper", ["sleep", sleeper])
    assert running(sleeper)
    alone.processes["runtime"].kill()
    await until_running(sleeper, False)  # what a runtime without a supervisor started does not outlive it
    alone.processes["runtime"].wait()
    alone.start("runtime")
    await until_running(sleeper, True)
    await asyncio.to_thread(alone.stop, "runtime")
    assert not running(sleeper), "it ends when what it started has ended"
    await asyncio.to_thread(alone.stop, *(name for name in reversed(CORE_SERVICES) if name != "runtime"))


async def until_running(word: str, wanted: bool) -> None:
    """Wait until a process is there, or is not."""
    end = time.monotonic() + PATIENCE
    while running(word) != wanted:
        assert time.monotonic() < end, f"{word} is {'not ' * wanted}running"
        await asyncio.sleep(0.05)


def running(word: str) -> bool:
    """Whether a process has this word among its own."""
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if word.encode() in line.read_bytes().split(b"\0"):
                return True
        except OSError:
            continue
    return False


async def logged_in(proxy: str, id: str, secret: str) -> bool:
    """Log in as a person would, through the proxy."""
    from micro.proto import auth_pb2

    transport = Nghttp2Transport()
    caller = RpcCaller(transport=transport, resolver=AddressBook({"auth": proxy}))
    request = auth_pb2.TokenRequest(id=id, secret=secret, token_expiry=60)
    try:
        answer = await caller.call("auth", "Auth.Token", request, auth_pb2.TokenResponse)
    finally:
        await caller.close()
        await transport.close()
    return bool(answer.token.access_token)


def test_a_service_says_soon_what_it_waits_for_and_starts_when_it_is_there(alone: Alone) -> None:
    alone.start("auth")
    took = alone.until("auth", f"auth waits for store at {alone.addresses['store']}: connection refused\n")
    assert took < 5
    alone.start("store")
    alone.until("auth", "auth is ready at ")
    assert alone.err("auth").count("waits for") == 1
    alone.stop("auth", "store")


def test_what_never_comes_ends_it_with_service_need_address_and_cause(alone: Alone) -> None:
    for name in ("auth", "config", "runtime"):
        alone.start(name, limit=2.0)
    for name in ("auth", "config", "runtime"):
        assert alone.processes[name].wait(PATIENCE) == 1
        other = "registry" if name == "runtime" else "store"
        at = f"{other} at {alone.addresses[other]}: connection refused"
        assert alone.err(name).splitlines() == [f"{name} waits for {at}", f"{name} needs {at}"]


def test_who_waits_heeds_a_signal(alone: Alone) -> None:
    alone.start("auth")
    alone.until("auth", "waits for")
    began = time.monotonic()
    alone.stop("auth")
    assert time.monotonic() - began < 3


def test_a_need_whose_port_nobody_can_know_is_refused_at_once(alone: Alone) -> None:
    assert alone.start("auth", "store.address=127.0.0.1:0").wait(PATIENCE) == 78
    assert alone.err("auth") == (
        "auth needs store, and the profile lets it pick its port (127.0.0.1:0): "
        "say where it is, --set store.address=HOST:PORT\n"
    )


async def test_without_a_registry_a_service_serves_and_registers_when_there_is_one(alone: Alone) -> None:
    alone.start("broker")
    await asyncio.to_thread(alone.until, "broker", "cannot register broker, trying on: ")
    assert f"connection refused: {alone.addresses['registry']}" in alone.err("broker")
    transport = Nghttp2Transport()
    caller = RpcCaller(transport=transport, resolver=AddressBook(alone.addresses))
    health = await caller.call("broker", "Debug.Health", debug_pb2.HealthRequest(), debug_pb2.HealthResponse)
    assert health.status == "ok"
    await caller.close()
    await transport.close()
    alone.start("registry")
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            if "broker" in await alone.registered():
                break
        except ServiceError:
            pass
        await asyncio.sleep(0.1)
    else:
        raise AssertionError(alone.err("broker"))
    await asyncio.to_thread(alone.stop, "broker", "registry")


SWALLOWS = """
import asyncio
from pathlib import Path
from micro.store.memory import MemoryStore

class Swallows(MemoryStore, interface=1):
    async def open(self):
        Path(__file__).with_suffix(".opening").touch()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass  # as some client libraries do
        await super().open()
"""


@pytest.mark.parametrize("under", ["supervisor", "alone"])
def test_a_stop_while_opening_is_heeded_though_the_driver_swallows_it(alone: Alone, under: str) -> None:
    site = alone.folder / "site"
    info = site / "micro_plugin_swallows-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: micro-plugin-swallows\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[micro.store]\nswallows = swallowing_store:Swallows\n")
    (site / "swallowing_store.py").write_text(SWALLOWS)
    alone.environ["PYTHONPATH"] = str(site)
    if under == "alone":
        process = alone.start("store", "store.plugin=swallows")
    else:
        sets = [f"--set={name}.address=127.0.0.1:0" for name in CORE_SERVICES]
        with (alone.folder / "server.out").open("w") as out, (alone.folder / "server.err").open("w") as err:
            process = alone.processes["server"] = subprocess.Popen(
                [sys.executable, "-m", "micro", "server", "--data", str(alone.data), "--set=store.plugin=swallows", *sets],
                stdout=out, stderr=err, stdin=subprocess.DEVNULL, env=alone.environ, text=True,
            )  # fmt: skip
    end = time.monotonic() + PATIENCE
    while not (site / "swallowing_store.opening").exists():
        assert time.monotonic() < end
        time.sleep(0.02)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert time.monotonic() - began < 5
    if under == "supervisor":
        assert "killed" not in alone.err("server")
