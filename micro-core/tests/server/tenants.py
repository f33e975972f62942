"""Eight core services of a profile in this process, as a server starts them, and two tenants who know each other's names.

What a tenant could send is made from the messages' own descriptors, so that no endpoint is left out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from micro.auth.api import Auth
from micro.auth.driver import Rule
from micro.auth.remote import RemoteAuth
from micro.auth.tokens import SigningKey, claims, sign
from micro.context import CORE_SERVICES
from micro.errors import ServiceError
from micro.network.driver import Route
from micro.plugin import profile as profiles
from micro.registry.driver import Node, ServiceRecord
from micro.rpc.client import RpcCaller
from micro.rpc.credentials import FixedToken
from micro.rpc.endpoint import Endpoint
from micro.rpc.nghttp2 import Nghttp2Transport
from micro.rpc.resolve import AddressBook
from micro.server import folder, keys, minter
from micro.server.serving import Serving
from micro.service.process import Process
from micro.service.surroundings import Surroundings
from micro.store.api import DEFAULT

NAMES = tuple(name for name in CORE_SERVICES if name not in {"api", "proxy"})
THING = "thing"  # what each tenant calls whatever it has
NAMESPACES = frozenset({"namespace", "database", "domain", "network"})  # fields that name a tenant
# Fields that narrow an answer, or that must be of some form, and say nothing of whose data is meant.
LEFT = frozenset({"prefix", "suffix", "order", "address", "gateway", "router", "link", "encoding", "version", "type"})

OTHERS = frozenset({"namespace", "networkpolicy", "resourcequota"})  # messages: resources that no runtime of ours has


class World:
    """The services, by name, and callers with tokens of the real keys."""

    def __init__(
        self, served: dict[str, Serving], book: dict[str, str], key: SigningKey, stack: AsyncExitStack
    ) -> None:
        self._served = served
        self._book = book
        self._key = key
        self._stack = stack
        self._transport = Nghttp2Transport()

    def endpoints(self) -> Iterator[tuple[str, Endpoint]]:
        """Give all that the services answer, but what every process does."""
        for name, serving in self._served.items():
            assert serving._server is not None
            for one in serving._server.endpoints:
                if not one.name.startswith(("Debug.", "Health.", "ServerReflection.")):
                    yield name, one

    def platform(self) -> RpcCaller:
        """Call as an administrator of the platform, who may enter any namespace."""
        return self.caller(sign(claims("admin", scopes=("admin",)), self._key), "micro")

    def caller(self, token: str, namespace: str) -> RpcCaller:
        credentials = FixedToken(token, namespace=namespace)
        made = RpcCaller(transport=self._transport, resolver=AddressBook(self._book), credentials=credentials)
        self._stack.push_async_callback(made.close)
        return made

    async def tenant(self, namespace: str) -> Tenant:
        """Make the owner of a namespace, and log in."""
        auth = Auth(RemoteAuth(caller=self.platform()), namespace=namespace)
        await auth.accounts.create("owner", secret=f"of {namespace}", scopes=["admin"])
        token = await auth.login("owner", f"of {namespace}")
        caller = self.caller(token.access_token, namespace)
        return Tenant(namespace, caller, Process(Surroundings(namespace=namespace), caller=caller))


@asynccontextmanager
async def world(profile_name: str, path: Path, key_pem: bytes, key: SigningKey) -> AsyncIterator[World]:
    """Start the services of a profile on a folder that has this key, and stop them."""
    data = path / "data"
    folder.prepare(data)
    keys.ensure(data)
    folder.create(data / "keys" / f"{key.kid}.pem", key_pem)
    keys._publish(data, key)
    free = tuple(f"{name}.address=127.0.0.1:0" for name in NAMES)
    profile = profiles.load(profile_name, overrides=free, required=list(NAMES))
    book: dict[str, str] = {}
    served: dict[str, Serving] = {}
    async with AsyncExitStack() as stack:
        for name in NAMES:
            token = FixedToken(minter.token(name, key))
            served[name] = serving = Serving(name, profile, data, addresses=book, token=token)
            stack.push_async_callback(serving.stop)
            book |= await serving.start()
        async with AsyncExitStack() as callers:
            made = World(served, book, key, callers)
            callers.push_async_callback(made._transport.close)
            yield made


class Tenant:
    """An administrator of one namespace, and what is in it."""

    def __init__(self, namespace: str, caller: RpcCaller, parts: Process) -> None:
        self.namespace = namespace
        self.caller = caller
        self.parts = parts

    async def make(self, word: str, name: str = THING) -> None:
        """Have one of each kind of thing, all under one name, a word in each."""
        parts = self.parts
        await parts.store.table(THING).write(name, word, metadata={"word": word})
        await parts.blobs.write(name, word.encode(), content_type=f"text/{word}")
        await parts.config.set(name, {"plain": word})
        await parts.config.set(f"{name}.sealed", word, secret=True)
        await parts.events.publish(THING, word, metadata={"word": word})
        await parts.broker.publish(THING, word, headers={"word": word})
        await parts.auth.accounts.create(name, secret=word, metadata={"word": word})
        await parts.auth.rules.create(Rule(name, scope=word))
        node = Node(f"{name}-1", "127.0.0.1:9", {"word": word})
        await parts.registry.register(ServiceRecord(name, nodes=[node]), ttl=60)
        route = Route(name, "127.0.0.1:9", network=self.namespace, metadata={"word": word})
        await parts.network.advertise([route], ttl=60)
        await parts.runtime.run(
            name=name, command=["/bin/sh", "-c", f"echo {word}; exec sleep 600"], metadata={"word": word}, wait=30
        )

    async def have(self, words: list[str]) -> None:
        """Have many words where there is room for many."""
        for at in range(0, 400, 100):  # as many as there may be at once
            async with self.parts.store.table(THING).batch() as batch:
                for word in words[at : at + 100]:
                    batch.write(f"{THING}/{word[:8]}", word)
        for at in range(400, 700, 100):
            await self.parts.events.publish_many(THING, words[at : at + 100])
        await self.parts.config.set("words", words[700:])

    async def go_on(self, word: str, turn: int) -> None:
        """Change what can be followed, so that whoever follows hears a word, and whose turn it is."""
        parts, heard = self.parts, f"{word}.{turn}."
        for table in (THING, DEFAULT):
            await parts.store.table(table).write(f"{THING}.again", heard, metadata={"word": word})
        await parts.config.set(f"{THING}.again", heard)
        await parts.events.publish(THING, heard)
        await parts.broker.publish(THING, heard)
        await parts.auth.rules.create(Rule("again", scope=heard))
        await parts.auth.rules.delete("again")
        node = Node(f"{THING}-2", "127.0.0.1:9", {"word": heard})
        await parts.registry.register(ServiceRecord(THING, nodes=[node]), ttl=60)
        route = Route(THING, "127.0.0.1:10", network=self.namespace, metric=turn, metadata={"word": heard})
        await parts.network.advertise([route], ttl=60)

    async def lacks(self, word: str) -> list[str]:
        """Say what is not as it was made."""
        parts = self.parts

        async def secret() -> str:
            await parts.auth.login(THING, word)
            return word

        looked: dict[str, Awaitable[object]] = {
            "store": parts.store.table(THING).read(THING),
            "blobs": parts.blobs.read(THING),
            "config": parts.config.get(f"{THING}.plain"),
            "secret": parts.config.get(f"{THING}.sealed", secret=True),
            "events": parts.events.read(THING),
            "account": parts.auth.accounts.get(THING),
            "login": secret(),
            "rules": parts.auth.rules.list(),
            "registry": parts.registry.get(THING),
            "network": parts.network.routes(THING),
            "runtime": parts.runtime.status(THING),
        }
        wrong = []
        for what, look in looked.items():
            try:
                found = await look
            except ServiceError as err:
                found = err
            if word not in _shown(found):
                wrong.append(f"{what}: {found!r}")
        return wrong


def _shown(found: Any) -> str:
    """Show a value whole: with what its `repr` leaves out."""
    if isinstance(found, list):
        return " ".join(map(_shown, found))
    return " ".join(
        repr(getattr(found, name, "")) for name in ("value", "metadata", "payload", "nodes", "scope")
    ) + repr(found)


def filled(kind: type[Message], namespace: str, *, names: bool) -> Message:
    """Make a message that names a tenant wherever it can, and with `names` what that tenant has."""
    made = kind()
    _fill(made, namespace, names, 4)
    return made


def names_a_tenant(kind: type[Message]) -> bool:
    """Tell whether a message says whose data is meant, rather than leaving it to the account."""
    return filled(kind, "x", names=False) != filled(kind, "y", names=False)


def _fill(message: Any, namespace: str, names: bool, depth: int) -> None:
    for field in message.DESCRIPTOR.fields:
        group = field.containing_oneof
        if group is not None and field.name != _chosen([one.name for one in group.fields]):
            continue
        if field.message_type is not None:
            if field.name in OTHERS:
                continue
            if depth and not field.message_type.GetOptions().map_entry:
                inner = getattr(message, field.name)
                one = inner.add() if field.is_repeated else inner
                one.SetInParent() if not field.is_repeated else None
                _fill(one, namespace, names, depth - 1)
            continue
        value = _value(field, namespace, names)
        if value is None:
            continue
        if field.is_repeated:
            getattr(message, field.name).append(value)
        else:
            setattr(message, field.name, value)


def _chosen(names: list[str]) -> str:
    """Give what is to be there, of what may be there only one at a time."""
    return "service" if "service" in names else names[0]


def _value(field: FieldDescriptor, namespace: str, names: bool) -> Any:
    if field.type == FieldDescriptor.TYPE_STRING and field.name in NAMESPACES:
        return namespace
    if not names:
        return None
    if field.type == FieldDescriptor.TYPE_ENUM:
        return 1
    if field.type != FieldDescriptor.TYPE_STRING or field.name in LEFT:
        return None
    return '"written"' if field.name == "data" else THING


class Outcome(NamedTuple):
    """What came of a call: all that it answered, as text, and the error that it ended with."""

    text: str
    error: ServiceError | None

    @property
    def told(self) -> str:
        """All that the caller has learnt."""
        return f"{self.text} {self.error!r}"


def answered(_: str) -> bool:
    """Be content with being let in, where that is all that is asked."""
    return True


async def ask(
    caller: RpcCaller,
    service: str,
    one: Endpoint,
    request: Message,
    *,
    enough: Callable[[str], bool] | None = None,
    namespace: str | None = None,
) -> Outcome:
    """Call an endpoint of any kind; of a stream without an end the answers are read up to one that is `enough`."""
    found: list[str] = []
    stream = await caller.stream(
        service, one.name, type(request), one.response.python_type, namespace=namespace, timeout=30
    )
    async with stream:
        try:
            await stream.send(request)
            if not one.client_streaming or not one.server_streaming:
                stream.end()
            if one.server_streaming and enough is answered:
                await stream.started()
                return Outcome("answered", None)
            while (answer := await stream.receive()) is not None:
                found.append(_text(answer))
                if one.server_streaming and enough is not None and enough(found[-1]):
                    break
        except ServiceError as err:
            return Outcome(" ".join(found), err)
    return Outcome(" ".join(found), None)


def _text(answer: Message) -> str:
    """Give a message as text: what is in its fields of bytes as well, which may be a piece of a file or JSON."""
    return f"{answer} {answer.SerializeToString().decode('utf-8', 'replace')}"
