"""A service among others, over real connections: it logs in, registers, is found, is missed, drains."""

import asyncio
import json
import os
import subprocess
import time
from dataclasses import dataclass

import pytest

from micro import Client, Service
from micro.context import Account
from micro.errors import InvalidArgument, NotFound, ServiceError
from micro.proto import auth_pb2 as pb
from micro.registry.api import Registry
from micro.registry.driver import ALL
from micro.registry.memory import MemoryRegistry
from micro.registry.remote import RemoteRegistry
from micro.registry.service import RegistryHandler
from micro.rpc.endpoint import endpoint
from micro.rpc.nghttp2 import Nghttp2Transport
from micro.rpc.server import Server
from micro.rpc.stats import Stats
from micro.server import folder
from micro.service import service as services
from micro.service import wiring
from micro.service.process import Process
from micro.service.surroundings import Surroundings, read
from micro.testing.served import KnownAccounts


@dataclass
class Note:
    text: str = ""


class Notes:
    @endpoint(idempotent=True)
    async def echo(self, note: Note) -> Note:
        """Give it back."""
        return note

    async def slow(self, note: Note) -> Note:
        await asyncio.sleep(0.5)
        return note


class Auth:
    """Gives a token to whoever knows the secret."""

    def __init__(self, guard):
        self.guard = guard
        self.logins = 0

    @endpoint(public=True)
    async def token(self, request: pb.TokenRequest) -> pb.TokenResponse:
        if request.secret != "right":
            raise InvalidArgument("Secret not correct")
        self.logins += 1
        account = Account(request.id, issuer="shop", type="service", scopes=("service",))
        now = int(time.time())
        token = pb.Token(access_token=self.guard.token(account), created=now, expiry=now + 900)
        return pb.TokenResponse(token=token)


class Announcer:
    def registered(self, service):
        pass

    def deregistered(self, service):
        pass


class Around:
    """A registry and an auth behind one door, which is a proxy to both."""

    async def start(self):
        self.guard = KnownAccounts()
        self.transport = Nghttp2Transport()
        self.registry = Registry(MemoryRegistry(), plugin="memory", domain=ALL)
        await self.registry.open()
        self.auth = Auth(self.guard)
        self.address = "127.0.0.1:0"
        await self.up()
        return self

    async def up(self):
        self.server = Server("proxy", transport=self.transport, guard=self.guard, core=True, stats=Stats())
        self.server.add(RegistryHandler(self.registry, Announcer()), "Registry")
        self.server.add(self.auth, "Auth")
        self.address = await self.server.start(self.address)

    async def close(self):
        await self.server.stop(grace=0)
        await self.registry.close()

    def surroundings(self, secret="right"):
        return Surroundings(
            namespace="shop", registry=self.address, proxy=self.address, id="notes-latest", secret=secret
        )

    async def records(self):
        return await self.registry.driver.get("shop", "notes")

    async def until(self, fact):
        async with asyncio.timeout(10):
            while not fact(await self.records()):
                await asyncio.sleep(0.02)


@pytest.fixture
async def around():
    around = await Around().start()
    yield around
    await around.close()


@pytest.fixture
async def notes(around, monkeypatch):
    monkeypatch.setattr(services, "surroundings", around.surroundings)
    service = Service("notes", handlers=[Notes()], version="v2", metadata={"team": "a"})
    await service.start(guard=around.guard)
    await around.until(bool)
    yield service
    await service.stop()


async def test_it_registers_what_callers_need_to_know(around, notes):
    (record,) = await around.records()
    assert (record.name, record.version, record.metadata["team"]) == ("notes", "v2", "a")
    assert len(record.metadata["schema"]) == 64
    (node,) = record.nodes
    assert node.address == notes.address
    assert node.id.startswith("notes-")
    assert (node.metadata["protocol"], node.metadata["keepalive"], node.metadata["interface"]) == ("grpc", "20", "1")
    echo = next(one for one in record.endpoints if one.name == "Notes.Echo")
    assert echo.metadata == {"idempotent": "true", "description": "Give it back."}
    assert [field.name for field in echo.request.values] == ["text"]


async def test_it_is_found_and_called_directly(around, notes):
    async with Process(around.surroundings()) as process:
        client = Client("notes", process=process)
        assert await client.of(Notes).echo(Note("x")) == Note("x")
        assert await client.call("Notes.Echo", {"text": "y"}) == {"text": "y"}
        with pytest.raises(NotFound, match="route not found"):
            await Client("nobody", process=process).call("A.B")


async def test_it_registers_again_by_itself_when_the_registry_lost_it(around, notes, monkeypatch):
    (record,) = await around.records()
    await around.registry.driver.deregister("shop", record, owner="")
    assert await around.records() == []
    registration = notes._running._registration
    registration._loop.call_soon_threadsafe(registration._woken.set)
    await around.until(bool)


async def test_a_call_under_way_is_finished_and_nobody_is_sent_to_a_node_that_leaves(around, notes):
    async with Process(around.surroundings()) as process:
        client = Client("notes", process=process)
        slow = asyncio.ensure_future(client.call("Notes.Slow", Note("x"), Note))
        await asyncio.sleep(0.1)
        failed = []

        async def calling():
            while not stopping.done():
                try:
                    await client.call("Notes.Echo", Note("x"), Note)
                except NotFound:
                    return
                except ServiceError as err:
                    failed.append(err)
                await asyncio.sleep(0.001)

        stopping = asyncio.ensure_future(notes.stop())
        await calling()
        await stopping
        assert await slow == Note("x")
        assert failed == []
        assert await around.records() == []


