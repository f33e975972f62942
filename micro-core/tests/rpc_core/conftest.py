"""A server and a caller in this process, over the transport in memory."""

import pytest

from micro.context import Account
from micro.errors import PermissionDenied, Unauthenticated
from micro.rpc.client import RpcCaller
from micro.rpc.credentials import FixedToken
from micro.rpc.guard import NotReadyError
from micro.rpc.memory import MemoryTransport
from micro.rpc.resolve import AddressBook
from micro.rpc.server import Server
from micro.rpc.stats import Stats


class Tokens:
    """A guard whose tokens are an account's name, and whose rules are a set of refused endpoints."""

    def __init__(self, *, ready=True):
        self.ready = ready
        self.denied = set()
        self.prepared = []
        self.asked = []
        self.expires = 0.0

    def identify(self, authorization, *, audience="micro"):
        if not self.ready:
            raise NotReadyError
        scheme, _, token = authorization.decode().partition(" ")
        if scheme != "Bearer" or token.startswith("bad"):
            raise Unauthenticated("invalid token")
        return Account(token, issuer="shop", token=token, scopes=("admin",), expires=self.expires)

    def check(self, account, namespace, service, endpoint):
        if not self.ready:
            raise NotReadyError
        self.asked.append((account and account.id, namespace, service, endpoint))
        if endpoint in self.denied:
            raise PermissionDenied("access denied")

    def stands(self, account, namespace, service, endpoint):
        pass

    async def prepare(self, authorization, namespace):
        self.prepared.append((authorization, namespace))
        self.ready = True


class World:
    """Servers by name, and callers to them."""

    def __init__(self, transport):
        self.transport = transport
        self.addresses = {}
        self._open = []

    async def serve(self, name, *handlers, namespace="shop", **options):
        server = Server(name, transport=self.transport, namespace=namespace, stats=Stats(), **options)
        for handler in handlers:
            server.add(handler)
        self._open.append(server.stop)
        self.addresses[name] = await server.start("127.0.0.1:0")
        return server

    def caller(self, token="", **options):
        options.setdefault("resolver", AddressBook(self.addresses))
        caller = RpcCaller(
            transport=self.transport, credentials=FixedToken(token, namespace="shop"), stats=Stats(), **options
        )
        self._open.insert(0, caller.close)
        return caller

    def channel(self, name):
        return self.transport.channel(self.addresses[name])

    async def close(self):
        for close in self._open:
            await close()


@pytest.fixture
def transport():
    return MemoryTransport()


@pytest.fixture
async def world(transport):
    async with transport:
        world = World(transport)
        yield world
        await world.close()


@pytest.fixture
def tokens():
    return Tokens()
