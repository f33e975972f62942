"""`micro profile`: which one is meant."""

import pytest


@pytest.fixture
def file(home):
    """A file with a profile `h`, whose store listens elsewhere."""
    path = home / "m.toml"
    path.write_text('[profile.h]\nextends = "local"\nstore.address = "127.0.0.1:9002"\n')
    return str(path)


@pytest.mark.parametrize(
    "words",
    [
        ("profile", "show", "h"),
        ("profile", "show", "--profile", "h"),
        ("profile", "show", "--profile=h", "h"),
        ("profile", "--profile", "h", "show"),
        ("--profile", "h", "profile", "show"),
    ],
)
def test_a_profile_is_named_by_a_word_or_by_the_flag(run, file, words):
    code, out, err = run(*words, "--config", file)
    assert (code, out.splitlines()[0], err) == (0, "[profile.h]", "")


def test_without_either_it_is_the_one_that_a_server_would_run(run, file, monkeypatch):
    assert run("profile", "check", "--config", file)[1] == "profile local is fine\n"
    monkeypatch.setenv("MICRO_PROFILE", "h")
    assert run("profile", "check", "--config", file)[1] == "profile h is fine\n"
    assert run("profile", "check", "test", "--config", file)[1] == "profile test is fine\n", "a word wins over it"


def test_two_different_ones_are_refused(run, file):
    code, out, err = run("profile", "check", "local", "--profile", "h", "--config", file)
    assert (code, out, err) == (1, "", "Two profiles: 'local', and 'h' by --profile. Please name one\n")


def test_a_check_says_each_mistake_once_and_where(run, home):
    (home / "m.toml").write_text(
        '[profile.h]\nextends = "local"\ntransport = "quic"\nstore.address = "${NOPE}"\n[profile.hope]\nextends = "h"\n'
    )
    for words in (("server", "--check", "--profile", "hope"), ("profile", "check", "hope")):
        code, _, err = run(*words, "--config", str(home / "m.toml"))
        first, second = err.splitlines()
        assert code == 78
        assert first.endswith("m.toml: [profile.h.store] address: ${NOPE} is not set in the environment")
        assert "m.toml: [profile.h] transport: no transport plugin 'quic' is installed" in second
    code, _, err = run("server", "--check", "--profile", "hoppe", "--config", str(home / "m.toml"))
    assert (code, err) == (78, f"{home}/m.toml: unknown profile 'hoppe'; did you mean 'hope'?\n")
