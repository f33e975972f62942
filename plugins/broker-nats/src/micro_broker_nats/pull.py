"""The requests of one member: so many events are asked for, and come by an inbox of its own until it is withdrawn."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from typing import Any, Protocol

from micro_broker_nats.connection import AwayError
from micro_broker_nats.groups import ORDER
from micro_broker_nats.requests import NOBODY, ROOM, ROOM_BYTES, Requests
from micro_broker_nats.topic import NS

EXPIRES = 20  # seconds that a request waits at the server
SIGN = 4  # seconds between its signs that it does
DEAF = 12.0  # seconds without one after which it is asked again
AGAIN = 0.2  # seconds until it is asked again after a refusal


class Receiver(Protocol):
    """Who asks."""

    async def taken(self, message: Any) -> None:
        """Take an event."""

    async def ask(self) -> None:
        """Ask again, if there is room."""

    def finish(self) -> None:
        """End: the consumer has gone."""


class Pull:
    """What is asked of the consumer `name`. With `ordered` one member at a time receives, the server says which."""

    def __init__(self, requests: Requests, stream: str, name: str, receiver: Receiver, *, ordered: bool) -> None:
        self._requests = requests
        self._about = f"{stream}.{name}"
        self._receiver = receiver
        self._ordered = ordered
        self._pin = ""  # by which the server knows the one that receives
        self._inbox: Any = None  # the subscription that they come by
        self._heard = 0.0
        self._taking = False
        self.credit = 0  # events asked for that have not come

    async def ask(self, want: int) -> None:
        """Ask for so many more; while the connection is lost for nothing."""
        self.credit += want
        try:
            client = self._requests.client
            if self._inbox is None:
                self._inbox = await client.subscribe(
                    client.new_inbox(), cb=self._take, pending_msgs_limit=ROOM, pending_bytes_limit=ROOM_BYTES
                )
            body: dict[str, Any] = {"batch": want, "expires": EXPIRES * NS, "idle_heartbeat": SIGN * NS}
            if self._ordered:  # asking again is its sign that it lives
                body |= {"group": ORDER, "id": self._pin, "expires": 2 * SIGN * NS, "idle_heartbeat": (SIGN - 1) * NS}
            self._heard = time.monotonic()
            asked = json.dumps(body).encode()
            await client.publish(f"$JS.API.CONSUMER.MSG.NEXT.{self._about}", asked, reply=self._inbox.subject)
        except AwayError:
            self.credit = 0  # who asks is told when it is back

    def look(self) -> None:
        """Take what was asked for as lost when the server has given no sign for long."""
        if self.credit and time.monotonic() - self._heard > DEAF:
            self.credit = 0

    async def withdraw(self) -> None:
        """Have what was asked for go to others; what is on its way is taken before this returns.

        Asking about the consumer makes the server forget requests of inboxes that have gone. Else it would try to serve them first with
        what is given back, and put that behind what comes after it.
        """
        inbox, self._inbox, self.credit = self._inbox, None, 0
        if inbox is None:
            return
        try:
            # `unsubscribe` would drop what is on its way, and `drain` flushes: see Connection
            await self._requests.client._send_unsubscribe(inbox._id)
            await self._requests.api(f"CONSUMER.INFO.{self._about}")
            while inbox.pending_msgs or self._taking:  # noqa: ASYNC110 -- the client tells nobody
                await asyncio.sleep(0.001)
        finally:
            with suppress(Exception):  # away or closed: then the server has forgotten it, too
                await inbox.unsubscribe()

    async def _take(self, message: Any) -> None:
        self._taking = True
        try:
            headers = message.headers
            self._heard = time.monotonic()
            if headers and "Status" in headers and not message.reply:
                await self._status(headers)
                return
            self.credit = max(0, self.credit - 1)
            if headers and "Nats-Pin-Id" in headers:
                self._pin = headers["Nats-Pin-Id"]
            await self._receiver.taken(message)
        finally:
            self._taking = False

    async def _status(self, headers: Any) -> None:
        status = headers["Status"]
        if status == "100":
            return
        if status in {"408", "404"}:  # its time is over
            self.credit = max(0, self.credit - int(headers.get("Nats-Pending-Messages", self.credit)))
        elif status == NOBODY or "Deleted" in str(headers.get("Description", "")):
            self._receiver.finish()  # moved, or forgotten: who consumes comes again
            return
        else:
            if status == "423":
                self._pin = ""  # another receives now
            self.credit = 0
            await asyncio.sleep(AGAIN)
        await self._receiver.ask()
