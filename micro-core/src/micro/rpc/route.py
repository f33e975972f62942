"""An endpoint as its server holds it: what answers it, and the forms of its messages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from micro.errors import ServiceError
from micro.rpc.codec import PLAIN, Codec, Decode, Encode, single_keys
from micro.rpc.driver import START, WAIT, ServerCall
from micro.rpc.endpoint import Endpoint
from micro.rpc.invoke import Invoke


class Route:
    """An endpoint, ready to answer."""

    __slots__ = ("codecs", "endpoint", "error_id", "invoke", "name", "public", "span", "strict", "unary", "verdict")

    def __init__(self, endpoint: Endpoint, invoke: Invoke, *, error_id: str, span: str, strict: bool = False) -> None:
        self.endpoint = endpoint
        self.invoke: Any = invoke
        self.name = endpoint.name
        self.span = span
        self.error_id = error_id
        self.public = endpoint.public
        self.strict = strict  # JSON with a key twice is refused
        self.unary = not endpoint.client_streaming and not endpoint.server_streaming
        self.verdict = START if endpoint.client_streaming else WAIT
        self.codecs: dict[bytes, tuple[Decode, Encode]] = {}

    def pair(self, codec: Codec) -> tuple[Decode, Encode]:
        """Give the reader of requests and the writer of answers in a codec."""
        found = self.codecs.get(codec.content_type)
        if found is None:
            decode, _ = codec.pair(self.endpoint.request)
            if self.strict and codec is PLAIN:
                decode = single_keys(decode)
            _, encode = codec.pair(self.endpoint.response)
            found = self.codecs[codec.content_type] = decode, encode
        return found


async def requests(call: ServerCall, decode: Decode) -> AsyncIterator[Any]:
    while (message := await call.read()) is not None:
        yield decode(message)


def encoded(encode: Encode, response: Any, route: Route) -> bytes:
    try:
        return encode(response)
    except ServiceError as problem:  # the handler's fault, not its caller's
        raise TypeError(f"{route.name} gave what its annotation does not allow: {problem}") from problem
