"""The pytest plugin: the fixture `micro`, a platform in memory for a user's own tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from micro.testing.platform import Platform


@pytest.fixture
def micro() -> Iterator[Platform]:
    """Give a platform within this test: see micro.testing.platform."""
    from micro.testing.platform import Platform

    yield Platform()  # its services end where the test leaves them
