"""What EtcdRegistry says and keeps when etcd restarts, hangs, forgets, wants a log-in or TLS, or loses its leader."""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from micro.errors import DeadlineExceeded, PermissionDenied, Unauthenticated, Unavailable
from micro.plugin.driver import Change, Reset, Synced
from micro.registry.api import Registry
from micro.registry.driver import Event
from micro.testing.registry import node_ids, record
from micro.testing.servers import Server, free_port
from micro.testing.servers.certificates import certificates
from micro.testing.servers.etcd import etcd, etcd_server
from micro_registry_etcd import EtcdRegistry, EtcdSettings
from micro_registry_etcd import etcd_pb2 as pb

__all__ = ["etcd_server"]


def registry(*ports: int, domain: str = "shop", **more: Any) -> Registry:
    scheme = "https" if "ca" in more else "http"
    endpoints = [f"{scheme}://127.0.0.1:{port}" for port in ports]
    settings = EtcdSettings(endpoints=endpoints, **({"timeout": 1.0, "connect_timeout": 1.0} | more))
    return Registry(EtcdRegistry(settings), plugin="etcd", domain=domain, owner="shop/mine")


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Server]:
    server = etcd(tmp_path)
    server.start()
    yield server
    server.stop()


async def next_change(events: AsyncIterator[Event]) -> str:
    async with asyncio.timeout(15):
        while not isinstance(event := await anext(events), Change):
            pass
    return f"{event.kind} {event.key}"


async def test_registrations_and_watches_survive_a_restart(own: Server) -> None:
    async with registry(own.port) as one, aclosing(one.watch()) as events:
        await one.register(record(node="n1"), ttl=60)
        assert await next_change(events) == "put shop/greeter@latest/n1"
        own.kill()
        for call in (one.get("greeter"), one.register(record(node="n2"))):
            begun = time.monotonic()
            with pytest.raises((Unavailable, DeadlineExceeded)):
                await call
            assert time.monotonic() - begun < 4
        own.start()
        back = time.monotonic()
        async with asyncio.timeout(5):
            while True:
                try:
                    await one.register(record(node="n2"), ttl=60)
                    break
                except (Unavailable, DeadlineExceeded):
                    await asyncio.sleep(0.05)
        assert time.monotonic() - back < 5
        assert node_ids(await one.get("greeter")) == ["n1", "n2"]
        assert await one.renew(["n1"], ttl=60) == []
        assert await next_change(events) == "put shop/greeter@latest/n2"


async def test_one_that_hangs_is_given_up_and_goes_on(own: Server) -> None:
    async with registry(own.port) as one, aclosing(one.watch()) as events:
        assert isinstance(await anext(events), Synced)
        own.pause()
        begun = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            await one.register(record(node="n1"), ttl=60)
        assert time.monotonic() - begun < 3
        own.resume()
        async with asyncio.timeout(10):
            while True:
                try:
                    await one.register(record(node="n2"), ttl=60)
                    break
                except (Unavailable, DeadlineExceeded):
                    await asyncio.sleep(0.05)
        while await next_change(events) != "put shop/greeter@latest/n2":
            pass


async def test_a_watch_cut_off_while_much_changes_misses_nothing(own: Server) -> None:
    async with registry(own.port) as one, aclosing(one.watch()) as events:
        assert isinstance(await anext(events), Synced)
        seen: set[str] = set()

        async def follow() -> None:
            while len(seen) < 60:
                seen.add((await next_change(events)).rpartition("/")[2])

        following = asyncio.create_task(follow())
        for n in range(60):
            if n in {20, 40}:
                own.kill()
                own.start()
            async with asyncio.timeout(10):
                while True:
                    try:
                        await one.register(record(node=f"n{n}"), ttl=60)
                        break
                    except (Unavailable, DeadlineExceeded):
                        await asyncio.sleep(0.05)
        await asyncio.wait_for(following, 15)


