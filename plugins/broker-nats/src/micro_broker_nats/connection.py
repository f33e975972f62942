"""A connection to NATS that comes back by itself, and says what the server has got."""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import nats
from nats import errors as nx
from nats.aio.client import Client

from micro.errors import Code, FailedPrecondition
from micro_broker_nats.settings import ServerSettings

AGAIN = 0.2  # seconds between tries to connect again
FOREVER = 86_400  # seconds
PING = 5  # seconds between looks whether the server is there; two without an answer end the connection
_PLAIN = re.compile(rb"[A-Za-z0-9_-]")
_log = logging.getLogger(__name__)


# what JetStream refuses with: an error of its own number, or else of its kind
_KINDS: dict[int, int] = {
    10023: Code.RESOURCE_EXHAUSTED,  # insufficient resources
    10026: Code.RESOURCE_EXHAUSTED,  # maximum number of consumers
    10027: Code.RESOURCE_EXHAUSTED,  # maximum number of streams
    10028: Code.RESOURCE_EXHAUSTED,  # memory
    10047: Code.RESOURCE_EXHAUSTED,  # storage
    10054: Code.RESOURCE_EXHAUSTED,  # message size
    10058: Code.FAILED_PRECONDITION,  # another stream of that name
    10065: Code.FAILED_PRECONDITION,  # another stream has these subjects
    10077: Code.RESOURCE_EXHAUSTED,  # full
    404: Code.NOT_FOUND,
    503: Code.UNAVAILABLE,
}


class AwayError(Exception):
    """There is no connection now."""


def token(name: str) -> str:
    """Write any name as one token of a subject: no wildcard, no dot, no two names alike."""
    raw = name.encode()
    return "".join(chr(byte) if _PLAIN.match(bytes([byte])) else f"={byte:02X}" for byte in raw)


