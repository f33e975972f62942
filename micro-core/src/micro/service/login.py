"""A process's own token: had from `Auth.Token` with its account's id and secret, renewed before it ends."""

from __future__ import annotations

import asyncio
import logging
import time

from micro.auth.driver import Credentials
from micro.auth.remote import RemoteAuth
from micro.context import Context, enter, leave
from micro.errors import ServiceError, Unauthenticated
from micro.rpc.caller import Caller

LIFE = 900.0  # seconds of a token
EARLY = 1 / 3  # of its life: how long before its end it is renewed, behind the calls
LAST = 30.0  # seconds before its end when it is no longer shown

_log = logging.getLogger("micro.service")


class Login:
    """An account's TokenSource. `caller` must need no token: it is what asks for one. Belongs to one loop."""

    def __init__(self, caller: Caller, *, namespace: str, id: str, secret: str) -> None:
        self.namespace = namespace
        self._auth = RemoteAuth(caller=caller)
        self._caller = caller
        self._credentials = Credentials(id, secret)
        self._header: bytes | None = None
        self._renew = self._end = 0.0  # of time.monotonic()
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
        if header == self._header:
            self._renew = self._end = 0.0  # revoked, perhaps, or signed by keys that are gone
        return True

    async def close(self) -> None:
        """Stop renewing."""
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

    async def _fetch(self) -> None:
        asked = time.monotonic()
        token = await self._auth.token(self.namespace, self._credentials, ttl=LIFE)
        life = max(2 * LAST, float(token.expiry - token.created))
        self._header = f"Bearer {token.access_token}".encode()
        self._renew, self._end = asked + life * (1 - EARLY), asked + life - LAST
