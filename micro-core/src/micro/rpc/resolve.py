"""Where a service is: a proxy that knows, an address book, a registry that is followed."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from micro.context import CORE_NAMESPACE, CORE_SERVICES, Context, enter, leave
from micro.errors import LOCAL, NotFound, ServiceError, Unavailable
from micro.rpc.balance import Target
from micro.rpc.driver import Status, node_keepalive

KNOWN = 10.0  # seconds that a registry's answer, or that there was none, holds for who is outside
_KEPT = 1024  # such answers


class Resolver(ABC):
    """Gives a service's targets. `patient`: a target that cannot be reached may be back, or replaced, in a moment."""

    patient = True

    @abstractmethod
    def known(self, service: str, namespace: str) -> Sequence[Target] | None:
        """Give the targets as far as they are known here; None when `find` must be asked. On every call's path."""

    @abstractmethod
    async def find(self, service: str, namespace: str) -> Sequence[Target]:
        """Look a service up; NotFound when nobody serves it, Unavailable when that cannot be told."""

    def unreachable(self, target: Target, status: Status) -> ServiceError:
        """Give the error of a call that no target took."""
        return Unavailable(status.message or f"{target.address} cannot be reached", id=LOCAL)

    def idempotent(self, service: str, namespace: str, endpoint: str) -> bool:
        """Tell whether a service is known to say that an endpoint may be repeated."""
        return False

    async def repeatable(self, service: str, namespace: str, endpoint: str) -> bool:
        """Tell the same, and ask where it is not known. Only for a call that has failed."""
        return self.idempotent(service, namespace, endpoint)

    async def close(self) -> None:  # noqa: B027 - most hold nothing
        """Stop following."""


class ViaProxy(Resolver):
    """Everything through one address, which finds the service itself. `hint` is said when nobody is there.

    `ask(domain, service)` gives what the registry says of a user's service; the answer is kept for a while.
    """

    patient = False

    def __init__(
        self, address: str, *, hint: str = "", ask: Callable[[str, str], Awaitable[Sequence[Any]]] | None = None
    ) -> None:
        self.address = address
        self._targets = (Target(address),)
        self._hint = hint
        self._ask = ask
        self._said: dict[tuple[str, str], tuple[float, asyncio.Task[Sequence[Any]]]] = {}  # until when

    def known(self, service: str, namespace: str) -> Sequence[Target]:
        return self._targets

    async def find(self, service: str, namespace: str) -> Sequence[Target]:
        return self._targets

    def unreachable(self, target: Target, status: Status) -> ServiceError:
        if status.reached or not self._hint:
            return super().unreachable(target, status)
        return Unavailable(self._hint, id=LOCAL)

    async def repeatable(self, service: str, namespace: str, endpoint: str) -> bool:
        if self._ask is None or service in CORE_SERVICES:  # the platform's own are called by drivers, which know
            return False
        key, now = (namespace, service), time.monotonic()
        until, asking = self._said.get(key, (0.0, None))
        if asking is None or until <= now:
            if len(self._said) >= _KEPT:
                self._said = {name: said for name, said in self._said.items() if not said[1].done()}
            asking = asyncio.get_running_loop().create_task(self._asked(self._ask, namespace, service))
            self._said[key] = now + KNOWN, asking  # those whose calls fail at once are told by one answer
        return may_repeat(await asyncio.shield(asking), endpoint)

    @staticmethod
    async def _asked(
        ask: Callable[[str, str], Awaitable[Sequence[Any]]], namespace: str, service: str
    ) -> Sequence[Any]:
        token = enter(Context())  # it outlives the call that is being answered, and its deadline
        try:
            return await ask(namespace, service)
        except ServiceError:
            return ()  # then nothing is repeated
        finally:
            leave(token)

    async def close(self) -> None:
        asking = [task for _, task in self._said.values()]
        self._said.clear()
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)


