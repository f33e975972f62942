"""Functions that are called with what comes: events of a topic, messages of the broker. They end with their service."""

from __future__ import annotations

import asyncio
import inspect
import logging
import typing
from collections.abc import Awaitable, Callable
from typing import Any

from micro.errors import ServiceError
from micro.service.process import Process

LONGEST = 5.0  # seconds between attempts to listen while nobody lets us

_log = logging.getLogger("micro.service")

Function = Callable[[Any], Awaitable[Any]]


class Listener:
    """One function and what it listens to. `kind` is `events` or `broker`, `options` those of its consume or subscribe."""

    def __init__(self, kind: str, topic: str, function: Callable[..., Any], options: dict[str, Any]) -> None:
        self.kind = kind
        self.topic = topic
        self.options = options
        self.name = getattr(function, "__qualname__", repr(function))
        self.listening = asyncio.Event()  # set for good once it has begun
        self._function = function
        self._type, self._whole = _parameter(function, self.name)

    async def run(self, process: Process) -> None:
        """Listen until cancelled; what the function raises is logged, and the next one comes."""
        wait = 0.05
        while True:
            try:
                await (self._consume(process) if self.kind == "events" else self._subscribe(process))
            except ServiceError as err:
                _log.warning("%s listens to %r again in a moment: %s", self.name, self.topic, err)
            await asyncio.sleep(wait)
            wait = min(wait * 2, LONGEST)

    async def _consume(self, process: Process) -> None:
        async with process.events.consume(self.topic, self._type, manual=True, **self.options) as deliveries:
            self.listening.set()
            async for delivery in deliveries:
                if await self._call(delivery, delivery):
                    await delivery.ack()
                else:
                    await delivery.nack()

    async def _subscribe(self, process: Process) -> None:
        async with process.broker.subscribe(self.topic, self._type, **self.options) as messages:
            self.listening.set()
            async for message in messages:
                await self._call(message, message)

    async def _call(self, came: Any, whole: Any) -> bool:
        try:
            given = whole if self._whole else came.payload
            if inspect.iscoroutinefunction(self._function):
                await self._function(given)
            else:
                await asyncio.to_thread(self._function, given)
        except Exception:  # whatever an author's function raises; one message must not end the others
            _log.exception("%s failed on a message of %r", self.name, self.topic)
            return False
        return True


def _parameter(function: Callable[..., Any], name: str) -> tuple[Any, bool]:
    """Give the type of a function's one parameter; True when it wants the delivery or message whole."""
    parameters = list(inspect.signature(function).parameters)
    if len(parameters) != 1:
        raise TypeError(f"{name}: takes one message, it has {len(parameters)} parameters")
    hint = typing.get_type_hints(function).get(parameters[0], bytes)
    origin = typing.get_origin(hint) or hint
    if getattr(origin, "__name__", "") in {"Delivered", "Received"} and origin.__module__.startswith("micro."):
        inner = typing.get_args(hint)
        return (None if not inner or inner[0] is bytes else inner[0]), True
    return (None if hint is bytes else hint), False
