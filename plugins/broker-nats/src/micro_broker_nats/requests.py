"""Questions to JetStream: many at once over one inbox, each answered, refused, or given up in time."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Mapping
from itertools import count
from typing import Any

from micro_broker_nats.connection import AwayError, Connection

ROOM = 1_000_000  # answers that may wait to be read, and a byte limit that none reaches: they are ours, and bounded
ROOM_BYTES = 2**40
NOBODY = "503"  # the status that says that nobody hears a subject
API = "$JS.API."


class JetStreamError(Exception):
    """What JetStream answered: `code` is of its kind, `err` says which; the numbers are those of its documentation."""

    code = err = 0

    def __init__(self, code: int, err: int, words: str) -> None:
        super().__init__(words)
        self.code = code
        self.err = err


class NobodyError(JetStreamError):
    """Nobody hears this subject: what it is of is not there, or JetStream is not."""

    def __init__(self, subject: str) -> None:
        super().__init__(503, 0, f"JetStream does not answer to {subject}")


class _Question:
    __slots__ = ("answer", "many", "parts", "until")

    def __init__(self, answer: asyncio.Future[Any], until: float, *, many: bool) -> None:
        self.answer = answer
        self.until = until
        self.many = many
        self.parts: list[Any] = []


class Requests:
    """Asks, over a connection that may be lost: what waits for an answer then fails."""

    def __init__(self, connection: Connection, timeout: float, address: str) -> None:
        self._connection = connection
        self._timeout = timeout
        self._address = address
        self._prefix = ""
        self._numbers = count()
        self._asked: dict[str, _Question] = {}
        self._order: deque[str] = deque()  # as they were asked, and so as they are given up
        self._timer: asyncio.TimerHandle | None = None

    async def open(self) -> None:
        """Listen for answers."""
        client = self._connection.client
        self._prefix = client.new_inbox()
        await client.subscribe(
            f"{self._prefix}.*", cb=self._take, pending_msgs_limit=ROOM, pending_bytes_limit=ROOM_BYTES
        )

    @property
    def client(self) -> Any:
        """The connected client."""
        return self._connection.client

    def lost(self) -> None:
        """Tell all who wait that the connection is gone."""
        asked, self._asked = self._asked, {}
        self._order.clear()
        for question in asked.values():
            _fail(question.answer, AwayError(f"connection to {self._address} lost"))

    def close(self) -> None:
        """Give up all that is asked."""
        self.lost()
        if self._timer is not None:
            self._timer.cancel()

    async def ask(
        self, subject: str, payload: bytes = b"", headers: dict[str, str] | None = None, *, many: bool = False
    ) -> asyncio.Future[Any]:
        """Send a question; gives what its answer will be in: a message, or with `many` those up to a status, and that."""
        client = self._connection.client
        loop = asyncio.get_running_loop()
        token = str(next(self._numbers))
        question = _Question(loop.create_future(), loop.time() + self._timeout, many=many)
        self._asked[token] = question
        self._order.append(token)
        if self._timer is None:
            self._timer = loop.call_later(self._timeout, self._look)
        try:
            await client.publish(subject, payload, reply=f"{self._prefix}.{token}", headers=headers)
        except BaseException:
            self._asked.pop(token, None)
            raise
        return question.answer

    async def api(self, what: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Ask JetStream's API; raises JetStreamError for what it refuses."""
        message = await (await self.ask(API + what, json.dumps(body).encode() if body is not None else b""))
        return told(message.data)

    async def _take(self, message: Any) -> None:
        token = message.subject.rpartition(".")[2]
        question = self._asked.get(token)
        if question is None:
            return
        status = message.headers.get("Status") if message.headers else None
        if question.many and status is None:
            question.parts.append(message)
            return
        del self._asked[token]
        if question.answer.done():
            return  # who asked has gone
        if status == NOBODY:
            _fail(question.answer, NobodyError(message.subject))
        else:
            question.answer.set_result((question.parts, message) if question.many else message)

    def _look(self) -> None:
        """Give up what was asked too long ago."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        while self._order:
            question = self._asked.get(self._order[0])
            if question is not None:
                if question.until > now:
                    self._timer = loop.call_at(question.until, self._look)
                    return
                del self._asked[self._order[0]]
                _fail(question.answer, TimeoutError(f"no answer in {self._timeout:g} s"))
            self._order.popleft()
        self._timer = None


def told(data: bytes) -> dict[str, Any]:
    """Read an answer; raises JetStreamError where it is a refusal."""
    answer: dict[str, Any] = json.loads(data)
    error = answer.get("error")
    if error:
        raise JetStreamError(error.get("code", 0), error.get("err_code", 0), error.get("description", "refused"))
    return answer


def _fail(answer: asyncio.Future[Any], why: Exception) -> None:
    if not answer.done():
        answer.set_exception(why)
        answer.exception()  # nobody may be waiting any more
