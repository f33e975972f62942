"""A call of any kind as its caller has it, and what an answer or an end means."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from micro.errors import LOCAL, Code, DeadlineExceeded, Internal, ServiceError
from micro.rpc import errors
from micro.rpc.caller import Stream
from micro.rpc.codec import Decode, Encode
from micro.rpc.driver import ClientCall, Status
from micro.rpc.outgoing import Plan
from micro.rpc.resolve import missing

GO_CLIENT = "go.micro.client"  # the id under which a proxy reports what kept it from calling


class RpcStream(Stream[Any, Any]):
    """A call of any kind, messages encoded and decoded."""

    def __init__(
        self, call: ClientCall, plan: Plan, form: tuple[Encode, Decode], failed: Callable[[Status], ServiceError]
    ) -> None:
        """`failed` gives the error of an end other than OK."""
        self._call = call
        self._plan = plan
        self._encode, self._decode = form
        self._error = failed

    async def send(self, message: Any) -> None:
        try:
            await self._call.write(self._encode(message))
        except Status as status:
            raise self._error(status) from status

    def end(self) -> None:
        self._call.half_close()

    async def started(self) -> None:
        try:
            await self._call.headers()
        except Status as status:
            raise self._error(status) from status

    async def receive(self) -> Any:
        try:
            message = await self._call.read()
        except Status as status:
            raise self._error(status) from status
        return None if message is None else read(self._plan, self._decode, message)

    async def __aiter__(self) -> AsyncIterator[Any]:
        next_message, plan, decode = self._call.read, self._plan, self._decode
        try:
            while (message := await next_message()) is not None:
                yield read(plan, decode, message)
        except Status as status:
            raise self._error(status) from status

    def cancel(self) -> None:
        self._call.cancel()


def read(plan: Plan, decode: Decode, message: bytes) -> Any:
    """Decode an answer; one that does not fit is no fault of the caller's arguments."""
    try:
        return decode(message)
    except ServiceError as problem:
        raise Internal(f"{plan.name}: the answer does not fit: {problem}", id=LOCAL) from problem


def failure(status: Status, plan: Plan) -> ServiceError:
    """Give the error of a call's end."""
    if not status.message.startswith("{"):
        if status.code == Code.CANCELLED:
            return errors.unasked(status)
        if status.code == Code.DEADLINE_EXCEEDED:
            return DeadlineExceeded(f"{plan.name}: no answer in time", id=LOCAL)
        if status.code == Code.OK:
            return Internal(f"{plan.name}: {status.message}", id=LOCAL)
    error = errors.from_status(status)
    if error.id == GO_CLIENT and error.detail == f"service {plan.service}: route not found":
        return missing(plan.service)  # a proxy says 500, as the original's do; to callers it is what it is
    return error
