"""From words to a command: names, flags, help, exit codes; nothing here needs a server."""

import json
import os
from pathlib import Path

import pytest

from micro.cli import launch, main
from micro.cli.framework import ACCEPTED, Group


def commands():
    """All built-in commands as words."""

    def walk(path, command):
        yield path, command
        if isinstance(command, Group):
            for name, child in sorted(command.commands.items()):
                yield from walk(f"{path} {name}", child)

    for word in sorted(main.MODULES):
        yield from walk(word, main.built_in(word))


ALL = dict(commands())


def test_the_launcher_knows_the_built_in_words():
    assert frozenset(main.MODULES) | {"help"} == launch.BUILT_IN
    assert sorted(word for _, words in main.GROUPS for word in words) == sorted(main.MODULES)
    assert all(word == command.name for word, command in ALL.items() if " " not in word)


@pytest.mark.parametrize("path", ALL)
def test_help_begins_with_the_command_and_shows_an_example(run, path):
    code, out, err = run(*path.split(), "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"micro {path} - ")
    assert "Example:\n  " in out
    assert f"micro {path.split()[0]}" in out.partition("Example:")[2] or path == "user token"


def test_no_command_shows_help_and_fails(run):
    code, out, err = run()
    assert code == 1
    assert out.startswith("micro - ")
    assert err == "No command provided to micro. Please refer to 'micro --help'\n"


@pytest.mark.parametrize("argv", [["--help"], ["-help"], ["-h"], ["help"]])
def test_help_is_no_mistake(run, argv):
    code, out, _ = run(*argv)
    assert code == 0
    assert out.startswith("micro - ")


def test_help_of_a_command_either_way(run):
    assert run("help", "store", "read") == run("store", "--help") != run("store", "read", "--help")


@pytest.mark.parametrize("argv", [["--version"], ["-version"], ["-v"]])
def test_the_version_is_one_line(run, argv):
    from micro._version import __version__

    assert run(*argv) == (0, f"micro version {__version__}\n", "")


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (["auth", "nope"], 1, "Unrecognized subcommand for micro auth: nope. Please refer to 'micro auth --help'"),
        (["auth", "list", "x"], 1, "Unrecognized subcommand for micro auth list: x."),
        (["status", "--watc"], 1, "Unknown flag: watc. Did you mean --watch?"),
        (["--outptu", "json", "status"], 1, "Unknown flag: outptu. Did you mean --output?"),
        (["-x"], 1, "Unknown flag: x"),
        (["-e"], 1, "Flag -e needs a value"),
        (["-o", "xml", "env"], 1, "Flag --output: expected one of"),
        (["env", "-o", "xml"], 1, "'xml' is not one of"),
        (["kill"], 1, "Missing argument"),
        (["env", "set", "nope"], 1, 'Env "nope" not found. See `micro env` for available environments.'),
        (["--env", "nope", "status"], 1, 'Env "nope" not found. See `micro env` for available environments.'),
        (["env", "del", "local"], 1, 'Env "local" is the current one'),
        (["env", "add", "a b", "c"], 1, "An environment has a name and an address"),
        (["user", "namespace", "set", "a b"], 1, "Namespace 'a b' is not a name"),
        (["status", "a/../b c"], 1, "is not a name"),
        (["run", "nowhere"], 1, "There is no folder 'nowhere'"),
        (["run"], 1, "Give a folder to run"),
        (["store", "read"], 1, "Give a key"),
        (["store", "write", "k", "v", "--expiry", "soon"], 1, "--expiry: expected a duration"),
        (["config", "get"], 1, "Give a key, or --all"),
        (["user", "config", "get", "nope"], 1, "Not found"),
        (["auth", "create", "rule", "r", "--resource", "a:b"], 1, "must be in the format type:name:endpoint"),
        (["call", "svc", "Nope"], 3, 'Method name "Nope" invalid format. Expecting service.endpoint'),
        (["call", "svc", "A.B", "{"], 1, "The request is not valid JSON"),
        (["call", "svc", "A.B", "@nowhere"], 1, "Cannot read nowhere: No such file or directory"),
        (["call", "svc", "A.B", "--request_timeout", "x"], 2, "Invalid request timeout"),
        (["call", "svc", "A.B", "--metadata", "x"], 1, "--metadata 'x' is not key=value"),
        (["service", "nope"], 1, "'nope' is not one of 'api'"),
        (["profile", "show", "nope"], 78, "nknown profile 'nope'"),
        (["login"], 1, "Give --username"),
        (["login", "--username", "ann"], 1, "Give the secret by --password-stdin; there is no terminal to ask on\n"),
        (["login", "--username", "ann", "--password="], 1, "Password: it is empty"),
        (["auth", "update", "secret", "ann"], 1, "Give --new-secret; there is no terminal to ask on\n"),
        (["auth", "update", "secret", "ann", "--new-secret="], 1, "New secret: it is empty"),
        (["store", "write", "k", "v", "--expiry", "99999999h"], 1, "--expiry: expected at most 3153600000 seconds"),
        (["call", "svc", "A.B", "--request_timeout", "9" * 400], 2, "Invalid request timeout: expected"),
        (["service", "--name", "foo", "--endpoint", "http://127.0.0.1:1"], 1, "A sidecar (micro service --name"),
        (["-endpoint=grpc://127.0.0.1:1"], 1, "Unknown flag: endpoint"),
        (["service", "-endpoint=grpc://127.0.0.1:1"], 1, "is not there yet"),
        (["new", "x", "--proto"], 1, "Projects with a .proto are not made yet"),
        (["get", "service", "--nam", "x"], 1, "Unknown flag: nam\n"),  # its argument NAME is no flag
        (["store", "write", "\udcff", "x"], 1, r"'\udcff' is not valid UTF-8"),
        (["\udcff"], 1, r"'\udcff' is not valid UTF-8"),
        (["shutdown"], 1, "No server runs on"),
    ],
)
def test_mistakes_are_told_in_words_on_standard_error(run, monkeypatch, argv, code, said):
    with Path(os.devnull).open() as nothing:
        monkeypatch.setattr("sys.stdin", nothing)
        found, out, err = run(*argv)
    assert found == code, err
    assert said in err
    assert err[:1] in {"'", "-"} or err[0].isupper()
    assert out == ""


