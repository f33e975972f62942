"""The loops that the tests here run on, and certificates."""

import asyncio

import pytest
import uvloop

from micro.rpc.nghttp2 import Nghttp2Transport
from micro.testing.echo import Echo

LOOPS = {"asyncio": asyncio.SelectorEventLoop, "uvloop": uvloop.new_event_loop}


def pytest_asyncio_loop_factories(config, item):
    return LOOPS if getattr(item.module, "both_loops", False) else {"asyncio": LOOPS["asyncio"]}


class Bench:
    """A transport, a test service, and all that a test opened, closed when it ends."""

    def __init__(self):
        self.transport = Nghttp2Transport()
        self.service = Echo()
        self.address = ""
        self._open = []

    async def listen(self, dispatcher=None, *, address="127.0.0.1:0", tls=None, http1=None, limits=None):
        listener = self.transport.listener(dispatcher or self.service, limits=limits, http1=http1)
        self.address = await listener.start(address, tls=tls)
        self._open.append(listener)
        return listener

    def dial(self, address="", *, limits=None, tls=None):
        channel = self.transport.channel(address or self.address, limits=limits, tls=tls)
        self._open.insert(0, channel)
        return channel

    def forwarder(self):
        forwarder = self.transport.forwarder()
        self._open.append(forwarder)
        return forwarder

    def link(self, channel):
        """The one connection of a channel."""
        (link,) = channel._pool._links
        return link

    async def close(self):
        for part in self._open:
            await part.close()


@pytest.fixture
async def bench():
    bench = Bench()
    yield bench
    await bench.close()
