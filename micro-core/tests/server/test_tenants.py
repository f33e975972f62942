"""Tenants do not see each other: every endpoint of eight services, asked by each of them about each of the others."""

from __future__ import annotations

import asyncio
import itertools
import re
import secrets
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from micro.auth.decisions import PUBLIC
from micro.auth.tokens import SigningKey, generate_key, key_pem
from micro.broker.memory import MemoryBroker
from micro.errors import InvalidArgument, PermissionDenied, Unauthenticated
from micro.rpc import access
from micro.rpc.endpoint import Endpoint
from micro.server import serving

from .tenants import Outcome, Tenant, World, answered, ask, filled, names_a_tenant, world

# Names that an escape, a prefix, a folder or a pattern may take for one another; and the platform's own.
ALIKE = ("a", "ab", "A", "a.")
NO_NAMES = (
    "a/b",
    "a%2fb",
    "\u00e9",
    "e\u0301",
    "*",
    ">",
    "?",
    "..",
    "a/../b",
    "a..b",
    "a*",
    "-a",
    "a b",
    "a\x00",
    "a" * 64,
)
PROFILES = ("test", "local")
# Streams without an end, which tell what changes.
LIVE = frozenset(
    [
        "Registry.Watch",
        "Store.Watch",
        "Config.Watch",
        "Auth.Watch",
        "Network.Watch",
        "Broker.Subscribe",
        "Stream.Consume",
        "Stream.Subscribe",
    ]
)
ENDLESS = LIVE | {"Runtime.Watch"}
# Methods that change something, and so are left out where things are to stay; the others only ask.
CHANGES = frozenset(
    [
        "Write",
        "Delete",
        "Apply",
        "Put",
        "Set",
        "Rollback",
        "Generate",
        "Revoke",
        "Create",
        "ChangeSecret",
        "Publish",
        "PublishMany",
        "Seek",
        "Replay",
        "Advertise",
        "Withdraw",
        "Register",
        "Renew",
        "Deregister",
        "Update",
        "Upload",
        "Connect",
    ]
)
# What answers before it looks for whom: a login, and what refuses a message for what is not in it.
UNASKED = {"Auth.Inspect", "Auth.Token", "Accounts.Delete", "Source.Put", "Network.Connect"}


@pytest.fixture(scope="session")
def key() -> SigningKey:
    return generate_key()


