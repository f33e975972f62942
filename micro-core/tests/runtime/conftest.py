"""Suites over what waits for its loop alone wait no real time."""

import asyncio

import pytest

from micro.testing.bites import Hurried


@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories(item):
    """Give a suite whose attribute `hurried` says so the loop for it."""
    if getattr(getattr(item, "cls", None), "hurried", False):
        return {"hurried": Hurried}
    return {"real": asyncio.new_event_loop}
