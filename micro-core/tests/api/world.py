"""A gateway as its process has it, before a registry, a store, and services that ask for everything at once."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from micro.api.http import HttpApi, HttpSettings
from micro.api.service import build
from micro.context import Account, current
from micro.debug.service import attach
from micro.errors import InvalidArgument, ServiceError
from micro.proto import auth_pb2
from micro.registry.announce import Announcer
from micro.registry.api import Registry
from micro.registry.driver import ALL
from micro.registry.memory import MemoryRegistry
from micro.registry.service import RegistryHandler
from micro.rpc.driver import Transport
from micro.rpc.server import Server
from micro.rpc.stats import Stats
from micro.service.core import Core, Host
from micro.service.record import record_of
from micro.store.api import Store
from micro.store.memory import MemoryStore
from micro.testing.served import Served, core

ANN = Account("ann", issuer="shop", scopes=("admin",))


@dataclass
class Request:
    name: str = ""
    count: int = 0
    wait: float = 0.0
    tags: list[str] = field(default_factory=list)


@dataclass
class Response:
    msg: str = ""


class Helloworld:
    """Greets."""

    def __init__(self) -> None:
        self.seen: dict[str, str] = {}
        self.cancelled = asyncio.Event()

    async def call(self, request: Request) -> Response:
        """Greet someone."""
        self.seen = dict(current().metadata)
        if request.name == "bad":
            raise InvalidArgument("no such name", id="helloworld.greeter")
        if request.name == "odd":
            raise ServiceError("moved", http=405)
        if request.wait:
            try:
                await asyncio.sleep(request.wait)
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        who = current().account.id if current().account else "-"
        return Response(
            f"Hello {request.name}{'!' * request.count} {','.join(request.tags)}{who} {current().namespace}"
        )

    async def late(self, request: Request) -> Response:
        from micro.errors import DeadlineExceeded

        raise DeadlineExceeded("the other one did not answer")

    async def say_hi(self, request: Request) -> Response:
        return Response("hi " + request.name)

    async def stream(self, request: Request) -> AsyncIterator[Response]:
        """Greet many times."""
        if request.name == "bad":
            raise InvalidArgument("no such name")
        for n in range(request.count):
            yield Response(f"{request.name} {n}")
        if request.name == "breaks":
            raise InvalidArgument("it broke")
        if request.name == "hangs":
            try:
                await asyncio.sleep(60)
            finally:
                self.cancelled.set()

    async def chat(self, requests: AsyncIterator[Request]) -> AsyncIterator[Response]:
        async for one in requests:
            if one.name == "bad":
                raise InvalidArgument("no such name")
            yield Response(one.name.upper())


class Auth:
    """Exchanges every token for one with an x before it."""

    def __init__(self, world: "World") -> None:
        self._world = world

    async def exchange(self, request: auth_pb2.ExchangeRequest) -> auth_pb2.ExchangeResponse:
        self._world.guard.accounts[f"Bearer x{request.token}".encode()] = self._world.guard.accounts[
            f"Bearer {request.token}".encode()
        ]
        token = auth_pb2.Token(access_token=f"x{request.token}", expiry=int(time.time() + 600))
        return auth_pb2.ExchangeResponse(token=token)


class ApiHost(Host):
    """The api's process, as far as it asks."""

    def __init__(self, world: "World", data: Path, settings: Mapping[str, Any]) -> None:
        self.name = "api"
        self.profile = "test"
        self.table: Mapping[str, Any] = {"address": "127.0.0.1:0"}
        self.data = data
        self.addresses = world.addresses
        self.transport = world.transport
        self.caller = world.caller(core("api"))
        self.guard = world.guard
        self._settings = settings
        self._store = world.store

    def driver(self, primitive: str, **parts: Any) -> tuple[Any, str]:
        return HttpApi(HttpSettings(**self._settings), **parts), "http"

    def store(self, table: str) -> Store:
        return self._store.table(table)

    def setting(self, primitive: str, key: str, default: Any) -> Any:
        return default