class Connection:
    """One connection of a driver, `of` which errors speak. `on_loss` is called each time it is lost, `on_back` when it is back."""

    def __init__(
        self, settings: ServerSettings, of: str, on_loss: Callable[[], None], on_back: Callable[[], None] | None = None
    ) -> None:
        self._settings = settings
        self._of = of
        self._on_loss = on_loss
        self._on_back = on_back
        self._client: Client | None = None
        self._confirming: asyncio.Task[None] | None = None
        self._next: asyncio.Future[None] | None = None
        self._asking: set[asyncio.Task[None]] = set()  # questions without an answer yet

    @property
    def client(self) -> Client:
        """The connected client; raises AwayError while it is not connected."""
        client = self._client
        if client is None:
            raise FailedPrecondition(f"the {self._of} is closed")
        if not client.is_connected:
            raise AwayError(f"connection to {self._settings.url} lost")
        return client

    async def open(self) -> None:
        """Connect, once: who starts must know soon. From then on it comes back by itself."""
        given = self._settings
        client = Client()
        task = asyncio.current_task()
        asked = task.cancelling() if task is not None else 0
        try:
            async with asyncio.timeout(given.connect_timeout):
                await client.connect(given.urls, allow_reconnect=False, **self._options())
            if task is not None and task.cancelling() > asked:
                raise asyncio.CancelledError  # the client swallows one that comes while it connects
        except BaseException as exc:
            with suppress(Exception):
                await client.close()
            if isinstance(exc, asyncio.CancelledError) or (task is not None and task.cancelling() > asked):
                raise asyncio.CancelledError from None
            words = "no answer" if isinstance(exc, TimeoutError) else str(exc) or type(exc).__name__
            if "uthorization" in words:
                raise nx.AuthorizationError from exc
            if isinstance(exc, Exception):
                raise AwayError(f"connection to {given.url}: {words}") from exc
            raise
        client.options["allow_reconnect"] = True
        self._client = client

    async def close(self) -> None:
        """Close it; who waits for the server is told."""
        client, self._client = self._client, None
        if self._confirming is not None:
            self._confirming.cancel()
            await asyncio.gather(self._confirming, return_exceptions=True)
        if client is not None:
            with suppress(Exception):  # it is going away, whatever it says
                await client.close()
        asking = list(self._asking)
        for each in asking:
            each.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    async def confirm(self) -> None:
        """Wait until the server has all that was sent before; all who wait meanwhile share one question."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
            if self._confirming is None or self._confirming.done():
                self._confirming = asyncio.create_task(self._confirm())
        await asyncio.shield(self._next)

    async def _confirm(self) -> None:
        while (waiting := self._next) is not None:
            await asyncio.sleep(0)  # whoever is ready to publish now comes along
            self._next = None
            try:
                await self._flush()
            except asyncio.CancelledError:
                for each in (waiting, self._next):
                    if each is not None and not each.done():
                        each.set_exception(FailedPrecondition(f"the {self._of} was closed"))
                self._next = None
                raise
            except Exception as exc:
                waiting.set_exception(exc)
                waiting.exception()  # nobody may be waiting any more
            else:
                waiting.set_result(None)

    async def _flush(self) -> None:
        """Ask the server to answer, and wait for that.

        The client's own time limit would leave an answer that nobody waits for, and its reader ends when that comes
        (nats-py 2.16). So the question stays, and only who waits for it gives up.
        """
        asking = asyncio.create_task(self.client.flush(FOREVER))
        self._asking.add(asking)
        asking.add_done_callback(self._answered)
        done, _ = await asyncio.wait({asking}, timeout=self._settings.timeout)
        if not done:
            raise TimeoutError(f"no answer in {self._settings.timeout:g} s")
        if asking.cancelled() or isinstance(asking.exception(), nx.ConnectionClosedError):
            raise AwayError(f"connection to {self._settings.url} lost")
        asking.result()

    def _answered(self, asking: asyncio.Task[None]) -> None:
        self._asking.discard(asking)
        if not asking.cancelled():
            asking.exception()  # nobody may be waiting any more

    def _options(self) -> dict[str, Any]:
        given = self._settings
        options: dict[str, Any] = {
            "connect_timeout": given.connect_timeout,
            "reconnect_time_wait": AGAIN,
            "max_reconnect_attempts": -1,
            "ping_interval": PING,
            "max_outstanding_pings": 2,
            "error_cb": self._failed,
            "disconnected_cb": self._disconnected,
            "reconnected_cb": self._reconnected,
            "pending_size": 64 * 1024 * 1024,
        }
        if given.user:
            options |= {"user": given.user, "password": given.password.reveal()}
        if given.token:
            options["token"] = given.token.reveal()
        if given.credentials:
            options["user_credentials"] = given.credentials
        if any(each.startswith("tls://") for each in given.urls) or given.ca:
            context = ssl.create_default_context(cafile=given.ca or None)
            if given.certificate:
                context.load_cert_chain(given.certificate, given.key or None)
            options["tls"] = context
        return options

    async def _failed(self, exc: Exception) -> None:
        _log.info("nats: %s", str(exc) or type(exc).__name__)

    async def _disconnected(self) -> None:
        for asking in self._asking:
            asking.cancel()  # what was asked on the lost connection has no answer any more
        self._on_loss()

    async def _reconnected(self) -> None:
        if self._on_back is not None:
            self._on_back()


def code_of(exc: Exception) -> int:
    """Classify what the client raises."""
    from micro_broker_nats.requests import JetStreamError  # which needs this module

    match exc:
        case JetStreamError():
            return _KINDS.get(exc.err) or _KINDS.get(exc.code, Code.INTERNAL)
        case nx.AuthorizationError() | nx.InvalidUserCredentialsError():
            return Code.UNAUTHENTICATED
        case nx.MaxPayloadError() | nx.OutboundBufferLimitError() | nx.SlowConsumerError():
            return Code.RESOURCE_EXHAUSTED
        case TimeoutError():  # the client's are, too
            return Code.DEADLINE_EXCEEDED
        case nx.BadSubjectError() | nx.BadHeaderError() | nx.BadSubscriptionError() | nx.JsonParseError():
            return Code.INTERNAL
        case nx.Error() | AwayError() | OSError():
            return Code.UNAVAILABLE
    return Code.UNKNOWN


__all__ = ["AwayError", "Connection", "code_of", "nats", "token"]
