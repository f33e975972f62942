"""The transport over grpc.aio: with itself, and with plain grpc.aio on either side."""

import asyncio

import pytest

from micro.limits import MIB
from micro.rpc.driver import Status
from micro.rpc.grpcio import GrpcioTransport
from micro.testing import attacks
from micro.testing.echo import Echo, path
from micro.testing.plain import PlainGrpcio
from micro.testing.rpc import ForwarderSuite, TransportSuite


class TestGrpcio(TransportSuite):
    @pytest.fixture
    def server_transport(self):
        return GrpcioTransport()

    @pytest.fixture
    def client_transport(self):
        return GrpcioTransport()


class TestGrpcioForwarder(ForwarderSuite):
    @pytest.fixture
    def server_transport(self):
        return GrpcioTransport()

    @pytest.fixture
    def client_transport(self):
        return GrpcioTransport()


class TestPlainClientOfGrpcio(TransportSuite):
    client_is_ours = False
    under_way = 28 * MIB  # grpc's windows grow to 16, and the kernel has buffers

    @pytest.fixture
    def server_transport(self):
        return GrpcioTransport()

    @pytest.fixture
    def client_transport(self):
        return PlainGrpcio()


class TestGrpcioClientOfPlain(TransportSuite):
    server_is_ours = False

    @pytest.fixture
    def server_transport(self):
        return PlainGrpcio()

    @pytest.fixture
    def client_transport(self):
        return GrpcioTransport()


async def test_a_path_that_is_not_text_does_not_end_the_service():
    listener = GrpcioTransport().listener(Echo())
    address = await listener.start("127.0.0.1:0")
    channel = GrpcioTransport().channel(address)
    try:
        watch = await channel.open(path("Chat"), timeout=20)
        await watch.headers()
        async with attacks.RawPeer(address) as peer:
            await peer.send(attacks.call(1, b"/\xff\xfe/\x80"))
            await peer.frames(attacks.HEADERS)
        await _answered(address)
        await watch.write(b"still open")
        assert await watch.read() == b"still open"
        watch.half_close()
        assert await watch.read() is None
    finally:
        await channel.close()
        await listener.close()


async def _answered(address):
    for attempt in range(60):
        channel = GrpcioTransport().channel(address)
        try:
            await channel.unary(path("Unary"), b"next", timeout=2)
            return
        except Status:
            assert attempt < 59
            await asyncio.sleep(0.05)
        finally:
            await channel.close()
