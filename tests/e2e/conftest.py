"""A real platform, shared by a session's tests or one test's own."""

import os

import pytest

from micro.testing.platform import Platform
from micro.testing.shared import Backends


def pytest_collection_modifyitems(items):
    """Give a file's tests that share the platform to one worker, which has one; another's may go to another."""
    for item in items:
        if "platform" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group(f"platform {item.path.name}"))


@pytest.fixture(scope="session")
def platform(tmp_path_factory):
    """A platform that tests share; they use names of their own and leave it running.

    With MICRO_TEST_PROFILE=shared it is one on real backends.
    """
    folder = tmp_path_factory.mktemp("platform")
    if os.environ.get("MICRO_TEST_PROFILE") == "shared":
        backends = Backends(folder)
        try:
            backends.start()
            yield backends.platform("server").start()
        finally:
            backends.stop()
        return
    shared = Platform(folder)
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
