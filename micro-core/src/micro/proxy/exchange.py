"""Tokens for user services: what a caller showed here is exchanged for one that the platform itself does not take.

So a hostile service cannot act on the platform as those who call it.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from collections import OrderedDict

from micro.errors import InvalidArgument, NotFound, Unauthenticated, Unavailable, Unimplemented
from micro.proto import auth_pb2 as pb
from micro.rpc.caller import Caller
from micro.rpc.guard import NotReadyError

AUDIENCE = "services"
MARGIN = 30.0  # seconds before its end that an exchanged token is not handed out any more
_KEPT = 10_000  # tokens; the longest unused go first


class Exchange:
    """Exchanged tokens by what was shown, asked for once each. One for all doors of a process."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._made: OrderedDict[bytes, tuple[bytes, float]] = OrderedDict()
        self._asking: dict[bytes, asyncio.Task[None]] = {}
        self._offered = True

    def known(self, authorization: bytes) -> bytes:
        """Give the `Authorization` value that goes on; NotReadyError when `fetch` is to be awaited first."""
        if not self._offered:
            return authorization
        made = self._made.get(authorization)
        if made is None or made[1] <= time.time():
            raise NotReadyError
        return made[0]

    async def fetch(self, authorization: bytes) -> None:
        """Ask auth, once for all who wait; raises what it refuses with."""
        asking = self._asking.get(authorization)
        if asking is None:
            asking = self._asking[authorization] = asyncio.create_task(self._ask(authorization))
            asking.add_done_callback(lambda _: self._asking.pop(authorization, None))
        await asyncio.shield(asking)

    async def _ask(self, authorization: bytes) -> None:
        request = pb.ExchangeRequest(token=_token(authorization), audience=AUDIENCE)
        try:
            answer = await self._caller.call("auth", "Auth.Exchange", request, pb.ExchangeResponse, idempotent=True)
        except Unimplemented:  # an auth service of the original: it knows no audiences
            self._offered = False
            return
        except InvalidArgument as err:  # the original's class for a token that is not good
            raise Unauthenticated(err.detail) from err
        except NotFound as err:
            raise Unavailable(f"no token for services: {err.detail}") from err
        end = answer.token.expiry - MARGIN
        # one that is nearly over serves the calls that wait for it, and no others
        until = max(end, time.time() + 1.0)
        self._made[authorization] = b"Bearer " + answer.token.access_token.encode(), until
        self._made.move_to_end(authorization)
        if len(self._made) > _KEPT:
            self._made.popitem(last=False)

    async def close(self) -> None:
        """Stop asking."""
        asking = list(self._asking.values())
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)


def _token(authorization: bytes) -> str:
    """Give the bare token of a value that was verified before."""
    scheme, _, value = authorization.partition(b" ")
    if scheme == b"Basic":
        try:
            value = base64.b64decode(value).partition(b":")[2]
        except binascii.Error:
            value = b""
    return value.decode("latin-1")
