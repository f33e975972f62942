"""The launcher's short way, against a socket that speaks docs/cli-protocol.md."""

import os
import posix
import pty
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from micro.cli import launch

HEAD = b"HTTP/1.0 200 OK\r\nContent-Type: application/x-micro-cli\r\n\r\n"


class Peer:
    """A platform's socket that gives one answer in pieces and keeps what it was asked."""

    def __init__(self, path, pieces):
        self.asked = b""
        self._pieces = pieces
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)

    def _serve(self):
        try:
            client, _ = self._listener.accept()
        except OSError:
            return
        with client:
            while b"\r\n\r\n" not in self.asked or len(self._body()) < self._size():
                self.asked += client.recv(65536)
            for piece in self._pieces:
                client.sendall(piece)

    def _body(self):
        return self.asked.partition(b"\r\n\r\n")[2]

    def _size(self):
        head = self.asked.partition(b"\r\n\r\n")[0].lower()
        return int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])

    @property
    def words(self):
        return self._body().split(b"\0")

    def header(self, name):
        lines = [line.partition(b": ") for line in self.asked.partition(b"\r\n\r\n")[0].split(b"\r\n")]
        return next((value for key, _, value in lines if key.lower() == name.lower()), None)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._listener.close()


@pytest.fixture
def here(home):
    """A home with a login and a place for the socket."""
    (home / "data").mkdir()
    write_tokens(home, ("local", "micro", time.time() + 600, "tok"))
    return home


def write_tokens(home, *logins):
    folder = home / ".micro"
    folder.mkdir(exist_ok=True)
    lines = [f"{env}\t{namespace}\tann\t{expiry}\t{token}\tr\n" for env, namespace, expiry, token in logins]
    (folder / "tokens").write_text("".join(lines))


@pytest.fixture
def asked(here, capfdbinary):
    """Run a command against a peer; gives exit code, output, errors and the peer."""

    def asked(*argv, pieces=(HEAD + b"0 0\n",), run=None):
        path = here / "data" / "api.sock"
        path.unlink(missing_ok=True)
        with Peer(path, pieces) as peer:
            code = (run or launch.main)(list(argv))
        out, err = capfdbinary.readouterr()
        return code, out, err, peer

    return asked


def handed(argv):
    return launch._handed_over(argv)


def test_the_words_go_as_they_are_with_who_asks(asked):
    code, _, _, peer = asked("hello", "--name=é x", "")
    assert code == 0
    assert peer.asked.startswith(b"POST /cli HTTP/1.0\r\n")
    assert peer.words == [b"hello", "--name=é x".encode(), b""]
    assert peer.header(b"Authorization") == b"Bearer tok"
    assert peer.header(b"X-Micro-Columns") == b"0"


def test_what_comes_is_copied_to_where_it_belongs_whatever_the_pieces(asked):
    whole = HEAD + b"1 6\nhello\n" + b"2 4\nbad\n" + b"1 0\n" + "1 3\né\n".encode() + b"0 127\n"
    for size in (1, 2, 3, 7, len(whole)):
        pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
        code, out, err, _ = asked("hello", pieces=pieces)
        assert (code, out, err) == (127, "hello\né\n".encode(), b"bad\n"), size


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.0 200 OK\r\n", HEAD, HEAD + b"1 6\nhel", HEAD + b"1 3\nhel", HEAD + b"0 12"]
)
def test_an_answer_that_ends_early_was_cut_and_is_not_asked_for_again(asked, answer):
    code, _, err, _ = asked("hello", pieces=[answer])
    assert code == 128
    assert err == b"The answer was cut: the platform went away\n"


@pytest.mark.parametrize(
    "status", [b"404 Not Found", b"401 Unauthorized", b"409 Conflict", b"400 Bad Request", b"503 x"]
)
def test_what_is_not_answered_is_left_to_the_whole_command_line(asked, status):
    code, out, err, _ = asked("hello", pieces=[b"HTTP/1.0 " + status + b"\r\n\r\nbody"], run=handed)
    assert (code, out, err) == (None, b"", b"")


@pytest.mark.parametrize(
    "argv",
    [
        ["hello", "--input=@req.json"], ["hello", "--input", "@req.json"], ["hello", "--input=-"], ["hello", "-"],
        ["hello", "--env=office"], ["hello", "-env", "office"], ["hello", "-e", "office"], ["hello", "--config=x"],
        ["hello", "--namespace", "shop"], ["hello", "--debug"], ["hello", "--proxy_address=x"], ["hello", "a\0b"],
        ["hello", "\udcff"],
    ],
)  # fmt: skip
def test_what_needs_more_than_words_is_not_handed_over(asked, argv):
    code, _, _, peer = asked(*argv, run=handed)
    assert code is None
    assert not peer.asked