HUGE = "99999999999999999999"


@pytest.mark.parametrize(
    ("argv", "flag", "span"),
    [
        (["store", "list", "--limit", "-1"], "--limit", "0 to 9223372036854775807"),
        (["store", "list", "-offset", HUGE], "--offset", "0 to 9223372036854775807"),
        (["store", "read", "-p", "k", "-l", "-1"], "--limit", "0 to 9223372036854775807"),
        (["store", "read", "-p", "k", "--offset=-1"], "--offset", "0 to 9223372036854775807"),
        (["auth", "create", "rule", "r", "--priority", HUGE], "--priority", "-2147483648 to 2147483647"),
        (["auth", "create", "token", "--expiry", "0"], "--expiry", "1 to 3153600000"),
        (["auth", "create", "token", "--expiry", "1.5"], "--expiry", "1 to 3153600000"),
    ],
)
def test_a_number_out_of_its_range_names_the_flag_and_the_range(run, argv, flag, span):
    code, out, err = run(*argv)
    assert (code, out) == (1, "")
    assert f"'{flag}'" in err
    assert f"expected a whole number from {span}, got " in err


def test_a_secret_is_asked_for_on_a_terminal_and_never_shown(home):
    import pty
    import subprocess
    import sys

    leader, follower = pty.openpty()
    code = "from micro.cli.framework import secret; print(secret(None, 'New secret', '--x', new=True))"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=follower, stderr=follower, stdout=subprocess.PIPE, start_new_session=True
    )
    os.close(follower)
    try:
        for _ in range(2):
            said = b""
            while not said.endswith(b": "):
                said += os.read(leader, 100)
                assert b"hush" not in said
            os.write(leader, b"hush\n")
        assert process.communicate(timeout=30)[0] == b"hush\n"
    finally:
        os.close(leader)


