"""The gateway's world, for each test a new one."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from micro.rpc.nghttp2 import Nghttp2Transport

sys.path.insert(0, str(Path(__file__).parent))

from world import World


@pytest.fixture
def settings():
    return {}


@pytest.fixture
async def world(tmp_path, settings) -> AsyncIterator[World]:
    world = World(Nghttp2Transport(), tmp_path, settings)
    async with world:
        await world.begin()
        yield world
        await world.end()
