"""Our own transport: with itself on both loops, with plain grpc.aio and with the other driver on either side."""

import pytest

from micro.limits import MIB
from micro.rpc.grpcio import GrpcioTransport
from micro.rpc.nghttp2 import Nghttp2Transport
from micro.testing.echo import Echo, path
from micro.testing.plain import PlainGrpcio
from micro.testing.rpc import ForwarderSuite, TransportSuite


class TestNghttp2(TransportSuite):
    loops = ("asyncio", "uvloop")
    drains_unseen = True
    opens_more_connections = True

    @pytest.fixture
    def server_transport(self):
        return Nghttp2Transport()

    @pytest.fixture
    def client_transport(self):
        return Nghttp2Transport()


class TestNghttp2Forwarder(ForwarderSuite):
    loops = ("asyncio", "uvloop")

    @pytest.fixture
    def server_transport(self):
        return Nghttp2Transport()

    @pytest.fixture
    def client_transport(self):
        return Nghttp2Transport()


class TestPlainClientOfNghttp2(TransportSuite):
    client_is_ours = False
    under_way = 28 * MIB  # grpc's windows grow to 16, and the kernel has buffers

    @pytest.fixture
    def server_transport(self):
        return Nghttp2Transport()

    @pytest.fixture
    def client_transport(self):
        return PlainGrpcio()


class TestNghttp2ClientOfPlain(TransportSuite):
    server_is_ours = False
    under_way = 28 * MIB  # as above
    excused = {  # noqa: RUF012 - the suite's own class variable
        "test_a_status_message_may_begin_and_end_with_spaces": "grpc sends them as they are, which RFC 9113 forbids and "
        "nghttp2 refuses; the binding has no switch for it",
    }
    opens_more_connections = True

    @pytest.fixture
    def server_transport(self):
        return PlainGrpcio()

    @pytest.fixture
    def client_transport(self):
        return Nghttp2Transport()


class TestPlainClientOfNghttp2Forwarder(ForwarderSuite):
    client_is_ours = False
    under_way = 28 * MIB  # as above

    @pytest.fixture
    def server_transport(self):
        return Nghttp2Transport()

    @pytest.fixture
    def client_transport(self):
        return PlainGrpcio()


async def test_the_two_drivers_speak_with_each_other():

    for server, client in ((Nghttp2Transport(), GrpcioTransport()), (GrpcioTransport(), Nghttp2Transport())):
        listener = server.listener(Echo())
        channel = client.channel(await listener.start("127.0.0.1:0"))
        assert (await channel.unary(path("Unary"), b"hello", timeout=5)).message == b"hello"
        await channel.close()
        await listener.close()