async def test_who_missed_what_etcd_has_forgotten_begins_anew(own: Server) -> None:
    async with registry(own.port) as one, registry(own.port) as other, aclosing(one.watch()) as events:
        assert isinstance(await anext(events), Synced)
        await one.register(record(node="n1"), ttl=600)
        assert await next_change(events) == "put shop/greeter@latest/n1"
        driver: Any = one.driver
        follower = driver._follower
        follower._task.cancel()  # as if it had been cut off for long
        await other.register(record(node="n2"), ttl=600)
        await other.deregister(record(node="n1"))
        revision = await other.register(record(node="n3"), ttl=600)
        await other.driver._client.call("KV/Compact", pb.CompactionRequest(revision=revision, physical=True))
        follower._task = asyncio.create_task(follower._run(follower._feed.version + 1))
        told: list[Any] = []
        async with asyncio.timeout(10):
            while not told or not isinstance(told[-1], Synced):
                event = await anext(events)
                told.append(event)
        assert isinstance(told[0], Reset)
        assert sorted(event.key.rpartition("/")[2] for event in told if isinstance(event, Change)) == ["n2", "n3"]


async def test_two_servers_see_each_others_nodes_and_purposes(etcd_server: Server) -> None:
    async with (
        registry(etcd_server.port, domain="pair") as one,
        registry(etcd_server.port, domain="pair") as other,
        aclosing(one.watch()) as events,
    ):
        assert isinstance(await anext(events), Synced)
        await other.register(record(node="n1"), ttl=600)
        assert node_ids(await one.get("greeter")) == ["n1"]
        assert await next_change(events) == "put pair/greeter@latest/n1"
        assert await one.renew(["n1"], ttl=600) == []
        await one.deregister(record(node="n1"))
        assert await next_change(events) == "delete pair/greeter@latest/n1"
        await other.register(record(node="n2"), ttl=1)
        assert await next_change(events) == "put pair/greeter@latest/n2"
        assert await next_change(events) == "expire pair/greeter@latest/n2"


async def test_of_many_who_claim_a_node_one_has_it(etcd_server: Server) -> None:
    async with registry(etcd_server.port, domain="claims") as one:
        claims = [one.domain("claims", owner=f"claims/{n}").register(record(node="n1"), ttl=600) for n in range(20)]
        results = await asyncio.gather(*claims, return_exceptions=True)
        assert sum(isinstance(result, int) for result in results) == 1
        assert sum(isinstance(result, PermissionDenied) for result in results) == 19


async def test_one_that_is_not_there_is_named_with_its_address() -> None:
    port = free_port()
    begun = time.monotonic()
    with pytest.raises(Unavailable, match=f"127.0.0.1:{port}"):
        await registry(port).open()
    assert time.monotonic() - begun < 4


async def test_users_log_in_and_only_by_their_password(own: Server) -> None:
    where = ["--endpoints", f"http://127.0.0.1:{own.port}"]
    steps = [
        ["user", "add", "root:r"], ["user", "grant-role", "root", "root"], ["role", "add", "micro"],
        ["role", "grant-permission", "micro", "--prefix=true", "readwrite", "/micro/"],
        ["user", "add", "micro:right"], ["user", "grant-role", "micro", "micro"], ["auth", "enable"],
    ]  # fmt: skip
    async with registry(own.port) as plain:
        assert await plain.services() == []
    for step in steps:
        await asyncio.to_thread(etcdctl, where, step)
    with pytest.raises(Unauthenticated):
        await registry(own.port).open()
    with pytest.raises(Unauthenticated) as caught:
        await registry(own.port, user="micro", password="wrong one").open()
    assert "wrong one" not in str(caught.value)
    async with registry(own.port, user="micro", password="right") as one:
        await one.register(record(), ttl=60)
        one.driver._client._token = "stale"  # type: ignore[attr-defined]  # as if it had expired
        assert node_ids(await one.get("greeter")) == ["n1"]


