"""The driver over gRPC: the auth of the platform around this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from micro.auth import wire
from micro.auth.driver import AuthDriver, Event, Exchange, Grant, Made, Refresh, Rule, Token
from micro.auth.reading import DEAD_TOKEN
from micro.auth.tokens import PLATFORM
from micro.context import Account
from micro.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, Unauthenticated, Unavailable
from micro.plugin.settings import Settings
from micro.proto import auth_pb2 as pb
from micro.proto import debug_pb2
from micro.rpc.caller import Caller

SERVICE = "auth"
SILENCE = 15.0  # seconds without a sign of life until a watch is given up; auth sends one every 5


class RemoteAuth(AuthDriver, interface=1):
    """Calls the service `auth` as the caller's account, with that account's rights.

    Works without `open`, which only asks the service whether it is there and what its driver can.
    `replace` is not for it to say: for the platform's own accounts auth always does, for others never.
    """

    settings_type = Settings
    needs = frozenset({"caller"})
    capabilities = frozenset({"durable"})

    def __init__(self, settings: Settings | None = None, *, caller: Caller) -> None:
        self._caller = caller
        self._closed = False

    async def open(self) -> None:
        info = await self._caller.call(
            SERVICE, "Debug.Info", debug_pb2.InfoRequest(), debug_pb2.InfoResponse, idempotent=True
        )
        self.capabilities = frozenset(info.capabilities)

    async def close(self) -> None:
        self._closed = True  # the caller is whose it was

    async def create(self, account: Account, secret: str, *, replace: bool = False) -> Made:
        self._check()
        request = pb.GenerateRequest(
            id=account.id,
            metadata=account.metadata,
            scopes=account.scopes,
            secret=secret,
            type=account.type,
            options=wire.options(account.issuer),
            name=account.name,
        )
        try:
            answer = await self._caller.call(SERVICE, "Auth.Generate", request, pb.GenerateResponse)
        except InvalidArgument as err:
            if err.detail in {wire.ID_TAKEN, wire.NAME_TAKEN}:
                raise AlreadyExists(err.detail) from err
            raise
        return Made(wire.account_in(answer.account), answer.account.secret)

    async def accounts(self, namespace: str, *, id: str | None = None) -> list[Account]:
        self._check()
        request = pb.ListAccountsRequest(options=wire.options(namespace))
        answer = await self._caller.call(SERVICE, "Accounts.List", request, pb.ListAccountsResponse, idempotent=True)
        found = [wire.account_in(account) for account in answer.accounts]
        if id is None:
            return found
        return [one for one in found if one.id == id] or [one for one in found if one.name == id]

    async def remove(self, namespace: str, id: str) -> None:
        self._check()
        request = pb.DeleteAccountRequest(id=id, options=wire.options(namespace))
        try:
            await self._caller.call(SERVICE, "Accounts.Delete", request, pb.DeleteAccountResponse)
        except InvalidArgument as err:
            raise _missing(err) from err

    async def set_secret(self, namespace: str, id: str, new: str, *, old: str | None) -> None:
        self._check()
        request = pb.ChangeSecretRequest(id=id, old_secret=old or "", new_secret=new, options=wire.options(namespace))
        try:
            await self._caller.call(SERVICE, "Accounts.ChangeSecret", request, pb.ChangeSecretResponse)
        except InvalidArgument as err:
            raise _missing(err) from err

    async def token(self, namespace: str, grant: Grant, *, ttl: float, audience: Sequence[str] = (PLATFORM,)) -> Token:
        self._check()
        try:
            return wire.token_in(await self._token(namespace, grant, ttl, audience))
        except InvalidArgument as err:
            if err.detail in {wire.WRONG_SECRET, wire.NO_ACCOUNT, DEAD_TOKEN}:
                raise Unauthenticated(err.detail) from err
            raise

    async def _token(self, namespace: str, grant: Grant, ttl: float, audience: Sequence[str]) -> pb.Token:
        if isinstance(grant, Exchange):
            wanted = pb.ExchangeRequest(token=grant.token, audience=audience[0])
            exchanged = await self._caller.call(SERVICE, "Auth.Exchange", wanted, pb.ExchangeResponse, idempotent=True)
            return exchanged.token
        request = pb.TokenRequest(token_expiry=max(1, int(ttl)), options=wire.options(namespace))
        if isinstance(grant, Refresh):
            request.refresh_token = grant.token
        else:
            request.id, request.secret = grant.id, grant.secret
        return (await self._caller.call(SERVICE, "Auth.Token", request, pb.TokenResponse)).token

    async def inspect(self, token: str) -> Account:
        self._check()
        request = pb.InspectRequest(token=token)
        try:
            answer = await self._caller.call(SERVICE, "Auth.Inspect", request, pb.InspectResponse, idempotent=True)
        except InvalidArgument as err:
            raise Unauthenticated(err.detail) from err
        return wire.account_in(answer.account)

    async def revoke(self, namespace: str, *, id: str = "", token_id: str = "") -> None:
        self._check()
        request = pb.RevokeTokenRequest(namespace=namespace, id=id, token_id=token_id)
        await self._caller.call(SERVICE, "Auth.Revoke", request, pb.RevokeTokenResponse, idempotent=True)

    async def rules(self, namespace: str) -> list[Rule]:
        self._check()
        request = pb.ListRequest(options=wire.options(namespace))
        answer = await self._caller.call(SERVICE, "Rules.List", request, pb.ListResponse, idempotent=True)
        return [wire.rule_in(rule) for rule in answer.rules]

    async def put_rule(self, namespace: str, rule: Rule) -> None:
        self._check()
        request = pb.CreateRequest(rule=wire.rule_out(rule), options=wire.options(namespace))
        try:
            await self._caller.call(SERVICE, "Rules.Create", request, pb.CreateResponse)
        except InvalidArgument as err:
            if err.detail == wire.RULE_TAKEN:
                raise AlreadyExists(err.detail) from err
            raise

    async def delete_rule(self, namespace: str, id: str) -> None:
        self._check()
        request = pb.DeleteRequest(id=id, options=wire.options(namespace))
        await self._caller.call(SERVICE, "Rules.Delete", request, pb.DeleteResponse, idempotent=True)

    async def keys(self) -> str:
        self._check()
        return (await self._caller.call(SERVICE, "Auth.Keys", pb.KeysRequest(), pb.KeysResponse, idempotent=True)).json

    async def watch(self, namespace: str, *, after: int | None = None) -> AsyncIterator[Event]:
        self._check()
        request = pb.WatchRequest(namespace=namespace, after=after)
        async with await self._caller.stream(SERVICE, "Auth.Watch", pb.WatchRequest, pb.WatchResponse) as stream:
            await stream.send(request)
            stream.end()
            while True:
                try:
                    # not wait_for: when an answer comes as it is cancelled, 3.11's gives the answer and forgets the rest
                    async with asyncio.timeout(SILENCE):
                        answer = await stream.receive()
                except TimeoutError:
                    raise Unavailable("auth has been silent for too long") from None
                if answer is None:
                    return
                for event in wire.events_in(answer):
                    yield event

    def _check(self) -> None:
        if self._closed:
            raise FailedPrecondition("auth is closed")


def _missing(err: InvalidArgument) -> NotFound | InvalidArgument:
    return NotFound(err.detail) if err.detail == wire.NO_ACCOUNT else err
