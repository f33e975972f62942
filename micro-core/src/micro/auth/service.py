"""The core service `auth`: a portable Auth behind the wire, with its callers' rights and the original's words."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from micro.auth import wire
from micro.auth.administration import AccountsHandler, RulesHandler, note
from micro.auth.api import ACCESS, Auth
from micro.auth.driver import Event, Resource
from micro.auth.reading import DEAD_TOKEN
from micro.auth.store import StoreAuth
from micro.auth.tokens import PLATFORM
from micro.context import CORE_NAMESPACE, CORE_SERVICES, Account, current
from micro.errors import (
    AlreadyExists,
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)
from micro.plugin.watch import finish
from micro.proto import auth_pb2 as pb
from micro.rpc import access
from micro.rpc.endpoint import endpoint
from micro.service.core import Core

if TYPE_CHECKING:
    from micro.service.core import Host

HEARTBEAT = 5.0  # seconds between signs of life to who follows
PATIENCE = 30.0  # seconds that a start waits for the store

_log = logging.getLogger("micro.auth")


async def build(host: Host) -> Core:
    """Open the profile's auth and serve it."""
    driver, plugin = host.driver("auth")
    if isinstance(driver, StoreAuth) and not _on_loopback(host):
        driver.only_accounts()
    auth = Auth(driver, plugin=plugin)  # type: ignore[arg-type] # the group `micro.auth` holds AuthDrivers

    async def ready() -> None:
        await _when_there(auth.open)
        if isinstance(driver, StoreAuth):
            await first_account(driver, host.data / "admin.json")

    return Core(
        [("Auth", AuthHandler(auth)), ("Accounts", AccountsHandler(auth)), ("Rules", RulesHandler(auth))],
        ready=ready,
        close=auth.close,
        capabilities=lambda: auth.capabilities,
        plugin=plugin,
    )


async def first_account(driver: StoreAuth, path: Path) -> None:
    """Make the administrator that `admin.json` names, once in the life of the store."""
    try:
        said = json.loads(await asyncio.to_thread(path.read_bytes))
    except FileNotFoundError:
        return  # this server is not the first; whoever was has made it
    admin = Account(said["id"], issuer=said.get("namespace") or CORE_NAMESPACE, scopes=("admin",))
    made: list[bool] = []

    async def make() -> None:
        made.append(await driver.bootstrap(admin, said["secret"]))

    await _when_there(make)
    if made[-1]:
        _log.info("made the account %s of namespace %s", admin.id, admin.issuer)


async def _when_there(work: Callable[[], Awaitable[None]]) -> None:
    """Do what needs the store, as soon as it is there, and answers. It may be done twice."""
    loop = asyncio.get_running_loop()
    end = loop.time() + PATIENCE
    while True:
        try:
            return await work()
        except (Unavailable, DeadlineExceeded):
            if loop.time() > end:
                raise
            await asyncio.sleep(0.1)


def _on_loopback(host: Host) -> bool:
    """Tell whether only this machine reaches the platform's doors."""
    doors = [str(host.setting(name, "address", "") or "127.0.0.1:0") for name in ("proxy", "api", "network")]
    return all(door.startswith(("127.", "localhost:", "[::1]:", "unix:")) for door in doors)