class AddressBook(Resolver):
    """Services at known addresses, as the mapping says at that moment; another resolver for the rest."""

    def __init__(self, addresses: Mapping[str, str], *, rest: Resolver | None = None) -> None:
        self._addresses = addresses
        self._rest = rest
        self._made: dict[str, tuple[Target]] = {}

    def known(self, service: str, namespace: str) -> Sequence[Target] | None:
        address = self._addresses.get(service)
        if address is None:
            return self._rest.known(service, namespace) if self._rest is not None else None
        made = self._made.get(service)
        if made is None or made[0].address != address:
            made = self._made[service] = (Target(address),)
        return made

    async def find(self, service: str, namespace: str) -> Sequence[Target]:
        found = self.known(service, namespace)
        if found:
            return found
        if self._rest is not None:
            return await self._rest.find(service, namespace)
        raise missing(service)

    def idempotent(self, service: str, namespace: str, endpoint: str) -> bool:
        return self._rest is not None and self._rest.idempotent(service, namespace, endpoint)

    async def repeatable(self, service: str, namespace: str, endpoint: str) -> bool:
        return self._rest is not None and await self._rest.repeatable(service, namespace, endpoint)

    async def close(self) -> None:
        if self._rest is not None:
            await self._rest.close()


class Directory(Protocol):
    """What a registry's followed copy offers: see micro.registry.Cache."""

    def get(self, name: str) -> Sequence[Any]:
        """Give the versions of a service, each with `nodes` that have `id`, `address`, `metadata`, and `endpoints`."""

    async def close(self) -> None:
        """Stop following."""


class ByRegistry(Resolver):
    """Follows each service that is called in a registry; while that is away, the last that was known holds.

    `follow(namespace, service)` gives a Directory that has been told all there is, or raises.
    """

    def __init__(self, follow: Callable[[str, str], Awaitable[Directory]]) -> None:
        self._follow = follow
        self._directories: dict[tuple[str, str], Directory] = {}
        self._locks: dict[tuple[str, str], asyncio.Lock] = {}
        self._seen: dict[tuple[str, str], tuple[Sequence[Any], Sequence[Target]]] = {}

    def known(self, service: str, namespace: str) -> Sequence[Target] | None:
        key = (domain_of(service, namespace), service)
        directory = self._directories.get(key)
        if directory is None:
            return None
        records = directory.get(service)
        seen = self._seen.get(key)
        if seen is not None and seen[0] == records:
            return seen[1] or None
        targets = [_target(node) for record in records for node in record.nodes]
        self._seen[key] = (records, targets)
        return targets or None

    async def find(self, service: str, namespace: str) -> Sequence[Target]:
        key = (domain_of(service, namespace), service)
        lock = self._locks.setdefault(key, asyncio.Lock())
        try:
            async with lock:  # those who ask at once are told by one look
                if key not in self._directories:
                    self._directories[key] = await self._begin(key)
                found = self.known(service, namespace)
                if not found:
                    await self._forget(key)  # so that names that nobody has are not followed for ever
                    raise missing(service)
                return found
        finally:
            if not lock.locked():
                self._locks.pop(key, None)

    async def _begin(self, key: tuple[str, str]) -> Directory:
        token = enter(Context())  # it outlives the call that is being answered, and its deadline
        try:
            return await self._follow(*key)
        finally:
            leave(token)

    async def _forget(self, key: tuple[str, str]) -> None:
        self._seen.pop(key, None)
        await self._directories.pop(key).close()

    def idempotent(self, service: str, namespace: str, endpoint: str) -> bool:
        directory = self._directories.get((domain_of(service, namespace), service))
        return directory is not None and may_repeat(directory.get(service), endpoint)

    async def close(self) -> None:
        directories, self._directories = list(self._directories.values()), {}
        for directory in directories:
            await directory.close()


def may_repeat(records: Sequence[Any], endpoint: str) -> bool:
    """Tell whether all versions that have an endpoint say that it may be repeated."""
    found = [one for record in records for one in record.endpoints if one.name == endpoint]
    return bool(found) and all(one.metadata.get("idempotent") == "true" for one in found)


def _target(node: Any) -> Target:
    return Target(
        node.address, ours="interface" in node.metadata, keepalive=node_keepalive(node.metadata), node=node.id
    )


def domain_of(service: str, namespace: str) -> str:
    """Give the registry's domain of a service: the platform's own are in one."""
    return CORE_NAMESPACE if service in CORE_SERVICES else namespace


def missing(service: str) -> NotFound:
    """Give the wire's words for a service that nobody serves; the original's command line reads them."""
    return NotFound(f"service {service}: route not found", id=LOCAL)
