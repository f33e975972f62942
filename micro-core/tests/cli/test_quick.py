"""`micro server`'s short way reads its words as the whole command line does, or leaves them to it."""

import pytest

from micro.cli import quick
from micro.server import main as server
from micro.server.options import Options

READ = [
    [],
    ["--check"],
    ["--check", "--check"],
    ["--profile", "test"],
    ["--profile=test", "--profile", "local"],
    ["--profile", ""],
    ["--profile="],
    ["--config", "a b.toml", "--data=/srv/ä"],
    ["--data", "~/x=y", "--address", "[::1]:0"],
    ["--address=127.0.0.1:0"],
    ["--set", "store.timeout=5s", "--set=api.address=127.0.0.1:0", "--set", ""],
    ["--set", 'store.hosts=["a", "b"]'],
    ["--set", "a=-1", "--check", "--profile", "test"],
    ["--set", " a = b "],
    ["--data", "@file"],
]
LEFT = [
    ["--help"], ["-h"], ["--profile", "test", "--help"], ["-profile", "test"], ["-check"], ["--check=true"],
    ["--prof", "test"], ["--profile"], ["--set"], ["--set", "--check"], ["--data", "-"], ["--data=-x"], ["--"],
    ["--", "--check"], ["test"], ["--profile", "test", "more"], [""], ["-"], ["--debug"], ["-o", "json"], ["-c", "x"],
    ["--env", "local"], ["--namespace", "shop"], ["--CHECK"], ["--profile ", "x"], ["=x"],
]  # fmt: skip


@pytest.fixture
def whole(run, monkeypatch):
    """Give what the whole command line makes of `micro server`'s words; None when it starts nothing."""
    made = []
    monkeypatch.setattr(server, "run_server", lambda options: made.append(options) or 0)

    def whole(words):
        made.clear()
        run("server", *words)
        return made[0] if made else None

    return whole


@pytest.mark.parametrize("words", READ, ids=" ".join)
def test_the_short_way_reads_what_the_whole_command_line_reads(whole, words):
    found = quick.options(words)
    assert isinstance(found, Options)
    assert found == whole(words)


@pytest.mark.parametrize("words", LEFT, ids=" ".join)
def test_all_else_is_left_to_the_whole_command_line(words):
    assert quick.options(words) is None


def test_the_short_way_knows_every_flag_of_the_command():
    from micro.cli.commands.server import COMMANDS

    own = {name for param in COMMANDS["server"].params if param.expose_value for name in param.opts}
    assert own - {"--help", "-h"} == {"--check", "--connect", *quick._VALUED}


def test_a_profile_of_the_environment_is_the_same_one_by_either_way(run, monkeypatch):
    monkeypatch.setenv("MICRO_PROFILE", "test")
    made = []
    monkeypatch.setattr(server, "run_server", lambda options: made.append(options) or 0)
    run("server")
    assert quick.options([]) == Options()  # the profile's reader looks for MICRO_PROFILE itself
    assert made == [Options(profile="test")]
    code, out, _ = run("server", "--check", "--profile", "")
    assert made[-1].profile == "test"
    assert (code, out) == (0, "")
