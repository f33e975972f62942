"""One call of each method of each primitive's driver, for what all drivers have in common whatever they do."""

from __future__ import annotations

import importlib
import inspect
import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

from micro.auth.driver import Credentials, Rule
from micro.broker.driver import Message
from micro.context import Account
from micro.events.driver import NewEvent
from micro.network.driver import Query, Route
from micro.plugin import discovery
from micro.plugin.driver import Driver
from micro.plugin.portable import Portable
from micro.registry.driver import Node, ServiceRecord
from micro.runtime.driver import Engine, Limits, Spec
from micro.store.driver import Put, Table

Use = Callable[[Any], Any]  # of a driver: gives what is to be awaited, entered, or asked for its first item

_LIMITS = frozenset(f"limit-{name}" for name in Limits.__struct_fields__)

# What a driver of each primitive may claim; the abstract classes say what each name means.
ABILITIES: Mapping[str, frozenset[str]] = {
    "store": frozenset({"conditions", "batch", "watch", "expiry", "metadata", "durable"}),
    "blobs": frozenset({"conditions", "durable", "urls"}),
    "broker": frozenset({"queues", "gaps"}),
    "events": frozenset({"durable", "dedupe", "keyed", "replay", "delay", "begin"}),
    "config": frozenset({"conditions", "watch", "history", "secrets"}),
    "auth": frozenset({"durable"}),
    "registry": frozenset({"watch", "durable"}),
    "network": frozenset({"watch", "peers"}),
    "runtime": frozenset({"source", "resume", "images"}) | _LIMITS,
    "engine": _LIMITS,
    "api": frozenset(),
    "proxy": frozenset(),
    "transport": frozenset({"content-types", "raw-paths", "http1"}),
}
ASKING = (
    "read", "scan", "databases", "tables", "stat", "publish", "groups", "get", "history", "accounts", "rules", "keys", "list",
    "lookup",
)  # fmt: skip
PARTS = ("api", "proxy", "transport", "engine")  # one service alone has them, and users no class over them
NAMESPACE = "micro"
_TABLE = Table(NAMESPACE, "lifecycle")
_RECORD = ServiceRecord("lifecycle", nodes=[Node("lifecycle-1", "127.0.0.1:1")])
_ROUTES = [Route("lifecycle", "127.0.0.1:1")]


async def _tar() -> AsyncIterator[bytes]:
    for part in (bytes(1024),):  # its end is all that there is of it
        yield part


# By primitive, then by method. What changes something comes after what reads.
USES: Mapping[str, Mapping[str, Use]] = {
    "store": {
        "read": lambda d: d.read(_TABLE, ["a"]),
        "scan": lambda d: d.scan(_TABLE),
        "watch": lambda d: d.watch(_TABLE),
        "databases": lambda d: d.databases(),
        "tables": lambda d: d.tables(NAMESPACE),
        "apply": lambda d: d.apply(_TABLE, [Put("a", b"1")]),
    },
    "blobs": {
        "scan": lambda d: d.scan(NAMESPACE),
        "stat": lambda d: d.stat(NAMESPACE, "a"),
        "url": lambda d: d.url(NAMESPACE, "a", expires=60),
        "read": lambda d: d.read(NAMESPACE, "a"),
        "write": lambda d: d.write(NAMESPACE, "a", _tar()),
        "delete": lambda d: d.delete(NAMESPACE, "a"),
    },
    "broker": {
        "publish": lambda d: d.publish(NAMESPACE, "lifecycle", Message({}, b"1")),
        "subscribe": lambda d: d.subscribe(NAMESPACE, "lifecycle"),
    },
    "events": {
        "groups": lambda d: d.groups(NAMESPACE, "lifecycle"),
        "read": lambda d: d.read(NAMESPACE, "lifecycle"),
        "publish": lambda d: d.publish(NAMESPACE, "lifecycle", [NewEvent(b"1")]),
        "consume": lambda d: d.consume(NAMESPACE, "lifecycle"),
        "seek": lambda d: d.seek(NAMESPACE, "lifecycle", "g", None),
    },
    "config": {
        "get": lambda d: d.get(NAMESPACE, ("lifecycle",)),
        "watch": lambda d: d.watch(NAMESPACE, ("lifecycle",)),
        "history": lambda d: d.history(NAMESPACE, ("lifecycle",)),
        "set": lambda d: d.set(NAMESPACE, ("lifecycle",), 1),
        "delete": lambda d: d.delete(NAMESPACE, ("lifecycle",)),
        "rollback": lambda d: d.rollback(NAMESPACE, ("lifecycle",), 1),
    },
    "auth": {
        "accounts": lambda d: d.accounts(NAMESPACE),
        "rules": lambda d: d.rules(NAMESPACE),
        "keys": lambda d: d.keys(),
        "watch": lambda d: d.watch(NAMESPACE),
        "inspect": lambda d: d.inspect("no.such.token"),
        "token": lambda d: d.token(NAMESPACE, Credentials("nobody", "secret"), ttl=60),
        "create": lambda d: d.create(Account("lifecycle", issuer=NAMESPACE), "secret"),
        "set_secret": lambda d: d.set_secret(NAMESPACE, "lifecycle", "another", old="secret"),
        "revoke": lambda d: d.revoke(NAMESPACE, id="lifecycle"),
        "put_rule": lambda d: d.put_rule(NAMESPACE, Rule("lifecycle")),
        "delete_rule": lambda d: d.delete_rule(NAMESPACE, "lifecycle"),
        "remove": lambda d: d.remove(NAMESPACE, "lifecycle"),
    },
    "registry": {
        "list": lambda d: d.list(NAMESPACE),
        "get": lambda d: d.get(NAMESPACE, "lifecycle"),
        "watch": lambda d: d.watch(NAMESPACE),
        "register": lambda d: d.register(NAMESPACE, _RECORD, ttl=60, owner="lifecycle"),
        "renew": lambda d: d.renew(NAMESPACE, ["lifecycle-1"], ttl=60, owner="lifecycle"),
        "deregister": lambda d: d.deregister(NAMESPACE, _RECORD, owner="lifecycle"),
    },
    "network": {
        "lookup": lambda d: d.lookup(Query("lifecycle", network=NAMESPACE)),
        "peers": lambda d: d.peers(),
        "watch": lambda d: d.watch(Query(network=NAMESPACE)),
        "advertise": lambda d: d.advertise(_ROUTES, ttl=60),
        "withdraw": lambda d: d.withdraw(_ROUTES),
        "connect": lambda d: d.connect("127.0.0.1:1"),
    },
    "runtime": {
        "list": lambda d: d.list(NAMESPACE),
        "watch": lambda d: d.watch(NAMESPACE),
        "logs": lambda d: d.logs(NAMESPACE, "lifecycle", "latest"),
        "stat": lambda d: d.stat(NAMESPACE, "0" * 64),
        "put": lambda d: d.put(NAMESPACE, "lifecycle", "latest", _tar(), digest="0" * 64),
        "upload": lambda d: d.upload(NAMESPACE, "lifecycle", "latest", _tar()),
        "create": lambda d: d.create(NAMESPACE, Spec("lifecycle", command=["true"])),
        "update": lambda d: d.update(NAMESPACE, Spec("lifecycle", command=["true"])),
        "delete": lambda d: d.delete(NAMESPACE, "lifecycle", "latest"),
    },
    **{name: {} for name in PARTS},
    "engine": {"adopt": lambda d: d.adopt([])},
}

