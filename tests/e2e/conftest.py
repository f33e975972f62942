"""A real platform, shared by a session's tests or one test's own."""

import pytest

from micro.testing.platform import Platform


@pytest.fixture(scope="session")
def platform(tmp_path_factory):
    """A platform that tests share; they use names of their own and leave it running."""
    shared = Platform(tmp_path_factory.mktemp("platform"))
    try:
        yield shared.start()
    finally:
        shared.end()


@pytest.fixture
def own_platform(tmp_path):
    """A platform for one test, not started yet."""
    own = Platform(tmp_path)
    try:
        yield own
    finally:
        own.end()