@pytest.mark.parametrize("argv", [["status"], ["helloworld", "--name=x"], ["store", "read", "k"], ["call", "s", "A.B"]])
def test_without_a_server_a_command_says_where_it_sought_it(run, monkeypatch, argv):
    import socket

    with socket.socket() as free:  # bound and not listening: nobody answers there
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        run("env", "add", "gone", address)
        code, out, err = run("--env", "gone", *argv)
    assert (code, out) == (4, "")
    assert err == f"Failed to connect to micro server at {address}\n"


@pytest.mark.parametrize("argv", [["services"], ["helloworld"], ["store", "list"], ["call", "s", "A.B", "{}"]])
@pytest.mark.parametrize("address", ["nowhere.invalid", "nowhere.invalid:8081", f"{'x' * 70}.invalid:8081"])
def test_an_address_that_is_nowhere_is_one_without_a_server(run, argv, address):
    run("env", "add", "gone", address)
    shown = address if ":" in address else f"{address}:443"
    assert run("--env", "gone", *argv) == (4, "", f"Failed to connect to micro server at {shown}\n")


@pytest.mark.parametrize(
    "address", ["::::", "host:99999", "host:0", "grpcs://host:1", "host:port", ":1", "a b:1", "http://host/x:1"]
)
def test_an_environment_where_nothing_can_be_is_refused(run, address):
    code, _, err = run("env", "add", "far", address)
    assert (code, "host:port" in err) == (1, True)
    assert run("env", "add", "far", "[::1]:8081")[0] == run("env", "add", "far", "https://host")[0] == 0


def test_the_environment_of_this_machine_is_shown_with_the_address_in_use(run, home):
    assert run("env") == (0, "* local  127.0.0.1:8081\n", "")
    (home / "data").mkdir()
    facts = {"pid": os.getpid(), "services": {"proxy": {"address": "127.0.0.1:4711"}}}
    (home / "data" / "server.json").write_text(json.dumps(facts))
    assert run("env") == (0, "* local  127.0.0.1:4711\n", "")
    assert json.loads(run("env", "-o", "json")[1]) == [{"name": "local", "address": "127.0.0.1:4711", "current": True}]


def test_plugins_are_looked_for_anew_when_asked(run):
    assert run("plugins", "--refresh") == run("plugins")


def test_global_flags_are_read_before_and_after_the_word_with_one_dash_or_two(run):
    run("env", "add", "office", "10.0.0.4:8081")
    for argv in (["--env", "office", "env", "get"], ["env", "get", "--env=office"], ["-env=office", "env", "get"],
                 ["env", "get", "-e", "office"], ["env", "-env", "office", "get"]):  # fmt: skip
        assert run(*argv) == (0, "office\n", ""), argv


@pytest.mark.parametrize("flag", ACCEPTED)
def test_flags_of_the_original_are_accepted(run, flag):
    for argv in ([f"--{flag}=x", "env", "get"], [f"-{flag}", "x", "env", "get"], ["env", "get", f"--{flag}=x"]):
        assert run(*argv) == (0, "local\n", "")


def test_the_variables_of_the_global_flags(run, monkeypatch, home):
    run("env", "add", "office", "10.0.0.4")
    monkeypatch.setenv("MICRO_ENV", "office")
    assert run("env", "get") == (0, "office\n", "")
    assert "office  10.0.0.4:443" in run("env")[1]
    monkeypatch.setenv("MICRO_CONFIG_FILE", str(home / "other.json"))
    assert "office" not in run("env")[1]


def test_an_executable_of_the_path_is_a_command(started, home):
    tool = home / "micro-greet"
    tool.write_text('#!/bin/sh\necho "hello $1"\nexit 7\n')
    tool.chmod(0o755)
    assert started("greet", "you", PATH=f"{home}:{os.environ['PATH']}") == (7, "hello you\n", "")


def test_debug_adds_the_cause(run, home):
    (home / "bad.json").write_text("{")
    code, _, err = run("--debug", "-c", str(home / "bad.json"), "env")
    assert code == 1
    assert "because JSONDecodeError" in err


def test_an_interrupt_is_130(monkeypatch, run):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(main, "_dispatch", interrupted)
    assert run("env") == (130, "", "")
