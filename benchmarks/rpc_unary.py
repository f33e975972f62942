"""Unary calls and streams through the library, with identity, rules, deadline and trace, against a bare grpc.aio echo.

    python benchmarks/rpc_unary.py [--seconds 1.0] [--rounds 5] [--transport nghttp2] [--profile]

Each server is a process of its own; the pairs are interleaved, the ratio is of the medians.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

ID = "bench"


@dataclass
class Request:
    name: str = ""


@dataclass
class Response:
    msg: str = ""


class Bench:
    async def echo(self, request: Request) -> Response:
        return Response(request.name)

    async def count(self, upto: int) -> AsyncIterator[Response]:
        answer = Response("x" * 20)
        for _ in range(upto):
            yield answer


async def serve_ours(transport: str) -> None:
    from micro import Service
    from micro.auth.driver import Credentials
    from micro.auth.guard import AuthGuard
    from micro.auth.store import StoreAuth
    from micro.context import Account
    from micro.service import wiring
    from micro.service.process import Process
    from micro.store.api import Store
    from micro.store.memory import MemoryStore

    auth = StoreAuth(store=Store(MemoryStore(), plugin="memory"))
    await auth.open()
    made = await auth.create(Account(ID, type="service", scopes=("service",)), "a secret of the bench")
    token = await auth.token("micro", Credentials(ID, made.secret), ttl=900)
    guard = AuthGuard(ID, "micro", await auth.keys(), driver=auth)
    await guard.start()
    service = Service(ID, handlers=[Bench()])
    process = Process(transport=wiring.transport(transport), caller=object())
    address = await service.start(process, guard=guard)
    gc.freeze()  # as `service.run()` does when it is ready; the bare one's process does the same
    print(address, token.access_token, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def serve_bare() -> None:
    import grpc
    import grpc.aio

    from micro.proto import debug_pb2 as pb

    class Handler(grpc.GenericRpcHandler):
        def service(self, details):
            if details.method.endswith("Echo"):
                return grpc.unary_unary_rpc_method_handler(
                    self.echo, pb.SchemaRequest.FromString, pb.HealthResponse.SerializeToString
                )
            return grpc.unary_stream_rpc_method_handler(
                self.count, pb.LogRequest.FromString, pb.HealthResponse.SerializeToString
            )

        async def echo(self, request, context):
            return pb.HealthResponse(status=request.digest)

        async def count(self, request, context):
            answer = pb.HealthResponse(status="x" * 20)
            for _ in range(request.count):
                yield answer

    server = grpc.aio.server(handlers=[Handler()])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    gc.freeze()
    print(f"127.0.0.1:{port}", "-", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


class Server:
    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.address, self.token = self.process.stdout.readline().split()

    def stop(self) -> None:
        self.process.stdin.close()
        self.process.wait(10)


class Directory:
    """A registry's followed copy that knows one node."""

    def __init__(self, address: str) -> None:
        from micro.registry.driver import Node, ServiceRecord

        self._records = [ServiceRecord(ID, nodes=[Node(f"{ID}-1", address, {"interface": "1"})])]

    def get(self, name):
        return self._records

    async def close(self):
        pass


def ours(server: Server, transport: str):
    from micro import Client
    from micro.rpc.client import RpcCaller
    from micro.rpc.credentials import FixedToken
    from micro.rpc.resolve import ByRegistry
    from micro.service import wiring
    from micro.service.process import Process

    async def follow(_namespace, _service):
        return Directory(server.address)

    carrier = wiring.transport(transport)
    caller = RpcCaller(transport=carrier, resolver=ByRegistry(follow), credentials=FixedToken(server.token))
    client = Client(ID, process=Process(caller=caller, transport=carrier))
    request = Request("x" * 20)

    async def once():
        await client.call("Bench.Echo", request, Response)

    async def stream(count):
        async for _ in client.stream("Bench.Count", count, Response):
            pass

    return once, stream, caller.close


def bare(server: Server):
    import grpc.aio

    from micro.proto import debug_pb2 as pb

    channel = grpc.aio.insecure_channel(server.address)
    call = channel.unary_unary(
        "/bench.Bench/Echo",
        request_serializer=pb.SchemaRequest.SerializeToString,
        response_deserializer=pb.HealthResponse.FromString,
    )
    count = channel.unary_stream(
        "/bench.Bench/Count",
        request_serializer=pb.LogRequest.SerializeToString,
        response_deserializer=pb.HealthResponse.FromString,
    )
    request = pb.SchemaRequest(digest="x" * 20)

    async def once():
        await call(request)

    async def stream(number):
        async for _ in count(pb.LogRequest(count=number)):
            pass

    return once, stream, channel.close


async def rate(once, in_flight: int, seconds: float) -> float:
    end = time.perf_counter() + seconds
    done = 0

    async def worker():
        nonlocal done
        while time.perf_counter() < end:
            await once()
            done += 1

    begun = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(in_flight)))
    return done / (time.perf_counter() - begun)


async def stream_rate(stream, messages: int) -> float:
    begun = time.perf_counter()
    await stream(messages)
    return messages / (time.perf_counter() - begun)


async def compare(options) -> None:
    servers = Server("--serve", "ours", "--transport", options.transport), Server("--serve", "bare")
    try:
        mine, my_stream, my_close = ours(servers[0], options.transport)
        theirs, their_stream, their_close = bare(servers[1])
        for in_flight in (1, 64):
            for once in (mine, theirs):
                await rate(once, in_flight, 0.2)
            gc.freeze()  # the caller is both's, and as any process of a service
            pairs = [
                [await rate(once, in_flight, options.seconds) for once in (mine, theirs)] for _ in range(options.rounds)
            ]
            show(f"unary, {in_flight} in flight", pairs, "calls/s")
        pairs = [[await stream_rate(each, 5000) for each in (my_stream, their_stream)] for _ in range(options.rounds)]
        show("stream of answers", pairs, "messages/s")
        await my_close()
        await their_close()
    finally:
        for server in servers:
            server.stop()


def show(what: str, pairs: list[list[float]], unit: str) -> None:
    mine, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"{what:24} ours {mine:9.0f}   bare grpc.aio {theirs:9.0f} {unit}   ratio {mine / theirs:.2f}")


async def profiled(options) -> None:
    import cProfile
    import pstats

    server = Server("--serve", "ours", "--transport", options.transport)
    mine, _, close = ours(server, options.transport)
    await rate(mine, 64, 0.5)
    with cProfile.Profile() as profile:
        await rate(mine, 64, 3.0)
    pstats.Stats(profile).sort_stats("tottime").print_stats(40)
    await close()
    server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve")
    parser.add_argument("--transport", default="nghttp2")
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    if options.serve == "ours":
        work = serve_ours(options.transport)
    elif options.serve == "bare":
        work = serve_bare()
    else:
        work = profiled(options) if options.profile else compare(options)
    if options.serve != "bare":
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(work)
    else:
        asyncio.run(work)


if __name__ == "__main__":
    main()
