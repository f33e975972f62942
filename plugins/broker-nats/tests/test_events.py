"""NatsEvents are events; and their life, with a NATS that is away, silent, cut off and back."""

from collections.abc import AsyncIterator

import pytest
from nats import errors as nx

from micro.testing.backend import BackendSuite
from micro.testing.door import Door
from micro.testing.events import EventsSuite
from micro.testing.lifecycle import Make
from micro.testing.servers import Server
from micro_broker_nats import NatsEvents, NatsEventsSettings
from micro_broker_nats.connection import AwayError
from micro_broker_nats.requests import JetStreamError

TIMEOUT = 0.7  # seconds that it waits for an answer


class TestNatsEvents(EventsSuite):
    @pytest.fixture
    async def driver(self, nats_server: Server) -> AsyncIterator[NatsEvents]:
        async with NatsEvents(NatsEventsSettings(url=f"nats://127.0.0.1:{nats_server.port}")) as driver:
            yield driver


class TestNatsEventsLife(BackendSuite):
    library = (nx.Error, AwayError, JetStreamError, OSError)
    patience = TIMEOUT + 0.5

    @pytest.fixture
    def target(self, nats_server: Server) -> str:
        return f"127.0.0.1:{nats_server.port}"

    @pytest.fixture
    def make(self, door: Door) -> Make:
        settings = NatsEventsSettings(url=f"nats://{door.address}", connect_timeout=TIMEOUT, timeout=TIMEOUT)
        return lambda: NatsEvents(settings)