def test_an_environment_a_namespace_or_a_state_of_its_own_is_not_handed_over(asked, here, monkeypatch):
    config = here / ".micro" / "config.json"
    for text in ('{"env": "office"}', '{"namespaces": {"local": "shop"}}'):
        config.write_text(text)
        assert asked("hello", run=handed)[0] is None
    config.unlink()
    for name in ("MICRO_ENV", "MICRO_CONFIG_FILE"):
        with monkeypatch.context() as patch:
            patch.setitem(posix.environ, name.encode(), b"x")
            assert asked("hello", run=handed)[0] is None


def test_a_login_near_its_end_is_not_used(asked, here):
    write_tokens(here, ("local", "micro", time.time() + 30, "tok"), ("office", "micro", time.time() + 600, "other"))
    assert asked("hello", run=handed)[0] is None
    (here / ".micro" / "tokens").write_bytes(b"\xff\tjunk\nlocal\tmicro\tann\tsoon\tt\tr\n")
    assert asked("hello", run=handed)[0] is None


def test_an_executable_of_the_path_goes_before_a_service(asked, here, monkeypatch):
    (here / "micro-hello").write_text("#!/bin/sh\n")
    monkeypatch.setitem(posix.environ, b"PATH", str(here).encode())
    assert asked("hello", run=handed)[0] is None


def test_nobody_on_the_socket_is_no_failure(here):
    assert handed(["hello"]) is None
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(here / "data" / "api.sock"))
    assert handed(["hello"]) is None


def test_a_terminal_tells_its_width(here):
    path = here / "data" / "api.sock"
    leader, follower = pty.openpty()
    try:
        with Peer(path, [HEAD + b"1 3\nhi\n0 0\n"]) as peer:
            command = [sys.executable, "-c", "import sys; from micro.cli.launch import main; sys.exit(main(['hello']))"]
            done = subprocess.run(
                command, check=False, stdout=follower, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, timeout=30
            )
        assert done.returncode == 0, done.stderr
        assert os.read(leader, 100) == b"hi\r\n"
        assert peer.header(b"X-Micro-Columns").isdigit()
    finally:
        os.close(leader)
        os.close(follower)


def test_who_has_read_enough_ends_a_command_quietly(here):
    path = here / "data" / "api.sock"
    read, write = os.pipe()
    os.close(read)
    with Peer(path, [HEAD + b"1 3\nhi\n" * 10 + b"0 0\n"]):
        command = [sys.executable, "-c", "import sys; from micro.cli.launch import main; sys.exit(main(['hello']))"]
        done = subprocess.run(
            command, check=False, stdout=write, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, timeout=30
        )
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


def imported(code):
    command = [sys.executable, "-c", f"{code}\nprint(*sorted(sys.modules))"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_the_short_way_imports_next_to_nothing(here):
    bare = imported("import sys")
    added = imported("import sys\nfrom micro.cli.launch import main\nmain(['--version'])") - bare
    assert added <= {"__future__", "micro", "micro._lazy", "micro._version", "micro.cli", "micro.cli.launch"}


def test_no_command_imports_what_only_servers_need(here):
    code = "import sys\nfrom micro.cli.main import run\nfor a in (['env'], ['status'], ['hello'], ['store', 'list']): run(a)"
    heavy = {"aiohttp", "grpc", "rich", "uvloop", "jwt", "asyncio", "ssl", "cryptography", "apsw", "argon2"}
    assert not heavy & imported(code)


def test_a_command_imports_what_costs_a_tenth_of_it_only_when_it_needs_it(here):
    costly = {"msgspec", "pathlib", "urllib.parse", "micro.api.render", "encodings.idna"}
    code = (
        "from micro.cli.main import run\nimport sys, micro.cli.commands.runtime, micro.cli.commands.services, micro.cli.commands.store\nrun(['env'])\n"
        "from micro.rpc.nghttp2.blocking import BlockingChannel\n"
        "try: BlockingChannel('127.0.0.1:1').unary(b'/a.A/B', b'')\nexcept Exception as err: print(err)"
    )
    assert not costly & imported(code)


def ended(code, stdout=subprocess.PIPE):
    command = [sys.executable, "-c", f"import atexit, sys\nfrom micro.cli.launch import end\n{code}"]
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, env=env, timeout=60, check=False)


def test_the_end_of_a_command_writes_what_was_printed_and_runs_exit_handlers():
    done = ended("print('result')\natexit.register(print, 'handled')\nend(3)")
    assert (done.returncode, done.stdout, done.stderr) == (3, "result\nhandled\n", "")


def test_the_end_of_a_command_waits_for_a_thread_that_is_no_daemon():
    code = "import threading, time\nthreading.Thread(target=lambda: (time.sleep(0.2), print('done'))).start()\nend(3)"
    done = ended(code)
    assert (done.returncode, done.stdout, done.stderr) == (3, "done\n", "")


def test_a_result_that_cannot_be_written_is_told():
    with Path("/dev/full").open("w") as full:
        done = ended("print('result')\nend(0)", full)
    assert (done.returncode, done.stderr) == (128, "Cannot write the output: No space left on device\n")


def test_a_result_that_nobody_reads_is_no_error():
    read, write = os.pipe()
    os.close(read)
    done = ended("print('result')\nend(0)", write)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")