@pytest.fixture(params=PROFILES)
async def platform(
    request: pytest.FixtureRequest, tmp_path: Path, key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[World]:
    monkeypatch.setattr(serving, "GRACE", 0.0)
    monkeypatch.setattr("micro.runtime.keeper.SETTLED", 0.1)
    async with world(request.param, tmp_path, key_pem(key), key) as made:
        yield made


def changes(one: Endpoint) -> bool:
    return one.name.partition(".")[2] in CHANGES


def same(outcome: Outcome, *names: str) -> str:
    """Give an outcome without the name that was asked about, for who compares two."""
    error = outcome.error
    words = repr(error)
    for name in names:
        words = words.replace(f"'{name}'", "'…'").replace(f'"{name}"', '"…"')
    return f"{type(error).__name__} {words} {outcome.text}"


class Matrix:
    """Tenants who have the same things under the same names, each a word of its own in them, and what leaked."""

    def __init__(self, platform: World, alike: Sequence[str]) -> None:
        self._platform = platform
        self._endpoints = list(platform.endpoints())
        self._words = {name: secrets.token_hex(16) for name in (*alike, "micro")}
        self._alike = alike
        self._tenants: dict[str, Tenant] = {}
        self._turn = 0
        self._nowhere: dict[tuple[str, str], str] = {}  # what is said of a namespace that is not there
        self._canaries = {secrets.token_hex(16) for _ in range(1000)}  # of the first tenant
        self.leaks: list[str] = []

    async def make(self) -> None:
        """Have all tenants make their things."""
        for name, word in self._words.items():
            self._tenants[name] = await self._platform.tenant(name)
            await self._tenants[name].make(word)
        await self._tenants[self._alike[0]].have(sorted(self._canaries))

    def _judge(self, viewer: str, what: str, told: str) -> None:
        for name, word in self._words.items():
            if name != viewer and word in told:
                self.leaks.append(f"{viewer} sees {name} by {what}: {told[:300]}")
        if viewer != self._alike[0] and self._canaries & set(re.findall(r"[0-9a-f]{32}", told)):
            self.leaks.append(f"{viewer} sees a canary by {what}: {told[:300]}")

    async def by_name(self) -> None:
        """Ask about another's: refused, and in the same words as about one that is not there."""
        first, *others = self._alike
        pairs = [(first, "micro"), *(pair for one in others for pair in ((first, one), (one, first)))]
        for (viewer, other), (service, one) in itertools.product(pairs, self._endpoints):
            kind, caller = one.request.python_type, self._tenants[viewer].caller
            for names in (False, True) if names_a_tenant(kind) else ():
                what = f"{service} {one.name} {names}"
                found = await ask(caller, service, one, filled(kind, other, names=names), enough=answered)
                if (viewer, what) not in self._nowhere:
                    request = filled(kind, "nowhere", names=names)
                    nowhere = await ask(caller, service, one, request, enough=answered)
                    self._nowhere[viewer, what] = same(nowhere, "nowhere")
                self._judge(viewer, what, found.told)
                if same(found, other) != self._nowhere[viewer, what]:
                    self.leaks.append(f"{viewer} learns of {other} by {what}: {found.told}")
                if one.name not in UNASKED and not isinstance(found.error, PermissionDenied | Unauthenticated):
                    self.leaks.append(f"{viewer} is let into {other} by {what}: {found.told}")

    async def by_header(self) -> None:
        """Name another in the header, and nobody in the message."""
        other, viewer = self._alike[:2]
        for service, one in self._endpoints:
            if one.name not in ENDLESS and not changes(one):
                request = filled(one.request.python_type, "", names=True)
                outcome = await ask(self._tenants[viewer].caller, service, one, request, namespace=other)
                self._judge(viewer, one.name, outcome.told)

    async def as_nobody(self) -> None:
        """Ask without an account: refused, but for what must be open to all."""
        caller = self._platform.caller("", "a")
        for service, one in self._endpoints:
            request = filled(one.request.python_type, self._alike[0], names=True)
            outcome = await ask(caller, service, one, request, enough=answered)
            self._judge("", one.name, outcome.told)
            if (service, one.name) not in PUBLIC and not isinstance(outcome.error, Unauthenticated):
                self.leaks.append(f"nobody is let in by {service} {one.name}: {outcome.told}")

    def logged(self, text: str) -> None:
        """Look for what should not be in a log."""
        self._judge("the log", "", text)

    async def own(self) -> None:
        """Ask about one's own, while all go on: one's own words, nobody else's."""
        going = True

        async def go_on() -> None:
            while going:
                self._turn += 1
                for name, tenant in self._tenants.items():
                    await tenant.go_on(self._words[name], self._turn)

        goes_on = asyncio.create_task(go_on())
        heard = {viewer: {service: "" for service, _ in self._endpoints} for viewer in self._alike}
        await asyncio.gather(
            *(
                self._own(viewer, service, one, names, heard[viewer])
                for viewer in self._alike
                for service, one in self._endpoints
                for names in (False, True)
                if not changes(one)
            )
        )
        for viewer, service in itertools.product(self._alike, heard[self._alike[0]]):
            told = heard[viewer][service]
            self._judge(viewer, service, told)
            if self._words[viewer] not in told:
                self.leaks.append(f"{viewer} does not see its own in {service}: {told[:300]}")
        going = False
        await goes_on

    async def _own(self, viewer: str, service: str, one: Endpoint, names: bool, heard: dict[str, str]) -> None:
        word, begun = self._words[viewer], self._turn

        def enough(told: str) -> bool:
            """Hear of a turn that was begun after this, so that all others had one meanwhile."""
            turns = [int(turn) for turn in re.findall(rf"{word}\.(\d+)\.", told)]
            return max(turns, default=0) > begun + 1 if one.name in LIVE else word in told

        request = filled(one.request.python_type, viewer, names=names)
        until = enough if one.name in ENDLESS else None
        outcome = await ask(self._tenants[viewer].caller, service, one, request, enough=until)
        heard[service] += f" {one.name} {outcome.told}"

    async def untouched(self) -> None:
        """See that nothing was changed, and that one's own changes change nobody else's."""
        first, *others = self._words
        for name, word in self._words.items():
            self.leaks += [f"{name} lost {what}" for what in await self._tenants[name].lacks(word)]
        for service, one in self._endpoints:
            if changes(one):
                request = filled(one.request.python_type, first, names=True)
                await ask(self._tenants[first].caller, service, one, request)
        assert await self._tenants[first].lacks(self._words[first])
        for name in others:
            self.leaks += [
                f"{name} lost, by {first}, {what}" for what in await self._tenants[name].lacks(self._words[name])
            ]


async def test_nobody_sees_anything_of_a_namespace_that_is_not_theirs(
    platform: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    assert len(list(platform.endpoints())) > 60
    matrix = Matrix(platform, ALIKE)
    await matrix.make()
    await matrix.by_name()
    await matrix.own()
    await matrix.by_header()
    await matrix.as_nobody()
    await matrix.untouched()
    matrix.logged(caplog.text)
    assert matrix.leaks == [], "\n".join(matrix.leaks)


@pytest.mark.parametrize("platform", ["test"], indirect=True)
async def test_a_leak_would_be_seen(platform: World, monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = Matrix(platform, ALIKE[:2])
    await matrix.make()
    monkeypatch.setattr(access, "member", lambda _: access.account())
    await matrix.by_name()
    for service in ("store", "config", "auth", "registry", "network", "runtime"):
        assert f"a sees ab by {service}" in " ".join(matrix.leaks)


@pytest.mark.parametrize("platform", ["test"], indirect=True)
async def test_a_driver_that_takes_two_for_one_would_be_seen(platform: World, monkeypatch: pytest.MonkeyPatch) -> None:
    publish = MemoryBroker.publish

    async def mixed(self: MemoryBroker, namespace: str, topic: str, message: Any) -> None:
        for one in {namespace, namespace.lower()}:
            await publish(self, one, topic, message)

    monkeypatch.setattr(MemoryBroker, "publish", mixed)
    matrix = Matrix(platform, ("a", "A"))
    await matrix.make()
    await matrix.own()
    assert {leak.partition(":")[0] for leak in matrix.leaks} == {"a sees A by broker"}


async def test_what_is_no_name_is_refused_by_every_endpoint(platform: World) -> None:
    admin = platform.platform()
    wrong = []
    for service, one in platform.endpoints():
        kind = one.request.python_type
        for name in NO_NAMES if names_a_tenant(kind) and one.name != "Network.Connect" else ():
            if name == "*" and service == "registry":
                continue  # all domains, to who may enter each
            outcome = await ask(admin, service, one, filled(kind, name, names=True), enough=answered)
            if not isinstance(outcome.error, InvalidArgument):
                wrong.append(f"{service} {one.name} of {name!r}: {outcome.error!r}")
    assert wrong == [], "\n".join(wrong)
