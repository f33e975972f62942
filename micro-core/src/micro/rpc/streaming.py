"""The streams of answers under way on a server, so that watches do not keep it from stopping."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any, TypeVar, cast

from micro.errors import Unavailable
from micro.rpc.codec import Encode
from micro.rpc.driver import ServerCall
from micro.rpc.errors import to_wire
from micro.rpc.invoke import Answers
from micro.rpc.route import Route, encoded

T = TypeVar("T")

QUIET = 1.0  # seconds without an answer after which a stopping server ends a stream


class Shared:
    """A message for many streams, which is written once in each form that they ask for."""

    __slots__ = ("_forms", "_message")

    def __init__(self, message: Any) -> None:
        self._message = message
        self._forms: dict[Encode, bytes] = {}

    def form(self, encode: Encode, route: Route) -> bytes:
        """Give its bytes."""
        found = self._forms.get(encode)
        if found is None:
            found = self._forms[encode] = encoded(encode, self._message, route)
        return found


def shared(message: T) -> T:
    """Have an endpoint's stream give a message that others give too: it is to be kept, and given again."""
    return cast("T", Shared(message))


class _Progress:
    """How far a stream is, and the task that answers."""

    __slots__ = ("sent", "task")

    def __init__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.task = task
        self.sent = 0


class Streams:
    """One server's."""

    def __init__(self) -> None:
        self._open: dict[ServerCall, _Progress] = {}

    async def send(self, call: ServerCall, route: Route, answers: Answers, encode: Encode) -> None:
        """Send all answers, and end the call."""
        progress = self._open[call] = _Progress()
        empty_items = route.endpoint.empty_items
        try:
            async with aclosing(answers):
                async for item in answers:
                    if item is None and empty_items:
                        call.send_headers()
                    else:
                        # no name for the bytes: it would hold them until there are others
                        await call.write(
                            item.form(encode, route) if type(item) is Shared else encoded(encode, item, route)
                        )
                        progress.sent += 1
        finally:
            del self._open[call]
        call.finish()

    async def end_quiet(self, speaker: str) -> None:
        """End streams that say nothing for a while, until cancelled: their callers go elsewhere."""
        code, message, details = to_wire(Unavailable("the service is stopping"), speaker)
        while True:
            before = {call: progress.sent for call, progress in self._open.items()}
            await asyncio.sleep(QUIET)
            for call, progress in list(self._open.items()):
                if before.get(call) == progress.sent:
                    call.finish(code, message, details)
                    progress.task.cancel()
