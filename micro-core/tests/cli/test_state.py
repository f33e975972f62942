"""The state file and the logins: whole, private, and never written over what cannot be read."""

import json
import stat
import threading

import pytest

from micro.service.state import State, StateError, Token


def login(namespace="micro", expiry=1.5, access="a"):
    return Token("local", namespace, "ann", expiry, access, "r")


def test_what_is_changed_is_read_back_and_nobody_else_may_read_it(home):
    State().change(env="office", envs={"office": "10.0.0.4:8081"})
    again = State()
    assert again.env == "office"
    assert again.envs == {"local": "127.0.0.1:8081", "office": "10.0.0.4:8081"}
    State().keep(login())
    for name in ("config.json", "tokens"):
        assert stat.S_IMODE((home / ".micro" / name).stat().st_mode) == 0o600
    assert stat.S_IMODE((home / ".micro").stat().st_mode) == 0o700


def test_none_removes_a_key(home):
    State().change(env="office", user={"editor": "vim"})
    State().change(env=None)
    assert State().data == {"user": {"editor": "vim"}}


@pytest.mark.parametrize("text", ["{", "[]", "\x00", "nonsense"])
def test_a_corrupt_file_is_named_and_never_written_over(home, text):
    path = home / "state.json"
    path.write_text(text)
    for attempt in (lambda: State(str(path)).data, lambda: State(str(path)).change(env="x")):
        with pytest.raises(StateError, match=r"state\.json"):
            attempt()
    assert path.read_text() == text


def test_a_file_that_is_no_utf8_is_named(home):
    path = home / "state.json"
    path.write_bytes(b'{"env": "\xff"}')
    with pytest.raises(StateError, match="cannot be read"):
        _ = State(str(path)).data


def test_changes_at_once_lose_nothing_and_leave_no_scraps(home):
    def change(number):
        for turn in range(5):
            State().change(**{f"k{number}": turn})
            State().keep(login(namespace=f"n{number}", expiry=float(turn)))

    threads = [threading.Thread(target=change, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert State().data == {f"k{n}": 4 for n in range(4)}
    assert sorted(t.namespace for t in State().tokens()) == [f"n{n}" for n in range(4)]
    assert sorted(p.name for p in (home / ".micro").iterdir()) == ["config.json", "lock", "tokens"]


def test_a_failed_write_leaves_the_file_as_it_was(home, monkeypatch):
    State().change(env="office")
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        State().change(env="elsewhere")
    assert json.loads((home / ".micro" / "config.json").read_text()) == {"env": "office"}
    assert not [p for p in (home / ".micro").iterdir() if p.name.startswith(".")]


def test_one_login_for_each_environment_and_namespace(home):
    state = State()
    state.keep(login(access="old"))
    state.keep(login(access="new"))
    state.keep(login(namespace="shop"))
    assert [(t.namespace, t.access) for t in state.tokens()] == [("micro", "new"), ("shop", "a")]
    state.forget("local", "micro")
    assert state.token("local", "micro") is None
    assert state.token("local", "shop") == login(namespace="shop")


def test_lines_that_are_no_login_are_passed_over(home):
    State().keep(login())
    path = home / ".micro" / "tokens"
    path.write_text("junk\nlocal\tmicro\tann\tsoon\ta\tr\n" + path.read_text())
    assert State().tokens() == [login()]
