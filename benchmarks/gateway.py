"""HTTP calls through the gateway, with all its checks, against a minimal one written by hand on the same HTTP server.

Both pass JSON to the same backend, which costs next to nothing (frames.py), over the same transport; the minimal one
checks nothing and limits nothing. Interleaved pairs; the rate is the upper quartile of the rounds, the time what the
gateway's process used for a call.

    benchmarks/gateway.py [--rounds 11] [--seconds 1.0]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import quantiles
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.frames import Backend
from benchmarks.proxy import used

held: list[Any] = []  # doors that nobody holds are closed
ANSWER = b'{"msg":"Hello x","at":"2030-01-31T12:00:00Z","tags":["a","b","c"]}'
BODY = b'{"name":"x","count":3,"tags":["a","b","c"]}'


async def backend(_: str) -> str:
    server = await asyncio.get_running_loop().create_server(lambda: Backend(ANSWER), "127.0.0.1", 0)
    held.append(server)
    return "{}:{}".format(*server.sockets[0].getsockname())


async def ours(target: str) -> str:
    """The gateway as its process has it: tokens verified and exchanged, rules, routes from a registry's watch."""
    from micro.api.call import Onward
    from micro.api.http import HttpApi
    from micro.api.routes import GatewayRoutes
    from micro.auth.api import Auth
    from micro.auth.guard import AuthGuard
    from micro.auth.store import StoreAuth
    from micro.auth.wire import token_out
    from micro.proto import auth_pb2
    from micro.proxy.dispatch import ForwardingDispatcher
    from micro.proxy.driver import Listen
    from micro.proxy.exchange import Exchange
    from micro.registry.api import Registry
    from micro.registry.driver import ALL, Node, ServiceRecord
    from micro.registry.memory import MemoryRegistry
    from micro.rpc.nghttp2 import Nghttp2Transport
    from micro.rpc.server import Server
    from micro.store.api import Store
    from micro.store.memory import MemoryStore

    auth = Auth(StoreAuth(store=Store(MemoryStore(), database="micro", table="auth")), namespace="shop")
    await auth.open()
    await auth.accounts.create("ann", secret="a long secret", scopes=("admin",))
    token = (await auth.login("ann", "a long secret")).access_token
    guard = AuthGuard("api", "micro", await auth.keys(), driver=auth.driver, core=True)
    await guard.start()

    class Asking:
        """Calls the one method of auth that the exchange needs."""

        async def call(self, service: str, endpoint: str, request: Any, response: Any, **options: Any) -> Any:
            found = await auth.exchange(request.token, audience=[request.audience])
            return auth_pb2.ExchangeResponse(token=token_out(found))

    registry = Registry(MemoryRegistry(), domain=ALL, owner="bench")
    await registry.open()
    await registry.domain("shop").register(ServiceRecord("orders", nodes=[Node("o1", target)]), ttl=0)
    routes = GatewayRoutes(registry, {})
    await routes.open()
    stack = Nghttp2Transport()
    dispatcher = ForwardingDispatcher(
        "api",
        Server("api", transport=stack),
        guard=guard,
        routes=routes,
        forwarder=Onward(),
        edge=True,
        exchange=Exchange(Asking()),
    )
    door = HttpApi(routes=routes)
    (address,) = await door.start(Listen("127.0.0.1:0", stack), dispatcher)
    held.extend([door, routes])
    return f"{address} {token}"


