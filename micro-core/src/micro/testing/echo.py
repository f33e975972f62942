"""A service for the RPC suite: whatever a call can do, it does on demand, and counts what it saw."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

from micro.errors import Code
from micro.rpc.driver import START, TAKEN, WAIT, Headers, ServerCall, Status

PREFIX = "/test.Echo/"
DETAILS = b"in the words of the test service"
# How generated code would declare each method: does it stream requests, does it stream answers.
KINDS = {
    "Unary": (False, False), "Meta": (False, False), "Fail": (False, True), "Raise": (False, False),
    "Sleep": (False, False), "Remaining": (False, False), "Shorten": (False, False), "Collect": (True, False),
    "Hold": (True, False), "Repeat": (False, True), "Chat": (True, True), "Early": (True, False),
}  # fmt: skip


def path(method: str) -> bytes:
    """Give a method's path."""
    return (PREFIX + method).encode()


class Service:
    """What both implementations of the test service, on our interface and on plain grpc, count and wait for."""

    def __init__(self) -> None:
        self.begun = 0  # calls that reached a handler
        self.cancelled = 0  # handlers that were cancelled
        self.over = 0  # handlers that have ended, however
        self.completed = 0  # client streams that ended by half-close
        self.read = 0  # request messages read by Hold and Collect
        self.sent = 0  # answers of Repeat that `write` has taken
        self.gate = asyncio.Event()  # what Hold waits for before it reads

    async def until(self, fact: Callable[[], bool], *, within: float = 5.0) -> None:
        """Wait for a fact about the service; a test fails when it does not come."""
        end = time.monotonic() + within
        while not fact():
            counts = {name: value for name, value in vars(self).items() if isinstance(value, int)}
            assert time.monotonic() < end, f"not within {within} s; the service counts {counts}"
            await asyncio.sleep(0.005)


class Echo(Service):
    """The test service as a dispatcher: what our listeners serve."""

    def __init__(self) -> None:
        super().__init__()
        self.paths: list[bytes] = []
        self.calls: list[ServerCall] = []
        self._methods: dict[bytes, Callable[[ServerCall], Awaitable[None]]] = {
            path(name): getattr(self, f"_{name.lower()}") for name in KINDS
        }

    def open(self, call: ServerCall) -> int:
        """Refuse unknown paths at once; wait for the message where a method takes but one."""
        self.paths.append(call.path)
        self.calls.append(call)
        del self.calls[:-100], self.paths[:-1000]
        if call.path not in self._methods:
            call.finish(Code.UNIMPLEMENTED, f"unknown service {call.path.decode('utf-8', 'replace')}")
            return TAKEN
        call.slot = self._methods[call.path]
        return START if KINDS[call.path.decode()[len(PREFIX) :]][0] else WAIT

    def words(self, _call: ServerCall, code: int, text: str) -> tuple[int, str, bytes]:
        """Say it so that a test knows who said it."""
        return code, f"echo: {text}", code.to_bytes(1, "big") + DETAILS

    async def run(self, call: ServerCall) -> None:
        """Answer one call."""
        self.begun += 1
        try:
            await call.slot(call)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        except Status as status:
            call.finish(status.code, status.message, status.details, status.trailers)
        except Exception as error:  # as `server.py` does for handlers, whose bugs must not keep a peer waiting
            call.finish(Code.UNKNOWN, f"{type(error).__name__}: {error}")
        finally:
            self.over += 1

    async def _unary(self, call: ServerCall) -> None:
        call.reply(await _one(call))

    async def _meta(self, call: ServerCall) -> None:
        message = await _one(call)
        call.send_headers([pair for pair in call.headers if pair[0].startswith(b"x-")])
        await call.write(message)
        call.finish(trailers=[pair for pair in call.headers if pair[0].startswith(b"t-")])

    async def _fail(self, call: ServerCall) -> None:
        wanted = Failure.decode(await _one(call))
        for index in range(wanted.before):
            await call.write(b"%d" % index)
        call.finish(wanted.code, wanted.message, wanted.details, wanted.trailers)

    async def _raise(self, call: ServerCall) -> None:
        await _one(call)
        raise ZeroDivisionError("on purpose")

    async def _sleep(self, call: ServerCall) -> None:
        seconds = float(await _one(call))
        await asyncio.sleep(seconds)
        call.reply(b"slept")

    async def _remaining(self, call: ServerCall) -> None:
        await _one(call)
        call.reply(b"none" if call.deadline is None else b"%f" % (call.deadline - time.monotonic()))

    async def _shorten(self, call: ServerCall) -> None:
        call.shorten(time.monotonic() + float(await _one(call)))
        await asyncio.sleep(60)

    async def _collect(self, call: ServerCall) -> None:
        total = 0
        while (message := await call.read()) is not None:
            self.read += 1
            total += len(message)
        self.completed += 1
        call.reply(b"%d" % total)

    async def _hold(self, call: ServerCall) -> None:
        await self.gate.wait()
        await self._collect(call)

    async def _repeat(self, call: ServerCall) -> None:
        count, size = map(int, (await _one(call)).split())
        for index in range(count):
            await call.write(index.to_bytes(4, "big").ljust(size, b"."))
            self.sent += 1
        call.finish()

    async def _chat(self, call: ServerCall) -> None:
        call.send_headers([(b"x-hello", b"chat")])
        while (message := await call.read()) is not None:
            await call.write(message)
        call.finish()

    async def _early(self, call: ServerCall) -> None:
        call.reply(b"no need to read")


async def _one(call: ServerCall) -> bytes:
    message = await call.read()
    if message is None:
        raise Status(Code.INVALID_ARGUMENT, "one message was expected, none came")
    return message


class Failure:
    """What `Fail` is asked for: so many messages, then this status."""

    def __init__(
        self, code: int, message: str = "", *, details: bytes = b"", trailers: Headers = (), before: int = 0
    ) -> None:
        self.code = code
        self.message = message
        self.details = details
        self.trailers = trailers
        self.before = before

    def encode(self) -> bytes:
        """Give it as `Fail`'s request."""
        trailers = [[key.decode(), value.decode()] for key, value in self.trailers]
        return json.dumps([self.code, self.message, self.details.hex(), trailers, self.before]).encode()

    @classmethod
    def decode(cls, data: bytes) -> Failure:
        """Read `Fail`'s request."""
        code, message, details, trailers, before = json.loads(data)
        pairs = [(key.encode(), value.encode()) for key, value in trailers]
        return cls(code, message, details=bytes.fromhex(details), trailers=pairs, before=before)


def echo_headers(metadata: Any, prefix: str) -> tuple[tuple[str, Any], ...]:
    """Pick a plain grpc call's metadata by prefix, as `Meta` does."""
    return tuple((key, value) for key, value in metadata if key.startswith(prefix))
