"""Several real Redis as one: a primary and its replica that sentinels watch, and a cluster."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from micro.testing.servers.redis import redis
from micro.testing.servers.server import READY, Server, free_port, program

MASTER = "shelf"  # the name by which sentinels know the primary
NOTICED = 300  # milliseconds of silence until a server counts as gone
_SLOTS = 16_384
_AT_ONCE = ("--repl-diskless-sync-delay", "0")  # a replica is given what there is without waiting for others


@contextmanager
def watched(folder: Path, *options: str) -> Iterator[tuple[list[Server], list[Server]]]:
    """Give a primary and its replica, and three sentinels, of which two decide; all of them run and know each other."""
    primary = redis(_in(folder, "primary"), *_AT_ONCE, *options)
    started: list[Server] = []
    try:
        started.append(_start(primary))
        replica = redis(_in(folder, "replica"), "--replicaof", f"127.0.0.1 {primary.port}", *options)
        started.append(_start(replica))
        sentinels = [_sentinel(_in(folder, f"sentinel-{number}"), primary) for number in range(3)]
        started.extend(_start(each) for each in sentinels)
        until(lambda: all(_knows_all(each.port) for each in sentinels))
        until(lambda: "master_link_status:up" in ask(replica.port, "INFO", "replication"))
        yield [primary, replica], sentinels
    finally:
        for server in reversed(started):
            server.stop()


@contextmanager
def cluster(folder: Path, *options: str) -> Iterator[list[Server]]:
    """Give three primaries and a replica of the first, which is the last of the list; all slots are served."""
    started: list[Server] = []
    try:
        for number in range(4):
            own = [
                "--cluster-enabled",
                "yes",
                "--cluster-node-timeout",
                str(2 * NOTICED),
                "--cluster-port",
                str(free_port()),
            ]
            started.append(_start(redis(_in(folder, f"node-{number}"), *own, *_AT_ONCE, *options)))
        first, *others, replica = started
        for number, node in enumerate((first, *others)):
            begin, end = number * _SLOTS // 3, (number + 1) * _SLOTS // 3 - 1
            ask(node.port, "CLUSTER", "ADDSLOTSRANGE", str(begin), str(end))
        bus = ask(first.port, "CONFIG", "GET", "cluster-port").split()[-1]
        for node in (*others, replica):
            ask(node.port, "CLUSTER", "MEET", "127.0.0.1", str(first.port), bus)
        until(lambda: all("cluster_known_nodes:4" in ask(node.port, "CLUSTER", "INFO") for node in started))
        ask(replica.port, "CLUSTER", "REPLICATE", ask(first.port, "CLUSTER", "MYID").split()[-1])
        until(lambda: all("cluster_state:ok" in ask(node.port, "CLUSTER", "INFO") for node in started))
        until(lambda: "master_link_status:up" in ask(replica.port, "INFO", "replication"))
        yield started
    finally:
        for server in reversed(started):
            server.stop()


def ask(port: int, *words: str) -> str:
    """Ask a Redis by itself; gives the whole answer as it came, RuntimeError for one that is an error."""
    with socket.create_connection(("127.0.0.1", port), 1) as connection:
        parts = [f"*{len(words)}", *(part for word in words for part in (f"${len(word)}", word))]
        connection.sendall("\r\n".join([*parts, ""]).encode())
        connection.settimeout(1)
        answer = connection.recv(65_536).decode()
    if answer.startswith("-"):
        raise RuntimeError(f"{words[0]}: {answer.strip()}")
    return answer


def until(true: Callable[[], bool]) -> None:
    """Wait until something is so, for as long as a server may take to start."""
    end = time.monotonic() + READY
    while not true():
        if time.monotonic() > end:
            raise RuntimeError("the servers did not find each other")
        time.sleep(0.02)


def _in(folder: Path, name: str) -> Path:
    made = folder / name
    made.mkdir(exist_ok=True)
    return made


def _start(server: Server) -> Server:
    server.start()
    return server


def _sentinel(folder: Path, primary: Server) -> Server:
    path = program("redis-server", "apt-get install --no-install-recommends redis-server")
    lines = [
        f"sentinel monitor {MASTER} 127.0.0.1 {primary.port} 2",
        f"sentinel down-after-milliseconds {MASTER} {NOTICED}",
        f"sentinel failover-timeout {MASTER} 2000",
    ]
    (folder / "sentinel.conf").write_text("\n".join([*lines, ""]))

    def command(folder: Path, port: int) -> Sequence[str]:
        fixed = ["--sentinel", "--bind", "127.0.0.1", "--daemonize", "no", "--dir", str(folder)]
        return [path, str(folder / "sentinel.conf"), "--port", str(port), *fixed]

    return Server(folder, command, lambda port: ask(port, "PING").startswith("+PONG"))


def _knows_all(port: int) -> bool:
    known = ask(port, "SENTINEL", "MASTER", MASTER).split()
    counts = [int(known[known.index(name) + 2]) for name in ("num-slaves", "num-other-sentinels")]
    return counts == [1, 2]
