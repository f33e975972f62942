"""The transport over grpc.aio: with itself, and with plain grpc.aio on either side."""

import pytest
from micro.limits import MIB
from micro.rpc.grpcio import GrpcioTransport
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
    under_way = 16 * MIB  # its windows grow as it likes

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
