"""A server's life: waves, restarts, an end in order; and never a process that is left behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from micro.context import CORE_SERVICES
from micro.server import control

from .conftest import HERE, Server, alive, gone


def hello(address: str) -> str:
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), 5) as sock:
        return sock.recv(100).decode()


def test_ten_services_start_in_waves_and_are_written_down(server: Server) -> None:
    server.start()
    facts = server.remember()
    assert facts["profile"] == "fake"
    assert set(facts["services"]) == set(CORE_SERVICES)
    assert len({s["pid"] for s in facts["services"].values()} | {facts["pid"]}) == 11
    assert all(hello(s["address"]) == name for name, s in facts["services"].items())
    told = {name: json.loads(what.partition(" ")[2]) for _, name, what in server.notes() if what.startswith("starts")}
    assert told["registry"] == told["store"] == {}
    assert set(told["auth"]) == {"registry", "store"}
    assert set(told["api"]) == set(CORE_SERVICES) - {"api", "proxy"}
    printed = server.printed()
    for name, service in facts["services"].items():
        assert f"{name:<9} {service['address']}" in printed
        assert f"pid {service['pid']}" in printed
    assert "micro is ready in" in printed
    assert server.errors() == ""
    assert server.stop() == 0


def test_a_stop_drains_the_edge_first_and_registry_and_store_last(server: Server) -> None:
    server.start(told={"proxy": {"drain": 0.2}, "runtime": {"drain": 0.2}, "auth": {"drain": 0.2}})
    assert server.stop() == 0
    order = server.noted("stops")
    assert set(order[:2]) == {"api", "proxy"}
    assert order[2] == "runtime"
    assert set(order[3:8]) == {"config", "auth", "broker", "events", "network"}
    assert set(order[8:]) == {"registry", "store"}
    assert not (server.data / "server.json").exists()
    assert not (server.data / "control.sock").exists()
    assert not any(map(alive, server.pids))


def test_a_killed_supervisor_leaves_nobody_behind(server: Server) -> None:
    server.start(told={"store": {"stubborn": True}, "auth": {"blocked": True, "stubborn": True}})
    assert server.process is not None
    server.process.kill()
    server.process.wait()
    gone(server.pids, 1.0)
    server.start()  # and the next one starts at once, on the same data
    assert server.stop() == 0


@pytest.mark.parametrize("name", ["registry", "store", "api"])
def test_a_killed_service_is_started_again_at_its_address(server: Server, name: str) -> None:
    server.start()
    before = server.remember()["services"][name]
    os.kill(before["pid"], signal.SIGKILL)
    began = time.monotonic()
    server.until(lambda: server.remember()["services"][name]["pid"] not in {0, before["pid"]})
    assert time.monotonic() - began < 2
    after = server.remember()["services"][name]
    assert after["address"] == before["address"]
    assert hello(after["address"]) == name
    assert f"{name} ended (signal SIGKILL); starting it again now" in server.errors()
    assert server.status()["services"][name]["restarts"] == 1
    assert server.stop() == 0


def test_every_service_killed_at_once_comes_back(server: Server) -> None:
    server.start()
    before = {name: s["pid"] for name, s in server.remember()["services"].items()}
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)

    def back() -> bool:
        now = server.remember()["services"]
        return all(now[name]["pid"] not in {0, before[name]} for name in before)

    server.until(back)
    assert server.stop() == 0


def test_restarts_leave_no_descriptors_in_the_supervisor_and_no_threads(server: Server) -> None:
    server.start()
    assert server.process is not None
    proc = Path(f"/proc/{server.process.pid}")

    def descriptors() -> int:
        return len(list((proc / "fd").iterdir()))

    before = descriptors()
    for name in ("store", "auth", "api", "store", "events"):
        pid = server.remember()["services"][name]["pid"]
        os.kill(pid, signal.SIGKILL)
        server.until(lambda name=name, pid=pid: server.remember()["services"][name]["pid"] not in {0, pid})
    server.until(lambda: descriptors() <= before)
    assert len(list((proc / "task").iterdir())) == 1
    assert server.stop() == 0


def test_the_others_hear_where_a_service_is(server: Server) -> None:
    server.start(which="few")
    pid = server.remember()["services"]["proxy"]["pid"]
    os.kill(pid, signal.SIGKILL)
    server.until(lambda: server.remember()["services"]["proxy"]["pid"] not in {0, pid})
    address = server.remember()["services"]["proxy"]["address"]
    server.until(
        lambda: f'"proxy": "{address}"' in str([w for _, n, w in server.notes() if n == "store" and "told" in w])
    )
    assert server.stop() == 0


def test_a_service_that_keeps_dying_ends_the_server_with_its_last_lines(server: Server) -> None:
    server.start(told={"config": {"dies": 0.01, "print": "the disk is\x1b[31m on fire"}}, which="few", wait=False)
    assert server.wait() == 1
    assert server.errors().count("config ended (exit 9)") == 6
    assert "config ended too often" in server.errors()
    assert "| the disk is\\x1b[31m on fire" in server.errors()
    assert "data/logs/core/config.log" in server.errors()
    assert set(server.noted("stops")) >= {"registry", "store"}, "the others were stopped in order"


def test_a_service_that_cannot_start_stops_the_server_and_says_why(server: Server) -> None:
    server.start(told={"store": {"raise": "no space left"}}, which="few", wait=False)
    assert server.wait() == 1
    assert "store ended (exit 70): OSError: no space left" in server.errors()
    assert server.noted("starts").count("store") == 1
    assert not (server.data / "server.json").exists()


def test_a_service_whose_settings_are_wrong_ends_with_78(server: Server) -> None:
    server.start(told={"store": {"config": "[store] path: no such folder"}}, which="few", wait=False)
    assert server.wait() == 78
    assert "[store] path: no such folder" in server.errors()


def test_a_service_that_is_never_ready_is_given_up(server: Server) -> None:
    server.start(told={"store": {"hang": True}}, which="few", wait=False, ready_limit=0.3)
    assert server.wait() == 1
    assert "not ready after 0.3 s" in server.errors()


def test_a_crash_while_starting_is_tried_again(server: Server) -> None:
    server.start(told={"store": {"exit": 5, "once": True}}, which="few")
    assert "store ended (exit 5); starting it again now" in server.errors()
    assert server.stop() == 0


def test_a_service_that_does_not_stop_is_killed_at_its_limit(server: Server) -> None:
    server.start(told={"store": {"stubborn": True}}, which="few", grace=0.4)
    began = time.monotonic()
    assert server.stop() == 0
    assert 0.4 <= time.monotonic() - began < 3
    assert "store did not stop within 0.4 s: killed" in server.errors()
    assert not any(map(alive, server.pids))


def test_a_second_signal_does_not_wait(server: Server) -> None:
    server.start(told={"proxy": {"drain": 30}}, which="few")
    assert server.process is not None
    server.process.send_signal(signal.SIGINT)
    server.until(lambda: server.status()["state"] == "stopping")
    began = time.monotonic()
    server.process.send_signal(signal.SIGINT)
    assert server.wait() == 130
    assert time.monotonic() - began < 2
    assert not any(map(alive, server.pids))


def test_interrupting_a_start_stops_it(server: Server) -> None:
    server.start(told={"store": {"slow": 30}}, which="few", wait=False, grace=0.5)
    server.until(lambda: "store" in server.noted("starts"))
    assert server.stop(signal.SIGINT) == 130


def test_control_restarts_one_service_and_answers_when_it_is_ready(server: Server) -> None:
    server.start(which="few")
    before = server.remember()["services"]
    assert control.ask(server.data, "restart", name="store", timeout=10) == {"ok": True}
    after = server.remember()["services"]
    assert after["store"]["pid"] != before["store"]["pid"]
    assert after["store"]["address"] == before["store"]["address"]
    assert "store" in server.noted("stops"), "it was drained, not killed"
    assert "no core service 'stor'" in control.ask(server.data, "restart", name="stor")["error"]
    assert "unknown command" in control.ask(server.data, "dance")["error"]
    assert server.stop() == 0


def test_control_stops_the_server_and_waits_until_it_has_gone(server: Server) -> None:
    server.start(which="few")
    assert control.ask(server.data, "stop") == {"ok": True}
    assert server.wait(2) == 0
    assert not any(map(alive, server.pids))


def test_a_child_has_no_descriptors_of_others(server: Server) -> None:
    server.start()
    fds = {name: json.loads(what.partition("fds=")[2]) for _, name, what in server.notes() if what.startswith("ready")}
    for name, open_ in fds.items():
        # stdin, stdout, stderr, up, down, alive, its own listener, and the folder it lists
        assert len(open_) == 8, (name, open_)
    pid = server.remember()["services"]["store"]["pid"]
    assert os.getsid(pid) == pid
    assert server.stop() == 0


def test_tokens_are_renewed(server: Server) -> None:
    server.start(which="few", renew=0.3)

    def tokens() -> set[str]:
        said = [what for _, name, what in server.notes() if name == "proxy" and what.startswith('told {"token"')]
        return {json.loads(what.partition(" ")[2])["token"] for what in said}

    server.until(lambda: len(tokens()) >= 3)
    assert server.stop() == 0


def test_a_second_server_on_the_same_data_is_refused_with_the_pid(server: Server) -> None:
    server.start(which="few")
    began = time.monotonic()
    second = subprocess.run(
        [sys.executable, str(HERE / "fakes.py"), "few", str(server.data), "{}"],
        env=server.environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert second.returncode == 1
    assert time.monotonic() - began < 2
    assert f"is in use by another micro server (pid {server.remember()['pid']})" in second.stderr
    assert hello(server.remember()["services"]["store"]["address"]) == "store"
    assert server.stop() == 0


def test_of_two_servers_that_start_at_once_on_a_new_folder_one_wins(server: Server) -> None:
    arguments = [sys.executable, str(HERE / "fakes.py"), "few", str(server.data), "{}"]
    for _ in range(3):
        both = [
            subprocess.Popen(arguments, env=server.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for _ in range(2)
        ]
        try:
            server.until(lambda both=both: any(p.poll() is not None for p in both))
            loser = next(p for p in both if p.poll() is not None)
            winner = next(p for p in both if p is not loser)
            assert loser.returncode == 1
            assert "in use by another micro server" in loser.communicate()[1]
            server.until(
                lambda winner=winner: (
                    server.data.joinpath("server.json").exists() and server.remember()["pid"] == winner.pid
                )
            )
            winner.terminate()
            winner.communicate(timeout=10)
            assert winner.returncode == 0
        finally:
            for process in both:
                process.kill()
                process.communicate()
        shutil.rmtree(server.data)


def test_taken_ports_are_all_named_before_anything_starts(server: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        ports = [sock.getsockname()[1] for sock in (one, two)]
        server.start(
            f"store.address=127.0.0.1:{ports[0]}", f"proxy.address=127.0.0.1:{ports[1]}",
            f"config.address=127.0.0.1:{ports[1]}", which="few", wait=False,
        )  # fmt: skip
        assert server.wait() == 1
    assert f"store: 127.0.0.1:{ports[0]} is taken by another program" in server.errors()
    assert f"127.0.0.1:{ports[1]} is taken by another program" in server.errors()
    assert f"127.0.0.1:{ports[1]} is config's address too" in server.errors()
    assert server.notes() == []


def test_a_wrong_profile_ends_with_78_and_every_mistake(server: Server) -> None:
    server.start("store.adress=x", "stor.plugin=x", "proxy.address=nowhere", which="few", wait=False)
    assert server.wait() == 78
    assert len(server.errors().splitlines()) == 3
    assert "Traceback" not in server.errors()
    assert not server.data.exists()
