"""The transport within one process does what calls do; what only a wire has it is excused from."""

import pytest

from micro.rpc.memory import MemoryTransport
from micro.testing.rpc import EndsSuite, FlowSuite, KindsSuite

NO_WIRE = "there is no wire that bytes could be sent on"


class TestMemory(KindsSuite, EndsSuite, FlowSuite):
    drains_unseen = True
    opens_more_connections = True
    excused = {  # noqa: RUF012 - the suite's own class variable
        "test_a_frozen_client_is_noticed": NO_WIRE,
        "test_no_more_streams_are_open_than_the_server_allows": NO_WIRE,
    }

    @pytest.fixture
    def server_transport(self):
        return MemoryTransport()

    @pytest.fixture
    def client_transport(self):
        return MemoryTransport()
