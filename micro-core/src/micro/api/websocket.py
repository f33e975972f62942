"""A call over a websocket: the first frame opens it, each further one is a message, each answer one text frame."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from micro import limits
from micro.api import answers, body, web
from micro.api.call import Call
from micro.api.gateway import Gateway, error_of
from micro.errors import ServiceError
from micro.rpc.driver import ClientCall, Status

from aiohttp.http import WSCloseCode, WSMsgType  # isort: skip  # after `web`, which says what of aiohttp there is
from aiohttp.web_ws import WebSocketResponse  # isort: skip

PING = 15.0  # seconds between pings; a client that does not answer is gone
FIRST = 60.0  # seconds that a client has for its first frame
WRITE = 10.0  # seconds that it may take to read one


async def serve(
    request: web.BaseRequest, headers: Mapping[str, str], gateway: Gateway, call: Call, *, streaming: bool
) -> web.StreamResponse:
    """Shake hands with a client whose call was admitted, and carry its frames both ways until either side ends."""
    offered = request.headers.get("Sec-WebSocket-Protocol", "")
    socket = WebSocketResponse(
        protocols=[each.strip() for each in offered.split(",") if each.strip()],
        heartbeat=PING,
        max_msg_size=limits.MESSAGE,
        compress=False,
    )
    socket.headers.update(headers)
    await socket.prepare(request)
    try:
        await _carry(socket, gateway, call, streaming=streaming)
    except ServiceError as error:
        await socket.send_str(answers.error_json(error).decode())
        await socket.close(code=WSCloseCode.INTERNAL_ERROR)
    except TimeoutError:
        await socket.close(code=WSCloseCode.POLICY_VIOLATION)
    else:
        await socket.close()
    return socket


async def _carry(socket: WebSocketResponse, gateway: Gateway, call: Call, *, streaming: bool) -> None:
    first = await _frame(socket, FIRST)
    if first is None:
        return
    async with gateway.stream(call) as upstream:
        await upstream.write(first)
        if not streaming:
            upstream.half_close()
        sending = asyncio.create_task(_send(socket, upstream, call))
        try:
            while (item := await upstream.read()) is not None:
                async with asyncio.timeout(WRITE):
                    await socket.send_str(item.decode())
        finally:
            sending.cancel()
            (failure,) = await asyncio.gather(sending, return_exceptions=True)
        if isinstance(failure, ServiceError):
            raise failure


async def _send(socket: WebSocketResponse, upstream: ClientCall, call: Call) -> None:
    """Pass frames on; a closed socket, or one that sends what is no JSON, ends the requests."""
    try:
        while (message := await _frame(socket, None)) is not None:
            await upstream.write(message)
    except Status as status:
        raise error_of(status, call) from status
    except ServiceError:
        upstream.cancel()
        raise
    upstream.half_close()


async def _frame(socket: WebSocketResponse, timeout: float | None) -> bytes | None:
    """Give the next frame's JSON; None once the socket is closed."""
    frame = await socket.receive(timeout)
    if frame.type == WSMsgType.TEXT:
        data: bytes = frame.data.encode()
    elif frame.type == WSMsgType.BINARY:
        data = frame.data
    else:
        return None
    body.checked(data)
    return data