async def minimal(target: str) -> str:
    """What one writes by hand with aiohttp and a channel, checking nothing."""
    from aiohttp import web

    from micro.rpc.driver import JSON
    from micro.rpc.nghttp2 import Nghttp2Transport

    channel = Nghttp2Transport().channel(target)

    async def call(request: web.Request) -> web.Response:
        service, method = request.match_info["service"], request.match_info["method"]
        path = f"/{service}.{service.title()}/{method.title()}".encode()
        headers = [
            (b"authorization", request.headers["Authorization"].encode()),
            (b"x-content-type", b"application/json"),
        ]
        reply = await channel.unary(path, await request.read(), headers, content_type=JSON, timeout=10)
        return web.Response(body=reply.message, content_type="application/json")

    app = web.Application()
    app.add_routes([web.post("/{service}/{method}", call)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    held.append(runner)
    return "{}:{}".format(*runner.addresses[0])


class Client(asyncio.Protocol):
    """One connection that asks, and asks again once it is answered."""

    def __init__(self, request: bytes, until: float) -> None:
        self._request = request
        self._until = until
        self._got = b""
        self.answered = 0
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._got += data
        if not self._got.endswith(ANSWER):
            return
        if not self._got.startswith(b"HTTP/1.1 200"):
            self.ended.set_exception(RuntimeError(self._got.decode()))
            return
        self._got = b""
        self.answered += 1
        if time.monotonic() < self._until:
            self._transport.write(self._request)
        elif not self.ended.done():
            self.ended.set_result(None)


async def load(address: str, token: str, seconds: float, flight: int) -> float:
    """Give calls a second on so many connections."""
    host, _, port = address.rpartition(":")
    request = (
        f"POST /orders/place HTTP/1.1\r\nHost: {address}\r\nUser-Agent: bench/1\r\nAccept: */*\r\n"
        f"Authorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n"
    ).encode() + BODY
    began = time.monotonic()
    loop = asyncio.get_running_loop()
    clients = [
        (await loop.create_connection(lambda: Client(request, began + seconds), host, int(port)))
        for _ in range(flight)
    ]  # fmt: skip
    await asyncio.wait_for(asyncio.gather(*(client.ended for _, client in clients)), seconds + 30)
    took = time.monotonic() - began
    for transport, _ in clients:
        transport.close()
    return sum(client.answered for _, client in clients) / took


def serve(role: str, target: str) -> None:
    """In a process of its own: open the door, say where, stay until told to end."""

    async def run() -> None:
        address = await globals()[role](target)
        gc.freeze()  # as the platform's processes do when they are ready
        print(address, flush=True)
        ended = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
        await ended.wait()
        os._exit(0)

    asyncio.run(run())


class Process:
    """A role's process, and where its door is."""

    def __init__(self, role: str, target: str = "") -> None:
        self.role = role
        command = [sys.executable, __file__, "--serve", role, "--target", target]
        self._child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._child.stdout is not None
        self.address, *more = self._child.stdout.readline().split()
        self.token = more[0] if more else "x" * 900  # about as long as a real one

    def measure(self, seconds: float, flight: int) -> tuple[float, float]:
        """Give calls a second, and seconds of processor time for one."""
        before = used(self._child.pid)
        rate = asyncio.run(load(self.address, self.token, seconds, flight))
        return rate, (used(self._child.pid) - before) / (rate * seconds)

    def close(self) -> None:
        self._child.terminate()
        self._child.wait()


def compare(pair: list[Process], *, rounds: int, seconds: float, flight: int) -> None:
    found: dict[str, list[tuple[float, float]]] = {one.role: [] for one in pair}
    for _ in range(rounds):
        for one in pair:
            found[one.role].append(one.measure(seconds, flight))
    rates = {role: quantiles([rate for rate, _ in all_], n=4)[2] for role, all_ in found.items()}
    times = {role: quantiles([spent * 1e6 for _, spent in all_], n=4)[0] for role, all_ in found.items()}
    print(
        f"{flight:3} in flight: {rates['ours']:6.0f}/s ours, {rates['minimal']:6.0f}/s minimal, "
        f"{rates['ours'] / rates['minimal']:.2f} x; processor {times['ours']:4.0f} us ours, "
        f"{times['minimal']:4.0f} us minimal"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--serve")
    parser.add_argument("--target", default="")
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.target)
        return
    echo = Process("backend")
    pair = [Process("ours", echo.address), Process("minimal", echo.address)]
    for flight in (1, 64):
        compare(pair, rounds=options.rounds, seconds=options.seconds, flight=flight)
    for one in (*pair, echo):
        one.close()


if __name__ == "__main__":
    main()
