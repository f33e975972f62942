"""The pytest plugin: the fixture `micro`, a platform in memory for a user's own tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from micro.testing.memory import MemoryPlatform


@pytest.fixture
def micro() -> Iterator[MemoryPlatform]:
    """Give a platform within this test: see micro.testing.memory."""
    from micro.testing.memory import MemoryPlatform

    yield MemoryPlatform()  # its services end where the test leaves them