# For each primitive that is watched: its watch, and a change that it reports; both of the portable class.
WATCHES: Mapping[str, tuple[Callable[[Any], Any], Callable[[Any], Awaitable[Any]]]] = {
    "store": (lambda p: p.watch(), lambda p: p.write("watched", uuid.uuid4().hex)),
    "config": (lambda p: p.changes("watched"), lambda p: p.set("watched", uuid.uuid4().hex)),
    "auth": (lambda p: p.watch(), lambda p: p.rules.create(Rule(uuid.uuid4().hex))),
    "registry": (lambda p: p.watch(), lambda p: p.register(_another(), ttl=60)),
    "network": (lambda p: p.watch(), lambda p: p.driver.advertise([Route("lifecycle", _address())], ttl=60)),
    "runtime": (lambda p: p.watch(), lambda p: p.run(name=f"a{uuid.uuid4().hex}", command=["true"])),
}


def _address() -> str:
    return f"127.0.0.1:{random.randrange(1, 65_536)}"


def _another() -> ServiceRecord:
    return ServiceRecord("lifecycle", nodes=[Node(uuid.uuid4().hex, _address())])


def asked(driver: Driver) -> list[str]:
    """List the methods of a driver that only ask and answer, the cheapest first."""
    return [method for method in USES[primitive_of(type(driver))] if method in ASKING]


def kinds_of(cls: type[Driver]) -> list[str]:
    """Say what a driver may be one of: several where these have one interface, as gateway and proxy."""
    found = [name for name in discovery.PRIMITIVES if issubclass(cls, discovery.base(name))]
    if issubclass(cls, Engine):
        found.append("engine")
    if not found:
        raise TypeError(f"{cls.__name__} is a driver of no primitive")
    return found


def primitive_of(cls: type[Driver]) -> str:
    """Say what a driver is one of; `engine` for what a runtime starts instances by."""
    return kinds_of(cls)[0]


def waited(driver: Driver) -> list[str]:
    """List the methods of a driver that give what comes, for as long as it may take."""
    return [method for method in USES[primitive_of(type(driver))] if method in {"watch", "subscribe", "consume"}]


async def wait(driver: Driver, method: str) -> None:
    """Take what comes until nothing does any more."""
    made = USES[primitive_of(type(driver))][method](driver)
    if isinstance(made, AbstractAsyncContextManager):
        async with made as items:
            async for _ in items:
                pass
    else:
        async for _ in made:
            pass


async def use(driver: Driver, method: str) -> None:
    """Call a method once, as far as it goes by itself: a stream to its first item, a context in and out."""
    made = USES[primitive_of(type(driver))][method](driver)
    if isinstance(made, AbstractAsyncContextManager):
        async with made:
            pass
    elif inspect.isawaitable(made):
        await made
    else:
        try:
            await anext(made, None)
        finally:
            close = getattr(made, "aclose", None)
            if close is not None:
                await close()


def portable_of(driver: Driver) -> Portable[Any]:
    """Give the class that users call over a driver; where there is none, what all of them share."""
    name = primitive_of(type(driver))
    if name in PARTS:
        return Portable(driver, plugin="suite")
    made: Portable[Any] = getattr(importlib.import_module(f"micro.{name}.api"), name.capitalize())(
        driver, plugin="suite"
    )
    return made
