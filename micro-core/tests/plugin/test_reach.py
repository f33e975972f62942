"""Trying the backends of a profile: each is asked, each failure is told with its address."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from micro.testing.servers import free_port, redis_server

MICRO = str(Path(sys.executable).with_name("micro"))
__all__ = ["redis_server"]


@pytest.fixture
def ask(tmp_path):
    """Ask for a check of a profile whose store is the Redis of a port."""

    def ask(port, *words, timeout="2s"):
        file = tmp_path / "m.toml"
        store = f'plugin = "redis"\nurl = "redis://127.0.0.1:{port}/0"\nconnect_timeout = "{timeout}"\ntimeout = "{timeout}"\n'
        file.write_text(f'[profile.x]\nextends = "local"\n[profile.x.store]\n{store}')
        command = [MICRO, *words, "--config", str(file), "--profile", "x"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout, done.stderr

    return ask


@pytest.mark.parametrize("words", [("server", "--check", "--connect"), ("profile", "check", "--connect")])
def test_a_backend_that_answers_is_told(ask, redis_server, words):
    code, out, err = ask(redis_server.port, *words)
    assert (code, err) == (0, "")
    assert "store [redis]: reached in " in out


@pytest.mark.parametrize("words", [("server", "--check", "--connect"), ("profile", "check", "--connect")])
def test_one_that_is_not_there_is_an_error_with_its_address(ask, words):
    port = free_port()
    code, out, err = ask(port, *words)
    assert code == 1
    assert "profile x is fine" in out
    assert err.startswith("store.open [redis]: unavailable: ")
    assert f"127.0.0.1:{port}" in err
    assert "Traceback" not in err


def test_one_that_never_answers_is_given_up_after_its_time(ask):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        code, _, err = ask(silent.getsockname()[1], "server", "--check", "--connect", timeout="300ms")
    assert code == 1
    assert err.startswith("store.open [redis]: deadline exceeded")


def test_a_check_alone_opens_nothing(ask):
    assert ask(free_port(), "server", "--check")[0] == 0


def test_a_profile_without_backends_says_so():
    done = subprocess.run(
        [MICRO, "server", "--profile", "local", "--check", "--connect"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert "no backends to try" in done.stdout


def test_connecting_belongs_to_checking():
    done = subprocess.run([MICRO, "server", "--connect"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "--connect belongs to --check" in done.stderr
