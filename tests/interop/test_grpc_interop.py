"""The official gRPC interoperability client, of grpc-go, against our listeners."""

import asyncio
import importlib

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1000)]  # the first run builds the client

CASES = [
    "empty_unary", "large_unary", "client_streaming", "server_streaming", "ping_pong", "empty_stream",
    "timeout_on_sleeping_server", "cancel_after_begin", "cancel_after_first_response", "status_code_and_message",
    "special_status_message", "unimplemented_method", "unimplemented_service", "custom_metadata",
]  # fmt: skip


@pytest.fixture(params=["nghttp2", "grpcio"])
async def address(request, service):
    module = importlib.import_module(f"micro.rpc.{request.param}")
    transport = getattr(module, f"{request.param.capitalize()}Transport")()
    listener = transport.listener(service)
    yield await listener.start("127.0.0.1:0")
    await listener.close()


@pytest.mark.parametrize("case", CASES)
async def test_the_official_client_is_content(tools, address, case):
    host, _, port = address.rpartition(":")
    client = await asyncio.create_subprocess_exec(
        tools / "client", "--test_case", case, "--server_host", host, "--server_port", port, "--use_tls=false",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    async with asyncio.timeout(30):
        said, _ = await client.communicate()
    assert client.returncode == 0, said.decode()