def etcdctl(where: list[str], step: list[str]) -> None:
    from micro.testing.servers import program

    path = program("etcdctl", "apt-get install --no-install-recommends etcd-client")
    done = subprocess.run([path, *where, *step], env={"ETCDCTL_API": "3"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


async def test_tls_is_checked(tmp_path: Path) -> None:
    ca, certificate, key = certificates(tmp_path)
    files = [
        "--cert-file",
        str(certificate),
        "--key-file",
        str(key),
        "--trusted-ca-file",
        str(ca),
        "--client-cert-auth",
    ]
    server = etcd(tmp_path, *files)
    plain, answers = server._command, server._answers
    server._command = lambda folder, port: [
        each.replace(f"http://127.0.0.1:{port}", f"https://127.0.0.1:{port}") for each in plain(folder, port)
    ]
    server._answers = lambda port: handshakes(port, ca, certificate, key)
    assert answers is not server._answers
    server.start()
    try:
        mine = {"ca": str(ca), "certificate": str(certificate), "key": str(key)}
        async with registry(server.port, **mine) as one:
            await one.register(record(), ttl=60)
            assert node_ids(await one.get("greeter")) == ["n1"]
        with pytest.raises(Unavailable):
            await registry(server.port, ca=str(ca)).open()  # no certificate shown
        with pytest.raises(Unavailable):
            await registry(server.port).open()  # no TLS
    finally:
        server.stop()


async def test_a_cluster_goes_on_without_its_leader(tmp_path: Path) -> None:
    peers = [free_port() for _ in range(3)]
    cluster = ",".join(f"m{n}=http://127.0.0.1:{peer}" for n, peer in enumerate(peers))
    servers = []
    for n, peer in enumerate(peers):
        folder = tmp_path / str(n)
        folder.mkdir()
        urls = [
            "--listen-peer-urls",
            f"http://127.0.0.1:{peer}",
            "--initial-advertise-peer-urls",
            f"http://127.0.0.1:{peer}",
        ]
        servers.append(etcd(folder, "--name", f"m{n}", *urls, "--initial-cluster", cluster))
    try:
        # one alone has no leader and is not healthy: they are started without waiting
        for server in servers:
            server._answers = opens  # type: ignore[assignment]
            server.start()
        ports = [server.port for server in servers]
        async with asyncio.timeout(20):
            one = registry(*ports)
            while True:
                try:
                    await one.open()
                    break
                except (Unavailable, DeadlineExceeded):
                    await asyncio.sleep(0.1)
        async with one, aclosing(one.watch()) as events:
            await one.register(record(node="n1"), ttl=600)
            assert await next_change(events) == "put shop/greeter@latest/n1"
            leader = await asyncio.to_thread(leading, ports)
            servers[leader].kill()
            async with asyncio.timeout(15):
                while True:
                    try:
                        await one.register(record(node="n2"), ttl=600)
                        break
                    except (Unavailable, DeadlineExceeded):
                        await asyncio.sleep(0.05)
            assert node_ids(await one.get("greeter")) == ["n1", "n2"]
            assert await next_change(events) == "put shop/greeter@latest/n2"
    finally:
        for server in servers:
            server.stop()


def opens(port: int) -> bool:
    import socket

    with socket.create_connection(("127.0.0.1", port), 1):
        return True


def leading(ports: list[int]) -> int:
    import json

    from micro.testing.servers import program

    path = program("etcdctl", "apt-get install --no-install-recommends etcd-client")
    where = ",".join(f"http://127.0.0.1:{port}" for port in ports)
    command = [path, "--endpoints", where, "endpoint", "status", "-w", "json"]
    done = subprocess.run(command, env={"ETCDCTL_API": "3"}, capture_output=True, text=True, check=True)
    states = [each["Status"] for each in json.loads(done.stdout)]
    return next(n for n, state in enumerate(states) if state["leader"] == state["header"]["member_id"])


def handshakes(port: int, ca: Path, certificate: Path, key: Path) -> bool:
    import socket
    import ssl

    context = ssl.create_default_context(cafile=str(ca))
    context.load_cert_chain(certificate, key)
    with (
        socket.create_connection(("127.0.0.1", port), 1) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as tls,
    ):
        tls.settimeout(2)
        tls.sendall(b"GET /health HTTP/1.0\r\n\r\n")
        answer = b""
        while piece := tls.recv(1024):
            answer += piece
    return b'"health":"true"' in answer


def test_the_messages_are_fresh(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[1]
    subprocess.run([sys.executable, str(root / "proto" / "generate.py"), str(tmp_path)], check=True)
    for name in ("etcd_pb2.py", "etcd_pb2.pyi"):
        assert (tmp_path / name).read_text() == (root / "src" / "micro_registry_etcd" / name).read_text()
