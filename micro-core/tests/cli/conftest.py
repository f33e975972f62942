"""A home of its own for each test, and the command line in it."""

import os
import posix
import subprocess
import sys

import pytest


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home without a state, and no variable of ours."""
    for name in list(os.environ):
        if name.startswith("MICRO_"):
            monkeypatch.delenv(name)
            monkeypatch.delitem(posix.environ, name.encode(), raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MICRO_DATA", str(tmp_path / "data"))
    for name in (b"HOME", b"MICRO_DATA"):  # what the launcher reads, which does not follow os.environ
        monkeypatch.setitem(posix.environ, name, os.environb[name])
    return tmp_path


@pytest.fixture
def run(home, capfd):
    """Run a command here; gives exit code, standard output, standard error."""
    from micro.cli.main import run as main

    def run(*argv):
        code = main(list(argv))
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        return code, out, err

    return run


@pytest.fixture
def started(home):
    """Run a command in a process of its own, as a person does."""

    def started(*argv, **env):
        command = [sys.executable, "-m", "micro", *argv]
        done = subprocess.run(
            command, check=False, env=os.environ | env, capture_output=True, stdin=subprocess.DEVNULL, timeout=60
        )
        assert b"Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout.decode(), done.stderr.decode(errors="replace")

    return started
