"""Calls through the proxy's dispatcher, with all its checks, against a bare grpc.aio pass-through.

The backend and the load are the same for both and cost next to nothing (frames.py), each in a process of its own.
Interleaved pairs; the rate is the upper quartile of the rounds, the time what the proxy's process used for a call.

    benchmarks/proxy.py [--rounds 11] [--seconds 1.0]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from statistics import quantiles
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.frames import Backend, Load

held: list[Any] = []  # doors that nobody holds are closed
BODY = b"x" * 100
HEADERS = [
    (b"micro-namespace", b"shop"),
    (b"micro-trace-id", b"0123456789abcdef0123456789abcdef"),
    (b"micro-span-id", b"0123456789abcdef"),
    (b"x-content-type", b"application/grpc+proto"),
]


def transport() -> Any:
    from micro.rpc.nghttp2 import Nghttp2Transport

    return Nghttp2Transport()


async def backend(_: str) -> str:
    server = await asyncio.get_running_loop().create_server(lambda: Backend(BODY), "127.0.0.1", 0)
    held.append(server)
    return "{}:{}".format(*server.sockets[0].getsockname())


async def ours(target: str) -> str:
    """The dispatcher as the proxy has it: tokens verified and exchanged, rules, routes from a registry's watch."""
    from micro.auth.api import Auth
    from micro.auth.guard import AuthGuard
    from micro.auth.store import StoreAuth
    from micro.auth.wire import token_out
    from micro.proto import auth_pb2
    from micro.proxy.dispatch import ForwardingDispatcher
    from micro.proxy.exchange import Exchange
    from micro.proxy.routes import RegistryRoutes
    from micro.registry.api import Registry
    from micro.registry.driver import ALL, Node, ServiceRecord
    from micro.registry.memory import MemoryRegistry
    from micro.rpc.driver import edge
    from micro.rpc.server import Server
    from micro.store.api import Store
    from micro.store.memory import MemoryStore

    auth = Auth(StoreAuth(store=Store(MemoryStore(), database="micro", table="auth")), namespace="shop")
    await auth.open()
    await auth.accounts.create("ann", secret="a long secret", scopes=("admin",))
    token = (await auth.login("ann", "a long secret")).access_token
    guard = AuthGuard("proxy", "micro", await auth.keys(), driver=auth.driver, core=True)
    await guard.start()

    class Asking:
        """Calls the one method of auth that the exchange needs."""

        async def call(self, service: str, endpoint: str, request: Any, response: Any, **options: Any) -> Any:
            found = await auth.exchange(request.token, audience=[request.audience])
            return auth_pb2.ExchangeResponse(token=token_out(found))

    registry = Registry(MemoryRegistry(), domain=ALL, owner="bench")
    await registry.open()
    await registry.domain("shop").register(ServiceRecord("orders", nodes=[Node("o1", target)]), ttl=0)
    routes = RegistryRoutes(registry, {})
    await routes.open()
    stack = transport()
    own = Server("proxy", transport=stack)
    dispatcher = ForwardingDispatcher(
        "proxy",
        own,
        guard=guard,
        routes=routes,
        forwarder=stack.forwarder(),
        edge=True,
        exchange=Exchange(Asking()),
    )
    listener = stack.listener(dispatcher, limits=edge())
    held.extend([listener, routes])
    return f"{await listener.start('127.0.0.1:0')} {token}"


async def bare(target: str) -> str:
    """What one writes by hand with grpc.aio, checking nothing."""
    import grpc

    channel = grpc.aio.insecure_channel(target)
    stubs: dict[str, Any] = {}

    class PassOn(grpc.GenericRpcHandler):
        def service(self, details: Any) -> Any:
            stub = stubs.get(details.method) or stubs.setdefault(details.method, channel.unary_unary(details.method))

            async def call(request: bytes, context: Any) -> bytes:
                return await stub(request, metadata=context.invocation_metadata())

            return grpc.unary_unary_rpc_method_handler(call)

    listener = grpc.aio.server()
    listener.add_generic_rpc_handlers([PassOn()])
    port = listener.add_insecure_port("127.0.0.1:0")
    await listener.start()
    held.append(listener)
    return f"127.0.0.1:{port}"


async def load(address: str, token: str, seconds: float, flight: int) -> float:
    """Give calls a second with so many in flight."""
    host, _, port = address.rpartition(":")
    headers = [(b"authorization", b"Bearer " + token.encode()), *HEADERS]
    made = Load(b"/orders.Orders/Call", headers, BODY, flight=flight, seconds=seconds)
    transport, _ = await asyncio.get_running_loop().create_connection(lambda: made, host, int(port))
    rate = await asyncio.wait_for(made.ended, seconds + 30)
    transport.close()
    return rate


def used(pid: int) -> float:
    """Give the seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def serve(role: str, target: str) -> None:
    """In a process of its own: open the door, say where, stay until told to end."""

    async def run() -> None:
        address = await globals()[role](target)
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
        f"{flight:3} in flight: {rates['ours']:6.0f}/s ours, {rates['bare']:6.0f}/s bare, {rates['ours'] / rates['bare']:.2f} x;"
        f" processor {times['ours']:4.0f} us ours, {times['bare']:4.0f} us bare, {times['bare'] / times['ours']:.2f} x"
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
    pair = [Process("ours", echo.address), Process("bare", echo.address)]
    for flight in (1, 64):
        compare(pair, rounds=options.rounds, seconds=options.seconds, flight=flight)
    for one in (*pair, echo):
        one.close()


if __name__ == "__main__":
    main()
