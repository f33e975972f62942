"""The transport in memory against the suite that every transport passes."""

from typing import ClassVar

import pytest

from micro.rpc.memory import MemoryTransport
from micro.testing.rpc import EndsSuite, FlowSuite, KindsSuite


class TestMemory(KindsSuite, EndsSuite, FlowSuite):
    excused: ClassVar = {
        "test_a_frozen_client_is_noticed": "there is no connection that could freeze",
        "test_no_more_streams_are_open_than_the_server_allows": "there is no connection that could be full",
        "test_open_watches_do_not_starve_calls": "there is no connection that could be full",
    }

    @pytest.fixture
    def server_transport(self):
        return MemoryTransport()

    @pytest.fixture
    def client_transport(self):
        return MemoryTransport()