class World(Served):
    """All of it; `url` is the gateway's."""

    def __init__(self, transport: Transport, data: Path, settings: Mapping[str, Any]) -> None:
        super().__init__(transport)
        self.data = data
        self.registry = Registry(MemoryRegistry(), plugin="memory", domain=ALL, owner="a")
        self.store = Store(MemoryStore(), plugin="memory", database="micro")
        self.settings = settings
        self.helloworld = Helloworld()
        self.servers: list[Server] = []
        self.core: Core
        self.url = ""
        self.http: aiohttp.ClientSession

    async def begin(self) -> None:
        await self.registry.open()
        await self.store.open()
        handler = RegistryHandler(self.registry, Announcer(self.caller(core("registry")), {}))
        await self.serve("registry", [("Registry", handler)])
        await self.serve("auth", [("Auth", Auth(self))])
        await self.user("helloworld", self.helloworld, "micro")
        host = ApiHost(self, self.data, self.settings)
        self.core = await build(host)
        server = Server("api", transport=self.transport, guard=self.guard, core=True, stats=Stats())
        for name, one in self.core.handlers:
            server.add(one, name)
        attach(server)
        self._servers.append(server)
        self.addresses["api"] = await server.start("127.0.0.1:0", wrap=self.core.wrap)
        await self.registry.domain("micro").register(record_of(server, self.addresses["api"]))
        await self.core.ready()
        self.url = f"http://{self.core.addresses['api']}"
        self.http = aiohttp.ClientSession(self.url)
        while (await self.socket("/complete", "text/plain", {}, b"helloworl")).body != b"helloworld\n":
            await asyncio.sleep(0.01)  # the registrations are followed from now on

    async def user(self, name: str, handler: object, namespace: str, *, version: str = "latest") -> Server:
        server = Server(name, transport=self.transport, guard=self.guard, namespace=namespace, stats=Stats())
        server.add(handler)
        attach(server)
        self._servers.append(server)
        address = await server.start("127.0.0.1:0")
        await self.registry.domain(namespace).register(record_of(server, address, version=version))
        self.servers.append(server)
        return server

    def bearer(self, account: Account) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.guard.token(account)}"}

    async def raw(self, data: bytes, *, timeout: float = 5.0) -> bytes:
        """Send bytes as they are, give all that comes back until the gateway closes."""
        host, _, port = self.core.addresses["api"].rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(data)
        try:
            return await asyncio.wait_for(reader.read(), timeout)
        except ConnectionError:
            return b""
        finally:
            writer.close()

    async def command(self, *argv: str, headers: Mapping[str, str] | None = None, full: Any = None) -> "Ran":
        """Run a command on the socket."""
        body = json.dumps(full).encode() if full is not None else "\0".join(argv).encode()
        kind = "application/json" if full is not None else "text/plain"
        return await self.socket("/cli", kind, headers or {}, body)

    async def socket(self, path: str, kind: str, headers: Mapping[str, str], body: bytes) -> "Ran":
        reader, writer = await asyncio.open_unix_connection(str(self.data / "api.sock"))
        lines = [f"POST {path} HTTP/1.0", f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
        lines += [f"{key}: {value}" for key, value in headers.items()]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        head, _, rest = (await asyncio.wait_for(reader.read(), 10)).partition(b"\r\n\r\n")
        writer.close()
        return Ran(int(head.split(b" ")[1]), head.decode(), rest)

    async def end(self) -> None:
        await self.http.close()
        await self.core.drain()
        await self.core.close()
        await self.store.close()
        await self.registry.close()


class Ran:
    """What a command gave."""

    def __init__(self, status: int, head: str, body: bytes) -> None:
        self.status = status
        self.head = head
        self.body = body
        self.out = self.err = ""
        self.exit: int | None = None
        while status == 200 and "x-micro-cli" in head:
            line, _, body = body.partition(b"\n")
            stream, size = map(int, line.split())
            if stream == 0:
                assert not body
                self.exit = size
                return
            text, body = body[:size].decode(), body[size:]
            assert text
            if stream == 1:
                self.out += text
            else:
                self.err += text
