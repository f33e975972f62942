"""A home of each test's own: what this user's command line remembers must not matter."""

import pytest


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    return home


@pytest.fixture
def impatient(monkeypatch):
    """Any refusal is put down to the token."""
    monkeypatch.setattr("micro.service.login.YOUNG", 0.0)