class AuthHandler:
    """Logs accounts in, says who they are, and tells everybody what may have changed."""

    def __init__(self, auth: Auth) -> None:
        self._auth = auth

    async def generate(self, request: pb.GenerateRequest) -> pb.GenerateResponse:
        """Add an account; the answer alone has its secret. The platform's own get a service a new secret, too."""
        namespace = request.options.namespace or current().namespace
        caller = access.admin(namespace)
        if not request.id:
            raise InvalidArgument("ID required")
        if namespace == CORE_NAMESPACE and request.id in CORE_SERVICES:
            raise InvalidArgument(f"the ID {request.id} is the platform's own")
        kind = request.type or "user"
        try:
            made = await self._auth.at(namespace).accounts.create(
                request.id,
                secret=request.secret,
                type=kind,
                scopes=[part for scope in request.scopes for part in scope.split(",") if part],
                metadata=request.metadata,
                name=request.name,
                replace=caller.is_core and kind == "service",
            )
        except AlreadyExists as err:
            raise InvalidArgument(err.detail, id="auth") from err
        note(f"account {request.id} of {namespace} made")
        return pb.GenerateResponse(account=wire.account_out(made.account, made.secret))

    @endpoint(public=True)
    async def inspect(self, request: pb.InspectRequest) -> pb.InspectResponse:
        """Say whom an access token is for."""
        try:
            account = await self._auth.inspect(request.token)
        except Unauthenticated as err:
            raise InvalidArgument(DEAD_TOKEN) from err
        return pb.InspectResponse(account=wire.account_out(account))

    @endpoint(public=True)
    async def token(self, request: pb.TokenRequest) -> pb.TokenResponse:
        """Log in with a secret, or renew a login."""
        auth = self._auth.at(request.options.namespace or CORE_NAMESPACE)
        ttl = float(request.token_expiry or ACCESS)
        renewal = request.refresh_token or (request.secret if not request.id else "")
        if not renewal and not request.secret:
            raise InvalidArgument("Credentials or a refresh token required")
        try:
            if renewal:
                token = await auth.renew(renewal, ttl=ttl)
            else:
                token = await auth.login(request.id, request.secret, ttl=ttl, peer=_peer())
        except Unauthenticated as err:
            raise InvalidArgument(DEAD_TOKEN if renewal else wire.WRONG_SECRET) from err
        return pb.TokenResponse(token=wire.token_out(token))

    @endpoint(public=True)
    async def keys(self, request: pb.KeysRequest) -> pb.KeysResponse:
        """Give the keys that verify tokens."""
        return pb.KeysResponse(json=await self._auth.keys())

    async def watch(self, request: pb.WatchRequest) -> AsyncIterator[pb.WatchResponse]:
        """Follow a namespace's rules, the keys and the revocations; a message at least every five seconds."""
        namespace = request.namespace or CORE_NAMESPACE
        access.member(namespace)
        after = request.after if request.HasField("after") else None
        events = aiter(self._auth.at(namespace).watch(after=after, resume=False))
        version = 0
        waiting: asyncio.Task[Event] | None = None
        try:
            while True:
                waiting = waiting or asyncio.ensure_future(anext(events))
                await asyncio.wait([waiting], timeout=HEARTBEAT)
                if not waiting.done():
                    yield pb.WatchResponse(version=version)
                    continue
                event, waiting = waiting.result(), None
                version = event.version
                yield wire.event_out(event)
        finally:
            if waiting is not None:
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)
            await finish(events)

    async def revoke(self, request: pb.RevokeTokenRequest) -> pb.RevokeTokenResponse:
        """Refuse an account's tokens, or one of them: an admin anybody's, everybody his own."""
        namespace = request.namespace or CORE_NAMESPACE
        who = access.account()
        own = request.id == who.id and who.issuer == namespace and not request.token_id
        if not own:
            access.admin(namespace)
        await self._auth.at(namespace).revoke(id=request.id, token_id=request.token_id)
        note(f"tokens of {request.id or request.token_id} of {namespace} revoked")
        return pb.RevokeTokenResponse()

    async def exchange(self, request: pb.ExchangeRequest) -> pb.ExchangeResponse:
        """Give a token for less: one's own, or, for the platform's own services, anybody's."""
        who = access.account()
        if not request.audience or request.audience == PLATFORM:
            raise InvalidArgument("an audience other than the platform is required")
        try:
            if not who.is_core and await self._auth.inspect(request.token) != who:
                raise PermissionDenied("the token is another account's")
            token = await self._auth.exchange(request.token, audience=(request.audience,))
        except Unauthenticated as err:  # 401 would say that the caller's own token is bad
            raise InvalidArgument(DEAD_TOKEN) from err
        return pb.ExchangeResponse(token=wire.token_out(token))

    async def check(self, request: pb.CheckRequest) -> pb.CheckResponse:
        """Say what the rules would decide, and why."""
        namespace = request.namespace or CORE_NAMESPACE
        access.admin(namespace)
        auth = self._auth.at(namespace)
        account = None
        if request.account:
            account = await auth.accounts.get(request.account)
            if account is None:
                raise NotFound(wire.NO_ACCOUNT)
        asked = request.resource
        trail: list[str] = []
        wanted = Resource(asked.name or "*", asked.type or "*", asked.endpoint or "*")
        decision = await auth.decide(account, wanted, trail=trail)
        return pb.CheckResponse(allowed=bool(decision.allowed), rule=decision.rule, trail=trail)


def _peer() -> str:
    """Give the address of who logs in: what the proxy says of its peer, else ours."""
    context = current()
    peer = context.metadata.get("remote") or context.peer
    return peer.rpartition(":")[0] or peer