async def test_a_service_whose_secret_is_wrong_says_why(around, monkeypatch, caplog):
    monkeypatch.setattr(services, "surroundings", lambda: around.surroundings("wrong"))
    service = Service("notes", handlers=[Notes()])
    async with asyncio.timeout(10):
        await service.start(guard=around.guard)
        while "Secret not correct" not in caplog.text:
            await asyncio.sleep(0.02)
    await service.stop(grace=0)
    assert await around.records() == []


async def test_one_login_serves_many_calls_and_a_refused_token_is_had_anew(around, notes, impatient):
    async with Process(around.surroundings()) as process:
        registry = Registry(RemoteRegistry(caller=process.caller), plugin="remote", domain="shop")
        before = around.auth.logins
        await asyncio.gather(*(registry.services() for _ in range(20)))
        assert around.auth.logins == before + 1
        around.guard.accounts.clear()
        assert await registry.services()
        assert around.auth.logins == before + 2


async def test_a_service_on_a_port_that_is_taken_says_so(around, notes):
    taken = Service("notes", handlers=[Notes()], address=notes.address)
    with pytest.raises(OSError, match=r"in use|taken|bind"):
        await taken.start()


async def test_what_on_start_raises_ends_the_start(around, monkeypatch):
    monkeypatch.setattr(services, "surroundings", around.surroundings)
    service = Service("notes", handlers=[Notes()])

    @service.on_start
    async def begin() -> None:
        raise LookupError("no such table")

    with pytest.raises(LookupError):
        await service.start(guard=around.guard)
    assert await around.records() == []
    assert service._running is None


def test_credentials_leave_the_environment(tmp_path):
    environ = {
        "MICRO_AUTH_ID": "a", "MICRO_AUTH_SECRET": "s", "MICRO_NAMESPACE": "shop", "MICRO_SERVICE_NAME": "foo",
        "MICRO_REGISTRY_ADDRESS": "127.0.0.1:8000", "MICRO_PROXY": "127.0.0.1:8443", "MICRO_DATA": str(tmp_path),
    }  # fmt: skip
    found = read(environ)
    assert (found.id, found.secret, found.namespace, found.name) == ("a", "s", "shop", "foo")
    assert (found.registry, found.proxy) == ("127.0.0.1:8000", "127.0.0.1:8443")
    assert "s" not in environ.values()
    assert "'s'" not in repr(found)


def test_on_the_servers_machine_one_is_its_admin(tmp_path):
    (tmp_path / "admin.json").write_text('{"version": 1, "id": "admin", "secret": "x", "namespace": "micro"}')
    state = {"pid": os.getpid(), "services": {"proxy": {"address": "127.0.0.1:4711", "pid": 2}}}
    (tmp_path / "server.json").write_text(json.dumps(state))
    found = read({"MICRO_DATA": str(tmp_path)})
    assert (found.id, found.secret, found.proxy) == ("admin", "x", "127.0.0.1:4711")
    elsewhere = read({"MICRO_DATA": str(tmp_path), "MICRO_PROXY": "platform.example.com"})
    assert (elsewhere.id, elsewhere.proxy) == ("", "platform.example.com")


def test_a_pid_that_is_used_again_is_no_server(tmp_path):
    services = {"proxy": {"address": "127.0.0.1:4711", "pid": 2}}
    folder.write_server(tmp_path, {"pid": os.getpid(), "services": services})
    state = json.loads((tmp_path / "server.json").read_text())
    assert read({"MICRO_DATA": str(tmp_path)}).proxy == "127.0.0.1:4711"
    (tmp_path / "server.json").write_text(json.dumps(state | {"born": state["born"] - 1}))
    assert read({"MICRO_DATA": str(tmp_path)}).proxy == "127.0.0.1:8081"
    gone = subprocess.Popen(["true"])
    (tmp_path / "server.json").write_text(json.dumps(state | {"pid": gone.pid, "born": 0}))
    gone.wait()
    assert read({"MICRO_DATA": str(tmp_path)}).proxy == "127.0.0.1:8081"


def test_without_a_server_the_default_address_is_meant(tmp_path):
    (tmp_path / "server.json").write_text("not json")
    assert read({"MICRO_DATA": str(tmp_path)}).proxy == "127.0.0.1:8081"


def test_a_transport_is_chosen_by_name(monkeypatch):
    monkeypatch.setenv("MICRO_TRANSPORT", "memory")
    assert wiring.transport().name == "memory"
    monkeypatch.delenv("MICRO_TRANSPORT")
    assert wiring.transport().name in {"nghttp2", "grpcio"}


def test_clashes_are_refused_where_they_are_declared():
    service = Service("notes", handlers=[Notes()])
    with pytest.raises(TypeError, match=r"two endpoints are named Notes\.Echo"):
        service.handle(Notes())
    with pytest.raises(InvalidArgument):
        Service("not a name")


async def test_nobody_notices_that_one_of_two_nodes_is_replaced(around, notes, monkeypatch):
    second = Service("notes", handlers=[Notes()], version="v2")
    await second.start(guard=around.guard)
    await around.until(lambda records: sum(len(record.nodes) for record in records) == 2)
    done, failed = 0, []
    async with Process(around.surroundings()) as process:
        client = Client("notes", process=process)

        async def calling(stop):
            nonlocal done
            while not stop.is_set():
                try:
                    await client.call("Notes.Echo", Note("x"), Note, retries=0)
                    done += 1
                except ServiceError as err:
                    failed.append(err)
                await asyncio.sleep(0.005)

        stop = asyncio.Event()
        callers = [asyncio.ensure_future(calling(stop)) for _ in range(8)]
        await asyncio.sleep(0.2)
        await second.stop()
        await asyncio.sleep(0.2)
        stop.set()
        await asyncio.gather(*callers)
    assert failed == []
    assert done > 100
