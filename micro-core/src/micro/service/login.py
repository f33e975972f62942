"""A process's own token: had from `Auth.Token`, renewed before it ends, by an account's secret or this user's login."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from abc import ABC, abstractmethod

from micro.auth.driver import Credentials, Grant, Refresh, Token
from micro.auth.remote import RemoteAuth
from micro.context import Context, enter, leave
from micro.errors import InvalidArgument, MicroError, ServiceError, Unauthenticated
from micro.rpc.caller import Caller
from micro.service import state

LIFE = 900.0  # seconds of a token
EARLY = 1 / 3  # of its life: how long before its end it is renewed, behind the calls
YOUNG = 5.0  # seconds of a token's life in which a refusal is not put down to the token
LAST = 30.0  # seconds before its end when it is no longer shown

_log = logging.getLogger("micro.service")


class Renewing(ABC):
    """A TokenSource that fetches. `caller` must need no token: it is what asks for one. Belongs to one loop."""

    def __init__(self, caller: Caller, *, namespace: str) -> None:
        self.namespace = namespace
        self._auth = RemoteAuth(caller=caller)
        self._caller = caller
        self._header: bytes | None = None
        self._renew = self._end = self._fetched = 0.0  # of time.monotonic()
        self._lock = asyncio.Lock()
        self._renewing: asyncio.Task[None] | None = None

    def header(self) -> bytes | None:
        now = time.monotonic()
        if now < self._renew:
            return self._header
        if now >= self._end:
            return None
        if self._renewing is None or self._renewing.done():
            token = enter(Context())  # it is not part of the call that happens to be answered now
            self._renewing = asyncio.get_running_loop().create_task(self._again())
            leave(token)
        return self._header

    async def prepare(self) -> None:
        async with self._lock:
            if time.monotonic() >= self._renew:
                await self._fetch()

    def refused(self, header: bytes) -> bool:
        if header != self._header:
            return True  # another has come since
        if time.monotonic() < self._fetched + YOUNG:
            return False  # so it is the account that may not, and logging in again and again would not help
        self._renew = self._end = 0.0  # revoked, perhaps, or signed by keys that are gone
        return True

    async def close(self) -> None:
        if self._renewing is not None:
            self._renewing.cancel()
        await self._caller.close()

    async def _again(self) -> None:
        try:
            await self.prepare()
        except Unauthenticated as err:
            _log.warning("the account's token cannot be renewed: %s", err)
        except ServiceError as err:
            _log.debug("renewing the token later: %s", err)
        if time.monotonic() >= self._renew:
            self._renew = time.monotonic() + 1.0  # the old one is good a while

    @abstractmethod
    async def _fetch(self) -> None:
        """Have a token, and `_show` it."""

    async def _asked(self, grant: Grant) -> Token:
        token = await self._auth.token(self.namespace, grant, ttl=LIFE)
        self._show(token.access_token, float(token.expiry - token.created))
        self._fetched = time.monotonic()
        return token

    def _show(self, token: str, life: float) -> None:
        now, life = time.monotonic(), max(2 * LAST, life)
        self._header = f"Bearer {token}".encode()
        self._renew, self._end = now + life * (1 - EARLY), now + life - LAST


class Login(Renewing):
    """By an account's id and secret. `file` is where they were read, where nobody gave them."""

    def __init__(self, caller: Caller, credentials: Credentials, *, namespace: str, file: str = "") -> None:
        super().__init__(caller, namespace=namespace)
        self._credentials = credentials
        self._file = file

    async def _fetch(self) -> None:
        try:
            await self._asked(self._credentials)
        except (Unauthenticated, InvalidArgument) as err:
            if not self._file:
                raise
            raise _stale(err, self._file, self._credentials) from err


class UserLogin(Renewing):
    """By what the command line has kept of `micro login`; it is kept there anew when it is renewed here.

    `otherwise` is an account to log in as when the login has ended: this machine's administrator, say, as `file` has it.
    """

    def __init__(
        self, caller: Caller, login: state.Token, *, otherwise: Credentials | None = None, file: str = ""
    ) -> None:
        super().__init__(caller, namespace=login.namespace)
        self._login = login
        self._otherwise = otherwise
        self._file = file
        self._refused = False

    def refused(self, header: bytes) -> bool:
        renewable = super().refused(header)
        self._refused = self._refused or (renewable and header == self._header)
        return renewable

    async def _fetch(self) -> None:
        kept = await asyncio.to_thread(self._kept)
        refused, self._refused = self._refused, False
        left = kept.expiry - time.time()
        if left > 2 * LAST and not refused:
            self._show(kept.access, left)
            return
        try:
            if not kept.refresh:
                raise Unauthenticated(f"the login of {kept.account or 'this user'} has ended: micro login")
            token = await self._asked(Refresh(kept.refresh))
        except (Unauthenticated, InvalidArgument):
            if self._otherwise is None:
                raise
            try:
                await self._asked(self._otherwise)
            except (Unauthenticated, InvalidArgument) as err:
                if not self._file:
                    raise
                raise _stale(err, self._file, self._otherwise) from err
            return
        fresh = kept._replace(
            expiry=float(token.expiry), access=token.access_token, refresh=token.refresh_token or kept.refresh
        )
        with contextlib.suppress(MicroError, OSError):  # a home that cannot be written to
            await asyncio.to_thread(state.State().keep, fresh)

    def _kept(self) -> state.Token:
        """Give the login as it is now: a command may have renewed it."""
        return state.State().token(self._login.env, self._login.namespace) or self._login


def _stale(error: ServiceError, file: str, account: Credentials) -> Unauthenticated:
    """Say that a file has a secret that is none any more."""
    return Unauthenticated(
        f"{file} is out of date: {error.detail}; the secret of {account.id} was changed from elsewhere. "
        f"Log in with 'micro login --username {account.id}', or write the new secret into that file",
        id=error.id,
    )
